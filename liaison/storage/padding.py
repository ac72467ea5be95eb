"""Asking for many rows at once, in few shapes of statements that use an index.

Each length of an IN list is a statement of its own, and a driver keeps only some
hundred prepared. A writer that groups what waits meets every length there is, so
lists are padded. And SQLite takes no index for `(a, b) IN (...)`: it reads the
whole table, which is why keys of several columns are asked for with AND and OR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import Column, ColumnElement, and_, bindparam, or_

_AT_ONCE: Final = 128
"""Keys in one statement; SQLite takes an expression of at most 1,000 terms in depth."""

_T = TypeVar("_T")


def padded(values: Iterable[_T]) -> list[_T]:
    """Return the values with the last one repeated, up to the next power of two."""
    found = list(values)
    if found:
        found += found[-1:] * ((1 << (len(found) - 1).bit_length()) - len(found))
    return found


def batches(keys: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    """Cut keys of several columns into padded lists for `any_of` and `values_of`."""
    found = list(keys)
    for at in range(0, len(found), _AT_ONCE):
        yield padded(found[at : at + _AT_ONCE])


@cache
def any_of(columns: tuple[Column[Any], ...], count: int) -> ColumnElement[bool]:
    """Return the condition that a row has one of `count` keys, which `values_of` fills in."""
    return or_(
        *(
            and_(*(column == bindparam(f"key{n}_{i}") for i, column in enumerate(columns)))
            for n in range(count)
        )
    )


def values_of(keys: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the parameters of `any_of` for these keys."""
    return {f"key{n}_{i}": value for n, key in enumerate(keys) for i, value in enumerate(key)}
