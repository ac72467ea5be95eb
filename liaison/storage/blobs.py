"""Attachments' ciphertext, in chunks. What is not complete is nobody's.

An upload becomes complete when its digest was checked. An attachment whose time
is over becomes incomplete again: that is one row, so nobody reads half of what is
being deleted, and its chunks, of which there may be thousands, go a few at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Select, delete, false, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import blob_chunks, blobs


class BlobRow(NamedTuple):
    """A complete attachment."""

    key: int
    digest: bytes
    size: int


_t = blobs.c


async def find(tx: AsyncConnection, channel: int, id_: bytes) -> BlobRow | None:
    """Return a complete attachment."""
    query = select(_t.key, _t.digest, _t.size).where(
        _t.channel == channel, _t.id == id_, _t.complete == true()
    )
    row = (await tx.execute(query)).one_or_none()
    return BlobRow(*row) if row else None


async def begin(
    tx: AsyncConnection, channel: int, id_: bytes, uploader: int, digest: bytes, *, now_ms: int
) -> int:
    """Begin an upload; return its key. Several uploads of one id may be under way."""
    row = await tx.execute(
        insert(blobs)
        .values(
            channel=channel,
            id=id_,
            uploader=uploader,
            digest=digest,
            size=0,
            complete=False,
            created_at=now_ms,
        )
        .returning(_t.key)
    )
    return int(row.scalar_one())


async def add_chunk(tx: AsyncConnection, blob: int, index: int, data: bytes) -> None:
    """Store one chunk of an upload."""
    await tx.execute(insert(blob_chunks).values(blob=blob, index=index, data=data))


async def complete(tx: AsyncConnection, blob: int, size: int, *, expires_at: int | None) -> None:
    """Make an upload visible; its digest was checked."""
    await tx.execute(
        update(blobs).where(_t.key == blob).values(complete=True, size=size, expires_at=expires_at)
    )


async def chunk(tx: AsyncConnection, blob: int, index: int) -> bytes | None:
    """Return one chunk."""
    c = blob_chunks.c
    return await tx.scalar(select(c.data).where(c.blob == blob, c.index == index))


async def expire(
    tx: AsyncConnection, *, now_ms: int, limit: int, held: Select[tuple[int]] | None = None
) -> list[int]:
    """Take attachments whose time is over out of everyone's reach.

    Args:
        now_ms: Unix milliseconds.
        limit: attachments at most.
        held: channels of which nothing is erased.

    Returns:
        The channel of each.
    """
    due = select(_t.key).where(_t.expires_at <= now_ms, _t.complete == true())
    if held is not None:
        due = due.where(_t.channel.not_in(held))
    done = await tx.execute(
        update(blobs)
        .where(_t.key.in_(due.limit(limit).scalar_subquery()))
        .values(complete=False)
        .returning(_t.channel)
    )
    return list(done.scalars())


async def erase(tx: AsyncConnection, *, now_ms: int, begun_before_ms: int, limit: int) -> int:
    """Delete what has expired, and uploads that nobody completed; return how many rows.

    Args:
        begun_before_ms: an upload that was begun later may still be under way.
        limit: rows at most.
    """
    over = or_(_t.expires_at <= now_ms, _t.created_at < begun_before_ms)
    query = select(_t.key).where(_t.complete == false(), over).limit(limit)
    erased = 0
    for key in list((await tx.execute(query)).scalars()):
        if erased < limit:
            erased += await drop(tx, key, limit=limit - erased)
    return erased


async def drop(tx: AsyncConnection, blob: int, *, limit: int) -> int:
    """Delete up to `limit` rows of something incomplete, its own row last; return how many."""
    unfinished = (_t.key == blob) & (_t.complete == false())
    if await tx.scalar(select(_t.key).where(unfinished)) is None:
        return 0
    c = blob_chunks.c
    some = select(c.index).where(c.blob == blob).limit(limit)
    gone = await tx.execute(
        delete(blob_chunks).where(c.blob == blob, c.index.in_(some.scalar_subquery()))
    )
    if gone.rowcount >= limit:
        return int(gone.rowcount)
    await tx.execute(delete(blobs).where(unfinished))
    return int(gone.rowcount) + 1
