"""Admitted agreements, every version as it was signed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import agreement_parties, agreements


class AgreementRow(NamedTuple):
    """One version of an agreement."""

    key: int
    id: str
    version: int
    digest: bytes
    envelope: bytes


_t = agreements.c
_ROW = select(_t.key, _t.id, _t.version, _t.digest, _t.envelope)


async def by_key(tx: AsyncConnection, key: int) -> AgreementRow | None:
    """Return one version by its key."""
    row = (await tx.execute(_ROW.where(_t.key == key))).one_or_none()
    return AgreementRow(*row) if row else None


async def find(tx: AsyncConnection, id_: str, version: int | None = None) -> AgreementRow | None:
    """Return a version of an agreement, or its newest."""
    if "\0" in id_:
        return None  # PostgreSQL has no such text, and no agreement has such an id
    query = _ROW.where(_t.id == id_).order_by(_t.version.desc()).limit(1)
    if version is not None:
        query = query.where(_t.version == version)
    row = (await tx.execute(query)).one_or_none()
    return AgreementRow(*row) if row else None


async def listing(tx: AsyncConnection, party: int | None = None) -> list[AgreementRow]:
    """Return every version, or those that a party takes part in, by id and version."""
    query = _ROW.order_by(_t.id, _t.version)
    if party is not None:
        query = query.join(agreement_parties).where(agreement_parties.c.party == party)
    return [AgreementRow(*row) for row in await tx.execute(query)]


async def parties_of(tx: AsyncConnection, agreement: int) -> list[int]:
    """Return the keys of the parties to one version."""
    query = select(agreement_parties.c.party).where(agreement_parties.c.agreement == agreement)
    return list((await tx.execute(query)).scalars())


async def share(tx: AsyncConnection, one: int, other: int) -> bool:
    """Return whether two parties stand in one agreement, in any version of it."""
    mine, theirs = agreement_parties.alias(), agreement_parties.alias()
    query = (
        select(mine.c.agreement)
        .join_from(mine, theirs, mine.c.agreement == theirs.c.agreement)
        .where(mine.c.party == one, theirs.c.party == other)
        .limit(1)
    )
    return await tx.scalar(query) is not None


async def add(
    tx: AsyncConnection,
    id_: str,
    version: int,
    digest: bytes,
    envelope: bytes,
    parties: Iterable[int],
    *,
    now_ms: int,
) -> int:
    """Add a version; return its key."""
    values = {
        "id": id_,
        "version": version,
        "digest": digest,
        "envelope": envelope,
        "admitted_at": now_ms,
    }
    key = (await tx.execute(insert(agreements).values(values).returning(_t.key))).scalar_one()
    rows = [{"agreement": key, "party": party} for party in parties]
    await tx.execute(insert(agreement_parties), rows)
    return int(key)
