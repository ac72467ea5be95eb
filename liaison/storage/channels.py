"""Channels: their head and epoch, their public group, the removals that are due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    Select,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import postgres
from liaison.storage.many_rows import ForEach
from liaison.storage.padding import padded
from liaison.storage.questions import Question
from liaison.storage.quick import Quick
from liaison.storage.remembered import written
from liaison.storage.tables import agreements, channels, groups, removals
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel as its row has it; see `tables.channels` for what the numbers mean."""

    key: int
    id: bytes
    group_id: bytes
    agreement: int
    policy: str
    suite: int
    epoch: int
    oldest_epoch: int
    past_epochs: int
    head: int
    removals_pending: int
    group_version: int
    version: int = 0
    """On PostgreSQL which transaction has written the row, where `with_ids` has read it."""


_t = channels.c
_COLUMNS = tuple(_t[name] for name in ChannelRow.__slots__[:-1])
_ROW = select(*_COLUMNS)


async def find(tx: AsyncConnection, id_: bytes) -> ChannelRow | None:
    """Return the channel with this id."""
    row = (await tx.execute(_ROW.where(_t.id == id_))).one_or_none()
    return ChannelRow(*row) if row else None


async def by_keys(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, ChannelRow]:
    """Return channels by their keys."""
    rows = await tx.execute(_ROW.where(_t.key.in_(list(keys))))
    return {row.key: ChannelRow(*row) for row in rows}


_NAMED = _t.id.in_(bindparam("ids", expanding=True))
_BY_IDS = Quick(_ROW.where(_NAMED))
_XMIN: ColumnClause[int] = literal_column("channels.xmin::text::bigint", BigInteger())
_BY_IDS_WITH_VERSIONS = Quick(select(*_COLUMNS, _XMIN.label("version")).where(_NAMED))
_LOCK = Quick(_ROW.where(_NAMED).order_by(_t.key).with_for_update())
_TOUCH = Quick(update(channels).where(_NAMED).values(head=_t.head))


async def lock(tx: AsyncConnection, ids: Iterable[bytes]) -> dict[bytes, ChannelRow]:
    """Return channels by id; nobody else changes them before the commit.

    PostgreSQL locks the rows, in the order of their keys, so that two nodes
    never wait for each other in a circle; SQLite has one writer anyway. Whoever
    gives out a sequence number holds this lock, or swaps the row: that is why
    there are no gaps. The rows are written as they are: whoever has read one
    without a lock learns that it is not the one that it has read (`set_heads`).
    """
    asked = {"ids": padded(ids)}
    rows = await _LOCK.rows(tx, asked)
    if postgres(tx) is not None:
        await _TOUCH.change(tx, asked)
    return _by_id(rows)


async def hold(tx: AsyncConnection, ids: Iterable[bytes], *, firmly: bool) -> bool:
    """Lock channels as `lock` does, and ask nothing yet: what is asked from now on stays true.

    On PostgreSQL the transaction begins with it, in the same round trip. Where nobody else has been at the
    same rows lately, nothing waits to be written, and the caller agrees, they are not locked. (What waits are
    stays' cursors: they would be locked before the channels, and another node locks them after these.)

    Returns:
        Whether they are. If not, everything that the caller relies on has to be asked in one question,
        with `with_ids`, or never to change; and what it writes, to come with `set_heads`.
    """
    database = postgres(tx)
    if database is None:
        return True
    if not firmly and database.is_fresh and not database.is_crowded:
        return False
    # Without parameters, for these have no place in a message with several statements.
    named = ", ".join(f"decode('{id_.hex()}', 'hex')" for id_ in ids)
    await database.lock(
        f"SELECT 1 FROM channels WHERE id IN ({named}) ORDER BY key FOR UPDATE"  # noqa: S608 - hex
    )
    return True


def with_ids(tx: AsyncConnection, ids: Iterable[bytes]) -> Question[dict[bytes, ChannelRow]]:
    """Ask for channels by their ids, with what `set_heads` knows their rows by."""
    query = _BY_IDS if postgres(tx) is None else _BY_IDS_WITH_VERSIONS
    return Question([(query, {"ids": padded(ids)})], _by_id)


_HEADS = Quick(select(_t.key, _t.head).where(_t.key.in_(bindparam("keys", expanding=True))))


def heads_of(keys: Iterable[int]) -> Question[dict[int, int]]:
    """Ask for the last sequence numbers of channels, by key."""
    return Question([(_HEADS, {"keys": padded(keys)})], dict)


def _by_id(rows: Iterable[Any]) -> dict[bytes, ChannelRow]:
    found = [ChannelRow(*row) for row in rows]
    return {row.id: row for row in found}


async def add(tx: AsyncConnection, **values: Any) -> int:
    """Add a channel; return its key."""
    row = await tx.execute(insert(channels).values(**values).returning(_t.key))
    return int(row.scalar_one())


_SET_HEAD = ForEach(
    lambda row: update(channels).where(_t.key == row("channel_key")).values(head=row("new_head")),
    channel_key=_t.key,
    new_head=_t.head,
)


