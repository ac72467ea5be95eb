"""How much waits for devices that have not fetched it, over all channels together."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import channels, members

ROOM: Final = 1 << 32
"""Numbers of a channel's items for each log of its agreement: more than a channel ever has."""


class Backlog(NamedTuple):
    """What waits for devices.

    Args:
        items: deliveries that are not acknowledged, each device's counted.
        longest: of one device in one channel.
        behind: devices' places in channels that have not acknowledged everything.
    """

    items: int
    longest: int
    behind: int


NOTHING: Final = Backlog(0, 0, 0)


class Walk(NamedTuple):
    """How far a walk over all stays in channels has come, and what waits of those it has seen.

    Args:
        found: so far.
        after: the key of the last stay that was looked at.
        is_over: there was none after it.
    """

    found: Backlog = NOTHING
    after: int = 0
    is_over: bool = False


BEGIN: Final = Walk()
_m, _h = members.c, channels.c.head


async def measure(tx: AsyncConnection, walk: Walk = BEGIN, *, limit: int) -> Walk:
    """Look at the next stays, by their keys; the work is the same however many there are.

    Args:
        tx: the caller's transaction.
        walk: where the last call has come to; a new walk where left out.
        limit: stays that are looked at.
    """
    some = (
        select(_m.key, _m.channel, _m.cursor, _m.left_seq)
        .where(_m.key > walk.after)
        .order_by(_m.key)
        .limit(limit)
        .subquery()
    )
    # With a new log a channel's numbers go on in another room; between the two none was given out.
    room = _h - _h % ROOM
    waits = _h - case((some.c.cursor < room, room - 1), else_=some.c.cursor)
    counted = case((and_(some.c.left_seq.is_(None), waits > 0), waits), else_=0)
    query = select(
        func.count(),
        func.coalesce(func.max(some.c.key), walk.after),
        func.coalesce(func.sum(counted), 0),
        func.coalesce(func.max(counted), 0),
        func.coalesce(func.sum(case((counted > 0, 1), else_=0)), 0),
    ).select_from(some.join(channels, some.c.channel == channels.c.key))
    looked, after, items, longest, behind = (await tx.execute(query)).one()
    found = Backlog(
        walk.found.items + int(items),
        max(walk.found.longest, int(longest)),
        walk.found.behind + int(behind),
    )
    return Walk(found, int(after), is_over=looked < limit)
