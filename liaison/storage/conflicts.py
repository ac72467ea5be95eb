"""Rows that may be there already: two nodes may make one at once, and the first one stays.

Both databases know `ON CONFLICT DO NOTHING`; SQLAlchemy has it in their dialects only, of which the
one that is not in use is not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_if_new(tx: AsyncConnection, table: Table, values: Mapping[str, object]) -> Insert:
    """Return the statement that makes a row unless one of its key is there."""
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - see above

        # Of both dialects the statement has the same methods.
        return postgresql.insert(table).values(values).on_conflict_do_nothing()  # type: ignore[return-value]
    return sqlite.insert(table).values(values).on_conflict_do_nothing()
