"""Connections on which nobody has shown a session: few, short, and of no use to an attacker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from liaison.crypto import trial_tls
from liaison.model import DeviceId
from liaison.relay.app import Clocks
from liaison.relay.connections import MAX_HEADER, MAX_HEADERS, MAX_LINE, Connections, Door, Handler
from liaison.relay.errors import TooManyConnectionsError
from liaison.relay.settings import Settings
from liaison.relay.tls import Served
from tests.support.people import people_of
from tests.support.relay import running
from tests.support.world import World

NOR = DeviceId.parse("nor/defatt-berlin#d1")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PATIENCE = 20
HELLO = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
PROVE = HELLO.replace(b"up", b"prove")

both_loops = pytest.mark.parametrize("loop", LOOPS)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# --- the counts -------------------------------------------------------------------------


def counts(**settings: Any) -> tuple[Connections, Clock]:
    clock = Clock()
    return Connections(Settings(**settings), clock), clock


def test_an_address_has_so_many_connections_without_a_session_and_others_have_theirs() -> None:
    found, _ = counts(max_unproven_per_address=2)
    first = found.admit("192.0.2.1")
    assert first is not None
    assert found.admit("192.0.2.1") is not None

    assert found.admit("192.0.2.1") is None
    assert found.admit("192.0.2.2") is not None
    first.end()
    first.end()
    assert found.admit("192.0.2.1") is not None
    assert found.admit("192.0.2.1") is None
    assert found.refused == 2


def test_an_ipv6_network_shares_one_bound() -> None:
    found, _ = counts(max_unproven_per_address=1)

    assert found.admit("2001:db8::1") is not None
    assert found.admit("2001:db8::2") is None


def test_many_people_may_share_an_address_once_they_have_shown_a_session() -> None:
    found, _ = counts(max_unproven_per_address=1)
    places = []
    for number in range(10):
        place = found.admit("192.0.2.1")
        assert place is not None
        place.prove(DeviceId.parse(f"nor/desk-{number}#d1"))
        places.append(place)

    assert (len(found), found.unproven) == (10, 0)
    for place in places:
        place.end()
    assert (len(found), found.unproven) == (0, 0)


def test_all_without_a_session_have_a_bound_together() -> None:
    found, _ = counts(max_unproven=2)

    assert [found.admit(f"192.0.2.{n}") is None for n in range(3)] == [False, False, True]


def test_all_connections_have_a_bound() -> None:
    found, _ = counts(max_connections=1)
    place = found.admit("192.0.2.1")
    assert place is not None
    place.prove(NOR)

    assert found.admit("192.0.2.2") is None


def test_a_device_has_so_many_connections_wherever_it_comes_from() -> None:
    found, _ = counts(max_connections_per_device=1)
    first, second = found.admit("192.0.2.1"), found.admit("192.0.2.2")
    assert first is not None
    assert second is not None
    first.prove(NOR)
    first.prove(NOR)

    with pytest.raises(TooManyConnectionsError):
        second.prove(NOR)
    first.end()
    second.prove(NOR)


def test_an_address_that_comes_back_all_the_time_is_sent_away() -> None:
    found, clock = counts(rate_connections=1, burst_connections=2)

    def come() -> bool:
        place = found.admit("192.0.2.1")
        if place is not None:
            place.end()
        return place is not None

    assert [come() for _ in range(3)] == [True, True, False]
    clock.now += 1
    assert come()


def test_a_trusted_proxy_brings_as_many_as_it_likes() -> None:
    found, _ = counts(trusted_proxies=["10.0.0.1"], max_unproven_per_address=1, max_unproven=1)

    places = [found.admit("10.0.0.1") for _ in range(5)]

    assert None not in places
    assert not any(place.is_late for place in places if place)


# --- the door ---------------------------------------------------------------------------


@dataclass
class Running:
    """A door with a small application behind it."""

    port: int
    tls: ssl.SSLContext
    connections: Connections
    gate: asyncio.Event

    async def plain(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def secure(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)

    async def says(self, request: bytes) -> bytes:
        """Send bytes over TLS and return all that comes until the end."""
        reader, writer = await self.secure()
        writer.write(request)
        try:
            return await rest(reader)
        finally:
            writer.close()

    async def empty(self) -> None:
        """Wait until no connection is counted."""
        async with asyncio.timeout(PATIENCE):
            while len(self.connections):  # noqa: ASYNC110 - the counts tell nobody
                await asyncio.sleep(0.01)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the relay closes, however it does that."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                found += piece
    return found


@contextlib.asynccontextmanager
async def door(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    made = trial_tls.issue(("127.0.0.1",), int(time.time()))
    for name, data in (("key", made.key), ("pem", made.certificate), ("ca", made.authority)):
        (folder / name).write_bytes(data)
    connections = Connections(Settings(**settings), time.monotonic)
    gate = asyncio.Event()

    async def up(_request: web.Request) -> web.Response:
        return web.Response(text="up")

    async def prove(request: web.Request) -> web.Response:
        assert isinstance(request.protocol, Handler)
        request.protocol.place.prove(NOR)
        return web.Response(text="proved")

    async def much(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(64 << 20))

    app = web.Application()
    app.router.add_get("/much", much)
    app.router.add_get("/up", up)
    app.router.add_get("/prove", prove)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    tls = (await asyncio.to_thread(Served, folder / "pem", folder / "key")).context
    try:
        await Door(runner, listener, tls, connections, lingering=1).start()
        client = ssl.create_default_context(cafile=str(folder / "ca"))
        yield Running(listener.getsockname()[1], client, connections, gate)
    finally:
        await runner.cleanup()
        listener.close()


def on(loop: str, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(test())


@both_loops
def test_whoever_does_not_begin_tls_is_let_go_in_time(loop: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with door(tmp_path, handshake_timeout=0.1) as found:
            reader, writer = await found.plain()

            assert await rest(reader) == b""
            writer.close()
            await found.empty()

    on(loop, test)


@both_loops
def test_whoever_speaks_no_tls_costs_no_descriptor(loop: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with door(tmp_path) as found:
            before = descriptors()
            for _ in range(20):
                reader, writer = await found.plain()
                writer.write(HELLO)
                await rest(reader)
                writer.close()
                await writer.wait_closed()
            await found.empty()
            reader, writer = await found.secure()
            writer.write(HELLO)

            assert b"200 OK" in await reader.readuntil(b"\r\n")
            assert descriptors() < before + 10
            writer.close()

    on(loop, test)


@both_loops
@pytest.mark.parametrize("head", [b"", HELLO[:10], HELLO[:-2]], ids=["nothing", "a bit", "nearly"])
def test_a_head_that_does_not_end_is_not_waited_for(loop: str, head: bytes, tmp_path: Path) -> None:
    async def test() -> None:
        async with door(tmp_path, unproven_timeout=0.2) as found:
            assert await found.says(head) == b""
            await found.empty()

    on(loop, test)


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for_either(tmp_path: Path) -> None:
    async with door(tmp_path, unproven_timeout=0.3) as found:
        reader, writer = await found.secure()
        over = asyncio.create_task(rest(reader))
        writer.write(HELLO[:-2] + b"X: ")
        while not over.done():
            writer.write(b"a")
            await asyncio.wait([over], timeout=0.01)

        assert await over == b""
        writer.close()


async def test_a_connection_with_a_session_outlives_the_time_for_showing_one(
    tmp_path: Path,
) -> None:
    async with door(tmp_path, unproven_timeout=0.2) as found:
        kept, idle = await found.secure(), await found.secure()
        kept[1].write(PROVE)
        assert b"200" in await kept[0].readuntil(b"\r\n")

        await rest(idle[0])
        kept[1].write(HELLO)
        await kept[0].readuntil(b"up")
        for _, writer in (kept, idle):
            writer.close()


async def test_a_connection_that_waits_for_its_next_request_is_closed_in_time(
    tmp_path: Path,
) -> None:
    async with door(tmp_path, keepalive_timeout=0.1) as found:
        assert b"proved" in await found.says(PROVE)
        assert b"proved" in await found.says(PROVE + HELLO[:12])


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system can't tell")
async def test_a_peer_that_takes_nothing_of_its_answer_is_let_go(tmp_path: Path) -> None:
    async with door(tmp_path, stall_timeout=0.2) as found:
        _, writer = await found.secure()
        writer.write(PROVE.replace(b"prove", b"much"))

        await found.empty()
        writer.close()


@both_loops
def test_one_address_cannot_hold_more_connections_than_allowed(loop: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with door(tmp_path, max_unproven_per_address=2) as found:
            held = [await found.plain() for _ in range(2)]

            reader, writer = await found.plain()
            assert await rest(reader) == b""
            for _, each in (*held, (reader, writer)):
                each.close()
            await found.empty()
            assert b"proved" in await first_answer(found, PROVE)

    on(loop, test)


async def first_answer(found: Running, request: bytes) -> bytes:
    reader, writer = await found.secure()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.read(100)
    writer.close()
    return head + body


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * MAX_LINE + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (MAX_HEADER + 1) + b"\r\n\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * MAX_HEADERS + b"\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\nbad\x00name: 1\r\n\r\n",
        b"THE FLEET SAILS AT DAWN\r\n\r\n",
        b"\x16\x03\x01" * 40 + b"\r\n\r\n",
    ],
    ids=["line", "header", "headers", "lengths", "smuggling", "name", "words", "bytes"],
)
async def test_a_head_that_is_too_large_or_no_http_is_refused_and_quoted_nowhere(
    request_: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", logged.append)
    logging.getLogger("aiohttp.server").addHandler(handler)
    try:
        async with door(tmp_path) as found:
            answer = await found.says(request_)
    finally:
        logging.getLogger("aiohttp.server").removeHandler(handler)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"application/problem+json" in head
    assert b"Server: liaison\r\n" in head
    assert b"malformed.http" in body
    assert b"DAWN" not in answer
    assert logged == []


# --- on the whole relay -----------------------------------------------------------------


async def test_devices_behind_one_address_are_bounded_by_themselves(
    tmp_path: Path, world: World
) -> None:
    async with (
        running(
            tmp_path / "relay", max_unproven_per_address=3, max_connections_per_device=6
        ) as relay,
        people_of(relay, world) as people,
    ):
        for number in range(4):
            device = await people.device(f"nor/desk-{number}#d1")
        answers = []
        for _ in range(6):
            another = await people.nobody()
            another.token = device.token
            answers.append(await another.get("/v1/channels"))

    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[-1].code == "rate.connections"


async def test_a_connection_without_a_session_is_told_that_it_will_be_closed(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with (
        running(tmp_path / "relay", clocks=Clocks(monotonic=clock)) as relay,
        relay.client() as client,
    ):
        early = await client.get("/healthz")
        clock.now = Settings().unproven_timeout / 2 + 1
        late = await client.get("/healthz")

    assert "Connection" not in early.headers
    assert late.headers["Connection"] == "close"
