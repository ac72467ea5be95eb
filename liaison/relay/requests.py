"""What every handler does first and last: read the request, write the answer.

Everything is bounded before it is read, and parsed before a service sees it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from typing import Final, TypeVar

import pydantic
from aiohttp import web

from liaison.model import BlobId, ChannelId, MessageId
from liaison.relay.appkeys import CALLER, HELD, IDENTITY, SETTINGS
from liaison.relay.errors import (
    BodyError,
    EncodedBodyError,
    HostError,
    OriginError,
    ParameterError,
    WrongPrincipalError,
)
from liaison.relay.services.callers import Caller, DeviceCaller, OfficeCaller
from liaison.relay.services.pages import MOST, MOST_CURSOR, Page
from liaison.wire import v1
from liaison.wire.problems import CONTENT_TYPE, OversizeError, Problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
B = TypeVar("B", bound=v1.Body)

REGISTRAR: Final = "registrar"
EVERYWHERE: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "liaison",
}
"""What every answer carries."""
_ANY_HOST: Final = frozenset({"/healthz", "/readyz"})
"""What asks on the same machine whether the relay is up knows only an address."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_OPEN: Final = "liaison_needs_no_session"
SLOWEST: Final = 100
"""Bytes a second that a body arrives with on the average: a third of what HF radio carries."""
_now = time.monotonic
PAGE: Final = ("after", "limit")
"""The parameters of every list that comes in pages."""
_DIGEST_SIZE: Final = 32
_REST: Final = re.compile(r"bytes=([0-9]{1,18})-")
_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Size(Enum):
    """How large a body may be; the setting's name."""

    OPEN = "max_open_body"
    SMALL = "max_small_body"
    LARGE = "max_body"


def without_session(handler: Handler) -> Handler:
    """Mark a handler that anyone may call; every other one needs a session."""
    setattr(handler, _OPEN, True)
    return handler


def needs_session(handler: object) -> bool:
    """Say whether a handler was not marked by `without_session`."""
    return not getattr(handler, _OPEN, False)


def check_headers(request: web.Request) -> None:
    """Check what a request says of itself before anything is done for it.

    Raises:
        HostError: its `Host` is neither the relay's name nor one that the operator has set.
        OriginError: a page of another origin has sent it.
        EncodedBodyError: its body is encoded.
    """
    headers = request.headers
    if "Content-Encoding" in headers:
        raise EncodedBodyError
    origin = request.app[IDENTITY].url
    if any(found != origin for found in headers.getall("Origin", ())):
        raise OriginError
    if request.path in _ANY_HOST:
        return
    named = headers.getall("Host", ())
    if len(named) != 1 or _name_of(named[0]) not in {
        _name_of(request.app[IDENTITY].origin),
        *request.app[SETTINGS].hosts,
    }:
        raise HostError(hint="ask for it by the name in its origin, or let its operator set hosts")


def _name_of(host: str) -> str:
    """Return the name in `name:port` or `[address]:port`; the port says nothing of whom is meant."""
    name, colon, port = host.rpartition(":")
    has_port = colon and port.isdigit() and (name[:1] != "[" or name[-1:] == "]")
    return (name if has_port else host).lower()


async def expect(request: web.Request) -> None:
    """Promise nothing to a request with `Expect`: `body_chunks` does, when the body is wanted.

    Source: RFC 9110 §10.1.1.
    """
    del request


async def read(request: web.Request, model: type[B], size: Size = Size.SMALL) -> B:
    """Read and parse the body.

    Raises:
        OversizeError: it is larger than its kind may be; the rest was not read.
        TooManyBodiesError, CrowdedError: there is no memory for it now; it was not read.
        BodyError: it is no JSON of this model, or did not arrive in time.
    """
    settings = request.app[SETTINGS]
    limit: int = getattr(settings, size.value)
    try:
        async with asyncio.timeout(settings.request_timeout):
            data = await _whole(request, limit)
    except TimeoutError:
        raise BodyError("the body did not arrive in time") from None
    try:
        return model.model_validate_json(data)
    except pydantic.ValidationError as e:
        raise BodyError(_words(e)) from None


