"""Speed of the transparency log's core: `make bench`, or `python -m bench.tlog`.

Times are CPU time of this process; rates are per core, and of several rounds the quickest counts.
Beside each rate stands what it is in terms of bare SHA-256 over as many bytes, in the same process
and turn: that figure is the one to compare between machines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Final

from bench.mls import RESULTS, Figure, cpu
from liaison.model import Epoch, Seq
from liaison.tlog import entries, merkle, sequencer, tiles
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.merkle import CompactRange
from liaison.tlog.sequencer import State
from liaison.tlog.tiles import Tile, TileTree

COUNT: Final = 100_000
ENTRIES: Final = 2_000
GROUP: Final = 100
"""Messages in one commit."""
ENTRY_BYTES: Final = 100
MESSAGE: Final[dict[str, Value]] = {
    "party": "NOR",
    "sender": "nor/defatt-berlin#d1",
    "message": "0123456789abcdef" * 2,
    "digest": "A" * 43 + "=",
    "kind": "text",
    "action": "ROUTINE",
    "info": "ROUTINE",
    "dtg": 1_700_000_000,
    "to": ("deu/lno-j3",),
    "label": "NATO RESTRICTED",
}


def nothing(tile: Tile) -> bytes:
    """Read a tile of a log that has none."""
    raise KeyError(tile.path)


def bare(count: int, size: int) -> Callable[[], object]:
    """Prepare as many hashes of so many bytes, with nothing around them."""
    data = os.urandom(size)

    def run() -> None:
        for _ in range(count):
            hashlib.sha256(data).digest()

    return run


def measured(
    name: str, work: Callable[[], object], count: int, size: int, goal: float | None, rounds: int
) -> Iterator[Figure]:
    """Measure work in turns with bare hashes of `size` bytes."""
    floor = bare(count, size)
    work()
    times = [(cpu(work), cpu(floor)) for _ in range(rounds)]
    yield Figure(name, count / min(row[0] for row in times), "/s", goal)
    ratios = sorted(mine / theirs for mine, theirs in times)
    yield Figure("  in terms of bare hashes' time", ratios[len(ratios) // 2], "x")


def tree(rounds: int) -> Iterator[Figure]:
    """Measure the tree: hashing, appending, tiles, checking all of a log."""
    data = [os.urandom(ENTRY_BYTES) for _ in range(COUNT)]
    leaves = merkle.hash_leaves(data)
    hashes = partial(merkle.hash_leaves, data)
    yield from measured("leaf hashes", hashes, COUNT, ENTRY_BYTES + 1, 500_000, rounds)
    append = partial(CompactRange().extend, leaves)
    yield from measured("appends to a compact range", append, COUNT, 65, 350_000, rounds)

    def write() -> None:
        for _ in tiles.grow(0, data, nothing):
            pass

    yield from measured("entries written as tiles", write, COUNT, ENTRY_BYTES + 66, None, rounds)
    bundles = {t: d for t, d in tiles.grow(0, data, nothing) if t.level is None}
    root = CompactRange().extend(leaves).root

    def verify() -> None:
        grown = CompactRange()
        for tile, bundle in bundles.items():
            grown = grown.extend(merkle.hash_leaves(tiles.decode_entries(tile, bundle)))
        assert grown.root == root

    yield from measured("entries verified from bundles", verify, COUNT, 166, 250_000, rounds)


def proofs(rounds: int) -> Iterator[Figure]:
    """Measure proofs made from cold tiles, and their verification."""
    leaves = merkle.hash_leaves(os.urandom(ENTRY_BYTES) for _ in range(COUNT))
    written: dict[Tile, bytes] = dict(tiles.grow_hashes(0, leaves, nothing))
    root = CompactRange().extend(leaves).root
    places = range(0, COUNT, COUNT // 50)

    def prove() -> None:
        for index in places:
            proof = TileTree(COUNT, written.__getitem__).prove_inclusion(index)
            merkle.verify_inclusion(leaves[index], index, COUNT, proof, root)

    prove()
    least = min(cpu(prove) for _ in range(rounds)) / len(places)
    name = f"proof from cold tiles, {COUNT:,} entries"
    yield Figure(name, 1000 * least, "ms", 2, least=False)


def sealed(count: int) -> list[tuple[Entry, Sealed]]:
    """Make the entries of so many messages."""
    policy = PolicyRef(2, bytes(32))
    return [
        entries.seal(
            EntryType.ACCEPTED,
            1_700_000_000_000,
            MESSAGE,
            os.urandom,
            channel=bytes(16),
            seq=Seq(seq),
            epoch=Epoch(3),
            policy=policy,
            size=1024,
        )
        for seq in range(1, count + 1)
    ]


def messages(rounds: int) -> Iterator[Figure]:
    """Measure what the log costs a message: its entry, what opens it, and its place."""
    made = sealed(ENTRIES)
    encoded = [entry.encode() for entry, _ in made]

    def record() -> None:
        state = State()
        for _ in range(ENTRIES // GROUP):
            fresh = sealed(GROUP)
            for _, each in fresh:
                each.encode()
            state = sequencer.append(state, [entry for entry, _ in fresh]).state

    def read() -> None:
        for data, (_, each) in zip(encoded, made, strict=True):
            Entry.decode(data).open(each)

    yield from measured(
        "messages recorded: sealed, encoded, placed", record, ENTRIES, 1024, 20_000, rounds
    )
    yield from measured("entries read and opened", read, ENTRIES, 1024, None, rounds)
    yield Figure("  bytes of a message's entry", len(encoded[0]), "bytes")
    yield Figure("  bytes of what opens it", len(made[0][1].encode()), "bytes")


def main(arguments: list[str]) -> int:
    """Measure, print, keep the figures in bench/results; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench.tlog", description="Measure the log's core.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per figure (5)")
    rounds = parser.parse_args(arguments).rounds
    figures = []
    for part in (tree, proofs, messages):
        for figure in part(rounds):
            figures.append(figure)
            print(figure, flush=True)
    RESULTS.mkdir(exist_ok=True)
    kept = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    (RESULTS / "tlog.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
