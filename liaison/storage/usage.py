"""How much is stored of what limits bound."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.channels import channels_under
from liaison.storage.tables import MESSAGE, blobs, channels, devices, items


class Messages(NamedTuple):
    """What one channel holds, and its last number when that was counted."""

    number: int
    size: int
    head: int


async def messages(tx: AsyncConnection, channel: int) -> Messages:
    """Count the messages of a channel and their bytes; takes longer the more there are."""
    head = await tx.scalar(select(channels.c.head).where(channels.c.key == channel))
    query = select(func.count(), func.coalesce(func.sum(items.c.size), 0)).where(
        items.c.channel == channel, items.c.kind == MESSAGE
    )
    count, size = (await tx.execute(query)).one()
    return Messages(int(count), int(size), int(head or 0))


async def channels_under_agreement(tx: AsyncConnection, agreement: str) -> int:
    """Return how many channels there are under any version of an agreement."""
    under = channels_under(agreement).subquery()
    return int((await tx.execute(select(func.count()).select_from(under))).scalar_one())


async def attachments_of_channel(tx: AsyncConnection, channel: int) -> int:
    """Return the bytes of the attachments that a channel holds."""
    query = select(func.coalesce(func.sum(blobs.c.size), 0)).where(
        blobs.c.channel == channel, blobs.c.complete == true()
    )
    return int((await tx.execute(query)).scalar_one())


async def attachments_of_party(tx: AsyncConnection, party: int) -> int:
    """Return the bytes of the attachments that a party's devices have stored, in all channels."""
    query = (
        select(func.coalesce(func.sum(blobs.c.size), 0))
        .join_from(blobs, devices, blobs.c.uploader == devices.c.key)
        .where(devices.c.party == party, blobs.c.complete == true())
    )
    return int((await tx.execute(query)).scalar_one())
