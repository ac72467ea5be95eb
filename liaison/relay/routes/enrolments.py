"""Enrolment: a registrar invites, a device asks, the registrar replies."""

from __future__ import annotations

from aiohttp import web

from liaison.relay.appkeys import SERVICES
from liaison.relay.requests import Size, answer, lookup_id, page, read, registrar, without_session
from liaison.wire import v1

routes = web.RouteTableDef()


@routes.post("/v1/enrolments")
async def invite(request: web.Request) -> web.Response:
    """Register a lookup id that a device will ask under."""
    office = registrar(request)
    body = await read(request, v1.Invitation)
    await request.app[SERVICES].enrolment.invite(office, body)
    return web.Response(status=201)


@routes.get("/v1/enrolments")
async def listing(request: web.Request) -> web.Response:
    """List the invitations of the registrar's party."""
    office, wanted = registrar(request), page(request)
    return answer(await request.app[SERVICES].enrolment.listing(office, wanted))


@routes.post("/v1/enrolments/{lookup}/request")
@without_session
async def ask(request: web.Request) -> web.Response:
    """Take a device's sealed request; only the registrar can open it."""
    lookup = lookup_id(request)
    body = await read(request, v1.EnrolmentRequest, Size.OPEN)
    await request.app[SERVICES].enrolment.request(lookup, body.sealed)
    return web.Response(status=202)


@routes.post("/v1/enrolments/{lookup}/reply")
async def reply(request: web.Request) -> web.Response:
    """Take the registrar's reply and register the device's certificates."""
    office, lookup = registrar(request), lookup_id(request)
    body = await read(request, v1.EnrolmentReply)
    await request.app[SERVICES].enrolment.reply(office, lookup, body)
    return web.Response(status=201)


@routes.get("/v1/enrolments/{lookup}/reply")
@without_session
async def fetch_reply(request: web.Request) -> web.Response:
    """Give the device the sealed reply."""
    return answer(await request.app[SERVICES].enrolment.fetch_reply(lookup_id(request)))


@routes.delete("/v1/enrolments/{lookup}")
async def withdraw(request: web.Request) -> web.Response:
    """Withdraw an invitation that was not replied to."""
    office = registrar(request)
    await request.app[SERVICES].enrolment.withdraw(office, lookup_id(request))
    return web.Response(status=204)
