"""How far each device has read of each channel.

A stay's cursor says that everything up to there is acknowledged; single numbers
beyond it are in `beyond` until the cursor reaches them. Stays themselves are in
`members`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ColumnElement,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import postgres
from liaison.storage.many_rows import ForEach
from liaison.storage.members import LASTS, PRESENT, ROW, MemberRow
from liaison.storage.padding import padded
from liaison.storage.questions import Question
from liaison.storage.quick import ByKeys, Quick
from liaison.storage.remembered import rely
from liaison.storage.tables import HANDSHAKE_LANE, beyond, channels, items, members, welcomes
from liaison.values import dataclass

_t, _w = members.c, welcomes.c


@dataclass(frozen=True, slots=True)
class Stay:
    """A stay with something to read: where it stands, and what its channel has."""

    member: int
    channel: int
    id: bytes
    joined_seq: int
    joined_epoch: int
    left_seq: int | None
    cursor: int
    past_epochs: int
    head: int
    welcomed: bool


_STAY = (
    select(
        _t.key,
        _t.channel,
        channels.c.id,
        _t.joined_seq,
        _t.joined_epoch,
        _t.left_seq,
        _t.cursor,
        channels.c.past_epochs,
        channels.c.head,
        _w.member.is_not(None),
    )
    .join_from(members, channels, _t.channel == channels.c.key)
    .outerjoin(welcomes, _w.member == _t.key)
    .order_by(_t.key)
)
_READABLE = or_(PRESENT, _t.cursor < _t.left_seq, _w.member.is_not(None))
_STAYS = Quick(_STAY.where(_t.device == bindparam("device_key"), _READABLE))
_STAYS_OF_CHANNEL = Quick(
    _STAY.where(
        _t.device == bindparam("device_key"), _READABLE, _t.channel == bindparam("channel_key")
    )
)


async def stays(tx: AsyncConnection, device: int, channel: int | None = None) -> list[Stay]:
    """Return the device's stays that are not read to their end, oldest first."""
    if channel is None:
        rows = await _STAYS.rows(tx, {"device_key": device})
    else:
        rows = await _STAYS_OF_CHANNEL.rows(tx, {"device_key": device, "channel_key": channel})
    return [Stay(*row) for row in rows]


_STAYS_OF = Quick(
    _STAY.add_columns(_t.device).where(
        _t.device.in_(bindparam("device_keys", expanding=True)), _READABLE
    )
)


def stays_of(device_keys: Iterable[int]) -> Question[dict[int, list[Stay]]]:
    """Ask for the stays of many devices, as `stays` does for one; by device."""

    def read(rows: Iterable[Any]) -> dict[int, list[Stay]]:
        found: dict[int, list[Stay]] = {}
        for *stay, device in rows:
            found.setdefault(device, []).append(Stay(*stay))
        return found

    return Question([(_STAYS_OF, {"device_keys": padded(device_keys)})], read)


_CHANNELS_TO_READ = Quick(
    select(_t.device, _t.channel)
    .outerjoin_from(members, welcomes, _w.member == _t.key)
    .where(_t.device.in_(bindparam("device_keys", expanding=True)), _READABLE)
)


async def channels_to_read(tx: AsyncConnection, device_keys: Iterable[int]) -> dict[int, list[int]]:
    """Return the channels in which devices have stays that are not read to their end, by device."""
    found: dict[int, list[int]] = {}
    for device, channel in await _CHANNELS_TO_READ.rows(tx, {"device_keys": padded(device_keys)}):
        found.setdefault(device, []).append(channel)
    return found


async def all_stays(tx: AsyncConnection, device: int, channel: int) -> list[Stay]:
    """Return every stay of a device in a channel, oldest first, also those read to their end."""
    query = _STAY.where(_t.device == device, _t.channel == channel)
    return [Stay(*row) for row in await tx.execute(query)]


_BEYOND = Quick(
    select(beyond.c.member, beyond.c.seq).where(
        beyond.c.member.in_(bindparam("stays", expanding=True))
    )
)


