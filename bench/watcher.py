"""A process of its own that sends FLASH and sees when it comes: for `bench.urgent`.

What saturates the relay also keeps its sender busy. Whoever has something urgent to say sits at
another machine, or at least in another process; so do those who watch here. They are some members of
each room: of the ROUTINE there they get their share, as members do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import uvloop

from bench import load, relay
from bench.load import Socket
from bench.relay import Program, Room

_SENDER: Final = 1
WATCHING: Final = slice(_SENDER, 4)
"""Which members of a room are here: the first of them sends."""
_PATIENCE: Final = 60
"""Seconds for the process to come up, or to end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to watch.

    Args:
        port: of the relay.
        tokens: of sessions, by number of the device.
        rooms: all of them.
        rate: FLASH messages a second, of all rooms together.
        count: of them.
        first: number of the first message; those that follow are free.
    """

    port: int
    tokens: dict[int, str]
    rooms: list[Room]
    rate: float
    count: int
    first: int


class Seen(NamedTuple):
    """What came of it.

    Args:
        took: from sending to delivery, in ms, in rising order.
        delivered: messages that came, others' among them.
    """

    took: list[float]
    delivered: int


class Watcher:
    """The process, as the one that started it sees it.

    Args:
        pipe: to it.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def ready(self) -> None:
        """Wait until all are connected and have read what waited for them."""
        await asyncio.to_thread(self._pipe.recv)

    async def send(self) -> None:
        """Have all FLASH sent, and wait until they have come."""
        self._pipe.send(None)
        await asyncio.to_thread(self._pipe.recv)

    async def end(self) -> Seen:
        """Wait until nothing more comes, and return what came."""
        self._pipe.send(None)
        seen: Seen = await asyncio.to_thread(self._pipe.recv)
        return seen


@contextlib.contextmanager
def beside(
    program: Program, rooms: list[Room], *, rate: float, count: int, first: int
) -> Iterator[Watcher]:
    """Start the process; it ends with the context."""
    plan = Plan(program.port, program.tokens, rooms, rate, count, first)
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    process = fresh.Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.send(plan)
        yield Watcher(ours)
    finally:
        # Without its other end it ends by itself, and so does a wait for it.
        ours.close()
        process.join(_PATIENCE)
        process.close()


def _run(pipe: Connection) -> None:
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        contextlib.suppress(EOFError),
    ):
        runner.run(_watch(pipe.recv(), pipe))


async def _watch(plan: Plan, pipe: Connection) -> None:
    devices = [n for room in plan.rooms for n in room.devices[WATCHING]]
    sockets = {n: await load.connect(plan.port, "/v1/stream", plan.tokens[n]) for n in devices}
    await relay.quiet(sockets.values())
    before = sum(socket.delivered for socket in sockets.values())
    pipe.send(None)
    await asyncio.to_thread(pipe.recv)
    took = await _flash(plan, sockets)
    pipe.send(None)
    await asyncio.to_thread(pipe.recv)
    await relay.quiet(sockets.values())
    delivered = sum(socket.delivered for socket in sockets.values()) - before
    for socket in sockets.values():
        socket.acknowledge()
    pipe.send(Seen(took, delivered))
    await asyncio.to_thread(pipe.recv)


async def _flash(plan: Plan, sockets: dict[int, Socket]) -> list[float]:
    came: list[tuple[int, float]] = []
    at = plan.rooms[0].urgent.at
    names = set(range(plan.first, plan.first + plan.count))
    expected = plan.count * (len(plan.rooms[0].devices[WATCHING]) - 1)
    all_came = asyncio.Event()

    def on_deliver(data: bytes, begin: int) -> None:
        name = int.from_bytes(data[begin + at : begin + at + 16])
        if name in names:
            came.append((name, time.perf_counter()))
            if len(came) == expected:
                all_came.set()

    for socket in sockets.values():
        socket.on_deliver = on_deliver
    senders = [(sockets[room.devices[_SENDER]], room.urgent) for room in plan.rooms]
    number = itertools.count(plan.first).__next__
    left = await load.pace(senders, number, plan.rate, plan.count)
    async with asyncio.timeout(_PATIENCE):
        await all_came.wait()
    return sorted(1_000 * (when - left[name]) for name, when in came)
