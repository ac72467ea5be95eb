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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from liaison.errors import LiaisonError
from liaison.policy.agreement import Agreement
from liaison.relay import adminsocket, log, log_status, monitor, openfiles, restored
from liaison.relay.adminsocket import JSON, Request
from liaison.relay.app import Places, Relay
from liaison.relay.errors import BodyError
from liaison.relay.files import DataDir, exclusive
from liaison.relay.identity import RelayKeys
from liaison.relay.services import Services
from liaison.relay.services.book import Book
from liaison.relay.services.exports import Export
from liaison.relay.settings import Settings
from liaison.relay.succeeding import Head, Successors
from liaison.wire.problems import OversizeError, Problem

# --- the work ---------------------------------------------------------------------------


async def perform_on(relay: Relay, request: Request) -> JSON:
    """Do what the operator asks of a relay, its logs' and its process' state included; see `perform`."""
    if request.get("do") == "log.status":
        return await log_status.status(relay.publisher)
    if request.get("do") == "log.successor":
        return await _successor(relay, request)
    if request.get("do") == "log.begin_root":
        successors = Successors(relay.publisher, Book())
        if "lost" in request:
            head = await successors.head(None)
            await relay.publisher.give_up(head.row.origin)
        head = await successors.begin_root()
        return _followed(relay, successors, head)
    if request.get("do") == "metrics":
        return (await (await monitor.load(relay))()).decode()
    if request.get("do") == "process":
        return {
            "open_files": openfiles.allowed(),
            "max_connections": relay.settings.max_connections,
        }
    return await perform(relay.services, request)


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


async def _successor(relay: Relay, request: Request) -> JSON:
    successors = Successors(relay.publisher, Book())
    return _followed(relay, successors, await successors.head(request.get("agreement", "")))


def _followed(relay: Relay, successors: Successors, head: Head) -> JSON:
    origin = successors.next_origin(head)
    return {
        "log": origin,
        "vkey": str(relay.publisher.vkey(origin)),
        "generation": head.row.generation + 1,
        "predecessor": head.predecessor.document(),
    }


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


async def _admit_agreement(services: Services, request: Request) -> JSON:
    agreement = await services.proposals.admit(request.get("id", ""))
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


async def _set_hold(services: Services, request: Request) -> JSON:
    agreement = request.get("agreement", "")
    await services.holds.set(agreement, request.get("reason", ""))
    return {"agreement": agreement}


async def _release_hold(services: Services, request: Request) -> JSON:
    agreement = request.get("agreement", "")
    await services.holds.release(agreement)
    return {"agreement": agreement}


async def _holds(services: Services, _request: Request) -> JSON:
    return [row._asdict() for row in await services.holds.listing()]


async def _exported(services: Services, request: Request) -> JSON:
    try:
        export = Export.from_json(json.loads(request.get("export", "")))
    except (ValueError, KeyError, TypeError, LiaisonError) as error:
        raise BodyError("the export is malformed") from error
    await services.exports.tell(export)
    return {}


_WORK: Final[dict[str, Callable[[Services, Request], Awaitable[JSON]]]] = {
    "party.add": _add_party,
    "party.list": _parties,
    "agreement.add": _add_agreement,
    "agreement.admit": _admit_agreement,
    "agreement.list": _agreements,
    "hold.set": _set_hold,
    "hold.release": _release_hold,
    "hold.list": _holds,
    "audit.exported": _exported,
}


# --- the running relay's side -----------------------------------------------------------


@contextlib.contextmanager
def bound(data: DataDir) -> Iterator[socket.socket]:
    """Give the listening end of the admin socket; the caller holds the relay's lock.

    A socket that is there already was left by a relay that was killed: with the
    lock in our hands nobody listens on it.
    """
    data.socket.unlink(missing_ok=True)
    with adminsocket.short(data.socket) as address, socket.socket(socket.AF_UNIX) as listener:
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
        lambda reader, writer: _serve(relay, reader, writer),
        sock=listener,
        limit=adminsocket.MAX_REQUEST,
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _serve(relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(adminsocket.PATIENCE):
            writer.write(await _answer(relay, reader))
            await writer.drain()
    except (TimeoutError, ConnectionError) as error:
        log.logger().warning("admin_failed", error=type(error).__name__)
    finally:
        writer.close()


async def _answer(relay: Relay, reader: asyncio.StreamReader) -> bytes:
    try:
        request = await _read(reader)
        result = await perform_on(relay, request)
    except LiaisonError as error:
        return adminsocket.line({"problem": json.loads(Problem.of(error).encode())})
    except Exception as error:  # noqa: BLE001 - logged, and the operator is told where to look
        log.logger().error("admin_failed", **log.failure(error))
        problem = Problem("internal", 500, "the relay failed", hint="see the relay's log")
        return adminsocket.line({"problem": json.loads(problem.encode())})
    log.logger().info("admin", route=request["do"])
    return adminsocket.line({"result": result})


async def _read(reader: asyncio.StreamReader) -> dict[str, str]:
    try:
        line = await reader.readline()
    except ValueError:
        raise OversizeError(
            f"an admin request has at most {adminsocket.MAX_REQUEST} bytes",
            hint="stop the relay and run the command again: it then does the work itself",
        ) from None
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict) or not all(isinstance(v, str) for v in request.values()):
        raise BodyError("the admin request is malformed")
    return request


# --- the stopped relay's side -----------------------------------------------------------


def run_stopped(data: DataDir, settings: Settings, keys: RelayKeys, request: Request) -> JSON:
    """Do what the operator asks of a relay that does not run, under its lock.

    Args:
        data: the relay's directory.
        settings: the relay's.
        keys: the relay's.
        request: see `perform`.

    Raises:
        LockedError: it runs after all, or another command is at work.
        LiaisonError: refused; nothing was changed.
    """
    with exclusive(data):
        places = Places(
            data.database_url(settings.database_url),
            data.logs,
            lost_root=restored.lost_root(data),
        )
        return asyncio.run(_directly(settings, keys, places, request))


async def _directly(settings: Settings, keys: RelayKeys, places: Places, request: Request) -> JSON:
    relay = await Relay.open(settings, keys, places)
    try:
        return await perform_on(relay, request)
    finally:
        await relay.close()
