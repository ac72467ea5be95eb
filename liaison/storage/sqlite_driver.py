"""What SQLAlchemy asks of a driver: cursors, a module, dialects. Here over `DirectConnection`.

Cursors differ in where their statements run: the writer's in the event loop's thread but for those
that carry much, readers' in the connection's own.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util.concurrency import await_

from liaison.storage.checkpoints import BOUND, Checkpoints
from liaison.storage.sqlite_direct import MANY_ROWS, DirectConnection, is_large

DRIVER: Final = "sqlite+direct"
"""For the writer."""
READER: Final = "sqlite+reader"
"""For readers."""


class DirectCursor:
    """A cursor whose statements run at once, but for those that carry much."""

    __slots__ = ("_connection", "_cursor", "arraysize")

    server_side = False

    def __init__(self, connection: DirectConnection) -> None:
        self._connection = connection
        self._cursor: sqlite3.Cursor = connection.driver_connection.cursor()
        self.arraysize = 1

    @property
    def description(self) -> Any:
        """The columns of the last result."""
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The key that the last row got."""
        return self._cursor.lastrowid

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""
        await_(self._connection.flush())
        if not statement.startswith("SELECT"):
            self._connection.written += 1
        if statement == "BEGIN IMMEDIATE":
            self._connection.begin_immediate()
        elif is_large(parameters):
            self._connection.weigh(parameters)
            self._connection.in_thread(partial(self._cursor.execute, statement, parameters))
        else:
            self._cursor.execute(statement, parameters)
            await_(_at_once())

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        await_(self._connection.flush())
        self._connection.written += 1
        if len(rows) >= MANY_ROWS or any(map(is_large, rows)):
            self._connection.in_thread(partial(self._cursor.executemany, statement, rows))
        else:
            self._cursor.executemany(statement, rows)
            await_(_at_once())

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._cursor.fetchone()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return so many rows."""
        return self._cursor.fetchmany(self.arraysize if size is None else size)

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        return self._cursor.fetchall()

    def close(self) -> None:
        """Let go of the result."""
        self._cursor.close()

    async def _async_soft_close(self) -> None:
        """Do what SQLAlchemy's async results ask of a cursor: nothing is left to be fetched."""

    def setinputsizes(self, *_sizes: object) -> None:
        """Nothing to do: SQLite needs no sizes."""


class ReadingCursor(DirectCursor):
    """A cursor whose statements run in the thread and bring all of their rows with them."""

    __slots__ = ("_rows",)

    def __init__(self, connection: DirectConnection) -> None:
        super().__init__(connection)
        self._rows: deque[Any] = deque()

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""
        if statement == "BEGIN":
            # Asks the disk for nothing yet.
            self._cursor.execute(statement)
            await_(_at_once())
            return
        self._rows = deque(self._connection.in_thread(partial(self._ask, statement, parameters)))

    def _ask(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        return self._cursor.execute(statement, parameters).fetchall()

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return so many rows."""
        count = min(self.arraysize if size is None else size, len(self._rows))
        return [self._rows.popleft() for _ in range(count)]

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        rows, self._rows = self._rows, deque()
        return list(rows)

    def close(self) -> None:
        """Let go of the result."""
        self._rows.clear()
        super().close()


async def _at_once() -> None:
    """Be awaited without a pause: SQLAlchemy takes a driver that never awaits for one that blocks."""


class _Module:
    """What SQLAlchemy asks of a driver's module."""

    paramstyle = "qmark"
    has_stop = True

    def __init__(self, *, reads: bool = False) -> None:
        self.sqlite = sqlite3
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, *address: Any, busy_timeout_ms: int = 0, **options: Any) -> DirectConnection:
        """Open a database."""
        options["check_same_thread"] = False
        connect = partial(sqlite3.connect, *address, **options)
        opened = connect()
        if self._reads:
            return DirectConnection(opened, busy_timeout_ms, ReadingCursor, reads=True)
        opened.execute(f"PRAGMA wal_autocheckpoint = {BOUND}")
        checkpoints = Checkpoints(connect)
        return DirectConnection(opened, busy_timeout_ms, DirectCursor, checkpoints=checkpoints)


class DirectDialect(SQLiteDialect_aiosqlite):
    """SQLite by this driver."""

    driver = "direct"
    supports_statement_cache = True
    supports_server_side_cursors = False

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the driver's module."""
        return _Module()


class ReaderDialect(DirectDialect):
    """SQLite by this driver, for readers."""

    driver = "reader"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the driver's module."""
        return _Module(reads=True)


registry.register("sqlite.reader", __name__, "ReaderDialect")
registry.register("sqlite.direct", __name__, "DirectDialect")
