"""Connections to PostgreSQL with a way past SQLAlchemy, and with few round trips.

A statement costs a round trip, and through SQLAlchemy as much CPU time again. So what every message needs
is handed to asyncpg as it is, which keeps prepared statements by connection, and:

- what is asked at one moment is asked in one statement (`liaison.storage.questions.together`);
- what is written waits, and goes out in one statement before the commit, or before somebody reads a
  table that it is for;
- a transaction begins together with the locks that it takes first, and not before there is something
  to hold: in READ COMMITTED a statement that only reads sees one moment, within a transaction or not;
- where all that is written goes out in one statement at the end, that statement is the transaction;
- what is remembered from earlier transactions need not be asked for again, where that statement compares it
  (`liaison.storage.relied`).

Whatever SQLAlchemy itself runs on such a connection is in the same transaction and sees what was written.
What it wants of a driver besides is in `postgres_driver`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_cursor,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util.concurrency import await_

from liaison.storage import failures
from liaison.storage.errors import OvertakenError
from liaison.storage.postgres_plans import Replanning
from liaison.storage.postgres_writes import OVERTAKEN, Write, one_statement
from liaison.storage.remembered import PASSING

CROWDED: Final = 10.0
"""Seconds for which a writer that was overtaken locks before it reads: others are at the same rows."""
DOUBTED: Final = 10.0
"""Seconds for which a writer reads again, after what it remembered was not so any more."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_TAKEN: Final = "23505"
"""The SQLSTATE of a key that is taken."""
_XID: Final = 0xFFFF_FFFF
"""The part of a transaction's number that rows tell of who has written them (`xmin`)."""


class DirectCursor(AsyncAdapt_asyncpg_cursor):
    """A cursor for what SQLAlchemy runs."""

    __slots__ = ()

    async def _prepare_and_execute(self, operation: Any, parameters: Any) -> None:
        await self._adapt_connection.flush()  # type: ignore[attr-defined]  # a DirectConnection
        self._adapt_connection.count(operation)  # type: ignore[attr-defined]  # as above
        await super()._prepare_and_execute(operation, parameters)  # type: ignore[no-untyped-call]

    async def _executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        await self._adapt_connection.flush()  # type: ignore[attr-defined]  # as above
        self._adapt_connection.count(operation)  # type: ignore[attr-defined]  # as above
        return await super()._executemany(operation, seq_of_parameters)  # type: ignore[no-untyped-call]


