"""Revocation lists, signed by registrars."""

from __future__ import annotations

from aiohttp import web

from liaison.model import PartyCode
from liaison.relay.appkeys import LIMITS, SERVICES
from liaison.relay.requests import answer, caller, read, registrar
from liaison.wire import v1

routes = web.RouteTableDef()


@routes.post("/v1/revocations")
async def publish(request: web.Request) -> web.Response:
    """Take the next list; sessions of what it revokes end within a second."""
    office = registrar(request)
    body = await read(request, v1.Document)
    request.app[LIMITS].revocation(office.party)
    return answer(await request.app[SERVICES].revocation.accept(office, body.envelope), 201)


@routes.get("/v1/parties/{code}/revocations")
async def current(request: web.Request) -> web.Response:
    """Answer the list in force of a party that the caller has to do with."""
    code = PartyCode.parse(request.match_info["code"])
    return answer(await request.app[SERVICES].revocation.current(caller(request), code))
