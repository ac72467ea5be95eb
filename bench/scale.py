"""What the relay costs when much is connected or stored: `make bench`, or `python -m bench.scale`.

Memory for each idle connection, memory while one reader of a busy channel reads nothing, and the CPU
time of a message when there are many channels, members or stored messages. Most of that many is copied
in the database of a relay that is stopped: rows like those that it wrote itself, with other names.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import uvloop

from bench import relay
from bench.load import Sender, Socket, Template
from bench.mls import RESULTS, Figure
from bench.relay import WINDOW, Cast, Program, Room
from liaison.model import DeviceId
from liaison.relay import identity
from liaison.relay.files import DataDir
from liaison.relay.sessions import Session, Sessions
from liaison.wire.handshake import key_fingerprint

KIB: Final = 1 << 10
FULL: Final = 25_000
"""Messages after which the newest items fill the memory that they may take."""
LOOK: Final = 0.5
"""Seconds between two looks at a program's memory."""
CHANNELS: Final = (10, 10_000)
MEMBERS: Final = (10, 1_000)
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MANY: Final = {
    "LIAISON_RELAY_MAX_STREAMS": "1000000",
}


def memory(program: Program) -> int:
    """Return the bytes that a program has in memory."""
    fields = Path(f"/proc/{program.process.pid}/statm").read_text().split()
    return int(fields[1]) * _PAGE


# --- copies -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(made: Cast) -> Iterator[sqlite3.Connection]:
    """Open the database of the relay, which is stopped."""
    database = sqlite3.connect(made.data / "relay.db")
    try:
        yield database
        database.commit()
    finally:
        database.close()


