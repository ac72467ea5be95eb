"""Ten thousand who are connected: what each costs, and all of them at once: `python -m bench.idle`.

Memory of a connection on which nothing happens, beside the limit program's in the same run; then
everybody is cut off, messages come for some of them, and all come back in the same moment: who got
a connection, whether each message was delivered once, and what of the memory the relay gives back.
TLS is left to a proxy, as in `bench.relay`: OpenSSL's buffers are not the relay's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop

from bench import load, many, relay
from bench.load import Socket
from bench.many import KIB, MIB, memory, running
from bench.mls import RESULTS, Figure
from bench.relay import Cast, Program, Room

QUEUED: Final = 20
"""Messages that come for each room while everybody is away."""
PATIENCE: Final = 300.0
"""Seconds after which whoever is not back is lost."""
_GROUP: Final = 50
_SETTLE: Final = 2.0
_TRY_AGAIN: Final = 0.5


async def connected(program: Program, count: int) -> list[Socket]:
    """Connect one after the other, some at a time."""
    sockets: list[Socket] = []
    for at in range(0, count, _GROUP):
        numbers = range(at, min(at + _GROUP, count))
        sockets += await asyncio.gather(*(program.connect(n) for n in numbers))
    await asyncio.sleep(_SETTLE)
    return sockets


def cut(sockets: Sequence[Socket]) -> None:
    """End connections without a word."""
    for socket in sockets:
        socket.close()


async def idle(program: Program, count: int) -> tuple[float, list[Socket]]:
    """Return the bytes of memory that each of many connections takes, and these."""
    # What the first ones make is made once.
    cut(await connected(program, 10))
    await asyncio.sleep(_SETTLE)
    before = memory(program)
    sockets = await connected(program, count)
    return (memory(program) - before) / count, sockets


async def queue(program: Program, made: Cast, rooms: Sequence[Room]) -> None:
    """Let the first member of each room send while the others are away."""
    for room in rooms:
        number = room.devices[0]
        sender = await program.connect(number)
        accepted: list[int] = []
        sender.on_accepted = accepted.append
        template = room.templates[number]
        sender.write(b"".join(template.frame(0, made.number()) for _ in range(QUEUED)))
        async with asyncio.timeout(PATIENCE):
            while len(accepted) < QUEUED:  # noqa: ASYNC110 - the socket calls back, and nobody waits long
                await asyncio.sleep(0.01)
        sender.close()


async def come_back(program: Program, number: int) -> tuple[Socket, int]:
    """Connect as a client does, until it is connected; return the tries that it took."""
    for tries in range(1, 1 << 20):
        try:
            path, token = program.path(number, None), program.tokens[number]
            return await load.connect(program.port, path, token, patience=PATIENCE), tries
        except (OSError, TimeoutError):
            await asyncio.sleep(_TRY_AGAIN * tries)
    raise AssertionError


async def crowd(program: Program, made: Cast, sockets: list[Socket]) -> list[Figure]:
    """Cut everybody off, and let all come back at once."""
    held = memory(program)
    count = len(sockets)
    # What came with the channels is done with: whatever comes later is new.
    for socket in sockets:
        if socket.numbered:
            socket.acknowledge()
    await asyncio.sleep(_SETTLE)
    cut(sockets)
    sockets.clear()
    await queue(program, made, made.rooms)
    await asyncio.sleep(_SETTLE)
    begun, cpu = time.monotonic(), program.cpu()
    async with asyncio.timeout(PATIENCE):
        back = await asyncio.gather(*(come_back(program, n) for n in range(count)))
    took = time.monotonic() - begun
    readers = {n: back[n][0] for room in made.rooms for n in room.devices[1:]}
    async with asyncio.timeout(PATIENCE):
        while any(socket.delivered < QUEUED for socket in readers.values()):  # noqa: ASYNC110 - of many sockets
            await asyncio.sleep(0.1)
    await asyncio.sleep(_SETTLE)
    spent = program.cpu() - cpu
    exact = sum(socket.delivered == QUEUED for socket in readers.values())
    figures = [
        Figure(f"{count:,} reconnects at once, all back after", took, "s"),
        Figure("  tries for each", sum(tries for _, tries in back) / count, ""),
        Figure("  CPU of the relay for each", 1_000 * spent / count, "ms"),
        Figure("  who got each message once, of those with messages", 100 * exact / len(readers), "%", 100),
        Figure("  memory in terms of before", memory(program) / held, "x", 1.5, least=False),
    ]  # fmt: skip
    cut([socket for socket, _ in back])
    await asyncio.sleep(2 * _SETTLE)
    return [*figures, Figure("  memory when all have gone", memory(program) / MIB, "MiB")]


async def measure(count: int) -> list[Figure]:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        folder = Path(name)
        made = await relay.cast(folder / "relay", None)
        devices = many.copy_devices(made, count)[: max(0, count - len(made.actors))]
        async with running(made, devices) as program:
            mine, sockets = await idle(program, count)
            figures = await crowd(program, made, sockets)
        async with relay.limit_program(folder, made.rooms, None) as program:
            bare, sockets = await idle(program, count)
            cut(sockets)
    what = f"memory of an idle connection among {count:,}"
    return [
        Figure(what, mine / KIB, "KiB", 20, least=False),
        Figure(f"{what}, the limit program", bare / KIB, "KiB"),
        *figures,
    ]


def main() -> int:
    """Measure, print, keep the figures; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="(10,000)")
    asked = parser.parse_args()
    many.free_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(asked.connections))
    for figure in found:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "idle.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
