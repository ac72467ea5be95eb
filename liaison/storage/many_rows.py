"""Statements that write for many rows, and wait to go out together with others.

On SQLite such a statement runs for each row, or has many rows in it; on PostgreSQL it runs once and joins the
rows as arrays. On both it waits, at the latest until the commit: there for whatever is asked next, and where
nothing is, one hand-over to SQLite's thread, or one round trip (`liaison.storage.postgres_writes`), is all of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Column, Insert, Table, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import rehearses, require_postgres, sqlite
from liaison.storage.postgres_words import ForRow, Words
from liaison.storage.quick import Quick
from liaison.storage.remembered import check_passing
from liaison.storage.sqlite_direct import Write


class ForEach:
    """One statement that is run for each of many rows of values.

    Args:
        make: makes it.
        columns: by the names of the values, columns whose types they have.
    """

    def __init__(self, make: ForRow, **columns: Column[Any]) -> None:
        self._make = make
        self._columns = columns
        self._single = Quick(make(bindparam))
        # For SQLite: its words, and where each of their values comes from in a row.
        self._each: tuple[str, list[tuple[int, Any]]] | None = None
        # For PostgreSQL.
        self._words: Words | None = None

    async def change(
        self, tx: AsyncConnection, rows: Sequence[Sequence[Any]], *, all_of_them: bool = False
    ) -> None:
        """Run it for each row; its values are in the order of the names.

        Args:
            tx: the transaction.
            rows: each for another row of the table, in the order in which these are to be locked.
            all_of_them: whether each has to change one row of the table.

        Raises:
            OvertakenError: one did not, and should; said when it is written.
        """
        if not rows and not rehearses(tx):
            return
        expected = len(rows) if all_of_them else None
        database = sqlite(tx)
        if database is None:
            if self._words is None:
                self._words = Words.for_rows(self._make, self._columns, tx)
            await require_postgres(tx).later(self._words.write(rows, expected))
            return
        if self._each is None:
            # No value is a list, so that its words are the same for all.
            text = self._single.text(tx, dict.fromkeys(self._columns))
            self._each = text.words, text.order(tuple(self._columns))
        if not rows:
            return
        words, order = self._each
        values = [[value if at < 0 else row[at] for at, value in order] for row in rows]
        database.later([Write(words, values, expected, len(values))])


# --- inserting --------------------------------------------------------------------------

Rows = Sequence[tuple[Any, ...]]
"""Values in the order of a table's columns."""
_LENGTHS: Final = (64, 8, 1)
"""Rows that one of SQLite's statements inserts: few lengths, for each is compiled and kept prepared."""
_INSERTS: Final[dict[str, Words]] = {}
"""PostgreSQL's, by table."""


async def insert_rows(tx: AsyncConnection, *tables: tuple[Table, Rows]) -> None:
    """Insert rows past the statement compiler: there is one for each message.

    Args:
        tx: the transaction.
        tables: with their rows, in order.
    """
    database = sqlite(tx)
    if database is None:
        for table, rows in tables:
            if rows or rehearses(tx):
                await require_postgres(tx).later(_insert(table, tx).write(rows, None))
        return
    database.later([each for table, rows in tables for each in _inserts(table, rows)])


def _inserts(table: Table, rows: Rows) -> Iterator[Write]:
    """Give SQLite's statements with many rows each, of few lengths."""
    at = 0
    for count in _LENGTHS:
        while len(rows) - at >= count:
            values = tuple(chain.from_iterable(rows[at : at + count]))
            yield Write(_many(table, count), (values,), None, count)
            at += count


@lru_cache(maxsize=16)
def _many(table: Table, count: int) -> str:
    """Return SQLite's statement that inserts so many rows."""
    check_passing(insert(table))
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    row = f"({', '.join('?' for _ in table.columns)})"
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * count)}'  # noqa: S608 - names of ours


def _insert(table: Table, tx: AsyncConnection) -> Words:
    """Return PostgreSQL's statement that inserts rows."""
    found = _INSERTS.get(table.name)
    if found is None:
        columns = {column.name: column for column in table.columns}

        def make(value: Callable[[str], Any]) -> Insert:
            given = select(*map(value, columns))
            return insert(table).from_select(list(columns), given, include_defaults=False)

        found = _INSERTS[table.name] = Words.for_rows(make, columns, tx)
    return found
