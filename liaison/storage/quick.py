"""Statements of the path that every message takes, past SQLAlchemy's execution where that costs most.

SQLite answers the writer's statements in some ten microseconds; running them through SQLAlchemy costs
five times as much, and a group of messages has a dozen of them. So on the writer's connection to SQLite
such a statement is compiled once for each length of its lists, and then handed to the driver as it is.
On every other connection SQLAlchemy runs it: the result is the same.

For statements whose values and results the driver takes and gives as they are: integers, texts, bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, Executable, Table, bindparam, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from liaison.storage.sqlite_direct import MANY_ROWS, DirectConnection

_DRIVERS: Final = ("direct", "reader")
_Values = Mapping[str, Any]
_NONE: Final[_Values] = {}


def direct(tx: AsyncConnection) -> DirectConnection | None:
    """Return the connection to SQLite, or None where it is to another database."""
    if tx.dialect.driver not in _DRIVERS:
        return None
    pooled = cast("Connection", tx.sync_connection).connection
    return cast("DirectConnection", pooled.dbapi_connection)


class Savepoint:
    """A part of a transaction that can be undone by itself; `begin` makes one."""

    def __init__(self, database: DirectConnection | None, nested: AsyncTransaction | None) -> None:
        self._database = database
        self._nested = nested

    @classmethod
    async def begin(cls, tx: AsyncConnection) -> Savepoint:
        """Begin one; there is one at a time."""
        database = direct(tx)
        if database is None:
            return cls(None, await tx.begin_nested())
        await database.run("SAVEPOINT part", ())
        return cls(database, None)

    async def commit(self) -> None:
        """Keep what was written since it began."""
        if self._nested is not None:
            await self._nested.commit()
        elif self._database is not None:
            await self._database.run("RELEASE part", ())

    async def rollback(self) -> None:
        """Undo what was written since it began."""
        if self._nested is not None:
            await self._nested.rollback()
        elif self._database is not None:
            await self._database.run("ROLLBACK TO part", ())
            await self._database.run("RELEASE part", ())


class Quick:
    """One statement.

    Args:
        statement: its lists are parameters that expand.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._texts: dict[tuple[int, ...], _Text] = {}
        self._lists: tuple[str, ...] | None = None

    async def rows(self, tx: AsyncConnection, values: _Values = _NONE) -> Sequence[Any]:
        """Return all rows: they are tuples, with names only where SQLAlchemy has run it."""
        database = direct(tx)
        if database is None:
            return (await tx.execute(self._statement, dict(values))).all()
        text = self._text(tx, values)
        return await database.ask(text.words, text.fill(values))

    async def change(self, tx: AsyncConnection, values: _Values) -> int:
        """Run it once; return how many rows it has changed."""
        database = direct(tx)
        if database is None:
            return (await tx.execute(self._statement, dict(values))).rowcount
        text = self._text(tx, values)
        return await database.run(text.words, text.fill(values))

    async def change_many(self, tx: AsyncConnection, rows: Sequence[_Values]) -> None:
        """Run it for each row of values."""
        if not rows:
            return
        database = direct(tx)
        if database is None:
            await tx.execute(self._statement, [dict(row) for row in rows])
            return
        text = self._text(tx, rows[0])
        for row in rows:
            await database.run(text.words, text.fill(row))

    def _text(self, tx: AsyncConnection, values: _Values) -> _Text:
        """Return the statement for lists of these lengths."""
        if self._lists is None:
            self._lists = tuple(name for name, value in values.items() if type(value) is list)
        lengths = tuple([len(values[name]) for name in self._lists])
        found = self._texts.get(lengths)
        if found is None:
            found = self._texts[lengths] = _compiled(self._statement, tx, values)
        return found


class _Place(NamedTuple):
    """Where the value of one of a statement's question marks comes from.

    Args:
        name: of the parameter; None for what is part of the statement, such as a lane's number.
        at: the member of a list; -1 for what is none.
        value: of what is part of the statement.
    """

    name: str | None
    at: int = -1
    value: Any = None


class _Text(NamedTuple):
    """A statement in SQLite's words."""

    words: str
    places: tuple[_Place, ...]

    def fill(self, values: _Values) -> list[Any]:
        """Put the values in order."""
        return [
            value if name is None else values[name] if at < 0 else values[name][at]
            for name, at, value in self.places
        ]


def _compiled(statement: Executable, tx: AsyncConnection, values: _Values) -> _Text:
    compiled = cast("ClauseElement", statement).compile(dialect=tx.dialect)
    parameters = cast("SQLCompiler", compiled)
    state = parameters.construct_expanded_state(dict(values))
    places = {
        member: _Place(name, at)
        for name, expanded in state.parameter_expansion.items()
        for at, member in enumerate(expanded)
    }
    for name in state.positiontup or ():
        if name in values:
            places[name] = _Place(name)
        elif name not in places:
            places[name] = _Place(None, value=parameters.params[name])
    return _Text(state.statement, tuple(places[name] for name in state.positiontup or ()))


# --- inserting --------------------------------------------------------------------------


Rows = Sequence[tuple[Any, ...]]
"""Values in the order of a table's columns."""


async def insert_rows(tx: AsyncConnection, *tables: tuple[Table, Rows]) -> None:
    """Insert rows past the statement compiler: there is one for each message.

    Args:
        tx: the transaction.
        tables: with their rows, in order.
    """
    if tx.dialect.name != "sqlite":
        for table, rows in tables:
            if rows:
                await tx.exec_driver_sql(_statement(table, tx.dialect), list(rows))
        return
    statements = [each for table, rows in tables for each in _inserts(table, rows)]
    database = direct(tx)
    if database is None:
        for words, values in statements:
            await tx.exec_driver_sql(words, values)
    else:
        # Together: between two statements SQLite gives up the interpreter, and another thread
        # takes its time to give it back.
        await database.run_all(statements, much=sum(len(rows) for _, rows in tables) >= MANY_ROWS)


def _inserts(table: Table, rows: Rows) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Give statements with many rows each, of few lengths."""
    at = 0
    for count in _LENGTHS:
        while len(rows) - at >= count:
            yield _many(table, count), tuple(chain.from_iterable(rows[at : at + count]))
            at += count


_LENGTHS: Final = (64, 8, 1)


@lru_cache(maxsize=8)
def _statement(table: Table, dialect: Any) -> str:
    values: dict[str, Any] = {each.name: bindparam(each.name) for each in table.columns}
    return str(insert(table).values(values).compile(dialect=dialect))


@lru_cache(maxsize=16)
def _many(table: Table, count: int) -> str:
    """Return SQLite's statement that inserts so many rows."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    row = f"({', '.join('?' for _ in table.columns)})"
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * count)}'  # noqa: S608 - names of ours
