"""Who the relay says it is. No anchor: a client compares it with what it pinned."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import IDENTITY, NOW_MS, SETTINGS
from liaison.relay.requests import answer, without_session
from liaison.relay.version import VERSION
from liaison.wire import frames, v1

routes = web.RouteTableDef()


@routes.get("/v1/relay")
@without_session
async def info(request: web.Request) -> web.Response:
    """Answer the public identity, version, clock and sizes."""
    return answer(
        v1.RelayInfo(
            identity=request.app[IDENTITY].document(),
            version=VERSION,
            time_ms=request.app[NOW_MS](),
            max_frame=frames.MAX_FRAME,
            max_blob=request.app[SETTINGS].max_blob,
        )
    )
