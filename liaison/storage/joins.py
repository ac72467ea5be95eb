"""What devices need that a commit has added: a Welcome, and the tree of its epoch.

Kept while one of them has not got its Welcome. Stays are in `members`, under whose keys Welcomes wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import and_, bindparam, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.quick import Quick
from liaison.storage.tables import joins, welcomes
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Join:
    """What the devices that one commit added need to take part in its epoch."""

    channel: int
    epoch: int
    accepted_at: int
    tree: bytes
    welcome: bytes


_w, _j = welcomes.c, joins.c
_JOIN = select(*(_j[name] for name in Join.__slots__))


async def add(tx: AsyncConnection, join: Join, stays: Iterable[int]) -> None:
    """Store a Welcome, its tree, and for which stays it waits."""
    await tx.execute(insert(joins), [{name: getattr(join, name) for name in Join.__slots__}])
    await tx.execute(
        insert(welcomes),
        [{"member": key, "channel": join.channel, "epoch": join.epoch} for key in stays],
    )


_WELCOME = Quick(
    _JOIN.join_from(joins, welcomes, and_(_w.channel == _j.channel, _w.epoch == _j.epoch)).where(
        _w.member == bindparam("member_key")
    )
)


async def welcome(tx: AsyncConnection, member: int) -> Join | None:
    """Return the Welcome that waits for a stay."""
    rows = await _WELCOME.rows(tx, {"member_key": member})
    return Join(*rows[0]) if rows else None


async def tree(tx: AsyncConnection, channel: int, epoch: int) -> bytes | None:
    """Return the public tree that Welcomes into an epoch need, while one waits."""
    return await tx.scalar(select(_j.tree).where(_j.channel == channel, _j.epoch == epoch))


async def untaken(tx: AsyncConnection, stays: Iterable[int]) -> list[int]:
    """Return for which of some stays a Welcome waits."""
    query = select(_w.member).where(_w.member.in_(list(stays)))
    return list((await tx.execute(query)).scalars())


async def expire(tx: AsyncConnection, *, before_ms: int, limit: int) -> int:
    """Forget Welcomes that were accepted before then and that nobody took; return how many.

    Their devices stay members, and come back by external commit.
    """
    query = (
        select(_w.member)
        .join_from(welcomes, joins, and_(_w.channel == _j.channel, _w.epoch == _j.epoch))
        .where(_j.accepted_at < before_ms)
        .limit(limit)
    )
    stays = list((await tx.execute(query)).scalars())
    await drop(tx, stays)
    return len(stays)


async def drop(tx: AsyncConnection, stays: Iterable[int]) -> None:
    """Forget that Welcomes wait for these stays, and what no other device waits for."""
    keys = list(stays)
    if not keys:
        return
    waiting = select(_w.channel, _w.epoch).where(_w.member.in_(keys))
    epochs = {(row.channel, row.epoch) for row in await tx.execute(waiting)}
    if not epochs:
        return
    await tx.execute(delete(welcomes).where(_w.member.in_(keys)))
    needed = select(_w.channel, _w.epoch).where(tuple_(_w.channel, _w.epoch).in_(list(epochs)))
    kept = {(row.channel, row.epoch) for row in await tx.execute(needed)}
    for channel, epoch in sorted(epochs - kept):
        await tx.execute(delete(joins).where(_j.channel == channel, _j.epoch == epoch))
