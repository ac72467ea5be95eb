"""Attachments' ciphertext, in chunks. An upload is nobody's until it is complete."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, false, insert, select, true, update
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


async def drop(tx: AsyncConnection, blob: int) -> None:
    """Delete an upload or an attachment."""
    await tx.execute(delete(blob_chunks).where(blob_chunks.c.blob == blob))
    await tx.execute(delete(blobs).where(_t.key == blob))


async def expire(tx: AsyncConnection, *, now_ms: int, limit: int) -> int:
    """Delete attachments whose time is over; return how many."""
    return await _drop_where(tx, _t.expires_at <= now_ms, limit)


async def drop_unfinished(tx: AsyncConnection, *, before_ms: int, limit: int) -> int:
    """Delete uploads that were begun before a moment and never completed; return how many."""
    unfinished = (_t.complete == false()) & (_t.created_at < before_ms)
    return await _drop_where(tx, unfinished, limit)


async def _drop_where(tx: AsyncConnection, which: ColumnElement[bool], limit: int) -> int:
    keys = list((await tx.execute(select(_t.key).where(which).limit(limit))).scalars())
    for key in keys:
        await drop(tx, key)
    return len(keys)
