"""Speed of the whole relay beside the least that it could do: `make bench`, or `python -m bench.relay`.

Two programs take turns on one machine: the relay, with TLS left to a proxy, and `bench.limit`, which
stores and fans out and does nothing else. Every figure that has a goal is a ratio of the two in the same
run; of several rounds the medians count. Clients, program and database share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench import load
from bench.load import Sender, Socket, Template
from bench.mls import RESULTS, Figure
from liaison.model import ChannelId, Precedence
from liaison.storage import migrate
from liaison.wire.frames import Send
from tests.relay.services import harness
from tests.relay.services.harness import Actor
from tests.support import databases
from tests.support import relay as relays
from tests.support.client import RawClient
from tests.support.world import World

ROOMS: Final = 10
MEMBERS: Final = 10
WINDOW: Final = 32
WARM: Final = 1.5
QUEUED: Final = 1_000
TEXT: Final = b"x" * 900
"""With framing, header and tag it makes a ciphertext of about a kibibyte."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NO_LIMITS: Final = {
    f"LIAISON_RELAY_{name}": "1000000000"
    for name in (
        "RATE_DEVICE", "BURST_DEVICE", "RATE_ENDPOINT", "BURST_ENDPOINT", "RATE_PARTY",
        "BURST_PARTY", "RATE_ADDRESS", "BURST_ADDRESS", "RATE_CONNECTIONS", "BURST_CONNECTIONS",
        "MAX_CONNECTIONS", "MAX_UNPROVEN", "MAX_UNPROVEN_PER_ADDRESS",
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """One channel: who is in it, and a message of each member's.

    Args:
        devices: numbers of devices.
        templates: by number of the device.
        urgent: a FLASH of the second member's.
    """

    channel: bytes
    devices: tuple[int, ...]
    templates: dict[int, Template]
    urgent: Template


@dataclass(slots=True)
class Cast:
    """Everything that both programs are asked to carry.

    Args:
        actors: by number.
        rooms: of ten members each.
        pairs: of two.
    """

    port: int
    data: Path
    actors: list[Actor]
    rooms: list[Room]
    pairs: list[Room]
    identity: object = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1 << 64))

    def number(self) -> int:
        """Name one more message."""
        return next(self.numbers)


