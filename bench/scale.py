"""What a message costs with few and with many of everything: `python -m bench.scale`.

Two relays take turns that differ only in how many channels, members or stored messages there are.
What counts is the CPU time of the relay for a message, and the ratio of the two in the same round;
of several rounds the median.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from bench import many, relay
from bench.load import Template
from bench.many import running
from bench.mls import RESULTS, Figure
from bench.relay import WINDOW, Cast, Program

CHANNELS: Final = (10, 10_000)
MEMBERS: Final = (10, 1_000)
GOAL: Final = 1.5
_BURST: Final = 16


@dataclass(frozen=True, slots=True)
class Load:
    """What one side of a comparison is asked to carry.

    Args:
        sender: number of the device.
        templates: of the channels that it sends to by turns.
    """

    made: Cast
    sender: int
    templates: Sequence[Template]


async def cost(program: Program, load: Load, count: int) -> float:
    """Return the CPU seconds of the relay for a message."""
    socket = await program.connect(load.sender)
    accepted: list[int] = []
    socket.on_accepted = accepted.append
    sent = 0

    async def send(until: int) -> None:
        nonlocal sent
        while sent < until:
            chosen = [load.templates[(sent + n) % len(load.templates)] for n in range(_BURST)]
            socket.write(b"".join(one.frame(0, load.made.number()) for one in chosen))
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


async def compare(what: str, few: Load, lots: Load, count: int, rounds: int) -> list[Figure]:
    """Let both take turns; return the CPU time of a message, and the ratio."""
    pairs = []
    for _ in range(rounds):
        found = []
        for load in (few, lots):
            async with running(load.made) as program:
                found.append(await cost(program, load, count))
        pairs.append(found)
    # What else runs on the machine only ever makes a round slower.
    least = [min(column) for column in zip(*pairs, strict=True)]
    ratio = statistics.median(more / less for less, more in pairs)
    return [
        Figure(f"CPU of a message, {what}, few", 1e6 * least[0], "us"),
        Figure(f"CPU of a message, {what}, many", 1e6 * least[1], "us"),
        Figure(f"growth with {what}", ratio, "x", GOAL, least=False),
    ]


async def measure(folder: Path, asked: argparse.Namespace) -> AsyncIterator[Figure]:
    """Measure what was asked for."""
    made = await relay.cast(folder / "cast", None)
    room, pair = made.rooms[0], made.pairs[0]
    in_room = Load(made, room.devices[0], [room.templates[room.devices[0]]])
    in_pair = Load(made, pair.devices[0], [pair.templates[pair.devices[0]]])
    # So that there is a message to make copies of.
    async with running(made) as program:
        await cost(program, in_pair, WINDOW * 4)
    if "channels" in asked.only:
        grown = many.twin(made, folder / "channels")
        ids = many.copy_channels(grown, CHANNELS[1])
        (template,) = in_pair.templates
        all_of_them = [replace(template, channel=id_) for id_ in ids]
        few = Load(grown, in_pair.sender, all_of_them[: CHANNELS[0]])
        lots = Load(grown, in_pair.sender, all_of_them)
        what = f"{CHANNELS[0]} and {CHANNELS[1]:,} channels"
        for figure in await compare(what, few, lots, asked.messages, asked.rounds):
            yield figure
    if "members" in asked.only:
        grown = many.twin(made, folder / "members")
        many.copy_members(grown, room, MEMBERS[1] - MEMBERS[0])
        what = f"{MEMBERS[0]} and {MEMBERS[1]:,} members"
        lots = replace(in_room, made=grown)
        for figure in await compare(what, in_room, lots, asked.messages, asked.rounds):
            yield figure
    if "stored" in asked.only:
        grown = many.twin(made, folder / "stored")
        many.copy_items(grown, pair, asked.stored)
        what = f"few and {asked.stored:,} stored messages"
        lots = replace(in_pair, made=grown)
        for figure in await compare(what, in_pair, lots, asked.messages, asked.rounds):
            yield figure


async def tell(asked: argparse.Namespace) -> list[Figure]:
    """Print each figure as it is found."""
    found = []
    with tempfile.TemporaryDirectory(prefix="liaison-bench-") as name:
        async for figure in measure(Path(name), asked):
            print(figure, flush=True)
            found.append(figure)
    return found


def main() -> int:
    """Measure, print, keep the figures; return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="for each cost (20,000)")
    parser.add_argument(
        "--stored",
        type=int,
        default=1_000_000,
        help="messages (1,000,000); of 10,000,000 the database takes 15 GB and ten minutes",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of both (3)")
    kinds = ("channels", "members", "stored")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="some of it")
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(tell(asked))
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in found]
    (RESULTS / "scale.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
