"""Lists that grow, a page at a time.

A page begins after a row that the caller names by what it knows it by, never by
a number of the relay's: such numbers would tell how much there is of others.
It ends after so many rows, or earlier where they are heavy; whoever asks goes on
until a page names no `next`. What is added meanwhile may be missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from liaison.values import dataclass

MOST: Final = 200
"""Rows of one page."""
MOST_MEMBERS: Final = 4_000
"""Members in all channels of one page: as many as two of the largest channels have."""
MOST_BYTES: Final = 1 << 20
"""Certificates or sealed requests of one page; a page has at least one row, whatever its size."""

MOST_CURSOR: Final = 256
"""Characters of what a page begins after."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list.

    Args:
        after: the row before its first; None for the first page.
        limit: the most rows in it, 1 to `MOST`.
    """

    after: str | None = None
    limit: int = MOST


FIRST: Final = Page()


def cut(rows: Sequence[R], page: Page, weights: Iterable[int] = (), most: int = 0) -> Sequence[R]:
    """Return those of the rows that one page has.

    Args:
        rows: one more than `page.limit` where there are so many.
        page: asked for.
        weights: of each row, where they differ.
        most: of all weights of a page together.
    """
    total = 0
    for at, weight in enumerate(weights):
        total += weight
        if at and total > most:
            return rows[:at]
    return rows[: page.limit]


def following(rows: Sequence[R], shown: Sequence[R], last: str) -> str | None:
    """Return where the next page begins; None where all rows were shown."""
    return last if len(shown) < len(rows) else None
