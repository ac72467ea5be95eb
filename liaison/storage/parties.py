"""Admitted parties and their revocation lists."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import meta, parties, revocation_lists


class PartyRow(NamedTuple):
    """One admitted party."""

    key: int
    code: str
    document: bytes


_ROW = select(parties.c.key, parties.c.code, parties.c.document)


async def find(tx: AsyncConnection, code: str) -> PartyRow | None:
    """Return the party with this code."""
    row = (await tx.execute(_ROW.where(parties.c.code == code))).one_or_none()
    return PartyRow(*row) if row else None


async def listing(tx: AsyncConnection) -> list[PartyRow]:
    """Return every party, by code."""
    return [PartyRow(*row) for row in await tx.execute(_ROW.order_by(parties.c.code))]


async def save(tx: AsyncConnection, code: str, document: bytes, *, now_ms: int) -> int:
    """Add the party, or replace its document; return its key."""
    values = {"document": document, "admitted_at": now_ms}
    known = await find(tx, code)
    if known is not None:
        await tx.execute(update(parties).where(parties.c.key == known.key).values(values))
        return known.key
    row = await tx.execute(insert(parties).values(code=code, **values).returning(parties.c.key))
    return int(row.scalar_one())


class ListRow(NamedTuple):
    """A party's revocation list in force."""

    party: int
    number: int
    envelope: bytes


async def revocations(tx: AsyncConnection, party: int) -> ListRow | None:
    """Return the party's newest list."""
    t = revocation_lists.c
    query = (
        select(t.party, t.number, t.envelope)
        .where(t.party == party)
        .order_by(t.number.desc())
        .limit(1)
    )
    row = (await tx.execute(query)).one_or_none()
    return ListRow(*row) if row else None


async def lock_revocations(tx: AsyncConnection) -> None:
    """Let one list be accepted at a time, over all nodes, and change the mark.

    The row's lock is held until the transaction ends.
    """
    counter = update(meta).where(meta.c.name == "revocations").values(value=meta.c.value + 1)
    await tx.execute(counter)


async def hold_revocations(tx: AsyncConnection) -> None:
    """Let no list be accepted until the transaction ends: what is revoked now stays the answer."""
    counter = select(meta.c.value).where(meta.c.name == "revocations")
    await tx.execute(counter.with_for_update(read=True))


async def revocation_mark(tx: AsyncConnection) -> int:
    """Return a number that grows with each accepted list."""
    return int(await tx.scalar(select(meta.c.value).where(meta.c.name == "revocations")) or 0)


async def save_revocations(
    tx: AsyncConnection, party: int, number: int, envelope: bytes, *, now_ms: int
) -> None:
    """Store one more list of the party; older ones stay, as evidence."""
    await tx.execute(
        insert(revocation_lists).values(
            party=party, number=number, envelope=envelope, accepted_at=now_ms
        )
    )
