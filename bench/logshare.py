"""What the log costs a whole relay: `make bench`, or `python -m bench.logshare`.

`bench.log` measures the writer by itself, where an entry stands beside little else. Here a relay that
serves streams takes turns with the same relay that records nothing: rooms of ten members, as fast as
their senders are answered. The log's part is all of it: sealing and storing entries, tiles, and
signed checkpoints.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop

from bench import relay
from bench.mls import RESULTS, Figure
from bench.relay import Cast, Program, Rate

SILENT: Final = "bench.logshare"
"""Runs as the relay does, and records nothing."""


def serve_silently(arguments: Sequence[str]) -> None:
    """Serve as `liaison-relay` does, with a writer that drops what it is to record."""
    from liaison.relay import __main__ as program  # noqa: PLC0415 - only where a relay is run
    from liaison.relay.services import accepting  # noqa: PLC0415 - as said
    from liaison.relay.work import Work  # noqa: PLC0415 - as said

    accepting._draft = lambda *_: None  # type: ignore[assignment] # noqa: SLF001 - what a message tells the log costs time too
    Work.record = lambda *_: None  # type: ignore[method-assign]
    sys.argv = ["liaison-relay", *arguments]
    program.main()


@contextlib.asynccontextmanager
async def program(made: Cast, *, silent: bool) -> AsyncIterator[Program]:
    """Run the relay, with its log or without."""
    command = SILENT if silent else "liaison.relay"
    async with relay.relay_program(made, None, command) as running:
        yield running


async def measure(rounds: int, seconds: float) -> list[Figure]:
    """Let both take turns."""
    with_log: list[Rate] = []
    without: list[Rate] = []
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        made = await relay.cast(Path(name), None)
        for _ in range(rounds):
            for silent, found in ((False, with_log), (True, without)):
                async with program(made, silent=silent) as running:
                    found.append(
                        await relay.saturate(running, made, made.rooms, senders=1, seconds=seconds)
                    )
    pairs = list(zip(with_log, without, strict=True))
    lost = statistics.median(100 * (1 - a.accepted / b.accepted) for a, b in pairs)
    more = statistics.median(100 * (1 - b.cpu / a.cpu) for a, b in pairs)
    return [
        Figure("messages accepted with the log", _median(with_log), "/s"),
        Figure("messages accepted without it", _median(without), "/s"),
        Figure("  what the log costs of that rate", lost, "%", 25, least=False),
        Figure("  its part of the relay's CPU time", more, "%"),
    ]


def _median(rounds: Sequence[Rate]) -> float:
    return statistics.median(each.accepted for each in rounds)


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    if arguments[:1] == ["serve"]:
        serve_silently(arguments)
    parser = argparse.ArgumentParser(prog="bench.logshare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of both relays (3)")
    parser.add_argument("--seconds", type=float, default=5, help="of each (5)")
    given = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(given.rounds, given.seconds))
    for figure in figures:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    (RESULTS / "logshare.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
