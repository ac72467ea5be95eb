"""What others said about messages: receipts, by message and by who sent them.

A message is named by its id and its sender. The id alone would let a member who
gives its own message the id of another's collect the answers to both.
"""

from __future__ import annotations

from liaison.envelope.header import MessageRef
from liaison.envelope.receipt import Status
from liaison.model import ChannelId, DeviceId, MessageId
from liaison_sdk.store.base import Transaction


def save(
    tx: Transaction,
    channel: ChannelId,
    ref: MessageRef,
    sender: DeviceId,
    status: Status,
    body: bytes,
) -> None:
    """Keep the latest receipt of a status from one device about one message."""
    about = str(ref.device)
    tx.execute(
        "INSERT OR REPLACE INTO receipts (channel, message_id, about, sender, status, body) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            channel.value,
            ref.message_id.value,
            about,
            str(sender),
            status.value,
            tx.seal(_label(channel, ref.message_id, about, str(sender), status.value), body),
        ),
    )


def load(
    tx: Transaction, channel: ChannelId, message_id: MessageId, about: DeviceId | None
) -> list[tuple[DeviceId, bytes]]:
    """Return who sent what about a message, as encoded receipts.

    Args:
        tx: the transaction.
        channel, message_id: the message's.
        about: who sent the message; None where that is not known.
    """
    rows = tx.all(
        "SELECT about, sender, status, body FROM receipts WHERE channel = ? AND message_id = ? "
        # Who could not learn the sender of what failed has named itself in its place.
        "AND (about IN (?, '') OR (status = ? AND about = sender)) ORDER BY status, sender",
        (channel.value, message_id.value, str(about or ""), Status.FAILED.value),
    )
    return [
        (
            DeviceId.parse(sender),
            tx.unseal(_label(channel, message_id, whose, sender, status), body),
        )
        for whose, sender, status, body in rows
    ]


def _label(channel: ChannelId, message_id: MessageId, about: str, sender: str, status: str) -> str:
    # Stores of version 1 did not bind whom it is about.
    whose = f" about {about}" if about else ""
    return f"receipt {channel} {message_id} {sender} {status}{whose}"
