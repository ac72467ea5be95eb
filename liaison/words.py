"""How numbers stand in what programs print: one thing, two things.

For English, which is all that they print.
"""

from __future__ import annotations


def count(number: int, one: str, many: str = "") -> str:
    """Write how many there are: `1 entry`, `2 entries`, `0 entries`.

    Args:
        number: how many.
        one: what stands behind 1.
        many: what stands behind every other number; empty for `one` with an s.
    """
    return f"{number} {noun(number, one, many)}"


def noun(number: int, one: str, many: str = "") -> str:
    """Return what stands behind a number that is written already; see `count`."""
    return one if number == 1 else many or f"{one}s"


def entries(number: int) -> str:
    """Write how many entries of a log: most of what is counted is these."""
    return count(number, "entry", "entries")
