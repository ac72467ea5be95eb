"""How bytes come from a relay, whatever it is."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from liaison.wire.frames import Close
from liaison_sdk import transport
from liaison_sdk.errors import ConnectionLostError, RelayBrokenError
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


class _CutOff:
    """A socket that has read why the relay closes, and could not answer any more."""

    close_code = aiohttp.WSCloseCode.ABNORMAL_CLOSURE

    async def receive(self) -> SimpleNamespace:
        return SimpleNamespace(type=aiohttp.WSMsgType.CLOSE, data=int(Close.REVOKED))


async def test_why_the_relay_closes_counts_though_the_answer_to_it_came_too_late() -> None:
    socket = transport._Socket(cast("Any", _CutOff()))

    with pytest.raises(ConnectionLostError) as caught:
        await socket.receive()

    assert caught.value.close_code == Close.REVOKED
