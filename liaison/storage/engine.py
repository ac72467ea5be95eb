"""Opening the database, so that a commit means durable on both kinds.

SQLite: WAL, synchronous=FULL, foreign keys on, one writer that takes its lock
at BEGIN (a deferred transaction that turns into a writer late can be refused),
readers on connections of their own that can't write. PostgreSQL: READ COMMITTED,
with row locks where statements say so; what only reads does so outside a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from sqlalchemy import URL, event, make_url, select, text
from sqlalchemy.dialects import registry
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from liaison.storage import failures, postgres_plans, sqlite_driver, tables
from liaison.storage.errors import SchemaError
from liaison.storage.kept_connections import KeptPostgreSQL, KeptSQLite
from liaison.values import dataclass

BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for another process, such as a backup, before it gives up."""
_READERS: Final = 4
_READER_CACHE_KIB: Final = 512
"""Of SQLite's pages, a quarter of the usual: each of the readers keeps its own, and reads few of them twice."""
_WRITERS: Final = 3
"""Of PostgreSQL, which takes more than one; SQLite has one."""
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_STATEMENTS: Final = "statement_cache_size"
"""In a database's address, 0 says that a pooler hands each transaction to another connection."""
# By name: whoever has SQLite need not have read it.
registry.register("postgresql.direct", "liaison.storage.postgres_driver", "DirectDialect")


@dataclass(frozen=True)
class Database:
    """Engines over one database: one that writes, one that reads, one that is never in a queue."""

    url: URL
    _writing: AsyncEngine
    _reading: AsyncEngine
    _reserved: AsyncEngine
    _kept: KeptSQLite | KeptPostgreSQL

    @classmethod
    def open(cls, url: str) -> Database:
        """Prepare the engines; nothing is connected yet.

        Args:
            url: `sqlite:///path` or `postgresql://user@host/name`; the async
                driver is filled in.

        Raises:
            SchemaError: another kind of database.
        """
        address = _with_driver(url)
        if address.get_backend_name() == "postgresql":
            writing = _postgresql(address, writer=True)
            reading = _postgresql(address, writer=False)
            reserved = _postgresql(address, writer=False, size=1)
            return cls(address, writing, reading, reserved, KeptPostgreSQL(writing, _WRITERS))
        writing, reading = _sqlite(address, writer=True), _sqlite(address, writer=False)
        reserved = _sqlite(address, writer=False, size=1)
        return cls(address, writing, reading, reserved, KeptSQLite(writing))

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def read(self, *, reserved: bool = False) -> AsyncIterator[AsyncConnection]:
        """Connect to read; on SQLite all that is asked sees one moment, on PostgreSQL each question.

        Args:
            reserved: on a connection of its own, which a crowd of clients does not keep waiting: for
                what must not be late.

        Raises:
            DatabaseError: the database can't be reached, or it failed.
            SchemaError: there is no table of ours in it.
        """
        with failures.told():
            engine = self._reserved if reserved else self._reading
            async with engine.connect() as tx:
                yield tx

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction, committed at the end, rolled back by an exception.

        Only the writer uses it (and tests): on SQLite two users wait for each other.
        """
        async with self._kept.begin() as tx:
            yield tx

    async def check(self) -> None:
        """Check that this program may work on the database's schema.

        Raises:
            SchemaError: there is none, it is older (migrate), or a newer
                program changed it in a way that this one can't work with.
            DatabaseError: the database can't be reached.
        """
        if self.is_sqlite:
            await asyncio.to_thread(self._require_file)
        async with self.read() as tx:
            rows = await tx.execute(select(tables.meta.c.name, tables.meta.c.value))
            found = dict(rows.all())
        if found.get("schema_version", 0) < tables.SCHEMA_VERSION:
            raise SchemaError("the database's schema is older", hint="liaison-relay migrate")
        if found.get("schema_compat", 0) > tables.SCHEMA_VERSION:
            raise SchemaError(
                "a newer release changed the database's schema", hint="install that release"
            )

    def _require_file(self) -> None:
        # SQLite would make an empty one, and who has lost theirs be told to go on with that.
        path = Path(self.url.database or "").absolute()
        is_there = path.is_file() and path.stat().st_size > 0
        # Without its folder, such as a disk that is not mounted, it can't be reached.
        if path.parent.is_dir() and not is_there:
            raise SchemaError(
                f"there is no database in {path}",
                hint="liaison-relay migrate makes one for a new relay; where there was one, restore its"
                " newest backup",
            )

    async def version(self) -> str:
        """Return the database's name and version, such as `PostgreSQL 15.4`."""
        async with self.read() as tx:
            if self.is_sqlite:
                return f"SQLite {await tx.scalar(text('SELECT sqlite_version()'))}"
            # Debian and others add their own words.
            version = str(await tx.scalar(text("SHOW server_version")))
        return f"PostgreSQL {version.split(maxsplit=1)[0]}"

    async def durability(self) -> list[str]:
        """Say what about the database's settings weakens `acknowledged means durable`."""
        if self.is_sqlite:
            return []
        async with self.read() as tx:
            commit = await tx.scalar(text("SHOW synchronous_commit"))
            fsync = await tx.scalar(text("SHOW fsync"))
            standby = await tx.scalar(text("SHOW synchronous_standby_names"))
        found = []
        if commit == "off":
            found.append("synchronous_commit is off: an acknowledged message can be lost")
        if commit == "local":
            found.append("synchronous_commit is local: a failover can lose acknowledged messages")
        if fsync == "off":
            found.append("fsync is off: a power cut can destroy the database")
        if not standby:
            found.append(
                "synchronous_standby_names is empty: a failover can lose acknowledged messages"
            )
        return found

    def connections(self) -> list[tuple[tuple[str, str], int]]:
        """Return how many connections each pool has, by the pool's use and their state."""
        engines = {"write": self._writing, "read": self._reading, "reserved": self._reserved}
        found = []
        for use, engine in engines.items():
            pool = cast("QueuePool", engine.pool)
            found.append(((use, "busy"), pool.checkedout()))
            found.append(((use, "idle"), pool.checkedin()))
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._kept.close()
        await self._writing.dispose()
        await self._reading.dispose()
        await self._reserved.dispose()


