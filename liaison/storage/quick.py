"""Statements of the path that every message takes, past SQLAlchemy's execution where that costs most.

SQLite answers the writer's statements in some ten microseconds; running them through SQLAlchemy costs
five times as much, and a group of messages has a dozen of them. On PostgreSQL each of them is a round trip
besides. So such a statement is compiled once, and then handed to the driver as it is: on SQLite once for
each length of its lists (`sqlite_words`); on PostgreSQL a list is one parameter, an array (`postgres_words`).

Here is one statement that runs when it is asked for. Several questions at once are in `questions`, what writes
for many rows, and waits, in `many_rows`. Whoever asks sees no difference: what is written is there for
whatever is asked next.

For statements whose values and results the driver takes and gives as they are: integers, texts, bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Executable, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import require_postgres, sqlite
from liaison.storage.padding import any_of, batches, values_of
from liaison.storage.postgres_words import Words, unnested
from liaison.storage.sqlite_direct import DirectConnection, Enough
from liaison.storage.sqlite_words import Text

_Values = Mapping[str, Any]
_NONE: Final[_Values] = {}
_Rows = Sequence[Any]


class Quick:
    """One statement.

    Args:
        statement: its lists are parameters that expand.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._texts: dict[tuple[int, ...], Text] = {}
        self._lists: tuple[str, ...] | None = None
        self._words: Words | None = None

    async def rows(self, tx: AsyncConnection, values: _Values = _NONE) -> _Rows:
        """Return all rows: they are sequences, without names."""
        database = sqlite(tx)
        if database is not None:
            text = self.text(tx, values)
            return await database.ask(text.words, text.fill(values))
        words = self.words(tx)
        return await require_postgres(tx).ask(
            words.words, words.fill(values), words.tables, locks=words.locks
        )

    async def first_rows(
        self, database: DirectConnection, tx: AsyncConnection, values: _Values, enough: Enough
    ) -> _Rows:
        """Return the rows before the first that is one too many; of SQLite, which reads no further."""
        text = self.text(tx, values)
        return await database.ask(text.words, text.fill(values), enough)

    async def change(self, tx: AsyncConnection, values: _Values) -> int:
        """Run it once; return how many rows it has changed."""
        database = sqlite(tx)
        if database is not None:
            text = self.text(tx, values)
            return await database.run(text.words, text.fill(values))
        words = self.words(tx)
        return await require_postgres(tx).run(words.words, words.fill(values), words.tables)

    def words(self, tx: AsyncConnection) -> Words:
        """Return the statement for PostgreSQL, whatever the lengths of its lists."""
        if self._words is None:
            self._words = Words.of(self._statement, tx)
        return self._words

    def text(self, tx: AsyncConnection, values: _Values) -> Text:
        """Return the statement for SQLite, and for lists of these lengths."""
        if self._lists is None:
            self._lists = tuple(name for name, value in values.items() if type(value) is list)
        lengths = tuple([len(values[name]) for name in self._lists])
        found = self._texts.get(lengths)
        if found is None:
            found = self._texts[lengths] = Text.of(self._statement, tx, values)
        return found


Part = tuple[Quick, _Values]
"""A statement and its values."""


class ByKeys:
    """One question for the rows that have one of many keys of several columns.

    Args:
        columns: of the key.
        make: makes it, given the condition that a row has one of the keys.
    """

    def __init__(
        self,
        columns: tuple[Column[Any], ...],
        make: Callable[[ColumnElement[bool]], Executable],
    ) -> None:
        self._columns = columns
        self._make = make
        self._by_count: dict[int, Quick] = {}
        given = unnested({column.name: column for column in columns})
        self._at_once = Quick(make(tuple_(*columns).in_(select(*given.c))))

    async def rows(self, tx: AsyncConnection, keys: Iterable[Sequence[Any]]) -> _Rows:
        """Return all rows; no key may be there twice."""
        parts = self.parts(tx, keys)
        return [row for quick, values in parts for row in await quick.rows(tx, values)]

    def parts(self, tx: AsyncConnection, keys: Iterable[Sequence[Any]]) -> list[Part]:
        """Return the statements that ask for these keys: one, where the database takes arrays."""
        if sqlite(tx) is None:
            arrays = list(zip(*keys, strict=True)) or [()] * len(self._columns)
            return [(self._at_once, {str(at): array for at, array in enumerate(arrays)})]
        return [(self._some(len(some)), values_of(some)) for some in batches(keys)]

    def _some(self, count: int) -> Quick:
        found = self._by_count.get(count)
        if found is None:
            found = self._by_count[count] = Quick(self._make(any_of(self._columns, count)))
        return found
