"""How bytes come from a relay, whatever it is."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.transport import AiohttpTransport


async def test_an_answer_that_is_encoded_is_refused_before_it_grows() -> None:
    asked: list[str] = []

    async def bomb(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        return web.Response(
            body=gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"}
        )

    app = web.Application()
    app.router.add_get("/v1/relay", bomb)
    async with (
        TestServer(app) as server,
        AiohttpTransport(str(server.make_url("/")).rstrip("/")) as transport,
    ):
        with pytest.raises(RelayBrokenError, match="encoded"):
            await transport.request("GET", "/v1/relay", headers={})

    assert asked == ["identity"]
