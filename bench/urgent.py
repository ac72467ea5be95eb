"""How long a FLASH takes while ROUTINE saturates the relay: `python -m bench.urgent`.

The second member of each room sends a FLASH at a low rate, now with nothing else to do and now while
the first member of every room sends ROUTINE as fast as it is answered. Who sends FLASH, and who is
looked at when it comes, is in a process of its own (`bench.watcher`). What counts is the ratio of the
two in one round: whoever has something urgent to say must hardly notice the load, in the writer's
queue as little as in any other. And of the ROUTINE nothing may be missing in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import uvloop

from bench import relay, watcher
from bench.load import Sender
from bench.mls import RESULTS, Figure
from bench.relay import WARM, WINDOW, Cast, Program, Room

RATE: Final = 20.0
"""FLASH messages a second, of all rooms together."""
GOAL: Final = 3.0
_ROOM: Final = 32
"""Bits for the numbers that the process beside gives."""


async def urgent(
    program: Program, made: Cast, *, loaded: bool, count: int
) -> tuple[float, float, float]:
    """Return p50 and p99 of FLASH from sending to delivery, in ms, and the ROUTINE that was accepted a second.

    Raises:
        AssertionError: something that was accepted did not come.
    """
    rooms = made.rooms
    with watcher.beside(
        program, rooms, rate=RATE, count=count, first=made.number() << _ROOM
    ) as watch:
        await watch.ready()
        async with relay.connected(program, [_without_watchers(room) for room in rooms]) as sockets:
            before = sum(socket.delivered for socket in sockets.values())
            going = [
                Sender(
                    sockets[room.devices[0]], room.templates[room.devices[0]], made.number, WINDOW
                )
                for room in (rooms if loaded else ())
            ]
            for sender in going:
                sender.begin()
            await asyncio.sleep(WARM)
            begun, accepted = time.perf_counter(), sum(one.accepted for one in going)
            await watch.send()
            rate = (sum(one.accepted for one in going) - accepted) / (time.perf_counter() - begun)
            for sender in going:
                sender.going = False
            await relay.quiet(sockets.values())
            seen = await watch.end()
            delivered = sum(socket.delivered for socket in sockets.values()) - before
    expected = (count + sum(one.accepted for one in going)) * (len(rooms[0].devices) - 1)
    came = delivered + seen.delivered
    assert came == expected, f"{came} of {expected} deliveries came"
    return statistics.median(seen.took), seen.took[int(0.99 * len(seen.took))], rate


def _without_watchers(room: Room) -> Room:
    watching = room.devices[watcher.WATCHING]
    return replace(room, devices=tuple(n for n in room.devices if n not in watching))


async def measure(rounds: int, count: int) -> list[Figure]:
    """Measure it by turns."""
    idle, loaded = [], []
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        made = await relay.cast(Path(name), None)
        async with relay.relay_program(made, None) as program:
            for _ in range(rounds):
                idle.append(await urgent(program, made, loaded=False, count=count))
                loaded.append(await urgent(program, made, loaded=True, count=count))
    ratios = [full[1] / empty[1] for empty, full in zip(idle, loaded, strict=True)]

    def median(of: list[tuple[float, float, float]], which: int) -> float:
        return statistics.median(one[which] for one in of)

    return [
        Figure("FLASH, nothing else to do, p50", median(idle, 0), "ms"),
        Figure("FLASH, nothing else to do, p99", median(idle, 1), "ms"),
        Figure("FLASH under saturating ROUTINE, p50", median(loaded, 0), "ms"),
        Figure("FLASH under saturating ROUTINE, p99", median(loaded, 1), "ms"),
        Figure(
            "  p99 in terms of the idle relay's", statistics.median(ratios), "x", GOAL, least=False
        ),
        Figure("  ROUTINE accepted meanwhile", median(loaded, 2), "/s"),
    ]


def main() -> int:
    """Measure, print, keep the figures; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.urgent", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=200, help="FLASH messages (200)")
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(asked.rounds, asked.count))
    for figure in found:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "urgent.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