def _with_driver(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        # Its text has the address, and that may have a password.
        raise SchemaError(
            "the database's address can't be read",
            hint="such as postgresql+asyncpg://user@host/name",
        ) from None
    backend = address.get_backend_name()
    if backend not in _DRIVERS:
        raise SchemaError(f"a {backend} database is not supported", hint="sqlite or postgresql")
    return address.set(drivername=_DRIVERS[backend])


def _postgresql(address: URL, *, writer: bool, size: int = 0) -> AsyncEngine:
    options: dict[str, Any] = {}
    if address.query.get(_STATEMENTS) == "0":
        options |= {
            _STATEMENTS: 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
            "pooled": True,
        }
    elif writer:
        # A pooler takes no settings for a connection.
        options["server_settings"] = postgres_plans.PLANS
    engine = create_async_engine(
        address.difference_update_query([_STATEMENTS]).set(drivername="postgresql+direct"),
        connect_args=options,
        pool_size=size or (_WRITERS if writer else _READERS),
        pool_use_lifo=True,
        max_overflow=0 if writer or size else _READERS // 2,
        isolation_level="READ COMMITTED" if writer else "AUTOCOMMIT",
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: Any, _record: object, _proxy: object) -> None:
        if connection.is_closed:
            # The pool connects anew: nobody has to meet every connection of a server that is gone.
            raise DisconnectionError("the server has ended the connection")

    return engine


def _sqlite(address: URL, *, writer: bool, size: int = _READERS) -> AsyncEngine:
    path = Path(address.database or "").absolute()
    # As a URI: a plain path would be looked up again in the event loop, at each connection.
    address = address.set(database=f"file:{quote(str(path))}", query={"uri": "true"})
    # The writer's statements find what they need in memory; what readers ask for may be on disk.
    driver = sqlite_driver.DRIVER if writer else sqlite_driver.READER
    engine = create_async_engine(
        address.set(drivername=driver),
        connect_args={"busy_timeout_ms": BUSY_TIMEOUT_MS} if writer else {},
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if writer else size,
        # Each keeps pages in memory: those that are not needed at once are not filled with them.
        pool_use_lifo=True,
        max_overflow=0,
        # What members have sent is not for the text of an exception.
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions of its own choice; `start` says BEGIN.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if writer:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA temp_store = MEMORY")
        if not writer:
            cursor.execute("PRAGMA query_only = ON")
            cursor.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        else:
            # Only now: whoever opens the database after a crash may have to wait for another to
            # recover it. From here on the driver waits for the one lock there is, in a thread.
            cursor.execute("PRAGMA busy_timeout = 0")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Any) -> None:
        if not connection.connection.dbapi_connection.in_transaction:
            # Otherwise the transaction was begun past SQLAlchemy.
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine
