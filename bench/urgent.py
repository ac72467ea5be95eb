"""How long a FLASH takes while ROUTINE saturates the relay: `python -m bench.urgent`.

The second member of each room sends a FLASH at a low rate, now with nothing else to do and now while
the first member of every room sends ROUTINE as fast as it is answered. What counts is the ratio of the
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
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop

from bench import load, relay
from bench.load import Sender
from bench.mls import RESULTS, Figure
from bench.relay import WARM, WINDOW, Cast, Program

RATE: Final = 20.0
"""FLASH messages a second, of all rooms together."""
GOAL: Final = 3.0


async def urgent(
    program: Program, made: Cast, *, loaded: bool, count: int
) -> tuple[float, float, float]:
    """Return p50 and p99 of FLASH from sending to delivery, in ms, and the ROUTINE that was accepted a second.

    Raises:
        AssertionError: something that was accepted did not come.
    """
    rooms = made.rooms
    async with relay.connected(program, rooms) as sockets:
        came: list[tuple[int, float]] = []
        at = rooms[0].urgent.at

        def on_deliver(data: bytes, begin: int) -> None:
            came.append((int.from_bytes(data[begin + at : begin + at + 16]), time.perf_counter()))

        for socket in sockets.values():
            socket.on_deliver = on_deliver
        before = sum(socket.delivered for socket in sockets.values())
        going = [
            Sender(sockets[room.devices[0]], room.templates[room.devices[0]], made.number, WINDOW)
            for room in (rooms if loaded else ())
        ]
        for sender in going:
            sender.begin()
        await asyncio.sleep(WARM)
        begun, accepted = time.perf_counter(), sum(one.accepted for one in going)
        senders = [(sockets[room.devices[1]], room.urgent) for room in rooms]
        left = await load.pace(senders, made.number, RATE, count)
        rate = (sum(one.accepted for one in going) - accepted) / (time.perf_counter() - begun)
        for sender in going:
            sender.going = False
        await relay._quiet(sockets.values())  # noqa: SLF001 - what all of these benches wait for
        others = len(rooms[0].devices) - 1
        expected = (count + sum(one.accepted for one in going)) * others
        delivered = sum(socket.delivered for socket in sockets.values()) - before
        assert delivered == expected, f"{delivered} of {expected} deliveries came"
        took = sorted(1_000 * (when - left[name]) for name, when in came if name in left)
        return statistics.median(took), took[int(0.99 * len(took))], rate


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
