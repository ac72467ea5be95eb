"""Is the process up, and can it do its work? Neither needs a session."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import READY
from liaison.relay.requests import without_session

routes = web.RouteTableDef()


@routes.get("/healthz")
@without_session
async def healthz(_request: web.Request) -> web.Response:
    """Answer 200 while the process serves requests."""
    return web.json_response({"status": "up"})


@routes.get("/readyz")
@without_session
async def readyz(request: web.Request) -> web.Response:
    """Answer 200 when database, schema and writer are fit for work, else 503.

    `problems` has the codes of what is wrong for some partnership, while others are served.
    """
    found = await request.app[READY]()
    return web.json_response(
        {"status": "ready", "problems": found} if found else {"status": "ready"}
    )
