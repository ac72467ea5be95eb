"""The directory of devices and their certificates."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import SERVICES
from liaison.relay.requests import answer, caller, page, registrar

routes = web.RouteTableDef()


@routes.get("/v1/devices")
async def directory(request: web.Request) -> web.Response:
    """List the devices under `?agreement=ID`; without it, those of a registrar's own party."""
    wanted = page(request, "agreement")
    agreement, registry = request.query.get("agreement"), request.app[SERVICES].registry
    if agreement is None:
        return answer(await registry.own_devices(registrar(request), wanted))
    return answer(await registry.devices(caller(request), agreement, wanted))
