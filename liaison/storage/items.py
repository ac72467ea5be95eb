"""What was sequenced: messages, commits and proposals, each stored once per channel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from sqlalchemy import (
    Select,
    bindparam,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.connections import sqlite
from liaison.storage.many_rows import insert_rows
from liaison.storage.padding import any_of, batches, padded, values_of
from liaison.storage.questions import Question, ask
from liaison.storage.quick import ByKeys, Part, Quick
from liaison.storage.tables import GAP, MESSAGE, channels, devices, items


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