class DirectConnection(AsyncAdapt_asyncpg_connection):
    """A connection as SQLAlchemy's async engines want it.

    Attributes:
        written: counts what this connection has written that may change what is remembered.
        version: `xmin` of the rows that the last transaction has written by what waited.
        rehearses: whether what is written for no rows is written all the same, so that it is known and planned.
    """

    __slots__ = (
        "_crowded",
        "_doubted",
        "_doubting",
        "_pooled",
        "_relying",
        "_replanning",
        "_waiting",
        "rehearses",
        "version",
        "written",
    )
    _cursor_cls = DirectCursor

    def __init__(self, *args: Any, pooled: bool = False, **options: Any) -> None:
        """Prepare.

        Args:
            args: SQLAlchemy's own.
            pooled: whether a pooler hands each transaction to another connection.
            options: SQLAlchemy's own.
        """
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._waiting: list[Write] = []
        self._replanning = Replanning()
        self._pooled = pooled
        self._crowded = -math.inf
        self._doubted = -math.inf
        self._relying = False
        self._doubting = False
        self.written = 0
        self.version = 0
        self.rehearses = False

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._connection.is_closed()

    @property
    def holds_nothing(self) -> bool:
        """Whether no transaction has begun: what was read may change until what waits is written."""
        return self._transaction is None

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was written or held yet."""
        return self._transaction is None and not self._waiting

    @property
    def is_crowded(self) -> bool:
        """Whether others write the same rows, so that it is quicker to lock them before they are read."""
        return self._pooled or time.monotonic() - self._crowded < CROWDED

    @property
    def mark(self) -> tuple[object, int] | None:
        """What stays the same as long as this connection writes messages and what follows from them alone.

        None where nothing may be relied on that was not read in this transaction. It tells nothing of what
        others write: whatever is relied on has to be compared by the statement that writes. And it holds for
        this connection only: a server that was restarted, or is another one since, may have lost what was
        written, and give its numbers to other transactions.
        """
        now = time.monotonic()
        if not self.is_fresh or self.is_crowded or now - self._doubted < DOUBTED:
            return None
        return self, self.written

    def rely(self, *, doubting: bool) -> None:
        """Say that what waits from here on is judged by what is remembered.

        Where it turns out to be wrong, or a key is taken that would have been looked for, the transaction was
        overtaken; others need not have been at the same rows at the same time.

        Args:
            doubting: whether everything is forgotten then, and for a while nothing is remembered (`mark`).
        """
        self._relying = True
        self._doubting = doubting

    def count(self, words: str) -> None:
        """Count a statement, if it may write a table of which something is remembered."""
        if not words.startswith("SELECT") and any(name in words for name in PASSING):
            self.written += 1

    def writes(self, table: str) -> bool:
        """Whether something for a table waits to be written."""
        return any(table in one.tables for one in self._waiting)

    async def ask(
        self, words: str, values: Sequence[Any], tables: frozenset[str], *, locks: bool = False
    ) -> Sequence[Sequence[Any]]:
        """Run one statement past SQLAlchemy; return its rows.

        Args:
            words: in PostgreSQL's language.
            values: of its parameters.
            tables: names of those that it reads.
            locks: whether it locks rows until the transaction ends.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: see `flush`.
        """
        # What waits in no transaction has locked nothing yet, and comes first in the order of locks.
        if self._touches(tables) or (locks and self._transaction is None):
            await self.flush()
        # A pooler may hand even the two steps of one statement to two connections.
        if locks or self._pooled:
            await self._begun()
        # Readers' connections have their statements planned once, and never begin anything.
        if self._transaction is None and self.isolation_level != "autocommit":
            await self._replan()
        return await self._fetch(words, values)

    async def run(self, words: str, values: Sequence[Any], tables: frozenset[str]) -> int:
        """Run one statement past SQLAlchemy; return how many rows it has changed.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: see `flush`.
        """
        if self._touches(tables):
            await self.flush()
        self.count(words)
        try:
            await self._begun()
            driver: Any = self._connection
            status = await driver.execute(words, *values)
        except Exception as error:
            raise self._told(error) from error
        return int(status.rpartition(" ")[2])

    async def part(self, words: str) -> None:
        """Set, give up or go back to a savepoint, which what waits to be written stands before.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: see `flush`.
        """
        await self.flush()
        try:
            await self._begun()
            driver: Any = self._connection
            await driver.execute(words)
        except Exception as error:
            raise self._told(error) from error

    async def later(self, write: Write) -> None:
        """Run one statement before the commit; it depends on nothing that comes after it.

        Raises:
            DBAPIError: something that waited before it has failed.
            OvertakenError: see `flush`.
        """
        # Parts of one statement do not see each other's rows.
        if self._touches(write.tables):
            await self.flush()
        self._waiting.append(write)

    async def lock(self, words: str) -> None:
        """Run a statement without values that locks rows, together with the transaction's begin.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
        """
        try:
            driver: Any = self._connection
            if self._transaction is None and self.isolation_level != "autocommit":
                # Before: where the locks fail, as on a server that is a standby still, the
                # transaction has begun all the same and has to be undone.
                self._transaction = _Transaction(driver)
                await driver.execute(f"{self._replanning.words(time.monotonic())}{_BEGIN}; {words}")
            else:
                await self.flush()
                await driver.execute(words)
        except Exception as error:
            raise self._told(error) from error

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            DBAPIError: as SQLAlchemy would have it.
            OvertakenError: something was not there to be changed as it had been read.
        """
        if self._waiting:
            await self._begun()
            await self._write()

    async def end(self) -> None:
        """Make what was written durable, past SQLAlchemy.

        Raises:
            DBAPIError: it is not known to be durable.
            OvertakenError: see `flush`.
        """
        if self._waiting:
            if self._pooled:
                await self._begun()
            await self._write()
        # Also where nothing waited: the next transaction relies on what it says itself.
        self._relying = False
        # Where none has begun, the one statement was a transaction.
        if self._transaction is None:
            return
        try:
            await self._call_and_discard(self._transaction.commit)
        except Exception as error:
            raise self._told(error) from error

    async def undo(self) -> None:
        """Undo what was written, past SQLAlchemy.

        Raises:
            DBAPIError: the connection is lost, and with it what was written.
        """
        self.forget()
        driver: Any = self._connection
        if self._transaction is None and driver.is_in_transaction():
            # Whatever has begun it: the next one must not find itself within it.
            self._transaction = _Transaction(driver)
        if self._transaction is None:
            return
        try:
            await self._call_and_discard(self._transaction.rollback)
        except Exception as error:
            raise self._told(error) from error

    def forget(self) -> None:
        """Leave out what waits."""
        self._waiting.clear()
        self._relying = False

    def commit(self) -> None:
        """Make what was written durable."""
        if self._waiting:
            await_(self.flush())
        self._relying = False
        super().commit()  # type: ignore[no-untyped-call]

    def rollback(self) -> None:
        """Undo what was written."""
        self.forget()
        super().rollback()  # type: ignore[no-untyped-call]

    def _touches(self, tables: frozenset[str]) -> bool:
        return any(not tables.isdisjoint(one.tables) for one in self._waiting)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        relying, self._relying = self._relying, False
        words = one_statement(tuple((one.words, one.rows is None) for one in waiting))
        values = [value for one in waiting for value in one.values]
        values += [one.rows for one in waiting if one.rows is not None]
        try:
            ((_, number),) = await self._fetch(words, values)
        except DBAPIError as error:
            code = failures.code_of(error)
            if code != OVERTAKEN and not (relying and code == _TAKEN):
                raise
            if relying:
                self._mistaken(code)
            else:
                self._crowded = time.monotonic()
            raise OvertakenError("what was read is not there any more") from error
        self.version = number & _XID

    def _mistaken(self, code: str) -> None:
        if not self._doubting:
            return
        self.written += 1
        if code == OVERTAKEN:
            # Others write here too, and may do so again. A message that comes twice is nothing of the kind.
            self._doubted = time.monotonic()

    async def _replan(self) -> None:
        # What only writes finds its rows by their keys, whatever the tables have.
        words = self._replanning.words(time.monotonic())
        if not words:
            return
        try:
            driver: Any = self._connection
            await driver.execute(words)
        except Exception as error:
            raise self._told(error) from error

    async def _fetch(self, words: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        try:
            driver: Any = self._connection
            rows: Sequence[Sequence[Any]] = await driver.fetch(words, *values)
        except Exception as error:
            raise self._told(error) from error
        return rows

    async def _begun(self) -> None:
        if self._transaction is None and self.isolation_level != "autocommit":
            await self._start_transaction()

    async def _start_transaction(self) -> None:
        if self.isolation_level == "autocommit":
            return
        driver: Any = self._connection
        try:
            await driver.execute(self._replanning.words(time.monotonic()) + _BEGIN)
        except Exception as error:  # noqa: BLE001 - raised again, as SQLAlchemy's own kind
            self._handle_exception(error)
        self._transaction = _Transaction(driver)

    def _told(self, error: Exception) -> BaseException:
        if isinstance(error, DBAPIError | OvertakenError):
            return error
        if isinstance(error, self._outdated()):
            return OvertakenError("a migration has changed a table")
        try:
            self._handle_exception(error)
        except self.dbapi.Error as translated:
            # Neither statement nor values: what members have sent is not for an exception's text.
            known: BaseException = DBAPIError.instance(
                None, None, translated, self.dbapi.Error, hide_parameters=True
            )
            return known
        except Exception as other:  # noqa: BLE001 - of another kind, such as the network's
            return other

    def _outdated(self) -> tuple[type[Exception], ...]:
        known = self.dbapi.asyncpg.exceptions
        return known.InvalidCachedStatementError, known.OutdatedSchemaCacheError


class _Transaction:
    """A transaction that is under way."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    async def start(self) -> None:
        """Do nothing: it is begun."""

    async def commit(self) -> None:
        status = await self._driver.execute("COMMIT")
        if status != "COMMIT":
            # After an error that somebody has swallowed PostgreSQL answers ROLLBACK, and that is all.
            raise OvertakenError(f"PostgreSQL answers {status} to COMMIT")

    async def rollback(self) -> None:
        await self._driver.execute("ROLLBACK")
