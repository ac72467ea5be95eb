"""What is remembered from one transaction to the next: as long as which mark is the same, and who changes it.

The relay keeps what it has judged messages by, under the mark that a transaction has. On SQLite the mark
differs as soon as anybody has written such things. On PostgreSQL it tells only what this connection has
written, so what is relied on is compared by the statement that writes (`liaison.storage.relied`).

Whatever may change what is remembered is counted, and that changes the mark. Statements past SQLAlchemy that
wait are not: they write `PASSING` columns or other tables alone, which is checked when they are compiled.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Update, UpdateBase

from liaison.storage.connections import postgres, require_postgres, sqlite

PASSING: Final[Mapping[str, frozenset[str]]] = {
    "channels": frozenset({"head"}),
    "members": frozenset({"cursor", "logged"}),
    "devices": frozenset({"state_version"}),
    "certificates": frozenset(),
    "agreements": frozenset(),
    "agreement_changes": frozenset(),
}
"""Tables of which something is remembered, and the columns of them that are not."""


def check_passing(statement: Executable) -> None:
    """Check that `mark` may leave a statement past SQLAlchemy out, on both databases.

    Raises:
        LookupError: it may not: it writes what is remembered.
    """
    name = getattr(getattr(statement, "table", None), "name", "")
    if not isinstance(statement, UpdateBase) or name not in PASSING:
        return
    values: Mapping[Any, Any] = getattr(statement, "_values", None) or {}
    changed = {getattr(column, "name", column) for column in values}
    if not isinstance(statement, Update) or not changed or not changed <= PASSING[name]:
        raise LookupError(f"what is written to {name} has to be counted")


async def mark(tx: AsyncConnection) -> Hashable:
    """Return what stays the same as long as nothing but `PASSING` columns and other tables were written.

    Past SQLAlchemy such things alone are written, and what it writes is counted. On SQLite the mark tells of
    others too. On PostgreSQL it does not, and what is relied on has to be compared (`compares`); it is None
    where something was written in this transaction, or where others were found to write the same.
    """
    database = sqlite(tx)
    return require_postgres(tx).mark if database is None else await database.mark()


def compares(tx: AsyncConnection) -> bool:
    """Whether what is remembered has to be compared by the statement that writes: on PostgreSQL."""
    return sqlite(tx) is None


def written(tx: AsyncConnection) -> None:
    """Count something past SQLAlchemy that may change what is remembered."""
    database = sqlite(tx) or postgres(tx)
    if database is not None:
        database.written += 1


def rely(tx: AsyncConnection, *, doubting: bool = False) -> None:
    """Say that what is written is judged by what is remembered, as `DirectConnection.rely` does."""
    database = sqlite(tx)
    if database is None:
        require_postgres(tx).rely(doubting=doubting)
    else:
        database.rely()


def version(tx: AsyncConnection) -> int:
    """Return, after a commit, which version the rows have that it wrote by what waited; 0 on SQLite."""
    database = postgres(tx)
    return 0 if database is None else database.version
