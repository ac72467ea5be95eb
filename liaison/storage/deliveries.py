"""What of the acknowledgements the log does not know yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.padding import padded
from liaison.storage.tables import devices, members, parties

_t = members.c
# A stay begins after the commit that brought the device in.
_UNTOLD = and_(_t.cursor > _t.logged, _t.cursor > _t.joined_seq)


class Range(NamedTuple):
    """Items of a channel that a device has acknowledged, the first and the last of them."""

    channel: int
    device: str
    first: int
    last: int


async def untold(tx: AsyncConnection, limit: int) -> list[int]:
    """Return stays whose device has got further than the log knows."""
    query = select(_t.key).where(_UNTOLD).order_by(_t.key).limit(limit)
    return list((await tx.execute(query)).scalars())


async def take(tx: AsyncConnection, stays: Iterable[int]) -> list[Range]:
    """Return what is untold of these stays, and write down that it is told.

    The rows are locked until the commit, in the order of their keys: another node that
    tells of them waits, and then finds nothing left.
    """
    query = (
        select(_t.key, _t.channel, devices.c.name, _t.joined_seq, _t.logged, _t.cursor)
        .join_from(members, devices, _t.device == devices.c.key)
        .where(_t.key.in_(padded(stays)), _UNTOLD)
        .order_by(_t.key)
        .with_for_update(of=members)
    )
    rows = (await tx.execute(query)).all()
    # Locked, so the cursor is still the one that was read.
    keys = [row.key for row in rows]
    await tx.execute(update(members).where(_t.key.in_(padded(keys))).values(logged=_t.cursor))
    return [
        Range(row.channel, row.name, max(row.logged, row.joined_seq) + 1, row.cursor)
        for row in rows
    ]


async def parties_in(tx: AsyncConnection, channels: Iterable[int]) -> dict[int, list[str]]:
    """Return the codes of the parties that have a device in each of these channels."""
    query = (
        select(_t.channel, parties.c.code)
        .join_from(members, devices, _t.device == devices.c.key)
        .join(parties, devices.c.party == parties.c.key)
        .where(_t.channel.in_(padded(channels)), _t.left_seq.is_(None))
        .distinct()
    )
    found: dict[int, list[str]] = {}
    for channel, code in await tx.execute(query):
        found.setdefault(channel, []).append(code)
    return found
