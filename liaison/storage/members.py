"""Who is, or was, a member of a channel.

A row is one stay of a device in a channel; it reads what stands after
`joined_seq` up to `left_seq`. How far it has read is in `progress`; the Welcome that it begins with, in `joins`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage import joins
from liaison.storage.channels import channels_under
from liaison.storage.padding import padded
from liaison.storage.questions import Question
from liaison.storage.quick import ByKeys, Quick
from liaison.storage.tables import (
    HANDSHAKE_LANE,
    beyond,
    certificates,
    channels,
    devices,
    items,
    members,
)
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One stay of a device in a channel."""

    key: int
    channel: int
    device: int
    leaf: int
    serial: str
    joined_seq: int
    joined_epoch: int
    left_seq: int | None
    cursor: int


_t = members.c
ROW: Final = select(*(_t[name] for name in MemberRow.__slots__))
"""Reads what a `MemberRow` is made of."""
PRESENT: Final = _t.left_seq.is_(None)
"""Whether the stay lasts."""

LASTS: Final = func.coalesce(_t.left_seq, -1) == -1
"""The same, for a stay that is found by its key: with few rows PostgreSQL would look through the index of those that
last, and go on with that when there are many."""


class Present(NamedTuple):
    """A leaf and whose it is."""

    leaf: int
    device: int
    name: str


class Seat(NamedTuple):
    """A leaf, whose it is, and whether its certificate was revoked."""

    channel: int
    leaf: int
    name: str
    revoked: bool


_SEAT = select(
    _t.channel,
    _t.leaf,
    devices.c.name,
    select(certificates.c.key)
    .where(
        certificates.c.device == _t.device,
        certificates.c.serial == _t.serial,
        certificates.c.revoked_at.is_not(None),
    )
    .correlate(members)
    .exists(),
).join_from(members, devices, _t.device == devices.c.key)


async def seats(tx: AsyncConnection, channel: int) -> list[Seat]:
    """Return the members of a channel, by leaf."""
    query = _SEAT.where(_t.channel == channel, PRESENT).order_by(_t.leaf)
    return [Seat(*row) for row in await tx.execute(query)]


async def seats_under(tx: AsyncConnection, agreement: str) -> list[Seat]:
    """Return the members of all channels under any version of an agreement, by channel and leaf."""
    query = _SEAT.where(_t.channel.in_(channels_under(agreement)), PRESENT)
    return [Seat(*row) for row in await tx.execute(query.order_by(_t.channel, _t.leaf))]


async def last_removal(tx: AsyncConnection, agreement: str, party: int) -> int | None:
    """Return when the last commit came that took a device of a party out of a channel.

    Args:
        agreement: its id; channels under any version of it count.
        party: the party's key.

    Returns:
        Unix milliseconds, or None where there was none.
    """
    query = (
        select(func.max(items.c.accepted_at))
        .join_from(members, devices, _t.device == devices.c.key)
        .join(items, and_(items.c.channel == _t.channel, items.c.seq == _t.left_seq))
        .where(devices.c.party == party, _t.channel.in_(channels_under(agreement)))
    )
    found = await tx.scalar(query)
    return None if found is None else int(found)


async def renewed(tx: AsyncConnection, channel: int) -> dict[int, int]:
    """Return when the present members of a channel last brought in keys, by leaf.

    Args:
        channel: its key.

    Returns:
        Unix milliseconds at which the commit came by which a device joined, or the last
        handshake message of its own since; of who opened the channel, when it did.
    """
    opened = await tx.scalar(select(channels.c.created_at).where(channels.c.key == channel))
    joined = (
        select(_t.leaf, _t.device, items.c.accepted_at)
        .outerjoin_from(
            members, items, and_(items.c.channel == _t.channel, items.c.seq == _t.joined_seq)
        )
        .where(_t.channel == channel, PRESENT)
    )
    own = (
        select(items.c.sender, func.max(items.c.accepted_at))
        .where(items.c.channel == channel, items.c.lane == HANDSHAKE_LANE)
        .where(items.c.sender.is_not(None))
        .group_by(items.c.sender)
    )
    latest = {int(device): int(at) for device, at in await tx.execute(own)}
    return {
        leaf: max(opened or 0 if at is None else at, latest.get(device, 0))
        for leaf, device, at in await tx.execute(joined)
    }


async def find(tx: AsyncConnection, channel: int, device: int) -> MemberRow | None:
    """Return the device's present stay in the channel."""
    query = ROW.where(_t.channel == channel, _t.device == device, PRESENT)
    row = (await tx.execute(query)).one_or_none()
    return MemberRow(*row) if row else None


_STAYS_IN = ByKeys(
    (channels.c.id, _t.device),
    lambda which: ROW.join_from(members, channels).where(which, PRESENT),
)


def stays_in(
    tx: AsyncConnection, pairs: Iterable[tuple[bytes, int]]
) -> Question[dict[tuple[int, int], MemberRow]]:
    """Ask for the present stays of pairs of a channel's id and a device, by the keys of both."""
    return Question(_STAYS_IN.parts(tx, pairs), _by_pair)


def _by_pair(rows: Iterable[Any]) -> dict[tuple[int, int], MemberRow]:
    stays_ = [MemberRow(*row) for row in rows]
    return {(one.channel, one.device): one for one in stays_}


_ENDPOINTS = Quick(
    select(_t.channel, devices.c.endpoint)
    .join_from(devices, members, _t.device == devices.c.key)
    .where(_t.channel.in_(bindparam("channels", expanding=True)), PRESENT)
    .distinct()
)


