"""What SQLAlchemy asks of a driver: a module, and a dialect. Here over `postgres_direct.DirectConnection`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi, PGDialect_asyncpg
from sqlalchemy.util.concurrency import await_

from liaison.storage.postgres_direct import DirectConnection


class _Module(AsyncAdapt_asyncpg_dbapi):
    """What SQLAlchemy asks of a driver's module."""

    def connect(self, *address: Any, **options: Any) -> DirectConnection:
        """Connect."""
        own = {
            name: options.pop(name)
            for name in ("prepared_statement_cache_size", "prepared_statement_name_func", "pooled")
            if name in options
        }
        connecting = self.asyncpg.connect(*address, **options)
        made: DirectConnection = await_(DirectConnection.create(self, connecting, **own))
        return made


class DirectDialect(PGDialect_asyncpg):
    """PostgreSQL by this driver."""

    driver = "direct"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the driver's module."""
        return _Module(__import__("asyncpg"))  # type: ignore[no-untyped-call]

    async def setup_asyncpg_json_codec(self, conn: Any) -> None:
        """Do nothing: no column is JSON, and asking for the type costs a round trip."""

    async def setup_asyncpg_jsonb_codec(self, conn: Any) -> None:
        """Do nothing, as above."""
