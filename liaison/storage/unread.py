"""What a reader has still to read of a channel: the next items of its lanes, without or with their payloads.

Each lane is read from where the reader has got to, up to the last number that it may see, by one descent of
an index, however long the backlog is. What a reader has acknowledged is in `progress`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Column, Select, and_, bindparam, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import sqlite
from liaison.storage.items import Item
from liaison.storage.quick import Quick
from liaison.storage.tables import HANDSHAKE_LANE, beyond, items

_t = items.c


class Waiting(NamedTuple):
    """An item that waits for a reader, without its payload."""

    lane: int
    seq: int
    kind: int
    precedence: int
    epoch: int
    accepted_at: int
    size: int


def waiting_of(item: Item) -> Waiting:
    """Return an item as it waits for its readers."""
    return Waiting(
        item.lane, item.seq, item.kind, item.precedence, item.epoch, item.accepted_at, item.size
    )


_WAITING = tuple(_t[name] for name in Waiting._fields)


def _lane(number: int) -> Select[Any]:
    inner = select(*_WAITING).where(
        _t.channel == bindparam("channel"),
        _t.lane == number,
        _t.seq > bindparam(f"after{number}"),
        _t.seq <= bindparam("upto"),
    )
    if number != HANDSHAKE_LANE:
        # A device knows what it sent; its own commits it has to see in their order. What was
        # encrypted in an epoch before it joined was never meant for it.
        inner = inner.where(
            _t.sender.is_distinct_from(bindparam("device")), _t.epoch >= bindparam("since_epoch")
        )
    # SQLite takes ORDER BY and LIMIT within a UNION only from a subquery.
    part = inner.order_by(_t.seq).limit(bindparam("per_lane")).subquery()
    return select(part)


@cache
def _lanes(numbers: tuple[int, ...]) -> Quick:
    parts = [_lane(number) for number in numbers]
    return Quick(parts[0] if len(parts) == 1 else union_all(*parts))


class Reader(NamedTuple):
    """For whom a channel is read: a device, and one stay of it."""

    channel: int
    device: int
    member: int
    joined_epoch: int

    def is_meant(self, item: Item) -> bool:
        """Whether an item is for it; `waiting` says the same in the database's words."""
        if item.lane == HANDSHAKE_LANE:
            return True
        return item.sender != self.device and item.epoch >= self.joined_epoch


class LaneStretch(NamedTuple):
    """A part of one lane: the items after a number, up to another."""

    lane: int
    after: int
    upto: int


async def waiting(
    tx: AsyncConnection,
    reader: Reader,
    after: Mapping[int, int],
    *,
    upto: int,
    per_lane: int,
) -> list[Waiting]:
    """Return the next items of some lanes for one reader, in no particular order.

    Each lane costs one descent of the index, however long the backlog is.

    Args:
        after: by lane, the number that the reader has got to.
        upto: the last number that the reader may see.
        per_lane: how many of each lane at most.
    """
    values = {
        "channel": reader.channel,
        "device": reader.device,
        "since_epoch": reader.joined_epoch,
        "upto": upto,
        "per_lane": per_lane,
    }
    values |= {f"after{lane}": seq for lane, seq in after.items()}
    rows = await _lanes(tuple(sorted(after))).rows(tx, values)
    return list(map(Waiting._make, rows))


class Carried(NamedTuple):
    """An item of a backlog, with its payload."""

    seq: int
    kind: int
    precedence: int
    epoch: int
    accepted_at: int
    payload: bytes
    size: int


_CARRIED = tuple(_t[name] for name in Carried._fields)


def _next_of_lane(*columns: Column[Any]) -> Select[Any]:
    return (
        select(*columns)
        .where(
            _t.channel == bindparam("channel"),
            _t.lane == bindparam("lane"),
            _t.seq > bindparam("after"),
            _t.seq <= bindparam("upto"),
            _t.sender.is_distinct_from(bindparam("device")),
            _t.epoch >= bindparam("since_epoch"),
        )
        .order_by(_t.seq)
        .limit(bindparam("most"))
    )


def _next_that_fit() -> Select[Any]:
    # Sizes come before payloads, so that none is read that is too much.
    near = _next_of_lane(_t.seq, _t.size).subquery()
    total = func.sum(near.c.size).over(order_by=near.c.seq)
    sized = select(near.c.seq, near.c.size, total.label("total")).subquery()
    return (
        select(*_CARRIED)
        .join_from(sized, items, and_(_t.channel == bindparam("channel"), _t.seq == sized.c.seq))
        .where(or_(sized.c.total <= bindparam("max_bytes"), sized.c.total == sized.c.size))
        .order_by(_t.seq)
    )


_NEXT = Quick(_next_of_lane(*_CARRIED))
_NEXT_THAT_FIT = Quick(_next_that_fit())


async def run(
    tx: AsyncConnection, reader: Reader, stretch: LaneStretch, *, limit: int, max_bytes: int
) -> list[Carried]:
    """Return what comes next of a lane of messages, with its payloads; nothing at its end.

    Args:
        limit: how many at most.
        max_bytes: of payload; one item that is larger comes alone.
    """
    values = {
        "channel": reader.channel,
        "device": reader.device,
        "since_epoch": reader.joined_epoch,
        "lane": stretch.lane,
        "after": stretch.after,
        "upto": stretch.upto,
        "most": limit,
    }
    database = sqlite(tx)
    if database is None:
        rows = await _NEXT_THAT_FIT.rows(tx, values | {"max_bytes": max_bytes})
    else:
        # To add up the sizes in its words takes SQLite longer than all the rest.
        rows = await _NEXT.first_rows(database, tx, values, _beyond(max_bytes))
    return list(map(Carried._make, rows))


def _beyond(max_bytes: int) -> Callable[[tuple[Any, ...]], bool]:
    total = 0

    def is_too_much(row: tuple[Any, ...]) -> bool:
        nonlocal total
        total += row[-1]
        return bool(max_bytes < total > row[-1])

    return is_too_much


async def last_of_older_epochs(
    tx: AsyncConnection,
    reader: Reader,
    after: Mapping[int, int],
    *,
    before_seq: int,
    before_epoch: int,
) -> dict[int, int]:
    """Return by lane the last message of an older epoch that waits before a number.

    Args:
        after: by lane, the number that the reader has got to.
    """
    acknowledged = (
        select(beyond.c.seq)
        .where(beyond.c.member == reader.member, beyond.c.seq == _t.seq)
        .correlate(items)
        .exists()
    )
    query = (
        select(_t.lane, func.max(_t.seq))
        .where(
            _t.channel == reader.channel,
            or_(*(and_(_t.lane == lane, _t.seq > seq) for lane, seq in after.items())),
            _t.seq < before_seq,
            _t.epoch < before_epoch,
            _t.epoch >= reader.joined_epoch,
            _t.sender.is_distinct_from(reader.device),
            ~acknowledged,
        )
        .group_by(_t.lane)
    )
    return dict((await tx.execute(query)).all())
