"""Own answers to messages, and what became of each.

An answer goes out by the outbox and bears its row's number there. Its own row
stays when that one goes, so that the relay's ruling can be told to whoever asks,
also later and in another process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from liaison.envelope import cbor
from liaison.envelope.header import MessageRef
from liaison.envelope.receipt import Receipt
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction
from liaison_sdk.store.messages import MessageState


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What this device has answered.

    Args:
        number: its row's in the outbox.
        channel: where the message is that it is about.
        receipt: what it says, of which message.
        state: QUEUED until the relay has ruled, then ACCEPTED or REFUSED.
        reason_code, reason: why it is refused.
    """

    number: int
    channel: ChannelId
    receipt: Receipt
    state: MessageState = MessageState.QUEUED
    reason_code: str = ""
    reason: str = ""

    def __repr__(self) -> str:
        return f"<AnswerRecord {self.number} {self.state}>"


_COLUMNS: Final = "number, channel, state, body"


def insert(tx: Transaction, record: AnswerRecord) -> None:
    """Keep an answer, in the transaction that puts it into the outbox."""
    ref = record.receipt.ref
    tx.execute(
        "INSERT INTO answers (number, channel, message_id, about, state, body) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            record.number,
            record.channel.value,
            ref.message_id.value,
            str(ref.device),
            record.state,
            _body(tx, record),
        ),
    )


def load(tx: Transaction, number: int) -> AnswerRecord | None:
    """Return an answer by its number in the outbox, also when the relay has ruled on it."""
    row = tx.one(f"SELECT {_COLUMNS} FROM answers WHERE number = ?", (number,))  # noqa: S608 - constant columns
    return _record(tx, row) if row else None


def waiting(tx: Transaction) -> list[AnswerRecord]:
    """Return what the relay has not ruled on, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM answers WHERE state = ? ORDER BY number"  # noqa: S608 - constant columns
    return [_record(tx, row) for row in tx.all(sql, (MessageState.QUEUED,))]


def about(tx: Transaction, channel: ChannelId, ref: MessageRef) -> list[AnswerRecord]:
    """Return the answers to a message that count, oldest first.

    Those are the last that the relay has taken, and what was answered since.
    """
    sql = (
        f"SELECT {_COLUMNS} FROM answers "  # noqa: S608 - constant columns
        "WHERE channel = ? AND message_id = ? AND about = ? ORDER BY number"
    )
    rows = tx.all(sql, (channel.value, ref.message_id.value, str(ref.device)))
    found = [_record(tx, row) for row in rows]
    taken = [i for i, one in enumerate(found) if one.state is MessageState.ACCEPTED]
    return found[taken[-1] :] if taken else found


def rule(
    tx: Transaction, number: int, state: MessageState, code: str = "", reason: str = ""
) -> AnswerRecord | None:
    """Note the relay's ruling on a row of the outbox; None where that was no answer."""
    record = load(tx, number)
    if record is None:
        return None
    record = replace(record, state=state, reason_code=code, reason=reason)
    sql = "UPDATE answers SET state = ?, body = ? WHERE number = ?"
    tx.execute(sql, (state, _body(tx, record), number))
    return record


def _body(tx: Transaction, record: AnswerRecord) -> bytes:
    item: list[Any] = [record.receipt.encode(), record.reason_code, record.reason]
    return tx.seal(_label(record.number, record.channel), cbor.encode(item))


def _label(number: int, channel: ChannelId) -> str:
    return f"answer {number} {channel}"


def _record(tx: Transaction, row: Row) -> AnswerRecord:
    number, channel, state, body = row
    place = ChannelId(channel)
    item: Any = cbor.decode(tx.unseal(_label(number, place), body))
    receipt, code, reason = item
    return AnswerRecord(number, place, Receipt.decode(receipt), MessageState(state), code, reason)
