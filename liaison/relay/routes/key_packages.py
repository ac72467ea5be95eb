"""Key packages: devices leave them, others claim them to add the device to a group."""

from __future__ import annotations

from aiohttp import web

from liaison.model import EndpointId
from liaison.relay.appkeys import LIMITS, SERVICES
from liaison.relay.requests import Size, answer, device, read
from liaison.wire import v1

routes = web.RouteTableDef()


@routes.post("/v1/key-packages")
async def upload(request: web.Request) -> web.Response:
    """Store packages of the calling device; answer how many it has left."""
    owner = device(request)
    body = await read(request, v1.KeyPackages, Size.LARGE)
    return answer(await request.app[SERVICES].key_packages.upload(owner, body), 201)


@routes.get("/v1/key-packages")
async def counts(request: web.Request) -> web.Response:
    """Answer how many packages the calling device has left."""
    return answer(await request.app[SERVICES].key_packages.counts(device(request)))


@routes.post("/v1/key-packages/claims")
async def claim(request: web.Request) -> web.Response:
    """Take one package of each device of an endpoint; each is given out once."""
    claimer = device(request)
    body = await read(request, v1.Claim)
    request.app[LIMITS].claim(claimer.party, EndpointId.parse(body.endpoint))
    return answer(await request.app[SERVICES].key_packages.claim(claimer, body), 201)
