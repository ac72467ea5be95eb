"""Reading logs: entries by place, by index, by type and mark, and kept checkpoints.

Every function is one bounded statement. `below` is a size: entries from there on are not
returned, because no checkpoint that the reader has covers them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.padding import padded
from liaison.storage.tables import log_checkpoints, log_entries, log_openings


class EntryRow(NamedTuple):
    """An entry and what opens it.

    Args:
        log: key of the log.
        at: its index.
        type: of the entry.
        time: Unix milliseconds.
        channel: key of the channel; None for none.
        seq: the place in the channel; None for none.
        mark: what the entry is found by; None for nothing.
        data: the entry.
        audience: codes of the parties that may be shown what opens it, between commas; None for
            every party of the agreement.
        openings: None where they were erased.
    """

    log: int
    at: int
    type: str
    time: int
    channel: int | None
    seq: int | None
    mark: bytes | None
    data: bytes
    audience: str | None
    openings: bytes | None

    def may_open(self, party: str) -> bool:
        """Whether a party may be shown what opens the entry."""
        return self.audience is None or f",{party}," in self.audience


_e = log_entries.c
_o = log_openings.c
_ROW = select(
    _e.log, _e.index, _e.type, _e.time, _e.channel, _e.seq, _e.mark, _e.data,
    _o.audience, _o.data.label("openings"),
).outerjoin_from(
    log_entries, log_openings, and_(_o.log == _e.log, _o.index == _e.index)
)  # fmt: skip


async def _rows(tx: AsyncConnection, query: Select[Any]) -> list[EntryRow]:
    return [EntryRow(*row) for row in await tx.execute(query)]


async def data(tx: AsyncConnection, log: int, first: int, last: int) -> list[bytes]:
    """Return the bytes of the entries `first` to `last`, `last` not among them."""
    query = (
        select(_e.data).where(_e.log == log, _e.index >= first, _e.index < last).order_by(_e.index)
    )
    return list((await tx.scalars(query)).all())


async def by_index(tx: AsyncConnection, log: int, first: int, last: int) -> list[EntryRow]:
    """Return the entries `first` to `last`, `last` not among them."""
    query = _ROW.where(_e.log == log, _e.index >= first, _e.index < last).order_by(_e.index)
    return await _rows(tx, query)


async def by_place(
    tx: AsyncConnection,
    log: int,
    channel: int,
    *,
    after: int,
    upto: int,
    below: int,
    limit: int,
) -> list[EntryRow]:
    """Return the entries of a channel's items, in the order of their numbers.

    Args:
        log: what stands in another log, of an earlier generation, is not returned.
        channel: key of it.
        after: the last number that the reader has.
        upto: the last that it may see.
        below: see the module.
        limit: how many at most.
    """
    query = (
        _ROW.where(
            _e.channel == channel,
            # A message in every place of the index would need no test; the planner asks for it.
            _e.seq.is_not(None),
            _e.seq > after,
            _e.seq <= upto,
            _e.log == log,
            _e.index < below,
        )
        .order_by(_e.seq)
        .limit(limit)
    )
    return await _rows(tx, query)


async def by_type(
    tx: AsyncConnection,
    log: int,
    types: Collection[str],
    *,
    first: int,
    below: int,
    party: str | None,
    limit: int,
) -> list[EntryRow]:
    """Return entries without a place in a channel, of some types, in order.

    Args:
        log: which.
        types: see `liaison.tlog.fields.EntryType`.
        first: the first index that may be returned.
        below: see the module.
        party: whoever may open them; None for all.
        limit: how many at most.
    """
    query = _ROW.where(
        _e.log == log,
        _e.type.in_(padded(sorted(types))),
        _e.seq.is_(None),
        _e.index >= first,
        _e.index < below,
    )
    if party is not None:
        # An erased opening has no audience any more: whoever may ask for the log sees the entry.
        query = query.where(
            or_(_o.audience.is_(None), _o.audience.contains(f",{party},", autoescape=True))
        )
    return await _rows(tx, query.order_by(_e.index).limit(limit))


async def by_mark(
    tx: AsyncConnection, log: int, marks: Iterable[bytes], *, below: int
) -> dict[bytes, EntryRow]:
    """Return for each mark the first entry that has it."""
    wanted = padded(sorted(set(marks)))
    query = _ROW.where(_e.log == log, _e.mark.in_(wanted), _e.mark.is_not(None), _e.index < below)
    found: dict[bytes, EntryRow] = {}
    for row in await _rows(tx, query.order_by(_e.index)):
        found.setdefault(row.mark or b"", row)
    return found


async def time_of(tx: AsyncConnection, log: int, index: int) -> int | None:
    """Return the time of an entry, Unix milliseconds; None where the log has not got so far."""
    query = select(_e.time).where(_e.log == log, _e.index == index)
    return await tx.scalar(query)


async def index_at(tx: AsyncConnection, log: int, time_ms: int, *, below: int) -> int:
    """Return the first index whose entry is not older than a time, `below` where there is none.

    Times never go back within a log, so this halves the log until it is found.
    """
    low, high = 0, below
    while low < high:
        middle = (low + high) // 2
        at = await time_of(tx, log, middle)
        if at is None or at >= time_ms:
            high = middle
        else:
            low = middle + 1
    return low


class CheckpointRow(NamedTuple):
    """A cosigned checkpoint that was kept; `time` is when, Unix milliseconds."""

    size: int
    time: int
    note: bytes


async def checkpoints(
    tx: AsyncConnection, log: int, *, first: int = 0, last: int | None = None
) -> list[CheckpointRow]:
    """Return the kept checkpoints with sizes `first` to `last`, in order."""
    kept = log_checkpoints.c
    query = select(kept.size, kept.time, kept.note).where(kept.log == log, kept.size >= first)
    if last is not None:
        query = query.where(kept.size <= last)
    return [CheckpointRow(*row) for row in await tx.execute(query.order_by(kept.size))]


async def checkpoint_from(tx: AsyncConnection, log: int, size: int) -> CheckpointRow | None:
    """Return the smallest kept checkpoint of at least a size."""
    kept = log_checkpoints.c
    query = (
        select(kept.size, kept.time, kept.note)
        .where(kept.log == log, kept.size >= size)
        .order_by(kept.size)
        .limit(1)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else CheckpointRow(*row)


async def erase_openings(tx: AsyncConnection, log: int, indexes: Iterable[int]) -> int:
    """Erase what opens some entries; return how many there were. The entries stay."""
    wanted = padded(sorted(set(indexes)))
    if not wanted:
        return 0
    gone = await tx.execute(delete(log_openings).where(_o.log == log, _o.index.in_(wanted)))
    return int(gone.rowcount)
