"""Invitations, sealed requests and sealed replies. The code's secret never comes here."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import enrolments


class State(StrEnum):
    """Where an enrolment stands."""

    INVITED = "invited"
    REQUESTED = "requested"
    APPROVED = "approved"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class EnrolmentRow(NamedTuple):
    """One invitation and what came of it; times in ms."""

    lookup: bytes
    party: int
    device: str
    state: str
    expires_at: int
    sealed_request: bytes | None
    sealed_reply: bytes | None


_t = enrolments.c
_ROW = select(
    _t.lookup, _t.party, _t.device, _t.state, _t.expires_at, _t.sealed_request, _t.sealed_reply
)


async def find(tx: AsyncConnection, lookup: bytes, *, lock: bool = False) -> EnrolmentRow | None:
    """Return an enrolment; with `lock`, nobody else changes it before the commit."""
    query = _ROW.where(_t.lookup == lookup)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return EnrolmentRow(*row) if row else None


class Listed(NamedTuple):
    """An enrolment, and how many bytes its sealed request has."""

    lookup: bytes
    size: int


async def listed(
    tx: AsyncConnection, party: int, *, after: bytes | None = None, limit: int
) -> list[Listed] | None:
    """Return the party's enrolments after one, oldest first; None where it has no such one."""
    size = func.coalesce(func.length(_t.sealed_request), 0)
    order = (_t.invited_at, _t.lookup)
    query = select(_t.lookup, size).where(_t.party == party).order_by(*order).limit(limit)
    if after is not None:
        mark = select(*order).where(_t.party == party, _t.lookup == after)
        row = (await tx.execute(mark)).one_or_none()
        if row is None:
            return None
        at, lookup = row
        query = query.where(or_(_t.invited_at > at, and_(_t.invited_at == at, _t.lookup > lookup)))
    return [Listed(*row) for row in await tx.execute(query)]


async def by_lookups(tx: AsyncConnection, lookups: Iterable[bytes]) -> list[EnrolmentRow]:
    """Return enrolments, oldest first."""
    query = _ROW.where(_t.lookup.in_(list(lookups))).order_by(_t.invited_at, _t.lookup)
    return [EnrolmentRow(*row) for row in await tx.execute(query)]


async def count_open(tx: AsyncConnection, party: int, *, now_ms: int) -> int:
    """Return how many of a party's enrolments wait for their device or its registrar."""
    query = select(func.count()).where(
        _t.party == party,
        _t.state.in_([State.INVITED, State.REQUESTED]),
        _t.expires_at > now_ms,
    )
    return int((await tx.execute(query)).scalar_one())


async def count(tx: AsyncConnection, party: int) -> int:
    """Return how many enrolments of a party are kept."""
    query = select(func.count()).where(_t.party == party)
    return int((await tx.execute(query)).scalar_one())


async def add(
    tx: AsyncConnection, lookup: bytes, party: int, device: str, *, expires_at: int, now_ms: int
) -> None:
    """Add an invitation."""
    await tx.execute(
        insert(enrolments).values(
            lookup=lookup,
            party=party,
            device=device,
            state=State.INVITED,
            invited_at=now_ms,
            expires_at=expires_at,
        )
    )


async def set_state(
    tx: AsyncConnection, lookup: bytes, state: State, **sealed: bytes | None
) -> None:
    """Move on; `sealed` sets `sealed_request` or `sealed_reply`."""
    await tx.execute(update(enrolments).where(_t.lookup == lookup).values(state=state, **sealed))


async def forget(tx: AsyncConnection, *, before_ms: int, limit: int) -> int:
    """Delete enrolments whose time was over before then; return how many."""
    old = select(_t.lookup).where(_t.expires_at <= before_ms).limit(limit)
    done = await tx.execute(delete(enrolments).where(_t.lookup.in_(old.scalar_subquery())))
    return int(done.rowcount)


async def expire(tx: AsyncConnection, *, now_ms: int, limit: int) -> int:
    """Close enrolments whose time is over and forget what was sealed; return how many."""
    await tx.execute(
        update(enrolments)
        .where(_t.expires_at <= now_ms, _t.sealed_reply.is_not(None))
        .values(sealed_request=None, sealed_reply=None)
    )
    due = (
        select(_t.lookup)
        .where(_t.expires_at <= now_ms, _t.state.in_([State.INVITED, State.REQUESTED]))
        .limit(limit)
    )
    done = await tx.execute(
        update(enrolments)
        .where(_t.lookup.in_(due.scalar_subquery()))
        .values(state=State.EXPIRED, sealed_request=None)
    )
    return int(done.rowcount)
