"""Versions of agreements that wait for signatures, or for the operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import proposal_parties, proposals


class ProposalRow(NamedTuple):
    """One version that somebody proposes."""

    key: int
    agreement: str
    version: int
    digest: bytes
    envelope: bytes


_t, _p = proposals.c, proposal_parties.c
_ROW = select(_t.key, _t.agreement, _t.version, _t.digest, _t.envelope)


async def find(tx: AsyncConnection, digest: bytes) -> ProposalRow | None:
    """Return the proposal with this payload."""
    row = (await tx.execute(_ROW.where(_t.digest == digest))).one_or_none()
    return ProposalRow(*row) if row else None


async def of_agreement(tx: AsyncConnection, agreement: str) -> list[ProposalRow]:
    """Return the proposals of an agreement, the oldest first."""
    if "\0" in agreement:
        return []
    rows = await tx.execute(_ROW.where(_t.agreement == agreement).order_by(_t.key))
    return [ProposalRow(*row) for row in rows]


async def listing(tx: AsyncConnection, party: int) -> list[ProposalRow]:
    """Return the proposals that concern a party, by agreement."""
    query = _ROW.join(proposal_parties).where(_p.party == party).order_by(_t.agreement, _t.key)
    return [ProposalRow(*row) for row in await tx.execute(query)]


async def concerns(tx: AsyncConnection, proposal: int, party: int) -> bool:
    """Return whether a proposal concerns a party."""
    query = select(_p.party).where(_p.proposal == proposal, _p.party == party)
    return await tx.scalar(query) is not None


class Open(NamedTuple):
    """How many proposals of a party wait: of one agreement, and of all."""

    agreement: int
    all: int


async def count(tx: AsyncConnection, agreement: str, proposer: int) -> Open:
    """Count what a party has proposed and what still waits."""
    mine = select(_t.agreement, func.count()).where(_t.proposer == proposer).group_by(_t.agreement)
    counts = {row[0]: row[1] for row in await tx.execute(mine)}
    return Open(counts.get(agreement, 0), sum(counts.values()))


async def add(
    tx: AsyncConnection,
    row: ProposalRow,
    proposer: int,
    parties: Iterable[int],
    *,
    now_ms: int,
) -> None:
    """Store a proposal; its `key` is the database's to give."""
    values = {
        "agreement": row.agreement,
        "version": row.version,
        "digest": row.digest,
        "envelope": row.envelope,
        "proposer": proposer,
        "proposed_at": now_ms,
    }
    key = (await tx.execute(insert(proposals).values(values).returning(_t.key))).scalar_one()
    rows = [{"proposal": key, "party": party} for party in sorted(set(parties))]
    await tx.execute(insert(proposal_parties), rows)


async def sign(tx: AsyncConnection, key: int, envelope: bytes) -> None:
    """Replace the envelope by one with more signatures."""
    await tx.execute(update(proposals).where(_t.key == key).values(envelope=envelope))


async def proposer(tx: AsyncConnection, key: int) -> int:
    """Return the key of the party that has brought a proposal."""
    return int((await tx.execute(select(_t.proposer).where(_t.key == key))).scalar_one())


async def drop(tx: AsyncConnection, key: int) -> None:
    """Delete one proposal."""
    await tx.execute(delete(proposal_parties).where(_p.proposal == key))
    await tx.execute(delete(proposals).where(_t.key == key))


async def drop_up_to(tx: AsyncConnection, agreement: str, version: int) -> None:
    """Delete the proposals of an agreement up to a version: that one counts now."""
    old = select(_t.key).where(_t.agreement == agreement, _t.version <= version)
    keys = list((await tx.execute(old)).scalars())
    await tx.execute(delete(proposal_parties).where(_p.proposal.in_(keys)))
    await tx.execute(delete(proposals).where(_t.key.in_(keys)))
