"""The stream: the WebSocket that messages and deliveries travel on."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import LIMITS, LOG, NOW_MS, SERVICES, SETTINGS, STREAMS
from liaison.relay.errors import ParameterError
from liaison.relay.requests import device
from liaison.relay.stream import Connection
from liaison.wire import frames

routes = web.RouteTableDef()


@routes.get("/v1/stream", allow_head=False)
async def stream(request: web.Request) -> web.StreamResponse:
    """Open the calling device's stream; its frames are `liaison.wire.frames`."""
    app = request.app
    caller = device(request)
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    if frames.SUBPROTOCOL not in (name.strip() for name in offered):
        raise ParameterError(
            "no WebSocket subprotocol that this relay speaks was offered",
            hint=f"offer {frames.SUBPROTOCOL}",
        )
    connection = Connection(
        caller, app[SERVICES], app[SETTINGS], app[LIMITS], app[STREAMS], app[NOW_MS], app[LOG]
    )
    return await connection.open(request)
