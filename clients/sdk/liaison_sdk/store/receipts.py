"""What others said about messages: receipts, by message and by who sent them."""

from __future__ import annotations

from liaison.model import ChannelId, DeviceId, MessageId
from liaison_sdk.store.base import Transaction


def save(
    tx: Transaction,
    channel: ChannelId,
    message_id: MessageId,
    sender: DeviceId,
    status: str,
    body: bytes,
) -> None:
    """Keep the latest receipt of a status from one device."""
    tx.execute(
        "INSERT OR REPLACE INTO receipts (channel, message_id, sender, status, body) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            channel.value,
            message_id.value,
            str(sender),
            status,
            tx.seal(_label(channel, message_id, str(sender), status), body),
        ),
    )


def load(
    tx: Transaction, channel: ChannelId, message_id: MessageId
) -> list[tuple[DeviceId, bytes]]:
    """Return who sent what about a message, as encoded receipts."""
    rows = tx.all(
        "SELECT sender, status, body FROM receipts WHERE channel = ? AND message_id = ? "
        "ORDER BY status, sender",
        (channel.value, message_id.value),
    )
    return [
        (DeviceId.parse(sender), tx.unseal(_label(channel, message_id, sender, status), body))
        for sender, status, body in rows
    ]


def _label(channel: ChannelId, message_id: MessageId, sender: str, status: str) -> str:
    return f"receipt {channel} {message_id} {sender} {status}"