def copy(database: sqlite3.Connection, table: str, where: str, **changed: str) -> None:
    """Copy rows of a table.

    Args:
        database: of the relay.
        table: which.
        where: which rows; `copies` is a table of the numbers of the copies.
        changed: by column, SQL for its new value; the key is made anew.
    """
    info = database.execute(f"PRAGMA table_info({table})").fetchall()
    columns = [name for _, name, *_ in info if name != "key"]
    values = ", ".join(changed.get(name, f'{table}."{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    database.execute(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, copies WHERE {where}"  # noqa: S608 - words of ours
    )


def number_copies(database: sqlite3.Connection, count: int) -> None:
    """Make the table `copies`."""
    database.execute("CREATE TEMP TABLE copies (n INTEGER PRIMARY KEY)")
    database.executemany("INSERT INTO copies VALUES (?)", ((n,) for n in range(count)))


def copy_devices(made: Cast, count: int) -> list[DeviceId]:
    """Register devices that have the first one's key; return them."""
    first = made.actors[0].id
    name = f"'{first.endpoint}#c' || n"
    with opened(made) as database:
        (key,) = database.execute("SELECT key FROM devices WHERE name = ?", [str(first)]).fetchone()
        number_copies(database, count)
        copy(database, "devices", f"key = {key}", name=name)
        of_copy = f"(SELECT key FROM devices WHERE name = {name})"  # noqa: S608 - as above
        copy(database, "certificates", f"device = {key}", device=of_copy)
    return [DeviceId.parse(f"{first.endpoint}#c{n}") for n in range(count)]


def copy_channels(made: Cast, count: int) -> list[bytes]:
    """Open channels that are like the first one of two members; return their ids."""
    room = made.pairs[0]
    with opened(made) as database:
        (key,) = database.execute(
            "SELECT key FROM channels WHERE id = ?", [room.channel]
        ).fetchone()
        number_copies(database, count)
        identity_of = "CAST(printf('copy %011d', n) AS BLOB)"
        copy(database, "channels", f"key = {key}", id=identity_of)
        of_copy = f"(SELECT key FROM channels WHERE id = {identity_of})"  # noqa: S608 - as above
        copy(database, "groups", f"channel = {key}", channel=of_copy)
        copy(database, "members", f"channel = {key} AND left_seq IS NULL", channel=of_copy)
    return [b"copy %011d" % n for n in range(count)]


def copy_members(made: Cast, room: Room, count: int) -> None:
    """Let copies of the first device be members of a channel."""
    copy_devices(made, count)
    first = made.actors[0].id
    with opened(made) as database:
        (key,) = database.execute(
            "SELECT key FROM channels WHERE id = ?", [room.channel]
        ).fetchone()
        number_copies(database, count)
        of_copy = f"(SELECT key FROM devices WHERE name = '{first.endpoint}#c' || n)"  # noqa: S608 - as above
        where = f"members.key = (SELECT min(key) FROM members WHERE channel = {key})"  # noqa: S608 - as above
        copy(database, "members", where, device=of_copy, leaf="1000 + n")


def copy_items(made: Cast, room: Room, count: int) -> None:
    """Let a channel have so many messages more, before its last one."""
    with opened(made) as database:
        (key, head) = database.execute(
            "SELECT key, head FROM channels WHERE id = ?", [room.channel]
        ).fetchone()
        number_copies(database, count)
        copy(
            database,
            "items",
            f"channel = {key} AND seq = {head}",
            seq=f"{head + 1} + n",
            message_id="randomblob(16)",
        )
        database.execute("UPDATE channels SET head = ? WHERE key = ?", [head + count, key])
        database.execute("UPDATE members SET cursor = ? WHERE channel = ?", [head + count, key])


# --- connections --------------------------------------------------------------------------------------


def tokens(made: Cast, devices: Sequence[DeviceId]) -> dict[int, str]:
    """Return session tokens of devices, by their place."""
    keys = identity.load(DataDir(made.data))
    clock = time.time
    sessions = Sessions(keys.identity, keys.session_secret, keys.public.url, clock, os.urandom)
    key = key_fingerprint(made.actors[0].signer.public_bytes)
    until = int(clock()) + 3_600
    return {
        n: sessions._token(Session(device, key, os.urandom(16), until))  # noqa: SLF001 - no login takes place
        for n, device in enumerate(devices)
    }


async def idle(program: Program, count: int) -> float:
    """Return the bytes of memory that each of many connections takes that do nothing."""
    before = memory(program)
    sockets: list[Socket] = []
    for at in range(0, count, 50):
        sockets += await asyncio.gather(
            *(program.connect(n) for n in range(at, min(at + 50, count)))
        )
    await asyncio.sleep(2)
    took = (memory(program) - before) / count
    for socket in sockets:
        socket.close()
    return took


async def stalled(program: Program, made: Cast, seconds: float) -> float:
    """Return what memory grows by in busy channels, one reader of which is deaf."""
    async with relay.connected(program, made.rooms) as sockets:
        deaf = sockets[made.rooms[0].devices[-1]]
        assert deaf.transport is not None
        deaf.transport.pause_reading()
        going = [
            Sender(sockets[room.devices[0]], room.templates[room.devices[0]], made.number, WINDOW)
            for room in made.rooms
        ]
        for sender in going:
            sender.begin()
        while sum(sender.accepted for sender in going) < FULL:  # noqa: ASYNC110 - of many senders
            await asyncio.sleep(LOOK)
        early = await _highest(program, seconds / 6)
        await asyncio.sleep(seconds / 2)
        late = await _highest(program, seconds / 6)
        for sender in going:
            sender.going = False
        deaf.transport.resume_reading()
        return max(0.0, (late - early) / early)


async def _highest(program: Program, seconds: float) -> int:
    seen = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen = max(seen, memory(program))
        await asyncio.sleep(LOOK)
    return seen


async def cost(
    program: Program, made: Cast, templates: Sequence[Template], sender: int, count: int
) -> float:
    """Return the CPU seconds of the relay for a message, sent to many channels by turns."""
    socket = await program.connect(sender)
    accepted: list[int] = []
    socket.on_accepted = accepted.append
    sent = 0

    async def send(until: int) -> None:
        nonlocal sent
        while sent < until:
            chosen = [templates[(sent + n) % len(templates)] for n in range(16)]
            socket.write(b"".join(one.frame(0, made.number()) for one in chosen))
            sent += len(chosen)
            while sent - len(accepted) > WINDOW:
                assert not socket.refused, socket.refused[0]
                await asyncio.sleep(0.001)

    await send(count // 4)
    begun, cpu = len(accepted), program.cpu()
    await send(count // 4 + count)
    took = (program.cpu() - cpu) / (len(accepted) - begun)
    socket.close()
    return took


# --- all of it ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running(made: Cast, devices: Sequence[DeviceId] = ()) -> AsyncIterator[Program]:
    """Run the relay; with devices, these connect instead of the cast."""
    os.environ.update(_MANY)
    async with relay.relay_program(made, None) as program:
        if devices:
            program.tokens = tokens(made, devices)
        yield program


async def growth(folder: Path, count: int, stored: int, rounds: int) -> AsyncIterator[Figure]:
    """Measure a message's cost with few and with many of everything."""
    made = await relay.cast(folder, None)
    room, pair = made.rooms[0], made.pairs[0]
    writer, other = room.devices[0], pair.devices[0]
    of_room, of_pair = room.templates[writer], pair.templates[other]

    async def measure(what: Callable[[], list[Template]], sender: int) -> float:
        found = []
        for _ in range(rounds):
            async with running(made) as program:
                found.append(await cost(program, made, what(), sender, count))
        # What else runs on the machine only ever makes a round slower.
        return min(found)

    def pairs(ids: Sequence[bytes]) -> list[Template]:
        return [replace(of_pair, channel=id_) for id_ in ids]

    ids = copy_channels(made, CHANNELS[1])
    few = await measure(lambda: pairs(ids[: CHANNELS[0]]), other)
    many = await measure(lambda: pairs(ids), other)
    for figure in _grown(f"{CHANNELS[0]} and {CHANNELS[1]:,} channels", few, many):
        yield figure
    few = await measure(lambda: [of_room], writer)
    copy_members(made, room, MEMBERS[1] - MEMBERS[0])
    many = await measure(lambda: [of_room], writer)
    for figure in _grown(f"{MEMBERS[0]} and {MEMBERS[1]:,} members", few, many):
        yield figure
    few = await measure(lambda: [of_pair], other)
    copy_items(made, pair, stored)
    many = await measure(lambda: [of_pair], other)
    for figure in _grown(f"few and {stored:,} stored messages", few, many):
        yield figure


def _grown(what: str, few: float, many: float) -> list[Figure]:
    return [
        Figure(f"CPU of a message, {what}, few", 1e6 * few, "us"),
        Figure(f"CPU of a message, {what}, many", 1e6 * many, "us"),
        Figure("  many in terms of few", many / few, "x", 1.5, least=False),
    ]


async def measure(asked: argparse.Namespace) -> AsyncIterator[Figure]:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        folder = Path(name)
        made = await relay.cast(folder / "many", None)
        async with running(made) as program:
            grown = await stalled(program, made, asked.seconds)
        what = f"memory with a deaf reader, after the first {FULL:,} messages, grows by"
        yield Figure(what, 100 * grown, "%", 5, least=False)
        devices = copy_devices(made, asked.connections)
        async with running(made, devices) as program:
            mine = await idle(program, asked.connections)
        async with relay.limit_program(folder, made.rooms, None) as program:
            bare = await idle(program, asked.connections)
        what = f"memory of an idle connection among {asked.connections:,}"
        yield Figure(what, mine / KIB, "KiB", 20, least=False)
        yield Figure(f"{what}, the limit program", bare / KIB, "KiB")
        async for figure in growth(folder / "growth", asked.messages, asked.stored, asked.rounds):
            yield figure


async def tell(asked: argparse.Namespace) -> list[Figure]:
    """Print each figure as it is found."""
    found = []
    async for figure in measure(asked):
        print(figure, flush=True)
        found.append(figure)
    return found


def main() -> int:
    """Measure, print, keep the figures; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="under load with a deaf reader")
    parser.add_argument("--messages", type=int, default=20_000, help="for each cost")
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(tell(asked))
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "scale.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
