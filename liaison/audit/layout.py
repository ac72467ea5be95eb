"""Which files a bundle has, and in which order they stand in the archive."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from liaison.tlog import merkle, tiles
from liaison.tlog.text import from_decimal
from liaison.tlog.tiles import WIDTH, Tile

POLICY: Final = "policy"
COMPACT: Final = "compact"
CHECKPOINTS: Final = "checkpoints/"
OPENINGS: Final = "openings.jsonl"
EVENTS: Final = "events.jsonl"
TABLE: Final = "events.csv"
PARQUET: Final = "events.parquet"
REPORT: Final = "report.html"
VERIFIER: Final = "verify.py"

DERIVED: Final = (EVENTS, TABLE)
"""Made of the entries and their openings alone; a bundle has both or neither."""
ATTACHED: Final = (PARQUET, REPORT)
"""Made by the relay in its own way: only their digest is checked."""


def tiles_of(first: int, end: int) -> list[Tile]:
    """Name the entry bundles of a range, then the hash tiles that lie wholly in it.

    Args:
        first: a multiple of 256.
        end: one past the last entry.
    """
    return [tile for tile in tiles.growth(first, end) if tile.first >= first]


def upper_tiles(first: int, row: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
    """Give the hash tiles above the lowest that lie wholly in a range, in order.

    Args:
        first: of the range, a multiple of 256.
        row: the hashes of the range's full lowest tiles, in order.
    """
    level, base = 1, first // WIDTH
    while row:
        start = -(-base // WIDTH) * WIDTH
        above = []
        for at in range(start - base, len(row), WIDTH):
            members = row[at : at + WIDTH]
            yield Tile(level, (base + at) // WIDTH, len(members)), b"".join(members)
            if len(members) == WIDTH:
                above.append(merkle.hash_full(members))
        level, base, row = level + 1, start // WIDTH, above


def checkpoint(size: int) -> str:
    """Name the checkpoint of a size."""
    return f"{CHECKPOINTS}{size}"


def sizes(names: Iterable[str]) -> list[int]:
    """Return the sizes of all checkpoints among files, in order.

    Raises:
        ValueError: the name of one is not a number.
    """
    found = [name.removeprefix(CHECKPOINTS) for name in names if name.startswith(CHECKPOINTS)]
    return sorted(from_decimal(text) for text in found)


def order(first: int, end: int, names: Collection[str]) -> list[str]:
    """Return the names of a bundle's files, without the manifest and its signature, in order.

    Args:
        first: of the range.
        end: of the range.
        names: of the files that there are: those that a bundle may have or not count.

    Raises:
        ValueError: the name of a checkpoint is not a number.
    """
    there = [tile.path for tile in tiles_of(first, end)]
    there += [POLICY, COMPACT, *map(checkpoint, sizes(names)), OPENINGS]
    there += [name for name in (*DERIVED, *ATTACHED) if name in names]
    return [*there, VERIFIER]
