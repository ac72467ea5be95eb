"""Agreements that the caller's party takes part in."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import SERVICES
from liaison.relay.requests import answer, caller, number, query

routes = web.RouteTableDef()


@routes.get("/v1/agreements")
async def listing(request: web.Request) -> web.Response:
    """List them with the digest of the latest version."""
    return answer(await request.app[SERVICES].agreements.listing(caller(request)))


@routes.get("/v1/agreements/{id}")
async def get(request: web.Request) -> web.Response:
    """Answer the signed document: the latest version, or `?version=N`."""
    text = query(request, "version").get("version")
    version = None if text is None else number(text, "version")
    found = await request.app[SERVICES].agreements.get(
        caller(request), request.match_info["id"], version
    )
    return answer(found)
