"""Opening and ending a session; the transcript is `liaison.wire.handshake`'s."""

from __future__ import annotations

from aiohttp import web

from liaison.errors import UnknownError
from liaison.policy.keys import VerifyKey
from liaison.relay import connections
from liaison.relay.appkeys import NOW_MS, SERVICES, SESSION, SESSIONS
from liaison.relay.requests import Size, answer, read, without_session
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import UnknownKeyError
from liaison.wire import v1
from liaison.wire.handshake import HandshakeError

routes = web.RouteTableDef()


@routes.post("/v1/session/challenges")
@without_session
async def challenge(request: web.Request) -> web.Response:
    """Answer the relay's half of the handshake; nothing is looked up or kept."""
    body = await read(request, v1.ChallengeRequest, Size.OPEN)
    issued = request.app[SESSIONS].challenge(
        body.principal, body.key, body.client_nonce, body.origin
    )
    return answer(
        v1.Challenge(
            relay_nonce=issued.relay_nonce,
            relay_key=issued.relay_key,
            signature=issued.signature,
            challenge=issued.challenge,
        ),
        201,
    )


@routes.post("/v1/session")
@without_session
async def open_session(request: web.Request) -> web.Response:
    """Check the client's half and answer a token."""
    body = await read(request, v1.SessionRequest, Size.OPEN)
    sessions, registry = request.app[SESSIONS], request.app[SERVICES].registry
    opened = sessions.opened(body.challenge)
    try:
        found = await registry.find_key(opened.principal, opened.transcript.key)
    except (UnknownError, UnknownKeyError):
        # Whoever can't sign must not learn who is registered, nor that a key is another's.
        raise HandshakeError from None
    token, session = sessions.prove(opened, VerifyKey(found.scheme, found.public), body.signature)
    connections.prove(request, session.principal)
    known = 0
    if isinstance(found.caller, DeviceCaller):
        known = await registry.state_version(found.caller)
    return answer(
        v1.Session(
            token=token,
            expires_ms=session.expires * 1000,
            time_ms=request.app[NOW_MS](),
            state_version=known,
        ),
        201,
    )


@routes.delete("/v1/session")
async def end_session(request: web.Request) -> web.Response:
    """End the session that the request was made in."""
    request.app[SESSIONS].end(request[SESSION])
    return web.Response(status=204)
