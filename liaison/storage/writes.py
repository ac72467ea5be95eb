"""Several statements as one: how PostgreSQL is asked and told much in a single round trip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

_NUMBER: Final = re.compile(r"\$(\d+)")


class Write(NamedTuple):
    """A statement that writes, and waits.

    Args:
        words: in PostgreSQL's language.
        values: of its parameters.
        tables: names of those that it reads or writes.
        rows: how many rows it has to change; None for as many as there are.
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
    """Return one statement for several; its row has the counts of those that are counted."""
    parts, counted, before = [], [], 0
    for at, (words, free) in enumerate(writes):
        parts.append(f"w{at} AS ({renumbered(words, before)}{'' if free else ' RETURNING 1'})")
        counted += [] if free else [f"(SELECT count(*) FROM w{at})"]  # noqa: S608 - names of ours
        before += _parameters(words)
    return f"WITH {', '.join(parts)} SELECT {', '.join(counted) or '1'}"
