"""Around every request: its log line, its errors, its limits, its session.

The order matters. The log line is outermost, so that it tells of every request;
errors become problem documents inside it; headers are looked at and the rate of an address
is taken before anything is computed for it; the session comes last, so that a handler that runs
has one unless it was marked `without_session`.
"""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from liaison.errors import LiaisonError, UnavailableError
from liaison.relay import connections, log, requests
from liaison.relay.appkeys import (
    CALLER,
    HELD,
    LIMITS,
    LOG,
    METRICS,
    PROBLEM,
    SERVICES,
    SESSION,
    SESSIONS,
    SETTINGS,
)
from liaison.relay.errors import MethodError, NoTokenError, RateExceededError, RouteUnknownError
from liaison.relay.limits import WEIGHT, Held, network_of
from liaison.relay.requests import Handler
from liaison.storage.errors import DatabaseError
from liaison.wire.problems import Problem

_INTERNAL: Final = Problem(
    "internal", 500, "the relay failed", hint="the operator's log has the reason"
)
_SCHEME: Final = "Bearer "


@web.middleware
async def log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write one line when the request has ended, with names and numbers only."""
    begun = time.monotonic()
    status = 499  # The client went away before an answer.
    try:
        response = await handler(request)
        status = response.status
    finally:
        session = request.get(SESSION)
        took = time.monotonic() - begun
        method = request.method if request.method in _METHODS else "OTHER"
        route, code = route_name(request), request.get(PROBLEM)
        metrics = request.app[METRICS]
        metrics.request(method, route, status, took)
        if code is not None:
            metrics.problems[code] += 1
        request.app[LOG].info(
            "request",
            method=method,
            route=route,
            status=status,
            code=code,
            ms=round(took * 1000, 1),
            principal=str(session.principal) if session else None,
            address=address(request),
        )
    return response


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


def route_name(request: web.Request) -> str:
    """Return the pattern that the request matched; its address may be anything."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into its problem document."""
    try:
        return await handler(request)
    except DatabaseError as error:
        cause = error.__cause__ or error
        request.app[LOG].error("database_failed", route=route_name(request), **log.failure(cause))
        return _answer(request, Problem("unavailable", 503, UnavailableError().message))
    except RateExceededError as error:
        response = _answer(request, Problem.of(error))
        # Or a flood would go on over it, each request with its answer and its line in the log;
        # new connections have a rate of their own.
        response.force_close()
        return response
    except LiaisonError as error:
        return _answer(request, Problem.of(error))
    except web.HTTPNotFound:
        return _answer(request, Problem.of(RouteUnknownError()))
    except web.HTTPMethodNotAllowed as error:
        response = _answer(request, Problem("route.method", 405, MethodError().message))
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPException as error:
        # aiohttp's own, such as a bad upgrade; its text may quote the request.
        return _answer(request, Problem("malformed", error.status, "the request is malformed"))
    except ConnectionResetError:
        raise
    except Exception as error:  # noqa: BLE001 - the last resort; it is logged and answered
        request.app[LOG].error("request_failed", route=route_name(request), **log.failure(error))
        return _answer(request, _INTERNAL)


def _answer(request: web.Request, document: Problem) -> web.StreamResponse:
    request[PROBLEM] = document.code
    return requests.problem_response(document)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what no client of ours sends, and give back at the end what the request held.

    Raises:
        HostError: it is for another host.
        OriginError: it comes from a web page of somewhere else.
        EncodedBodyError: its body is encoded.
    """
    limits, network = request.app[LIMITS], network_of(address(request))
    try:
        requests.check_headers(request)
    except LiaisonError:
        limits.address(network)
        raise
    request[HELD] = Held(limits.open_bodies, network)
    try:
        return await handler(request)
    finally:
        request[HELD].end()


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks, and whether they may ask now.

    Raises:
        RateExceededError: the address, device or party has used up its rate.
        NoTokenError: the handler needs a session and the request carries none.
    """
    limits = request.app[LIMITS]
    # An address without a handler has nothing to protect; it is counted and refused.
    unknown = request.match_info.http_exception is not None
    if unknown or not requests.needs_session(request.match_info.handler):
        limits.address(address(request))
        return await handler(request)
    header = request.headers.get("Authorization", "")
    if not header.startswith(_SCHEME):
        limits.address(address(request))
        raise NoTokenError("the request carries no session token")
    try:
        session = request.app[SESSIONS].check(header[len(_SCHEME) :])
    except LiaisonError:
        limits.address(address(request))
        raise
    request[SESSION] = session
    request[HELD] = Held(limits.bodies, session.principal)
    connections.prove(request, session.principal)
    # Before the database is asked: over the limit a request costs nothing.
    limits.principal(session.principal)
    # At every request: a certificate may have been revoked since the token was made.
    found = await request.app[SERVICES].registry.find_key(session.principal, session.key)
    request[CALLER] = found.caller
    try:
        response = await handler(request)
    finally:
        limits.weigh(session.principal, request[HELD].size)
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        limits.weigh(session.principal, len(response.body))
        if len(response.body) >= WEIGHT:
            # Held like a body that came: whoever takes nothing of many answers keeps them in memory.
            request[HELD].grow(len(response.body))
            await response.prepare(request)
            await response.write_eof()
    return response


def address(request: web.Request) -> str:
    """Return the peer's address; behind a trusted proxy the one that the proxy saw."""
    peer = request.remote or "local"
    if peer not in request.app[SETTINGS].trusted_proxies:
        return peer
    # The last entry is what the proxy added; what stands before it anybody can write.
    forwarded = request.headers.get("X-Forwarded-For", "")
    return forwarded.rpartition(",")[2].strip()[:64] or peer


async def security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set what every answer carries; nothing here is to be cached or shown as a page."""
    headers = response.headers
    headers.update(requests.EVERYWHERE)
    if isinstance(request.protocol, connections.Handler) and request.protocol.place.is_late:
        # Said, not only done: a polite client opens another for its next request.
        response.force_close()
        headers["Connection"] = "close"
    if request.secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
