"""Connections to SQLite that ask the disk in a thread, and as seldom as can be.

A statement of the writer takes some 20 microseconds; handing it to a thread and back takes five times as
long, and a group of messages has a dozen statements. So what is asked is answered in the event loop's thread.
What is only written waits until something is asked or the transaction ends, and goes to a thread together
with the COMMIT, which waits for the disk: one hand-over for a group of messages. Taking the write lock when
another process holds it goes to the thread too, and what carries much, because copying it takes time.

That is for the writer. What readers ask for may have to come from the disk, so each of their statements goes
to a thread, and comes back with all of its rows: one hand-over for a question.

What SQLAlchemy wants of them is in `sqlite_driver`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util.concurrency import await_

from liaison.storage.checkpoints import ROW, Checkpoints
from liaison.storage.errors import OvertakenError
from liaison.storage.side_thread import SideThread

_TAKEN: Final = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})
MANY_ROWS: Final = 64
"""Rows from which one statement goes to the thread."""
MANY_BYTES: Final = 128 << 10
"""Bytes in one value from which its statement goes to the thread."""


class Write(NamedTuple):
    """A statement that writes, and waits.

    Args:
        words: in SQLite's language.
        rows: values of its parameters, for each time that it is run: small ones where it is run often.
        expected: how many rows it has to change in all; None for as many as there are.
        weight: how many rows of the database it writes.
    """

    words: str
    rows: Sequence[Sequence[Any]]
    expected: int | None
    weight: int


Enough = Callable[[tuple[Any, ...]], bool]
"""Says of a row whether it is one too many."""

_T = TypeVar("_T")


class DirectConnection(AdaptedConnection):
    """A connection as SQLAlchemy's async engines want it.

    Args:
        connection: not bound to the thread that made it.
        busy_timeout_ms: how long to wait for another process's write lock.
        cursors: makes a cursor of it, as SQLAlchemy wants it.
        reads: whether it is a reader's.
        checkpoints: told of each commit; None leaves them to SQLite.
    """

    __slots__ = (
        "_busy_timeout_ms",
        "_checkpoints",
        "_cursors",
        "_large",
        "_relying",
        "_sqlite",
        "_thread",
        "_waiting",
        "reads",
        "rehearses",
        "written",
    )

    def __init__(
        self,
        connection: sqlite3.Connection,
        busy_timeout_ms: int,
        cursors: Callable[[DirectConnection], Any],
        *,
        reads: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._connection = cast("Any", connection)
        self._sqlite = connection
        self.reads = reads
        # Whether what is written for no rows is put into words all the same.
        self.rehearses = False
        self._busy_timeout_ms = busy_timeout_ms
        self._cursors = cursors
        self._checkpoints = checkpoints
        self._waiting: list[Write] = []
        self._relying = False
        # What large values weigh, in rows.
        self._large = 0
        # How many statements that may change something have come by SQLAlchemy.
        self.written = 0
        # Of its own: nothing that others do in threads delays a commit.
        name = "sqlite-reader" if reads else "sqlite-writer"
        self._thread = SideThread(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqlite, name)

    @property
    def isolation_level(self) -> str | None:
        """The driver's own transactions; None for none."""
        level: str | None = self._sqlite.isolation_level
        return level

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        self._sqlite.isolation_level = cast("Any", value)

    def cursor(self, **_options: object) -> Any:
        """Return a new cursor."""
        return self._cursors(self)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement on a new cursor."""
        cursor = self.cursor()
        cursor.execute(statement, parameters)
        return cursor

    async def ask(
        self, words: str, values: Sequence[Any], enough: Enough | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement past SQLAlchemy; return its rows.

        Args:
            words: in SQLite's language.
            values: of its parameters.
            enough: says of each row whether it is one too many: it and those after it are not read.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: see `flush`.
        """
        await self.flush()
        try:
            if self.reads:
                return await self._thread.do(partial(self._read, words, values, enough))
            return _rows(self._sqlite.execute(words, values), enough)
        except sqlite3.Error as error:
            raise _told(error) from error

    def _read(
        self, words: str, values: Sequence[Any], enough: Enough | None
    ) -> list[tuple[Any, ...]]:
        if not self._sqlite.in_transaction:
            # All that is read until it is given back is of one moment.
            self._sqlite.execute("BEGIN")
        return _rows(self._sqlite.execute(words, values), enough)

    async def run(self, words: str, values: Sequence[Any]) -> int:
        """Run one statement past SQLAlchemy; return how many rows it has changed.

        Args:
            words: in SQLite's language.
            values: of its parameters.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: see `flush`.
        """
        await self.flush()
        try:
            if is_large(values):
                self.weigh(values)
                return (
                    await self._thread.do(partial(self._sqlite.execute, words, values))
                ).rowcount
            return self._sqlite.execute(words, values).rowcount
        except sqlite3.Error as error:
            raise _told(error) from error

    # --- what waits to be written ---

    def later(self, writes: Iterable[Write]) -> None:
        """Have something written before anything else is asked or run, and at the latest before the commit.

        Args:
            writes: in order.
        """
        self._waiting.extend(writes)

    def rely(self) -> None:
        """Say that what waits from here on is judged by what is remembered under `mark`.

        Where a key is taken that would have been looked for, the transaction was overtaken, and everything
        is forgotten.
        """
        self._relying = True

    def forget(self) -> None:
        """Leave out what waits."""
        self._waiting.clear()
        self._relying = False

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            DBAPIError: as SQLAlchemy would have it; of one, and those after it were not written.
            OvertakenError: one has changed another number of rows than it has to; or see `rely`.
        """
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        try:
            if _is_much(waiting):
                await self._thread.do(partial(self._write, waiting))
            else:
                self._write(waiting)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> BaseException:
        if not self._relying or getattr(error, "sqlite_errorcode", 0) not in _TAKEN:
            return _told(error)
        self.written += 1
        return OvertakenError("a key is taken that was not looked for")

    def _write(self, waiting: Sequence[Write]) -> None:
        if waiting and not self._sqlite.in_transaction:
            # After some errors, of a full disk for one, SQLite has undone all of it: what is left is no part of anything.
            raise OvertakenError("SQLite has undone the transaction")
        execute, executemany = self._sqlite.execute, self._sqlite.executemany
        for words, rows, expected, _ in waiting:
            if len(rows) > 1:
                done = executemany(words, rows)
            else:
                (values,) = rows
                if is_large(values):
                    self.weigh(values)
                done = execute(words, values)
            if expected is not None and done.rowcount != expected:
                raise OvertakenError

    def _finish(self, waiting: Sequence[Write]) -> None:
        self._write(waiting)
        self._sqlite.commit()

    def commit(self) -> None:
        """Make what was written durable, in the thread."""
        if self._sqlite.in_transaction:
            await_(self.flush())
            self.in_thread(self._sqlite.commit)
            self._relying = False
            self._committed()

    def rollback(self) -> None:
        """Undo what was written."""
        self.forget()
        self._sqlite.rollback()

    async def mark(self) -> tuple[object, int, int]:
        """Return what is different when others have written, or this connection by SQLAlchemy."""
        # Within a transaction it costs two microseconds: nothing is read for it.
        ((version,),) = await self.ask("PRAGMA data_version", ())
        return self, version, self.written

    async def begin(self) -> None:
        """Begin a transaction past SQLAlchemy, as `begin_immediate` does.

        Raises:
            DBAPIError: another process held the lock for too long.
        """
        try:
            try:
                self._sqlite.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                await self._thread.do(self._begin_patiently)
        except sqlite3.Error as error:
            raise _told(error) from error

    async def end(self) -> None:
        """Make what was written durable, in the thread, past SQLAlchemy.

        Raises:
            DBAPIError: it is not known to be durable.
            OvertakenError: see `flush`; nothing was committed.
        """
        waiting, self._waiting = self._waiting, []
        try:
            await self._thread.do(partial(self._finish, waiting))
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._relying = False
        self._committed()

    def _committed(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.committed(self._sqlite.total_changes + self._large)

    def weigh(self, values: Sequence[Any]) -> None:
        """Count what large values add to the write-ahead log."""
        self._large += sum(len(value) for value in values if type(value) is bytes) // ROW

    def begin_immediate(self) -> None:
        """Take the write lock: at once, or in the thread when another process has it.

        Raises:
            sqlite3.OperationalError: the other one held it for too long.
        """
        try:
            self._sqlite.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            self.in_thread(self._begin_patiently)

    def _begin_patiently(self) -> None:
        self._sqlite.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
        try:
            self._sqlite.execute("BEGIN IMMEDIATE")
        finally:
            self._sqlite.execute("PRAGMA busy_timeout = 0")

    def in_thread(self, work: Callable[[], _T]) -> _T:
        """Run something in the connection's thread while the event loop goes on.

        Where the caller is cancelled meanwhile, it still waits: the connection is of use to
        nobody before the thread is done with it.
        """
        return await_(self._thread.do(work))

    def close(self) -> None:
        """Close the connection and end its thread."""
        if self._checkpoints is not None:
            self._checkpoints.end()
        self._sqlite.close()
        self._thread.end()

    def terminate(self) -> None:
        """Close it without a word."""
        self.close()


def _rows(cursor: sqlite3.Cursor, enough: Enough | None) -> list[tuple[Any, ...]]:
    if enough is None:
        return cursor.fetchall()
    found = []
    for row in cursor:
        if enough(row):
            cursor.close()
            break
        found.append(row)
    return found


def _told(error: sqlite3.Error) -> BaseException:
    # Neither statement nor values: what members have sent is not for the text of an exception.
    return DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True)


def _is_much(waiting: Sequence[Write]) -> bool:
    if sum([one.weight for one in waiting]) >= MANY_ROWS:
        return True
    return any(is_large(one.rows[0]) for one in waiting)


def is_large(values: Sequence[Any]) -> bool:
    """Whether copying what a statement carries takes so long that it goes to the thread."""
    return any(type(value) is bytes and len(value) >= MANY_BYTES for value in values)
