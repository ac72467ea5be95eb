"""What was taken from the relay: an item is taken once, however often it is delivered.

With it stands what the item has to say in the agreement's log, until the log was compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction

Value: TypeAlias = str | int | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Told:
    """What an item has to say in the log, as far as this device could tell from the item itself.

    Args:
        type: what the entry records: `accepted`, `receipt` or `commit`.
        epoch: of the item; for a commit the one that it ended.
        size: in bytes.
        time_ms: when the relay said that it had accepted it, Unix milliseconds.
        version: of the agreement that it was accepted under; None where that is not known.
        fields: what is committed to, by name; what is not there says nothing.
        unknown: the fields that this device could not tell.
    """

    type: str
    epoch: int
    size: int
    time_ms: int
    version: int | None
    fields: Mapping[str, Value] = field(default_factory=dict, repr=False)
    unknown: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the form in which it is stored, under the seal."""
        fields = {n: list(v) if isinstance(v, tuple) else v for n, v in self.fields.items()}
        item: list[Any] = [
            self.type,
            self.epoch,
            self.size,
            self.time_ms,
            self.version,
            fields,
            list(self.unknown),
        ]
        return cbor.encode(item)

    @classmethod
    def decode(cls, data: bytes) -> Told:
        """Read `encode`'s form."""
        item: Any = cbor.decode(data)
        type_, epoch, size, time_ms, version, fields, unknown = item
        values = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        return cls(type_, epoch, size, time_ms, version, values, tuple(unknown))


def is_taken(tx: Transaction, channel: ChannelId, seq: int) -> bool:
    """Tell whether the item at this place was taken."""
    return bool(tx.one("SELECT 1 FROM items WHERE channel = ? AND seq = ?", (channel.value, seq)))


def is_repeated(tx: Transaction, channel: ChannelId, digest: bytes) -> bool:
    """Tell whether the same bytes were taken at any place: a relay that delivers twice."""
    sql = "SELECT 1 FROM items WHERE channel = ? AND digest = ?"
    return bool(tx.one(sql, (channel.value, digest)))


def take(
    tx: Transaction, channel: ChannelId, seq: int, digest: bytes, told: Told | None = None
) -> None:
    """Note that an item was taken, in the transaction that took it.

    Args:
        tx: the transaction.
        channel, seq: its place.
        digest: SHA-256 of it.
        told: what it has to say in the log; None where nothing more than its digest is known.
    """
    sealed = None if told is None else tx.seal(_label(channel, seq), told.encode())
    tx.execute(
        "INSERT OR IGNORE INTO items (channel, seq, digest, told) VALUES (?, ?, ?, ?)",
        (channel.value, seq, digest, sealed),
    )


def highest(tx: Transaction, channel: ChannelId) -> int:
    """Return the place of the last item of a channel that has come; 0 where none has."""
    row = tx.one("SELECT max(seq) FROM items WHERE channel = ?", (channel.value,))
    return 0 if row is None or row[0] is None else int(row[0])


def digest_of(tx: Transaction, channel: ChannelId, seq: int) -> bytes | None:
    """Return the digest of an item that has come, or None."""
    row = tx.one("SELECT digest FROM items WHERE channel = ? AND seq = ?", (channel.value, seq))
    return None if row is None else bytes(row[0])


def told(tx: Transaction, channel: ChannelId, seq: int) -> Told | None:
    """Return what an item has to say in the log; None where that was compared, or is not known."""
    row = tx.one("SELECT told FROM items WHERE channel = ? AND seq = ?", (channel.value, seq))
    if row is None or row[0] is None:
        return None
    return Told.decode(tx.unseal(_label(channel, seq), row[0]))


def forget_told(tx: Transaction, channel: ChannelId, seq: int) -> None:
    """Forget what an item has to say in the log: it was compared."""
    tx.execute("UPDATE items SET told = NULL WHERE channel = ? AND seq = ?", (channel.value, seq))


def uncompared(
    tx: Transaction, channel: ChannelId, after: int, below: int
) -> tuple[int, int] | None:
    """Return the first and the last place at which something has come that the log was not compared with.

    Args:
        tx: the transaction.
        channel: which channel.
        after, below: only what stands between these places.
    """
    row = tx.one(
        "SELECT min(seq), max(seq) FROM ("
        "SELECT seq FROM items WHERE channel = ?1 AND seq > ?2 AND seq < ?3 AND told IS NOT NULL "
        "UNION ALL "
        # Of what an own message says nothing may be known, where an earlier ciphertext came through.
        "SELECT seq FROM messages "
        "WHERE channel = ?1 AND seq > ?2 AND seq < ?3 AND logged IS NULL)",
        (channel.value, after, below),
    )
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def accepted_at(tx: Transaction, channel: ChannelId, seq: int) -> int:
    """Return when what stands at a place was accepted, by the relay's word, in Unix milliseconds.

    0 where that is not known.
    """
    known = told(tx, channel, seq)
    if known is not None:
        return known.time_ms
    sql = "SELECT max(time_ms) FROM messages WHERE channel = ? AND seq = ?"
    row = tx.one(sql, (channel.value, seq))
    return 0 if row is None or row[0] is None else int(row[0])


def _label(channel: ChannelId, seq: int) -> str:
    return f"item {channel} {seq}"