async def acknowledged_beyond(tx: AsyncConnection, stays_: Iterable[int]) -> dict[int, set[int]]:
    """Return, by stay, the numbers that are acknowledged beyond the cursor."""
    found: dict[int, set[int]] = {}
    for member, seq in await _BEYOND.rows(tx, {"stays": padded(stays_)}):
        found.setdefault(member, set()).add(seq)
    return found


class Reading(NamedTuple):
    """A stay of a device that acknowledges something.

    Args:
        stay: how far it has read.
        channel: the channel's id.
        head: the channel's last number.
        has_beyond: whether numbers beyond the cursor are acknowledged.
        version: on PostgreSQL which transaction has written the stay's row.
    """

    stay: MemberRow
    channel: bytes
    head: int
    has_beyond: bool
    version: int


_XMIN: ColumnClause[int] = literal_column("members.xmin::text::bigint", BigInteger())


def _reading(version: ColumnElement[int], *, lock: bool) -> ByKeys:
    row = (
        ROW.add_columns(
            channels.c.id,
            channels.c.head,
            select(beyond.c.seq).where(beyond.c.member == _t.key).correlate(members).exists(),
            version.label("version"),
        )
        .join_from(members, channels)
        .order_by(_t.key)
    )
    asked = row.with_for_update(of=members) if lock else row
    return ByKeys((channels.c.id, _t.device), asked.where)


_READING = _reading(literal(0), lock=False)
_READING_WITH_VERSIONS = _reading(_XMIN, lock=False)
_READING_LOCKED = _reading(_XMIN, lock=True)


async def reading(
    tx: AsyncConnection, pairs: Iterable[tuple[bytes, int]], *, firmly: bool
) -> tuple[bool, list[Reading]]:
    """Return all stays of pairs of a channel's id and a device, oldest first.

    On PostgreSQL they are locked, unless the caller agrees to do without, nobody else has been at
    the same rows lately and nothing was written yet.

    Returns:
        Whether nobody else changes them before the commit, and the stays. If not, `set_cursors`
        notices it, and nothing but the stays' rows and what only grows may be relied on.
    """
    database = postgres(tx)
    if database is None:
        held, query = True, _READING
    else:
        held = firmly or database.is_crowded or not database.is_fresh
        query = _READING_LOCKED if held else _READING_WITH_VERSIONS
    rows = await query.rows(tx, sorted(pairs))
    return held, [Reading(MemberRow(*row[:-4]), *row[-4:]) for row in rows]


_SET_CURSOR = ForEach(
    lambda row: update(members).where(_t.key == row("stay")).values(cursor=row("reached")),
    stay=_t.key,
    reached=_t.cursor,
)
_SWAP_CURSOR = ForEach(
    lambda row: (
        update(members)
        .where(_t.key == row("stay"), row("version") == _XMIN)
        .values(cursor=row("reached"))
    ),
    stay=_t.key,
    version=_t.cursor,
    reached=_t.cursor,
)


async def set_cursors(
    tx: AsyncConnection, cursors: Mapping[int, int], versions: Mapping[int, int] | None = None
) -> None:
    """Move cursors to where the caller has found that the devices have read.

    Args:
        tx: the transaction.
        cursors: by the stays' keys.
        versions: of the rows as `reading` gave them, where it has not locked them; by the stays' keys.

    Raises:
        OvertakenError: somebody has written one of the rows since it was read. PostgreSQL says so when it is
            written, at the latest before the commit.
    """
    # In the order of keys, as `reading` locks them: two nodes never wait in a circle.
    if versions is None:
        await _SET_CURSOR.change(tx, sorted(cursors.items()))
        return
    rows = [(key, versions[key], cursor) for key, cursor in sorted(cursors.items())]
    await _SWAP_CURSOR.change(tx, rows, all_of_them=True)


class Stride(NamedTuple):
    """How far a stay gets that has read up to a number, or further.

    Args:
        stay: its key.
        after: the number.
        reached: everything up to there is acknowledged, or need not be.
    """

    stay: int
    after: int
    reached: int


