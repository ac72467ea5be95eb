"""The connections that write, kept between their transactions.

Taking one from a pool and giving it back costs more than a message does. And their transactions begin and end
past SQLAlchemy, which hears of one when it is asked for a statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from liaison.storage import connections

if TYPE_CHECKING:
    from liaison.storage import postgres_direct, sqlite_direct


class KeptSQLite:
    """The one connection that writes to SQLite.

    Args:
        engine: for writing.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._tx: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction."""
        async with self._lock:
            tx = self._tx = self._tx or await self._engine.connect()
            database = connections.sqlite(tx)
            if database is None:
                raise LookupError("the writer's connection is of another driver")
            try:
                await database.begin()
                yield tx
                if tx.in_transaction():
                    # Whoever was overtaken hears of it here: of a commit that fails SQLAlchemy makes much.
                    await database.flush()
                    await tx.commit()
                else:
                    await database.end()
            except BaseException:
                await self._undo(tx, database)
                raise

    async def _undo(self, tx: AsyncConnection, database: sqlite_direct.DirectConnection) -> None:
        # Until it is undone nobody may go on with this connection.
        self._tx = None
        try:
            if tx.in_transaction():
                await tx.rollback()
            database.rollback()
        except BaseException:
            await tx.invalidate()
            await tx.close()
            raise
        self._tx = tx

    async def close(self) -> None:
        """Let go of it."""
        async with self._lock:
            tx, self._tx = self._tx, None
            if tx is not None:
                await tx.close()


class KeptPostgreSQL:
    """Connections that write to PostgreSQL: one, as long as there is one user at a time.

    Args:
        engine: for writing.
        most: how many there may be.
    """

    def __init__(self, engine: AsyncEngine, most: int) -> None:
        self._engine = engine
        self._idle: list[AsyncConnection] = []
        self._free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction."""
        async with self._free:
            tx, database = await self._take()
            try:
                yield tx
                if tx.in_transaction():
                    await tx.commit()
                else:
                    await database.end()
            except BaseException:
                await self._undo(tx, database)
                raise
            self._idle.append(tx)

    async def _take(self) -> tuple[AsyncConnection, postgres_direct.DirectConnection]:
        while True:
            tx = self._idle.pop() if self._idle else await self._engine.connect()
            database = connections.postgres(tx)
            if database is None:
                raise LookupError("the writer's connection is of another driver")
            if not database.is_closed:
                return tx, database
            # The server was restarted meanwhile, or has ended it.
            await _drop(tx)

    async def _undo(self, tx: AsyncConnection, database: postgres_direct.DirectConnection) -> None:
        try:
            if tx.in_transaction():
                await tx.rollback()
            await database.undo()
        except BaseException:
            await _drop(tx)
            raise
        if database.is_closed:
            await _drop(tx)
        else:
            self._idle.append(tx)

    async def close(self) -> None:
        """Let go of them."""
        idle, self._idle = self._idle, []
        for tx in idle:
            await tx.close()


async def _drop(tx: AsyncConnection) -> None:
    await tx.invalidate()
    await tx.close()
