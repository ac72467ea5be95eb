"""Which database a transaction is of, and its connection past SQLAlchemy.

Two drivers of ours stand under SQLAlchemy: `sqlite_direct` and `postgres_direct`. Statements of the path that
every message takes are handed to them as they are, and each database is asked and told in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from liaison.storage import postgres_direct, sqlite_direct


def sqlite(tx: AsyncConnection) -> sqlite_direct.DirectConnection | None:
    """Return the connection to SQLite, or None where it is to another database."""
    return (
        None if tx.dialect.name != "sqlite" else cast("sqlite_direct.DirectConnection", _pooled(tx))
    )


def postgres(tx: AsyncConnection) -> postgres_direct.DirectConnection | None:
    """Return the connection to PostgreSQL, or None where it is to another database."""
    if tx.dialect.name != "postgresql":
        return None
    return cast("postgres_direct.DirectConnection", _pooled(tx))


def require_postgres(tx: AsyncConnection) -> postgres_direct.DirectConnection:
    """Return the connection to PostgreSQL, where it is not to SQLite.

    Raises:
        LookupError: it is to a third database.
    """
    found = postgres(tx)
    if found is None:
        raise LookupError(f"no statement of ours is written for {tx.dialect.name}")
    return found


def rehearses(tx: AsyncConnection) -> bool:
    """Whether what is written for no rows is made ready all the same (`liaison.storage.rehearsal`)."""
    database = sqlite(tx) or postgres(tx)
    return database is not None and database.rehearses


def _pooled(tx: AsyncConnection) -> object:
    # Of an engine that `Database` has opened: there are no others where these statements run.
    return cast("Connection", tx.sync_connection).connection.dbapi_connection
