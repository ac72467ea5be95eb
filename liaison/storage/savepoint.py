"""A part of a transaction that can be undone by itself, past SQLAlchemy."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import postgres, sqlite


class Savepoint:
    """A part of a transaction; `begin` makes one."""

    def __init__(self, tx: AsyncConnection) -> None:
        self._sqlite = sqlite(tx)
        self._postgres = postgres(tx)

    @classmethod
    async def begin(cls, tx: AsyncConnection) -> Savepoint:
        """Begin one; there is one at a time."""
        made = cls(tx)
        await made._run("SAVEPOINT part")
        return made

    async def commit(self) -> None:
        """Keep what was written since it began."""
        await self._run("RELEASE part")

    async def rollback(self) -> None:
        """Undo what was written since it began."""
        if self._postgres is not None:
            self._postgres.forget()
        if self._sqlite is not None:
            self._sqlite.forget()
        await self._run("ROLLBACK TO part")
        await self._run("RELEASE part")

    async def _run(self, words: str) -> None:
        if self._sqlite is not None:
            await self._sqlite.run(words, ())
        elif self._postgres is not None:
            await self._postgres.part(words)
