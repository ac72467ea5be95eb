"""How much waits for devices that have not fetched it, over all channels together."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import case, func, select
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


async def measure(tx: AsyncConnection) -> Backlog:
    """Return what waits. Goes through all members: not for every second."""
    # With a new log a channel's numbers go on in another room; between the two none was given out.
    room = channels.c.head - channels.c.head % ROOM
    behind = members.c.cursor < room
    waits = channels.c.head - case((behind, room - 1), else_=members.c.cursor)
    query = (
        select(func.coalesce(func.sum(waits), 0), func.coalesce(func.max(waits), 0), func.count())
        .select_from(members.join(channels, members.c.channel == channels.c.key))
        .where(members.c.left_seq.is_(None), waits > 0)
    )
    items, longest, behind = (await tx.execute(query)).one()
    return Backlog(int(items), int(longest), int(behind))
