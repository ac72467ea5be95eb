"""Several statements as one: how PostgreSQL is asked and told much in a single round trip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

_NUMBER: Final = re.compile(r"\$(\d+)")
OVERTAKEN: Final = "22012"
"""The SQLSTATE of what divides by nothing, as no statement of ours does but for this."""


class Write(NamedTuple):
    """A statement that writes, and waits.

    Args:
        words: in PostgreSQL's language.
        values: of its parameters.
        tables: names of those that it reads or writes.
        rows: how many rows it has to change, or to find where it only reads; None for as many as there are.
    """

    words: str
    values: Sequence[Any]
    tables: frozenset[str]
    rows: int | None = None


@lru_cache(maxsize=256)
def renumbered(words: str, after: int) -> str:
    """Return a statement whose parameters have numbers after so many others."""
    return _NUMBER.sub(lambda found: f"${int(found[1]) + after}", words) if after else words


@lru_cache(maxsize=256)
def _parameters(words: str) -> int:
    """Return how many parameters a statement has."""
    return max((int(number) for number in _NUMBER.findall(words)), default=0)


@lru_cache(maxsize=256)
def one_statement(writes: tuple[tuple[str, bool], ...]) -> str:
    """Return one statement for several, which fails with `OVERTAKEN` where a count is wrong.

    It answers with one row: something that has no meaning, and the number of its transaction.

    It fails in the database, for it may be a transaction by itself. PostgreSQL runs what is counted first,
    in this order: whoever was overtaken hears of that, and not of a key that is taken.

    Args:
        writes: words, and whether they are for as many rows as there are. For each that is not, a
            parameter follows after those of all: how many rows it has to change.
    """
    parts, counted, before = [], [], 0
    for at, (words, free) in enumerate(writes):
        is_done = free or words.startswith("SELECT")
        parts.append(f"w{at} AS ({renumbered(words, before)}{'' if is_done else ' RETURNING 1'})")
        counted += [] if free else [f"(SELECT count(*) FROM w{at})"]  # noqa: S608 - names of ours
        before += _parameters(words)
    right = " AND ".join(f"{count} = ${before + at}" for at, count in enumerate(counted, 1))
    check = f"1 / CASE WHEN {right} THEN 1 ELSE 0 END" if counted else "1"
    return f"WITH {', '.join(parts)} SELECT {check}, txid_current()"
