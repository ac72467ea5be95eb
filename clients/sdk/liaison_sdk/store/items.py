"""What was taken from the relay: an item is taken once, however often it is delivered."""

from __future__ import annotations

from liaison.model import ChannelId
from liaison_sdk.store.base import Transaction


def is_taken(tx: Transaction, channel: ChannelId, seq: int) -> bool:
    """Tell whether the item at this place was taken."""
    return bool(tx.one("SELECT 1 FROM items WHERE channel = ? AND seq = ?", (channel.value, seq)))


def is_repeated(tx: Transaction, channel: ChannelId, digest: bytes) -> bool:
    """Tell whether the same bytes were taken at any place: a relay that delivers twice."""
    sql = "SELECT 1 FROM items WHERE channel = ? AND digest = ?"
    return bool(tx.one(sql, (channel.value, digest)))


def take(tx: Transaction, channel: ChannelId, seq: int, digest: bytes) -> None:
    """Note that an item was taken, in the transaction that took it."""
    tx.execute(
        "INSERT OR IGNORE INTO items (channel, seq, digest) VALUES (?, ?, ?)",
        (channel.value, seq, digest),
    )