_SWAP_HEAD = ForEach(
    lambda row: (
        update(channels)
        .where(_t.key == row("channel_key"), row("version") == _XMIN)
        .values(head=row("new_head"))
    ),
    channel_key=_t.key,
    version=_t.head,
    new_head=_t.head,
)


async def set_heads(
    tx: AsyncConnection, heads: Mapping[int, int], versions: Mapping[int, int] | None = None
) -> None:
    """Set the last sequence number of channels that the caller has locked, or read with `with_ids`.

    Args:
        tx: the transaction.
        heads: by the channels' keys.
        versions: of the rows as `with_ids` gave them; by the channels' keys.

    Raises:
        OvertakenError: somebody has written or locked one of the rows since it was read. PostgreSQL says so
            when it is written, at the latest before the commit.
    """
    if versions is None:
        # Whoever remembers channels does not hear of it.
        written(tx)
    if versions is None or postgres(tx) is None:
        await _SET_HEAD.change(tx, sorted(heads.items()))
        return
    # In the order of keys, as `lock` locks them: two nodes never wait in a circle.
    rows = [(key, versions[key], head) for key, head in sorted(heads.items())]
    await _SWAP_HEAD.change(tx, rows, all_of_them=True)


async def change(tx: AsyncConnection, key: int, **values: Any) -> None:
    """Set columns of a channel that the caller has locked."""
    await tx.execute(update(channels).where(_t.key == key).values(**values))


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The public group of the channel's current epoch, and its signed GroupInfo."""

    snapshot: bytes
    group_info: bytes


async def group(tx: AsyncConnection, channel: int) -> GroupRow:
    """Return the channel's public group."""
    query = select(groups.c.snapshot, groups.c.group_info).where(groups.c.channel == channel)
    return GroupRow(*(await tx.execute(query)).one())


async def add_group(tx: AsyncConnection, channel: int, row: GroupRow) -> None:
    """Store a new channel's public group."""
    await tx.execute(
        insert(groups).values(channel=channel, snapshot=row.snapshot, group_info=row.group_info)
    )


async def save_group(
    tx: AsyncConnection, channel: int, snapshot: bytes, group_info: bytes | None = None
) -> None:
    """Replace the public group; without `group_info` the old one stays (same epoch)."""
    values = {"snapshot": snapshot} | ({"group_info": group_info} if group_info else {})
    await tx.execute(update(groups).where(groups.c.channel == channel).values(values))


async def removals_of(tx: AsyncConnection, channel: int) -> list[int]:
    """Return the leaves that have to go and are still there."""
    query = select(removals.c.leaf).where(removals.c.channel == channel).order_by(removals.c.leaf)
    return list((await tx.execute(query)).scalars())


async def set_removals(tx: AsyncConnection, channel: int, leaves: Iterable[int]) -> None:
    """Replace that list, and its count in the channel's row."""
    rows = [{"channel": channel, "leaf": leaf} for leaf in sorted(leaves)]
    await tx.execute(delete(removals).where(removals.c.channel == channel))
    if rows:
        await tx.execute(insert(removals), rows)
    await change(tx, channel, removals_pending=len(rows))


async def with_removals(tx: AsyncConnection) -> list[bytes]:
    """Return the ids of channels in which a removal is due."""
    query = select(_t.id).where(_t.removals_pending > 0).order_by(_t.key)
    return list((await tx.execute(query)).scalars())


async def removals_in(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, list[int]]:
    """Return the leaves that have to go, by channel; channels without any are left out."""
    found: dict[int, list[int]] = {}
    query = select(removals.c.channel, removals.c.leaf).order_by(removals.c.leaf)
    for row in await tx.execute(query.where(removals.c.channel.in_(list(keys)))):
        found.setdefault(row.channel, []).append(row.leaf)
    return found


def channels_under(agreement: str) -> Select[tuple[int]]:
    """Return the query for the keys of the channels under any version of an agreement."""
    return select(_t.key).join_from(channels, agreements).where(agreements.c.id == agreement)


async def lock_agreement(tx: AsyncConnection, agreement: str) -> list[ChannelRow]:
    """Return the channels under any version of an agreement, locked as `lock` does."""
    under = _t.key.in_(channels_under(agreement))
    query = _ROW.where(under).order_by(_t.key).with_for_update()
    rows = [ChannelRow(*row) for row in await tx.execute(query)]
    if postgres(tx) is not None:
        await tx.execute(update(channels).where(under).values(head=_t.head))
    return rows


async def removals_under(tx: AsyncConnection, agreement: str) -> dict[int, set[int]]:
    """Return who has to go, by channel of an agreement; channels without any are left out."""
    found: dict[int, set[int]] = {}
    query = select(removals.c.channel, removals.c.leaf)
    for row in await tx.execute(query.where(removals.c.channel.in_(channels_under(agreement)))):
        found.setdefault(row.channel, set()).add(row.leaf)
    return found