async def _whole(request: web.Request, limit: int) -> bytes:
    held = request[HELD]
    announced = request.content_length
    if announced is not None and announced <= limit:
        # All of it before the first byte: two halves of two bodies help nobody.
        held.grow(announced)
    chunks = []
    async for chunk in body_chunks(request, limit):
        if announced is None:
            held.grow(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


async def body_chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """Read the body piece by piece, up to `limit` bytes.

    Raises:
        OversizeError: it is larger.
        BodyError: a piece of it did not arrive in time, or all of it arrives too slowly.
    """
    if (request.content_length or 0) > limit:
        raise _oversize(limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        # Only now: whoever is refused before keeps the body.
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    patience = request.app[SETTINGS].request_timeout
    size, began = 0, _now()
    while chunk := await _next(request, patience):
        size += len(chunk)
        if size > limit:
            raise _oversize(limit)
        if _now() - began > patience + size / SLOWEST:
            # A byte now and then would keep what the upload holds for as long as it likes.
            raise BodyError("the body arrives too slowly")
        yield chunk


async def _next(request: web.Request, patience: float) -> bytes:
    try:
        async with asyncio.timeout(patience):
            return await request.content.readany()
    except TimeoutError:
        raise BodyError("the body did not arrive in time") from None


def _oversize(limit: int) -> OversizeError:
    return OversizeError(
        f"the body is larger than {limit} bytes",
        hint="send less at once, or ask the relay's operator for more",
        unchanged="nothing was stored",
    )


def _words(error: pydantic.ValidationError) -> str:
    """Say which members are wrong, without what stood in them."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    shown = (
        f"{'.'.join(str(part) for part in e['loc'])[:80] or 'body'}: {e['msg']}" for e in found[:4]
    )
    return f"the body is malformed: {'; '.join(shown)}".lower()


def answer(body: v1.Body, status: int = 200) -> web.Response:
    """Return a body as JSON."""
    return web.Response(
        body=body.model_dump_json().encode(), status=status, content_type="application/json"
    )


def problem_response(document: Problem) -> web.Response:
    """Return a problem document as a response."""
    headers = {}
    if document.retry_after is not None:
        headers["Retry-After"] = str(document.retry_after)
    return web.Response(
        body=document.encode(),
        status=document.status,
        content_type=CONTENT_TYPE,
        headers=headers,
    )


# --- who asks ---------------------------------------------------------------------------


def caller(request: web.Request) -> Caller:
    """Return whoever opened the request's session."""
    return request[CALLER]


def device(request: web.Request) -> DeviceCaller:
    """Return the device that asks.

    Raises:
        WrongPrincipalError: an office asks.
    """
    match request[CALLER]:
        case DeviceCaller() as found:
            return found
    raise WrongPrincipalError("only a device can do this")


def registrar(request: web.Request) -> OfficeCaller:
    """Return the registrar that asks.

    Raises:
        WrongPrincipalError: a device or another office asks.
    """
    match request[CALLER]:
        case OfficeCaller() as found if found.office.name == REGISTRAR:
            return found
    raise WrongPrincipalError("only a party's registrar can do this")


def office(request: web.Request) -> OfficeCaller:
    """Return the registrar or authority that asks.

    Raises:
        WrongPrincipalError: a device asks.
    """
    match request[CALLER]:
        case OfficeCaller() as found:
            return found
    raise WrongPrincipalError("only a party's registrar or authority can do this")


# --- parameters -------------------------------------------------------------------------


def channel_id(request: web.Request) -> ChannelId:
    """Return the channel in the path."""
    return ChannelId.parse(request.match_info["channel"])


def message_id(request: web.Request) -> MessageId:
    """Return the message in the path."""
    return MessageId.parse(request.match_info["message"])


def blob_id(request: web.Request) -> BlobId:
    """Return the blob in the path."""
    return BlobId.parse(request.match_info["blob"])


def lookup_id(request: web.Request) -> bytes:
    """Return the enrolment's lookup id in the path, 16 bytes."""
    # It has the same form as every id, so that parser checks it.
    return MessageId.parse(request.match_info["lookup"]).value


def document_digest(request: web.Request) -> bytes:
    """Return the digest in the path, 32 bytes.

    Raises:
        ParameterError: it is malformed.
    """
    text = request.match_info["digest"]
    if not _HEX_DIGEST.fullmatch(text):
        raise ParameterError("the digest is not 64 lower-case hex digits")
    return bytes.fromhex(text)


def range_begin(request: web.Request) -> int | None:
    """Return where the rest begins that `Range: bytes=N-` asks for; None where it asks otherwise.

    Other ranges are as good as none, which a server may always do. Source: RFC 9110 §14.2.
    """
    found = _REST.fullmatch(request.headers.get("Range", ""))
    return None if found is None else int(found[1])


def number(text: str, what: str) -> int:
    """Read a decimal number of a path or query, at most 64 bits.

    Raises:
        ParameterError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 1 << 64):
        raise ParameterError(f"{what} is not a number")
    return int(text)


def query(request: web.Request, *known: str) -> dict[str, str]:
    """Return the query's parameters.

    Raises:
        ParameterError: one is unknown, or stands twice.
    """
    for name in request.query:
        if name not in known:
            raise ParameterError(f"there is no parameter {name[:40]!r} here")
        if len(request.query.getall(name)) > 1:
            raise ParameterError(f"the parameter {name} stands twice")
    return dict(request.query)


def page(request: web.Request, *known: str) -> Page:
    """Return which page of a list is asked for, by `?after=` and `?limit=`.

    Args:
        request: asked.
        known: the query's other parameters.

    Raises:
        ParameterError: a parameter is unknown, or not as it should be.
    """
    found = query(request, *known, *PAGE)
    after, limit = found.get("after"), number(found.get("limit", str(MOST)), "limit")
    if after is not None and not (after.isprintable() and 0 < len(after) <= MOST_CURSOR):
        raise ParameterError("after is not what a page ended with")
    if not 0 < limit <= MOST:
        raise ParameterError(f"limit is not between 1 and {MOST}")
    return Page(after, limit)


def digest(request: web.Request) -> bytes:
    """Return the header `Liaison-Digest`, 32 bytes.

    Raises:
        ParameterError: it is missing or malformed.
    """
    text = request.headers.get("Liaison-Digest", "")
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != _DIGEST_SIZE or v1.b64encode(value) != text:
        raise ParameterError(
            "the header Liaison-Digest is missing or malformed",
            hint="the SHA-256 of the body in base64url without padding",
        )
    return value
