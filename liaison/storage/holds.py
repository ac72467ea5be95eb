"""Legal holds: agreements of which nothing is erased."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import holds


class HoldRow(NamedTuple):
    """One hold; times in Unix milliseconds, `released_at` None while it is in force."""

    agreement: str
    reason: str
    set_at: int
    released_at: int | None


_t = holds.c
_IN_FORCE = _t.released_at.is_(None)


async def listing(tx: AsyncConnection) -> list[HoldRow]:
    """Return all holds that were ever set, the oldest first."""
    query = select(_t.agreement, _t.reason, _t.set_at, _t.released_at).order_by(_t.key)
    return [HoldRow(*row) for row in await tx.execute(query)]


async def in_force(tx: AsyncConnection) -> set[str]:
    """Return the ids of the agreements that are held."""
    return set((await tx.execute(select(_t.agreement).where(_IN_FORCE))).scalars())


async def add(tx: AsyncConnection, agreement: str, reason: str, *, now_ms: int) -> None:
    """Set a hold; none is in force."""
    await tx.execute(insert(holds).values(agreement=agreement, reason=reason, set_at=now_ms))


async def release(tx: AsyncConnection, agreement: str, *, now_ms: int) -> bool:
    """Release the hold in force; False if there is none."""
    done = await tx.execute(
        update(holds).where(_t.agreement == agreement, _IN_FORCE).values(released_at=now_ms)
    )
    return done.rowcount == 1