_HEAD = select(channels.c.head).where(channels.c.key == _t.channel).correlate(members)
_BEYOND_IT = select(beyond.c.seq).where(beyond.c.member == _t.key).correlate(members).exists()
_STRIDE = ForEach(
    lambda row: (
        update(members)
        .where(
            _t.key == row("stay"),
            _t.cursor >= row("after"),
            LASTS,
            row("reached") <= _HEAD.scalar_subquery(),
            ~_BEYOND_IT,
        )
        .values(cursor=func.greatest(_t.cursor, row("reached")))
    ),
    stay=_t.key,
    after=_t.cursor,
    reached=_t.cursor,
)


async def stride(tx: AsyncConnection, strides: Iterable[Stride]) -> None:
    """Move cursors where nothing was read before, on PostgreSQL.

    Args:
        tx: nothing was written in it.
        strides: of stays that last, none of which has acknowledged anything beyond its cursor.

    Raises:
        OvertakenError: one of them is not like that, or a channel has not come so far; said when it is written.
    """
    rely(tx)
    # In the order of keys, as `reading` locks them: two nodes never wait in a circle.
    await _STRIDE.change(tx, sorted(strides), all_of_them=True)


class Reached(NamedTuple):
    """How far a device has read, if it had read up to a number."""

    since: int
    to: int


_MOVE_CURSOR = ForEach(
    lambda row: (
        update(members)
        .where(_t.key == row("stay"), _t.cursor == row("since"))
        .values(cursor=row("reached"))
    ),
    stay=_t.key,
    since=_t.cursor,
    reached=_t.cursor,
)


async def move_cursors(tx: AsyncConnection, cursors: Mapping[int, Reached]) -> None:
    """Move the cursors of stays that are where the caller says; the others stay where they are."""
    await _MOVE_CURSOR.change(tx, [(stay, *cursors[stay]) for stay in sorted(cursors)])


async def skip(tx: AsyncConnection, heads: Mapping[int, int], to: int) -> None:
    """Move the cursors of devices that have read all of a channel on, over numbers that it leaves out.

    Args:
        tx: the transaction; it has locked the channels.
        heads: the last number of each channel so far, by its key.
        to: the last one that is left out.
    """
    for channel, head in heads.items():
        read = (_t.channel == channel) & PRESENT & (_t.cursor == head)
        await tx.execute(update(members).where(read).values(cursor=to, logged=to))


_PASSED = delete(beyond).where(
    beyond.c.member == bindparam("stay"), beyond.c.seq <= bindparam("reached")
)


async def forget_passed(tx: AsyncConnection, cursors: dict[int, int]) -> None:
    """Delete single acknowledgements that the cursors have reached."""
    rows = [{"stay": key, "reached": cursor} for key, cursor in cursors.items()]
    if rows:
        await tx.execute(_PASSED, rows)


async def add_beyond(tx: AsyncConnection, new: Iterable[tuple[int, int]]) -> None:
    """Remember acknowledgements (stay, seq) beyond a cursor; none of them is known yet."""
    rows = [{"member": member, "seq": seq} for member, seq in sorted(new)]
    if rows:
        await tx.execute(insert(beyond), rows)


_i = items.c
_ACKNOWLEDGED = (
    select(beyond.c.seq)
    .where(beyond.c.member == bindparam("stay"), beyond.c.seq == _i.seq)
    .correlate(items)
    .exists()
)
_FIRST_UNREAD = Quick(
    select(_i.seq)
    .where(
        _i.channel == bindparam("channel_key"),
        _i.seq > bindparam("after"),
        or_(
            _i.lane == HANDSHAKE_LANE,
            and_(
                _i.sender.is_distinct_from(bindparam("device_key")),
                _i.epoch >= bindparam("joined"),
            ),
        ),
        ~_ACKNOWLEDGED,
    )
    .order_by(_i.seq)
    .limit(1)
)


async def first_unread(tx: AsyncConnection, stay: MemberRow, after: int) -> int | None:
    """Return the first number after `after` that the stay still has to acknowledge.

    A device's own messages count as acknowledged, and those of epochs before it
    joined; its own commits do not. The scan ends at the first hit, and what it passes it never passes again.
    """
    rows = await _FIRST_UNREAD.rows(
        tx,
        {
            "stay": stay.key,
            "channel_key": stay.channel,
            "after": after,
            "device_key": stay.device,
            "joined": stay.joined_epoch,
        },
    )
    return rows[0][0] if rows else None