async def endpoints_in(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, list[str]]:
    """Return the endpoints that have a device in each of these channels now."""
    return _by_channel(await _ENDPOINTS.rows(tx, {"channels": padded(keys)}))


_ENDPOINTS_BY_ID = Quick(
    select(_t.channel, devices.c.endpoint)
    .join_from(devices, members, _t.device == devices.c.key)
    .join(channels, _t.channel == channels.c.key)
    .where(channels.c.id.in_(bindparam("ids", expanding=True)), PRESENT)
    .distinct()
)


def endpoints_of(ids: Iterable[bytes]) -> Question[dict[int, list[str]]]:
    """Ask for the same as `endpoints_in` by the channels' ids; by their keys."""
    return Question([(_ENDPOINTS_BY_ID, {"ids": padded(ids)})], _by_channel)


def _by_channel(rows: Iterable[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for channel, endpoint in rows:
        found.setdefault(channel, []).append(endpoint)
    return found


async def channels_of(tx: AsyncConnection, device: int, *, after: int = 0, limit: int) -> list[int]:
    """Return the channels that the device is a member of now, those after a key, by key."""
    query = (
        select(_t.channel)
        .where(_t.device == device, _t.channel > after, PRESENT)
        .order_by(_t.channel)
        .limit(limit)
    )
    return list((await tx.execute(query)).scalars())


async def ever_in(tx: AsyncConnection, device: int, channel: bytes) -> int | None:
    """Return the key of the channel with this id, if the device is or was a member of it."""
    query = (
        select(_t.channel)
        .join_from(channels, members, _t.channel == channels.c.key)
        .where(channels.c.id == channel, _t.device == device)
        .limit(1)
    )
    return cast("int | None", await tx.scalar(query))


async def counts(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, int]:
    """Return how many members channels have."""
    query = select(_t.channel, func.count()).where(_t.channel.in_(list(keys)), PRESENT)
    return dict((await tx.execute(query.group_by(_t.channel))).all())


async def present_in(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, list[Present]]:
    """Return the members of channels, by leaf."""
    found: dict[int, list[Present]] = {}
    query = (
        select(_t.channel, _t.leaf, _t.device, devices.c.name)
        .join_from(members, devices, _t.device == devices.c.key)
        .where(_t.channel.in_(list(keys)), PRESENT)
        .order_by(_t.channel, _t.leaf)
    )
    for channel, *one in await tx.execute(query):
        found.setdefault(channel, []).append(Present(*one))
    return found


async def may_see_tree(tx: AsyncConnection, channel: int, device: int, epoch: int) -> bool:
    """Return whether the device is a member now, or was added by the commit that made `epoch`.

    Who was added and removed before it took its Welcome still needs that tree, and no other.
    """
    query = (
        select(_t.key)
        .where(_t.channel == channel, _t.device == device, or_(PRESENT, _t.joined_epoch == epoch))
        .limit(1)
    )
    return await tx.scalar(query) is not None


async def join(
    tx: AsyncConnection,
    channel: int,
    device: int,
    leaf: int,
    serial: str,
    *,
    seq: int,
    epoch: int,
    echo: bool = False,
) -> int:
    """Begin a stay at the commit with number `seq`, which made `epoch`; return its key.

    Args:
        echo: whether the device reads that commit too, because it made it.
    """
    row = await tx.execute(
        insert(members)
        .values(
            channel=channel,
            device=device,
            leaf=leaf,
            serial=serial,
            joined_seq=seq,
            joined_epoch=epoch,
            cursor=seq - 1 if echo else seq,
        )
        .returning(_t.key)
    )
    return int(row.scalar_one())


async def leave(tx: AsyncConnection, channel: int, leaf: int, *, seq: int) -> None:
    """End the stay of a leaf with the commit `seq`, which is the last that it reads."""
    await tx.execute(
        update(members).where(_t.channel == channel, _t.leaf == leaf, PRESENT).values(left_seq=seq)
    )


async def replace(tx: AsyncConnection, channel: int, leaf: int, *, seq: int) -> None:
    """End the stay of a leaf whose device begins a new one with the commit `seq`.

    What was sequenced before is still read to its end, as far as the device has
    kept keys for it. Where the device never took its Welcome there are none.
    """
    stay = and_(_t.channel == channel, _t.leaf == leaf, PRESENT)
    keys = list((await tx.execute(select(_t.key).where(stay))).scalars())
    unread = await joins.untaken(tx, keys)
    await joins.drop(tx, unread)
    await tx.execute(delete(beyond).where(beyond.c.member.in_(unread)))
    # The commit itself belongs to the new stay.
    await tx.execute(update(members).where(_t.key.in_(keys)).values(left_seq=seq - 1))
    await tx.execute(update(members).where(_t.key.in_(unread)).values(cursor=seq - 1))


async def set_serial(tx: AsyncConnection, channel: int, leaf: int, serial: str) -> None:
    """Remember that a leaf carries another certificate now."""
    await tx.execute(
        update(members).where(_t.channel == channel, _t.leaf == leaf, PRESENT).values(serial=serial)
    )


async def with_certificate(tx: AsyncConnection, device: int, serial: str) -> list[MemberRow]:
    """Return the present stays whose leaf carries this certificate of the device."""
    query = ROW.where(_t.device == device, _t.serial == serial, PRESENT).order_by(_t.channel)
    return [MemberRow(*row) for row in await tx.execute(query)]
