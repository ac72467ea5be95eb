"""Periods that are begun once, whichever node comes first."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.conflicts import insert_if_new
from liaison.storage.tables import meta


async def begin(tx: AsyncConnection, name: str, period: int) -> bool:
    """Begin a period; False if it, or a later one, was begun.

    The row's lock is held until the transaction ends.
    """
    row = {"name": name, "value": -1}
    # Two nodes may begin the first one at once.
    await tx.execute(insert_if_new(tx, meta, row))
    begun = await tx.execute(
        update(meta).where(meta.c.name == name, meta.c.value < period).values(value=period)
    )
    return begun.rowcount == 1
