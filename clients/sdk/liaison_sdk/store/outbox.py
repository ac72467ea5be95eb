"""What is to be sent, until the relay has ruled on it.

A row is `queued` with header and content, then `encrypted` with ciphertext and
its digest. Header and content stay under the seal until the relay has accepted,
because an epoch may end before a message got through; then the row goes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from liaison.crypto import kdf
from liaison.envelope import cbor
from liaison.model import ChannelId, MessageId, Precedence
from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction


class OutboxState(StrEnum):
    """What has happened to a row."""

    QUEUED = "queued"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A message on its way out.

    Args:
        channel, message_id: what it is.
        precedence: action precedence; the highest goes first.
        state: whether it is encrypted.
        header, content: authenticated data and plaintext.
        ciphertext: the MLSMessage, empty until encrypted.
        epoch: that it was encrypted in.
        state_version: the store's, when it was encrypted.
        earlier: digests of ciphertexts of this message that may have reached the relay before.
        number: its place in this store.
    """

    channel: ChannelId
    message_id: MessageId
    precedence: Precedence
    state: OutboxState
    header: bytes
    content: bytes
    ciphertext: bytes = b""
    epoch: int | None = None
    state_version: int = 0
    earlier: tuple[bytes, ...] = ()
    number: int = 0

    def __repr__(self) -> str:
        return f"<OutboxRecord {self.message_id} {self.state}>"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the ciphertext."""
        return kdf.sha256(self.ciphertext)


_COLUMNS: Final = "number, channel, message_id, precedence, state, epoch, body"


def insert(tx: Transaction, record: OutboxRecord) -> int:
    """Queue a message; return its number."""
    return tx.insert(
        "INSERT INTO outbox (channel, message_id, precedence, state, digest, epoch, body) "
        "VALUES (?, ?, ?, ?, NULL, NULL, ?)",
        (
            record.channel.value,
            record.message_id.value,
            int(record.precedence),
            record.state,
            _body(tx, record),
        ),
    )


def waiting(
    tx: Transaction, limit: int = 32, *, but: Collection[ChannelId] = ()
) -> list[OutboxRecord]:
    """Return the next rows to send, highest precedence first, then oldest first.

    Args:
        tx: the transaction.
        limit: so many at most.
        but: none of these channels.
    """
    marks = ", ".join("?" * len(but))
    sql = (
        f"SELECT {_COLUMNS} FROM outbox WHERE channel NOT IN ({marks}) "  # noqa: S608 - constant columns and marks
        "ORDER BY precedence DESC, number LIMIT ?"
    )
    return [_record(tx, row) for row in tx.all(sql, (*(c.value for c in but), limit))]


def load(tx: Transaction, number: int) -> OutboxRecord | None:
    """Return a row, or None where the relay has ruled on it."""
    row = tx.one(f"SELECT {_COLUMNS} FROM outbox WHERE number = ?", (number,))  # noqa: S608 - constant columns
    return _record(tx, row) if row else None


def count(tx: Transaction, channel: ChannelId | None = None) -> int:
    """Count what waits."""
    value = channel.value if channel else None
    row = tx.one("SELECT count(*) FROM outbox WHERE (? IS NULL OR channel = ?)", (value, value))
    return int(row[0]) if row else 0


def save_encrypted(
    tx: Transaction, record: OutboxRecord, ciphertext: bytes, epoch: int, state_version: int
) -> OutboxRecord:
    """Keep a ciphertext, in the transaction that keeps the group which made it."""
    record = replace(
        record,
        state=OutboxState.ENCRYPTED,
        ciphertext=ciphertext,
        epoch=epoch,
        state_version=state_version,
    )
    tx.execute(
        "UPDATE outbox SET state = ?, digest = ?, epoch = ?, body = ? WHERE number = ?",
        (record.state, record.digest, epoch, _body(tx, record), record.number),
    )
    return record


def requeue(tx: Transaction, record: OutboxRecord) -> bool:
    """Ask for another encryption of a ciphertext that the relay did not take.

    Returns False where another process has gone on with the row meanwhile.
    """
    again = replace(
        record,
        state=OutboxState.QUEUED,
        ciphertext=b"",
        epoch=None,
        earlier=(*record.earlier, record.digest),
    )
    sql = (
        "UPDATE outbox SET state = ?, digest = NULL, epoch = NULL, body = ? "
        "WHERE number = ? AND digest = ?"
    )
    body = _body(tx, again)
    return bool(tx.execute(sql, (again.state, body, record.number, record.digest)))


def delete(tx: Transaction, number: int) -> bool:
    """Remove a row that the relay has ruled on; False where it is gone already."""
    return bool(tx.execute("DELETE FROM outbox WHERE number = ?", (number,)))


def _label(channel: bytes, message_id: bytes) -> str:
    return f"outbox {channel.hex()} {message_id.hex()}"


def _body(tx: Transaction, record: OutboxRecord) -> bytes:
    item: list[Any] = [
        record.header,
        record.content,
        record.ciphertext,
        record.state_version,
        list(record.earlier),
    ]
    return tx.seal(_label(record.channel.value, record.message_id.value), cbor.encode(item))


def _record(tx: Transaction, row: Row) -> OutboxRecord:
    number, channel, message_id, precedence, state, epoch, body = row
    item: Any = cbor.decode(tx.unseal(_label(channel, message_id), body))
    header, content, ciphertext, state_version, earlier = item
    return OutboxRecord(
        channel=ChannelId(channel),
        message_id=MessageId(message_id),
        precedence=Precedence(precedence),
        state=OutboxState(state),
        header=header,
        content=content,
        ciphertext=ciphertext,
        epoch=epoch,
        state_version=state_version,
        earlier=tuple(earlier),
        number=number,
    )
