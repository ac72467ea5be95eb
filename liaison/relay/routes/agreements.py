"""Agreements that the caller's party takes part in: their versions, and who takes part."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import SERVICES
from liaison.relay.requests import (
    Size,
    answer,
    caller,
    document_digest,
    number,
    office,
    page,
    query,
    read,
)
from liaison.wire import v1

routes = web.RouteTableDef()


@routes.get("/v1/agreements")
async def listing(request: web.Request) -> web.Response:
    """List them with the digest of the latest version."""
    asking, wanted = caller(request), page(request)
    return answer(await request.app[SERVICES].agreements.listing(asking, wanted))


@routes.post("/v1/agreements")
async def propose(request: web.Request) -> web.Response:
    """Take a new agreement or an amendment, or more signatures under one."""
    asking = office(request)
    body = await read(request, v1.Document, Size.LARGE)
    return answer(await request.app[SERVICES].proposals.propose(asking, body.envelope), 201)


@routes.get("/v1/agreements/{id}")
async def get(request: web.Request) -> web.Response:
    """Answer the signed document: the latest version, or `?version=N`."""
    text = query(request, "version").get("version")
    version = None if text is None else number(text, "version")
    found = await request.app[SERVICES].agreements.get(
        caller(request), request.match_info["id"], version
    )
    return answer(found)


@routes.get("/v1/agreements/{id}/statements")
async def statements(request: web.Request) -> web.Response:
    """Answer what was said of the parties' participation, and the exclusions in force."""
    id_ = request.match_info["id"]
    return answer(await request.app[SERVICES].participation.listing(caller(request), id_))


@routes.post("/v1/agreements/{id}/statements")
async def state(request: web.Request) -> web.Response:
    """Take a party's own word on whether it takes part; in force when this answers."""
    asking = office(request)
    body = await read(request, v1.Document)
    found = await request.app[SERVICES].participation.state(
        asking, request.match_info["id"], body.envelope
    )
    return answer(found, 201)


@routes.get("/v1/agreements/{id}/exclusions")
async def exclusions(request: web.Request) -> web.Response:
    """Answer the exclusions that wait for signatures, but for the caller's own."""
    asking, id_ = office(request), request.match_info["id"]
    return answer(await request.app[SERVICES].participation.exclusions(asking, id_))


@routes.post("/v1/agreements/{id}/exclusions")
async def exclude(request: web.Request) -> web.Response:
    """Take signatures under an exclusion; in force once there are enough."""
    asking = office(request)
    body = await read(request, v1.Document)
    found = await request.app[SERVICES].participation.exclude(
        asking, request.match_info["id"], body.envelope
    )
    return answer(found, 201)


@routes.delete("/v1/agreements/{id}/exclusions/{digest}")
async def retract_exclusion(request: web.Request) -> web.Response:
    """Take back an exclusion that the caller's party has begun."""
    asking, digest = office(request), document_digest(request)
    await request.app[SERVICES].participation.retract(asking, request.match_info["id"], digest)
    return web.Response(status=204)


@routes.get("/v1/proposals")
async def proposals(request: web.Request) -> web.Response:
    """List what is proposed to the caller's party and waits for signatures."""
    return answer(await request.app[SERVICES].proposals.listing(office(request)))


@routes.get("/v1/proposals/{digest}")
async def proposal(request: web.Request) -> web.Response:
    """Answer a version that waits, with the signatures so far."""
    asking, digest = office(request), document_digest(request)
    return answer(await request.app[SERVICES].proposals.get(asking, digest))


@routes.delete("/v1/proposals/{digest}")
async def retract(request: web.Request) -> web.Response:
    """Take back a version that the caller's party has brought."""
    asking, digest = office(request), document_digest(request)
    await request.app[SERVICES].proposals.retract(asking, digest)
    return web.Response(status=204)
