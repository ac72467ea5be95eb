"""What was sequenced: messages, commits and proposals, each stored once per channel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import sqlite
from liaison.storage.many_rows import insert_rows
from liaison.storage.padding import any_of, batches, padded, values_of
from liaison.storage.questions import Question, ask
from liaison.storage.quick import ByKeys, Part, Quick
from liaison.storage.tables import GAP, HANDSHAKE_LANE, MESSAGE, beyond, channels, devices, items


class Item(NamedTuple):
    """One item, in the order of the table's columns; `size` is of the payload as it was accepted."""

    channel: int
    seq: int
    kind: int
    lane: int
    precedence: int
    epoch: int
    sender: int | None
    message_id: bytes
    accepted_at: int
    expires_at: int | None
    size: int
    digest: bytes
    payload: bytes


_t = items.c


async def append(tx: AsyncConnection, new: Sequence[Item]) -> None:
    """Store items under numbers that the caller took from the channels that it has locked."""
    await insert_rows(tx, (items, new))


class Stored(NamedTuple):
    """What a resend is answered with."""

    seq: int
    epoch: int
    accepted_at: int
    digest: bytes


_IDENTS: Final = 64
"""Looked for in one statement: it makes up to so many squared probes of the index."""

Ident = tuple[int, int, bytes]
"""Channel, sender, message id: unique."""
Sent = tuple[bytes, int, bytes]
"""The same, with the channel's id in the place of its key."""
_SENT = (channels.c.id, _t.sender, _t.message_id)
_FOUND = select(_t.channel, _t.sender, _t.message_id, _t.seq, _t.epoch, _t.accepted_at, _t.digest)
_FIND = ByKeys(_SENT, lambda which: _FOUND.join_from(items, channels).where(which))
_FIND_AMONG = Quick(
    _FOUND.where(
        _t.channel
        == select(channels.c.key).where(channels.c.id == bindparam("channel")).scalar_subquery(),
        _t.sender.in_(bindparam("senders", expanding=True)),
        _t.message_id.in_(bindparam("ids", expanding=True)),
    )
)


def stored_as(tx: AsyncConnection, sent: Collection[Sent]) -> Question[dict[Ident, Stored]]:
    """Ask which items are stored already; there may be some in the answer that nobody asked for."""
    parts = _FIND.parts(tx, sent) if sqlite(tx) is None else _among(sent)
    return Question(parts, lambda rows: {(*row[:3],): Stored(*row[3:]) for row in rows})


async def find(tx: AsyncConnection, sent: Sent) -> Stored | None:
    """Return an item that is stored already."""
    found = await ask(tx, stored_as(tx, [sent]))
    return next(iter(found.values()), None)


def _among(sent: Collection[Sent]) -> list[Part]:
    # Most that are asked for together are of few channels and senders, so on SQLite lists of these
    # are quicker than keys of three columns. Each ends up in the index: some times more than needed.
    parts: list[Part] = []
    for channel, group in groupby(sorted(sent), itemgetter(0)):
        wanted = list(group)
        for at in range(0, len(wanted), _IDENTS):
            some = wanted[at : at + _IDENTS]
            among = {
                "channel": channel,
                "senders": padded({sender for _, sender, _ in some}),
                "ids": padded(ident for _, _, ident in some),
            }
            parts.append((_FIND_AMONG, among))
    return parts


async def of_party(
    tx: AsyncConnection, channel: int, ident: bytes, *, party: int, but: int
) -> list[bytes]:
    """Return the payloads that devices of a party have sent under one message id.

    Args:
        channel: its key.
        ident: the message id.
        party: the party's key.
        but: the key of the device that is left out.

    Returns:
        Also what has expired, which is empty.
    """
    theirs = select(devices.c.key).where(devices.c.party == party, devices.c.key != but)
    query = select(_t.payload).where(
        _t.channel == channel, _t.message_id == ident, _t.sender.in_(theirs)
    )
    return [bytes(payload) for payload in (await tx.execute(query)).scalars()]


# --- a reader's queue -------------------------------------------------------------------


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


class Payload(NamedTuple):
    """An item's bytes, and its kind at the moment of reading."""

    seq: int
    kind: int
    payload: bytes


_PAYLOADS = Quick(
    select(_t.seq, _t.kind, _t.payload).where(
        _t.channel == bindparam("channel"), _t.seq.in_(bindparam("seqs", expanding=True))
    )
)


async def payloads(tx: AsyncConnection, channel: int, seqs: Iterable[int]) -> dict[int, Payload]:
    """Return the payloads of items of a channel, by number."""
    rows = await _PAYLOADS.rows(tx, {"channel": channel, "seqs": padded(seqs)})
    return {row[0]: Payload(*row) for row in rows}


async def expire(
    tx: AsyncConnection, *, now_ms: int, limit: int, held: Select[tuple[int]] | None = None
) -> list[tuple[int, int, int]]:
    """Turn messages whose time is over into gaps: the number stays, the bytes go.

    Args:
        now_ms: Unix milliseconds.
        limit: messages at most.
        held: channels of which nothing is erased.

    Returns:
        Channel, number and size of each.
    """
    due = select(_t.channel, _t.seq, _t.size).where(
        _t.expires_at.is_not(None), _t.expires_at <= now_ms, _t.kind == MESSAGE
    )
    if held is not None:
        due = due.where(_t.channel.not_in(held))
    due = due.order_by(_t.expires_at).limit(limit)
    gone = [(row.channel, row.seq, row.size) for row in await tx.execute(due)]
    keys = [(channel, seq) for channel, seq, _ in gone]
    gap = update(items).values(kind=GAP, payload=literal(b""), expires_at=None)
    for some in batches(keys):
        which = any_of((_t.channel, _t.seq), len(some))
        await tx.execute(gap.where(which, _t.kind == MESSAGE), values_of(some))
    return gone
