"""What parties have said of their participation, and what the others have said of one.

An exclusion in force is kept among the statements, under the number 0. One that
still waits for signatures is kept apart.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import exclusions, parties, statements

EXCLUSION: Final = 0
"""The number of the others' word."""
NEWEST: Final = 8
"""So many of a party's statements are read at once, the newest; all are kept."""


class StatementRow(NamedTuple):
    """One signed document about a party's participation."""

    party: int
    code: str
    number: int
    envelope: bytes
    accepted_at: int


_t = statements.c
_ROW = select(_t.party, parties.c.code, _t.number, _t.envelope, _t.accepted_at).join(parties)


async def of_agreement(tx: AsyncConnection, agreement: str) -> list[StatementRow]:
    """Return the newest statements of each party and the exclusions, by party and number."""
    if "\0" in agreement:
        return []
    rank = func.row_number().over(partition_by=_t.party, order_by=_t.number.desc())
    ranked = (
        select(_t.key, _t.number, rank.label("rank")).where(_t.agreement == agreement).subquery()
    )
    query = (
        _ROW.join(ranked, ranked.c.key == _t.key)
        .where((ranked.c.rank <= NEWEST) | (ranked.c.number == EXCLUSION))
        .order_by(parties.c.code, _t.number)
    )
    return [StatementRow(*row) for row in await tx.execute(query)]


async def of_party(tx: AsyncConnection, agreement: str, party: int) -> list[StatementRow]:
    """Return everything that a party has said, the first first; not the others' word."""
    query = _ROW.where(
        _t.agreement == agreement, _t.party == party, _t.number != EXCLUSION
    ).order_by(_t.number)
    return [StatementRow(*row) for row in await tx.execute(query)]


async def find(tx: AsyncConnection, agreement: str, party: int, number: int) -> StatementRow | None:
    """Return one statement."""
    query = _ROW.where(_t.agreement == agreement, _t.party == party, _t.number == number)
    row = (await tx.execute(query)).one_or_none()
    return StatementRow(*row) if row else None


async def add(
    tx: AsyncConnection, agreement: str, party: int, number: int, envelope: bytes, *, now_ms: int
) -> None:
    """Store one more; older ones stay, as evidence."""
    await tx.execute(
        insert(statements).values(
            agreement=agreement, party=party, number=number, envelope=envelope, accepted_at=now_ms
        )
    )


# --- exclusions that wait ---------------------------------------------------------------


class ExclusionRow(NamedTuple):
    """An exclusion that too few have signed."""

    key: int
    party: int
    proposer: int
    digest: bytes
    envelope: bytes


_e = exclusions.c
_WAITING = select(_e.key, _e.party, _e.proposer, _e.digest, _e.envelope)


async def waiting(tx: AsyncConnection, agreement: str, party: int) -> list[ExclusionRow]:
    """Return the exclusions that wait, but for those of this party."""
    if "\0" in agreement:
        return []
    query = _WAITING.where(_e.agreement == agreement, _e.party != party).order_by(_e.key)
    return [ExclusionRow(*row) for row in await tx.execute(query)]


async def find_waiting(tx: AsyncConnection, agreement: str, digest: bytes) -> ExclusionRow | None:
    """Return the exclusion with this payload."""
    query = _WAITING.where(_e.agreement == agreement, _e.digest == digest)
    row = (await tx.execute(query)).one_or_none()
    return ExclusionRow(*row) if row else None


async def count_waiting(tx: AsyncConnection, agreement: str, proposer: int) -> int:
    """Return how many exclusions a party has proposed that still wait."""
    query = select(func.count()).where(_e.agreement == agreement, _e.proposer == proposer)
    return int(await tx.scalar(query) or 0)


async def propose(
    tx: AsyncConnection,
    agreement: str,
    party: int,
    proposer: int,
    digest: bytes,
    envelope: bytes,
    *,
    now_ms: int,
) -> None:
    """Store an exclusion that waits."""
    await tx.execute(
        insert(exclusions).values(
            agreement=agreement,
            party=party,
            proposer=proposer,
            digest=digest,
            envelope=envelope,
            proposed_at=now_ms,
        )
    )


async def sign(tx: AsyncConnection, key: int, envelope: bytes) -> None:
    """Replace the envelope of one that waits by one with more signatures."""
    await tx.execute(update(exclusions).where(_e.key == key).values(envelope=envelope))


async def retract(tx: AsyncConnection, key: int) -> None:
    """Delete one exclusion that waits."""
    await tx.execute(delete(exclusions).where(_e.key == key))


async def drop_waiting(tx: AsyncConnection, agreement: str, party: int) -> None:
    """Delete what waits about a party: it is excluded now."""
    await tx.execute(delete(exclusions).where(_e.agreement == agreement, _e.party == party))
