"""Administration on the relay's own host, without a second writer.

A running relay listens on a Unix socket of mode 0600 in its data directory; the
commands talk to it there. With the relay stopped they take its lock and do the
same work themselves. The socket carries one JSON object each way, a line each,
then closes. Whoever may open the socket is the operator: there is no other
authentication, and no administration from another host.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from liaison.errors import LiaisonError
from liaison.policy.agreement import Agreement
from liaison.relay import log
from liaison.relay.app import Relay
from liaison.relay.errors import AdminError, BodyError
from liaison.relay.files import DataDir, exclusive
from liaison.relay.identity import RelayKeys
from liaison.relay.services import Services
from liaison.relay.settings import Settings
from liaison.wire.problems import OversizeError, Problem, RemoteError

MAX_REQUEST: Final = 4 << 20
PATIENCE: Final = 30.0
"""Seconds for one request over the socket."""

JSON = Any
Request = Mapping[str, str]


# --- the work ---------------------------------------------------------------------------


async def perform(services: Services, request: Request) -> JSON:
    """Do what the operator asks.

    Args:
        services: the relay's.
        request: `do` names the work, `document` carries its file.

    Raises:
        BodyError: there is no such work.
        LiaisonError: the work is refused; nothing was changed.
    """
    work = _WORK.get(request.get("do", ""))
    if work is None:
        raise BodyError(f"there is no command {request.get('do', '')[:40]!r}")
    return await work(services, request)


async def _add_party(services: Services, request: Request) -> JSON:
    party = await services.registry.add_party(request.get("document", "").encode())
    return {"party": str(party.code), "name": party.name}


async def _parties(services: Services, _request: Request) -> JSON:
    return [
        {
            "party": str(party.code),
            "name": party.name,
            "roots": [root.fingerprint for root in party.roots],
        }
        for party in await services.registry.parties()
    ]


async def _add_agreement(services: Services, request: Request) -> JSON:
    agreement = await services.agreements.admit(request.get("document", "").encode())
    return _agreement(agreement)


async def _agreements(services: Services, _request: Request) -> JSON:
    return [_agreement(agreement) for agreement in await services.agreements.all()]


def _agreement(agreement: Agreement) -> JSON:
    return {
        "agreement": agreement.agreement_id,
        "version": agreement.version,
        "title": agreement.title,
        "parties": [str(party.code) for party in agreement.parties],
        "digest": agreement.digest().hex(),
    }


_WORK: Final[dict[str, Callable[[Services, Request], Awaitable[JSON]]]] = {
    "party.add": _add_party,
    "party.list": _parties,
    "agreement.add": _add_agreement,
    "agreement.list": _agreements,
}


# --- the running relay's side -----------------------------------------------------------


@contextlib.contextmanager
def bound(data: DataDir) -> Iterator[socket.socket]:
    """Give the listening end of the admin socket; the caller holds the relay's lock.

    A socket that is there already was left by a relay that was killed: with the
    lock in our hands nobody listens on it.
    """
    data.socket.unlink(missing_ok=True)
    with _short(data.socket) as address, socket.socket(socket.AF_UNIX) as listener:
        # bind makes the file by the umask, so nobody else has it even for a moment.
        before = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(before)
        listener.settimeout(0)
        try:
            yield listener
        finally:
            data.socket.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def listening(listener: socket.socket, relay: Relay) -> AsyncIterator[None]:
    """Answer the operator's commands on the socket that `bound` gave."""
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve(relay, reader, writer), sock=listener, limit=MAX_REQUEST
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _serve(relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(await _answer(relay, reader))
            await writer.drain()
    except (TimeoutError, ConnectionError) as error:
        log.logger().warning("admin_failed", error=type(error).__name__)
    finally:
        writer.close()


async def _answer(relay: Relay, reader: asyncio.StreamReader) -> bytes:
    try:
        request = await _read(reader)
        result = await perform(relay.services, request)
    except LiaisonError as error:
        return _line({"problem": json.loads(Problem.of(error).encode())})
    except Exception as error:  # noqa: BLE001 - logged, and the operator is told where to look
        log.logger().error("admin_failed", **log.failure(error))
        problem = Problem("internal", 500, "the relay failed", hint="see the relay's log")
        return _line({"problem": json.loads(problem.encode())})
    log.logger().info("admin", route=request["do"])
    return _line({"result": result})


async def _read(reader: asyncio.StreamReader) -> dict[str, str]:
    try:
        line = await reader.readline()
    except ValueError:
        raise OversizeError(f"an admin request has at most {MAX_REQUEST} bytes") from None
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict) or not all(isinstance(v, str) for v in request.values()):
        raise BodyError("the admin request is malformed")
    return request


def _line(members: JSON) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# --- the command's side -----------------------------------------------------------------


def run(data: DataDir, settings: Settings, keys: Callable[[], RelayKeys], request: Request) -> JSON:
    """Let the running relay do it; with the relay stopped do it here, under its lock.

    Args:
        data: the relay's directory.
        settings: the relay's.
        keys: reads the relay's keys; called only with the relay stopped.
        request: see `perform`.

    Raises:
        LiaisonError: refused, or the relay could not be reached.
    """
    answer = ask(data, request)
    if answer is not None:
        return answer
    with exclusive(data):
        return asyncio.run(
            _directly(settings, keys(), data.database_url(settings.database_url), request)
        )


async def _directly(settings: Settings, keys: RelayKeys, url: str, request: Request) -> JSON:
    relay = await Relay.open(settings, keys, url)
    try:
        return await perform(relay.services, request)
    finally:
        await relay.close()


def ask(data: DataDir, request: Request) -> JSON | None:
    """Send a request to the running relay; None where none is listening.

    Raises:
        RemoteError: the relay refused.
        AdminError: it did not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection, _short(data.socket) as address:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        try:
            connection.sendall(_line(dict(request)))
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as e:
            raise AdminError(f"the relay did not answer on {data.socket}") from e
    if not line:
        raise AdminError("the relay ended before it answered", hint="ask again to see what it did")
    answer = json.loads(line)
    if "problem" in answer:
        raise RemoteError(Problem.decode(json.dumps(answer["problem"]).encode()))
    return answer["result"]


# --- the socket's address ---------------------------------------------------------------


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of the socket that fits into the 108 bytes of a Unix address."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
