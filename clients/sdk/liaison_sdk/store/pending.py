"""What a log says of items that have not come yet: it waits here for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction
from liaison_sdk.store.items import Value


@dataclass(frozen=True, slots=True)
class PendingPlace:
    """What the log says of an item that has not come yet.

    Args:
        seq: the item's place in the channel.
        index: the entry's in the log.
        entry: its bytes.
        values: of its fields; None where they were not shown.
        since: when it was noticed, Unix seconds.
    """

    seq: int
    index: int
    entry: bytes
    values: Mapping[str, Value] | None
    since: int


def add(tx: Transaction, channel: ChannelId, place: PendingPlace) -> None:
    """Keep what the log says of an item that has not come yet."""
    values = None
    if place.values is not None:
        values = {n: list(v) if isinstance(v, tuple) else v for n, v in place.values.items()}
    item: list[Any] = [place.index, place.entry, values]
    sealed = tx.seal(f"log pending {channel} {place.seq}", cbor.encode(item))
    tx.execute(
        "INSERT OR REPLACE INTO log_pending (channel, seq, since, body) VALUES (?, ?, ?, ?)",
        (channel.value, place.seq, place.since, sealed),
    )


def load_all(tx: Transaction, channel: ChannelId) -> list[PendingPlace]:
    """Return what waits for its item, in the channel's order."""
    sql = "SELECT seq, since, body FROM log_pending WHERE channel = ? ORDER BY seq"
    return [_place(tx, channel, *row) for row in tx.all(sql, (channel.value,))]


def _place(tx: Transaction, channel: ChannelId, seq: int, since: int, body: bytes) -> PendingPlace:
    item: Any = cbor.decode(tx.unseal(f"log pending {channel} {seq}", body))
    index, entry, values = item
    if values is not None:
        values = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    return PendingPlace(seq, index, entry, values, since)


def drop(tx: Transaction, channel: ChannelId, seq: int) -> None:
    """Forget what was compared with its item."""
    tx.execute("DELETE FROM log_pending WHERE channel = ? AND seq = ?", (channel.value, seq))


def drop_from(tx: Transaction, channel: ChannelId, seq: int) -> None:
    """Forget what waits for the item at a place of a channel, and for those behind it."""
    tx.execute("DELETE FROM log_pending WHERE channel = ? AND seq >= ?", (channel.value, seq))


def has_any_come(tx: Transaction, channel: ChannelId) -> bool:
    """Whether an item that has come by now is waited for."""
    sql = (
        "SELECT 1 FROM log_pending p JOIN items i ON i.channel = p.channel AND i.seq = p.seq "
        "WHERE p.channel = ? LIMIT 1"
    )
    return tx.one(sql, (channel.value,)) is not None