class Known(harness.Relay):
    """The harness around a relay that was started by others."""

    def __init__(self, running: relays.RunningRelay) -> None:
        self.services = running.app.services
        self.identity = running.identity
        self.clock = harness.Clock(time.time_ns() // 1_000_000)
        self.world = World(now=harness.NOW)


async def cast(folder: Path, database: str | None) -> Cast:
    """Make a relay with parties, devices and channels, and stop it."""
    # The harness dates what it makes by this.
    harness.NOW = int(time.time())
    port = relays.free_port()
    url = database or ""
    async with relays.running(folder / "relay", port=port, database_url=url) as running:
        stage = Known(running)
        agreement = await stage.admit("NOR", "DEU")
        actors = []
        for n in range(ROOMS * MEMBERS):
            party = ("nor", "deu")[n % 2]
            actors.append(await stage.enrol(f"{party}/desk-{n}#d1"))
        rooms = [
            await _room(agreement, actors, range(at, at + MEMBERS))
            for at in range(0, len(actors), MEMBERS)
        ]
        pairs = [
            await _room(agreement, actors, range(at, at + 2)) for at in range(0, len(actors), 2)
        ]
        return Cast(port, folder / "relay", actors, rooms, pairs, running.identity)


async def _room(agreement: object, actors: list[Actor], numbers: range) -> Room:
    channel = ChannelId(os.urandom(16))
    for n in numbers:
        actors[n].channel = channel
    first, *others = (actors[n] for n in numbers)
    await first.open(agreement, *others)  # type: ignore[arg-type]  # what `admit` returned
    templates = {n: _template(actors[n].message(TEXT)) for n in numbers}
    urgent = _template(actors[numbers[1]].message(TEXT, Precedence.FLASH))
    return Room(channel.value, tuple(numbers), templates, urgent)


def _template(send: Send) -> Template:
    at = send.payload.index(send.message_id.value)
    return Template(send.channel.value, send.payload, at)


# --- the two programs -----------------------------------------------------------------------------


@dataclass(slots=True)
class Program:
    """One of the two, running.

    Args:
        path: of a device's stream, by number; with where it has got to, where that is asked for.
    """

    name: str
    process: subprocess.Popen[str]
    port: int
    path: Callable[[int, int | None], str]
    tokens: dict[int, str]

    async def connect(self, device: int, after: int | None = None) -> Socket:
        """Open one device's stream."""
        path = self.path(device, after)
        socket = await load.connect(self.port, path, self.tokens.get(device, ""))
        socket.acks = self.name == "relay"
        return socket

    def cpu(self) -> float:
        """Give the CPU seconds that it has taken."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS


@contextlib.contextmanager
def _process(command: Sequence[str], **more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE, text=True, env=os.environ | more,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line.rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@contextlib.asynccontextmanager
async def relay_program(
    made: Cast, database: str | None, module: str = "liaison.relay"
) -> AsyncIterator[Program]:
    """Run the relay."""
    listen = f"127.0.0.1:{made.port}"
    env = {**_NO_LIMITS, "LIAISON_RELAY_TLS": "proxy", "LIAISON_RELAY_LOG_LEVEL": "error"}
    if database is not None:
        env["LIAISON_RELAY_DATABASE_URL"] = database
    command = (module, "serve", "--data", str(made.data), "--listen", listen)
    with _process(command, **env) as (process, port):
        tokens = {}
        for n, actor in enumerate(made.actors):
            url = f"http://127.0.0.1:{port}"
            async with RawClient(
                url,
                made.data / "ca.pem",
                made.identity,  # type: ignore[arg-type]  # set by `cast`
                actor.id,
                actor.signer,
            ) as client:
                opened = await client.login()
                assert opened.status == 201, opened.body
                tokens[n] = client.token
        yield Program("relay", process, port, lambda _n, _after: "/v1/stream", tokens)


@contextlib.asynccontextmanager
async def limit_program(
    folder: Path, rooms: list[Room], database: str | None
) -> AsyncIterator[Program]:
    """Run the yardstick."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        plan = {
            "database": database or str(Path(own) / "limit.db"),
            "rooms": {room.channel.hex(): room.devices for room in rooms},
        }
        file = Path(own) / "plan.json"
        file.write_text(json.dumps(plan))

        def path(device: int, after: int | None) -> str:
            more = "" if after is None else f"&after={after}"
            return f"/v1/stream?device={device}{more}"

        with _process(("bench.limit", str(file))) as (process, port):
            yield Program("limit", process, port, path, {})


