"""Memory under a saturating load of which one reader reads nothing: `python -m bench.stall`.

What the relay keeps is bounded by settings, not by load: once its caches are full, nothing grows.
Looking begins when they are: ten seconds are over, and so many messages were accepted as fill the
largest of them, the newest items, with a third more. A quick machine has accepted these by then, and
a slow one is not taken for one that leaks. It ends after a minute, and on a slow machine not before
there are half as many looks as a minute has: what would grow by the message or by the second has had
as long to do it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop

from bench import many, relay
from bench.load import Sender
from bench.many import MIB, memory, running
from bench.mls import RESULTS, Figure
from bench.relay import WINDOW, Cast, Program

FULL: Final = 25_000
"""Messages after which the newest items fill the memory that they may take: 18,000 of these do."""
FIRST: Final = 10.0
"""Seconds after which it may grow no more."""
LOOK: Final = 0.5
"""Seconds between two looks at a program's memory."""
NOISE: Final = 3.0
"""Percent: fragments of the heap, and what readers take who fall behind on a busy machine."""


async def saturated(program: Program, made: Cast, seconds: float) -> tuple[list[int], int]:
    """Let the room's first members send; return what is in memory, look by look, and how much came.

    The looks begin when memory may grow no more; the number is of the messages accepted.
    """
    async with relay.connected(program, made.rooms) as sockets:
        deaf = sockets[made.rooms[0].devices[-1]]
        assert deaf.transport is not None
        deaf.transport.pause_reading()
        going = [
            Sender(sockets[room.devices[0]], room.templates[room.devices[0]], made.number, WINDOW)
            for room in made.rooms
        ]
        begun = time.monotonic()
        for sender in going:
            sender.begin()
        while sum(s.accepted for s in going) < FULL or time.monotonic() - begun < FIRST:  # noqa: ASYNC110 - of many senders
            await asyncio.sleep(LOOK)
        seen: list[int] = []
        while time.monotonic() - begun < seconds or len(seen) < seconds / LOOK / 2:
            seen.append(memory(program))
            await asyncio.sleep(LOOK)
        for sender in going:
            sender.going = False
        deaf.transport.resume_reading()
        return seen, sum(sender.accepted for sender in going)


async def measure(seconds: float) -> list[Figure]:
    """Measure it."""
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        made = await relay.cast(Path(name) / "relay", None)
        async with running(made) as program:
            seen, accepted = await saturated(program, made, seconds)
    # Each third's highest: between two collections it only grows.
    third = len(seen) // 3
    early, late = max(seen[:third]), max(seen[-third:])
    what = f"memory after {FIRST:g} s of {seconds:g} s under load with a deaf reader"
    return [
        Figure(what, early / MIB, "MiB"),
        Figure("  at the end", late / MIB, "MiB"),
        Figure("  it has grown by", 100 * (late - early) / early, "%", NOISE, least=False),
        Figure("  messages accepted meanwhile", accepted, ""),
    ]


def main() -> int:
    """Measure, print, keep the figures; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.stall", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load (60)")
    asked = parser.parse_args()
    many.free_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(asked.seconds))
    for figure in found:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "stall.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
