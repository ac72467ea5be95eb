"""What the retention erases: contents that are over their time, and what opens old entries."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Select, and_, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.padding import padded
from liaison.storage.tables import agreements, channels, erasures, log_entries, log_openings


def channels_held(held: Collection[str]) -> Select[tuple[int]]:
    """Return the keys of the channels under any version of some agreements, as a subquery."""
    query = select(channels.c.key).join(agreements, channels.c.agreement == agreements.c.key)
    return query.where(agreements.c.id.in_(padded(sorted(held))))


async def agreements_of(tx: AsyncConnection, keys: Collection[int]) -> dict[int, str]:
    """Return the ids of the agreements that channels are under."""
    query = (
        select(channels.c.key, agreements.c.id)
        .join(agreements, channels.c.agreement == agreements.c.key)
        .where(channels.c.key.in_(padded(sorted(set(keys)))))
    )
    return {row.key: row.id for row in await tx.execute(query)}


_e, _o = log_entries.c, log_openings.c


class Due(NamedTuple):
    """An entry that can still be opened: its index, and its time in Unix milliseconds."""

    at: int
    time: int


async def openable(
    tx: AsyncConnection, log: int, types: Collection[str], *, below: int, limit: int
) -> list[Due]:
    """Return the first entries of some types that can still be opened.

    Args:
        log: its key.
        types: see `liaison.tlog.fields.EntryType`.
        below: entries from this index on are not returned.
        limit: how many at most.
    """
    query = (
        select(_e.index, _e.time)
        .join_from(log_openings, log_entries, and_(_e.log == _o.log, _e.index == _o.index))
        .where(_o.log == log, _o.index < below, _e.type.in_(padded(sorted(types))))
        .order_by(_o.index)
        .limit(limit)
    )
    return [Due(*row) for row in await tx.execute(query)]


# --- reports ----------------------------------------------------------------------------

_r = erasures.c


async def keep(
    tx: AsyncConnection, agreement: str, digest: bytes, report: bytes, *, now_ms: int
) -> None:
    """Keep the report of an erasure."""
    values = {"agreement": agreement, "digest": digest, "report": report, "made_at": now_ms}
    await tx.execute(insert(erasures).values(values))


async def count(tx: AsyncConnection, agreement: str) -> int:
    """Return how many reports of an agreement there are."""
    found = await tx.scalar(select(func.count()).where(_r.agreement == agreement))
    return int(found or 0)


async def report(tx: AsyncConnection, agreement: str, digest: bytes) -> bytes | None:
    """Return a report, a signed note."""
    query = select(_r.report).where(_r.agreement == agreement, _r.digest == digest)
    return await tx.scalar(query)