# --- what is measured -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast it went.

    Args:
        accepted: messages a second.
        delivered: messages a second, counted at their readers.
        cpu: seconds of the program for each 1,000 delivered.
    """

    accepted: float
    delivered: float
    cpu: float


@contextlib.asynccontextmanager
async def connected(program: Program, rooms: Sequence[Room]) -> AsyncIterator[dict[int, Socket]]:
    """Connect every member of some rooms, and read what still waits for them."""
    devices = sorted({n for room in rooms for n in room.devices})
    sockets = {n: await program.connect(n) for n in devices}
    try:
        await quiet(sockets.values())
        yield sockets
    finally:
        for socket in sockets.values():
            socket.acknowledge()
        await asyncio.sleep(0.3)
        for socket in sockets.values():
            socket.close()


async def quiet(sockets: object) -> None:
    """Wait until nothing more comes."""
    seen = -1
    while seen != (now := sum(s.delivered for s in sockets)):  # type: ignore[attr-defined]  # a view of sockets
        seen = now
        await asyncio.sleep(0.3)


async def saturate(
    program: Program, made: Cast, rooms: Sequence[Room], *, senders: int, seconds: float
) -> Rate:
    """Let the first members of each room send as fast as they are answered."""
    async with connected(program, rooms) as sockets:
        going = [
            Sender(sockets[n], room.templates[n], made.number, WINDOW)
            for room in rooms
            for n in room.devices[:senders]
        ]
        for sender in going:
            sender.begin()
        await asyncio.sleep(WARM)
        before = _counts(sockets, going)
        begun, cpu = time.perf_counter(), program.cpu()
        await asyncio.sleep(seconds)
        after = _counts(sockets, going)
        took, spent = time.perf_counter() - begun, program.cpu() - cpu
        for sender in going:
            sender.going = False
        await quiet(sockets.values())
        refused = [words for s in sockets.values() for words in s.refused]
        assert not refused, refused[0]
        accepted, delivered = (b - a for a, b in zip(before, after, strict=True))
        return Rate(accepted / took, delivered / took, 1_000 * spent / max(delivered, 1))


def _counts(sockets: dict[int, Socket], senders: Sequence[Sender]) -> tuple[int, int]:
    return sum(s.accepted for s in senders), sum(s.delivered for s in sockets.values())


async def latency(
    program: Program, made: Cast, rooms: Sequence[Room], *, rate: float, count: int
) -> tuple[float, float]:
    """Return p50 and p99 from sending to delivery at a steady rate, in milliseconds."""
    async with connected(program, rooms) as sockets:
        came: list[tuple[int, float]] = []
        at = next(iter(rooms[0].templates.values())).at

        def on_deliver(data: bytes, begin: int) -> None:
            name = int.from_bytes(data[begin + at : begin + at + 16])
            came.append((name, time.perf_counter()))

        for socket in sockets.values():
            socket.on_deliver = on_deliver
        senders = [(sockets[r.devices[0]], r.templates[r.devices[0]]) for r in rooms]
        left = await load.pace(senders, made.number, rate, count)
        await quiet(sockets.values())
        took = sorted(1_000 * (when - left[name]) for name, when in came if name in left)
        expected = count * (len(rooms[0].devices) - 1)
        assert len(took) == expected, f"{len(took)} of {expected} deliveries came"
        return statistics.median(took), took[int(0.99 * len(took))]


async def catch_up(program: Program, made: Cast, room: Room) -> float:
    """Return the seconds that a device takes to get what queued while it was away."""
    writer, reader = room.devices[:2]
    async with connected(program, [room]):
        pass
    seqs: list[int] = []
    sender = await program.connect(writer)
    sender.on_accepted = seqs.append
    template = room.templates[writer]
    for sent in range(WINDOW, QUEUED + WINDOW, WINDOW):
        count = min(WINDOW, QUEUED + WINDOW - sent)
        sender.write(b"".join(template.frame(0, made.number()) for _ in range(count)))
        await _until(lambda sent=sent: len(seqs) >= min(sent, QUEUED) - WINDOW // 2)  # type: ignore[misc]  # a default argument binds the loop's value
    await _until(lambda: len(seqs) >= QUEUED)
    sender.close()
    begun = time.perf_counter()
    # The yardstick keeps no cursors: it is told where the queue begins.
    socket = await program.connect(reader, min(seqs) - 1)
    await _until(lambda: socket.delivered >= QUEUED)
    took = time.perf_counter() - begun
    socket.acknowledge()
    await asyncio.sleep(0.3)
    socket.close()
    return took


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of many sockets; an event for each would cost more
            await asyncio.sleep(0.0005)


@dataclass(slots=True)
class Turn:
    """All that one round finds out about one program."""

    rooms: Rate
    pairs: Rate
    p50: float
    p99: float
    catch_up: float


async def turn(program: Program, made: Cast, seconds: float) -> Turn:
    """Measure one program."""
    p50, p99 = await latency(program, made, made.rooms, rate=50, count=int(50 * seconds))
    return Turn(
        await saturate(program, made, made.rooms, senders=1, seconds=seconds),
        await saturate(program, made, made.pairs, senders=2, seconds=seconds),
        p50,
        p99,
        await catch_up(program, made, made.rooms[0]),
    )


def figures(kind: str, relay: Sequence[Turn], limit: Sequence[Turn]) -> list[Figure]:
    """Put the medians of both side by side; pairs are of one round, so their ratio is fair."""
    by = list(zip(relay, limit, strict=True))

    def ratio(name: str, goal: float, of: Callable[[Turn], float], *, least: bool) -> Figure:
        value = statistics.median(of(r) / of(least_) for r, least_ in by)
        return Figure(f"{kind}, {name}", value, "of the limit program", goal, least)

    def told(name: str, of: Callable[[Turn], float], unit: str) -> list[Figure]:
        return [
            Figure(f"{kind}, {name}, {who}", statistics.median(map(of, turns)), unit)
            for who, turns in (("relay", relay), ("limit", limit))
        ]

    return [
        *told("10 rooms x 10 members", lambda t: t.rooms.delivered, "delivered/s"),
        ratio("delivered/s in rooms", 0.5, lambda t: t.rooms.delivered, least=True),
        *told("50 channels of two", lambda t: t.pairs.accepted, "messages/s"),
        ratio("messages/s in channels of two", 0.35, lambda t: t.pairs.accepted, least=True),
        *told("send to deliver, p50", lambda t: t.p50, "ms"),
        ratio("p50", 1.5, lambda t: t.p50, least=False),
        *told("send to deliver, p99", lambda t: t.p99, "ms"),
        ratio("p99", 2.0, lambda t: t.p99, least=False),
        *told("CPU for 1,000 delivered", lambda t: 1_000 * t.rooms.cpu, "ms"),
        ratio("CPU for 1,000 delivered", 2.5, lambda t: t.rooms.cpu, least=False),
        *told(f"catch-up of {QUEUED:,}", lambda t: 1_000 * t.catch_up, "ms"),
        ratio("catch-up", 3.0, lambda t: t.catch_up, least=False),
    ]


async def measure(kind: str, database: str | None, rounds: int, seconds: float) -> list[Figure]:
    """Let both programs take turns on one kind of database."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        folder = Path(name)
        urls = _databases(database)
        made = await cast(folder, urls[0])
        relay, limit = [], []
        for _ in range(rounds):
            async with relay_program(made, urls[0]) as program:
                relay.append(await turn(program, made, seconds))
            async with limit_program(folder, made.rooms + made.pairs, urls[1]) as program:
                limit.append(await turn(program, made, seconds))
    return figures(kind, relay, limit)


def _databases(server: str | None) -> tuple[str | None, str | None]:
    """Return the relay's database and the yardstick's; None stands for a file of SQLite's."""
    if server is None:
        return None, None
    relay, limit = (databases.database_of(server, name) for name in ("relay", "yardstick"))
    return relay, limit


def main() -> int:
    """Run, print a table, keep it; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    asked = parser.parse_args()
    found: list[Figure] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if asked.database != "postgresql":
            found += runner.run(measure("SQLite", None, asked.rounds, asked.seconds))
        if asked.database != "sqlite":
            with databases.postgresql() as server:
                for name in ("relay", "yardstick"):
                    databases.administer(server, f"CREATE DATABASE {name}")
                migrate.upgrade(databases.database_of(server, "relay"))
                found += runner.run(measure("PostgreSQL", server, asked.rounds, asked.seconds))
    for figure in found:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    result = {
        "machine": platform.platform(),
        "python": sys.version.split()[0],
        "figures": [asdict(figure) | {"holds": figure.holds} for figure in found],
    }
    (RESULTS / "relay.json").write_text(json.dumps(result, indent=1))
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
