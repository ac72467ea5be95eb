"""Several questions at once: so many statements on SQLite, and one on PostgreSQL, which costs one round trip.

Who needs an answer makes a `Question`, which says what is asked and how its rows are read; who needs several
answers asks for them `together`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import require_postgres, sqlite
from liaison.storage.postgres_words import Words
from liaison.storage.postgres_writes import renumbered
from liaison.storage.quick import Part

_R = TypeVar("_R")


class Question(NamedTuple, Generic[_R]):
    """Something to be asked together with others.

    Args:
        parts: what is asked; on PostgreSQL there is one.
        read: makes the answer of the rows.
    """

    parts: Sequence[Part]
    read: Callable[[Iterable[Any]], _R]


async def together(tx: AsyncConnection, *questions: Question[Any]) -> list[Any]:
    """Ask several questions, none of which locks anything; return an answer for each.

    On PostgreSQL they are one statement, so all answers are of one moment.
    """
    if sqlite(tx) is not None:
        return [
            one.read([row for quick, values in one.parts for row in await quick.rows(tx, values)])
            for one in questions
        ]
    asked = [(one.parts[0][0].words(tx), one.parts[0][1]) for one in questions]
    words = _one_question(tuple(words for words, _ in asked))
    values = [value for some, named in asked for value in some.fill(named)]
    (answer,) = await require_postgres(tx).ask(words.words, values, words.tables)
    return [one.read(rows) for one, rows in zip(questions, answer, strict=True)]


@lru_cache(maxsize=64)
def _one_question(asked: tuple[Words, ...]) -> Words:
    parts, before = [], 0
    for one in asked:
        parts.append(f"ARRAY(SELECT q FROM ({renumbered(one.words, before)}) AS q)")  # noqa: S608 - statements of ours
        before += len(one.names)
    tables = frozenset(chain.from_iterable(one.tables for one in asked))
    return Words(f"SELECT {', '.join(parts)}", (), (), tables)


async def ask(tx: AsyncConnection, question: Question[_R]) -> _R:
    """Ask one question."""
    found: _R
    (found,) = await together(tx, question)
    return found
