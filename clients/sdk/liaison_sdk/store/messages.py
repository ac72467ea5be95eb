"""Messages, own and others', as they are shown: header and content under the seal.

With each stands whether it is known to be in the agreement's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from liaison.envelope import cbor
from liaison.model import ChannelId, DeviceId, MessageId, Precedence
from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction

MAX_TIME: Final = 2**63 - 1
"""Unix milliseconds that no message is accepted after."""
LAST_PLACE: Final = 2**63 - 1
"""That no item of a channel stands behind."""


class MessageState(StrEnum):
    """Where a message stands."""

    QUEUED = "queued"
    SENDING = "sending"
    """Encrypted; the relay has not answered yet."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    RECEIVED = "received"
    WITHHELD = "withheld"
    """Decrypted, and not to be shown: the agreement forbids it, or it has expired."""
    FAILED = "failed"
    """Could not be decrypted, or is not what it says it is."""


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as it is stored.

    Args:
        channel: its channel.
        sender: the device of the MLS leaf; None where it could not be learnt.
        message_id: from the header.
        outgoing: whether this device wrote it.
        state: where it stands.
        precedence: for this reader; for own messages the action precedence.
        header: its bytes, empty where they made no sense.
        content: the plaintext; empty where there is none.
        shown: whether a reader has been given it.
        seq: its place in the channel; None until accepted.
        time_ms: when the relay accepted it; None until then.
        reason_code, reason: why it is refused, withheld or failed.
        number: its place in this store; None before it is stored.
        logged: its entry's index in the agreement's log; None until that is proven.
        late: whether it was reported as missing there.
        credentials: of one that is withheld because the log lacks one of them: the digests of all
            certificates that it stands on.
    """

    channel: ChannelId
    sender: DeviceId | None
    message_id: MessageId
    outgoing: bool
    state: MessageState
    precedence: Precedence
    header: bytes
    content: bytes
    shown: bool = False
    seq: int | None = None
    time_ms: int | None = None
    reason_code: str = ""
    reason: str = ""
    number: int | None = None
    logged: int | None = None
    late: bool = False
    credentials: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<MessageRecord {self.message_id} {self.state}>"


_COLUMNS: Final = (
    "channel, message_id, sender, outgoing, state, precedence, shown, seq, time_ms, body, number, "
    "logged, late"
)


def insert(tx: Transaction, record: MessageRecord) -> int | None:
    """Keep a message; return its number, or None where this very message is here already.

    One that can be read takes the place of one that could not: that one's id is
    nobody's word, and whoever invented it must not keep the true message away.
    """
    sender = str(record.sender or "")
    sql = "SELECT number, state FROM messages WHERE channel = ? AND message_id = ? AND sender = ?"
    known = tx.one(sql, (record.channel.value, record.message_id.value, sender))
    if known and (known[1] != MessageState.FAILED or record.state is MessageState.FAILED):
        return None
    if known:
        tx.execute("DELETE FROM messages WHERE number = ?", (known[0],))
    return tx.insert(
        "INSERT INTO messages (channel, message_id, sender, outgoing, state, precedence, shown, "
        "seq, time_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.channel.value,
            record.message_id.value,
            sender,
            record.outgoing,
            record.state,
            int(record.precedence),
            record.shown,
            record.seq,
            record.time_ms,
            _body(tx, record),
        ),
    )


def load(tx: Transaction, number: int) -> MessageRecord | None:
    """Return a message by its number in this store."""
    row = tx.one(f"SELECT {_COLUMNS} FROM messages WHERE number = ?", (number,))  # noqa: S608 - constant columns
    return _record(tx, row) if row else None


def find(tx: Transaction, prefix: str, sender: DeviceId | None = None) -> list[MessageRecord]:
    """Return the messages whose id starts with these hex digits; two at most.

    Args:
        tx: the transaction.
        prefix: hex digits.
        sender: only its messages; None for anybody's.
    """
    sql = (
        f"SELECT {_COLUMNS} FROM messages "  # noqa: S608 - constant columns
        "WHERE hex(message_id) LIKE ? AND ? IN (sender, '') LIMIT 2"
    )
    return [_record(tx, row) for row in tx.all(sql, (prefix.upper() + "%", str(sender or "")))]


def named(tx: Transaction, channel: ChannelId, message_id: MessageId) -> list[MessageRecord]:
    """Return the messages of all devices that have this id in a channel, oldest first."""
    sql = (
        f"SELECT {_COLUMNS} FROM messages "  # noqa: S608 - constant columns
        "WHERE channel = ? AND message_id = ? ORDER BY number"
    )
    return [_record(tx, row) for row in tx.all(sql, (channel.value, message_id.value))]


def find_own(tx: Transaction, channel: ChannelId, message_id: MessageId) -> MessageRecord | None:
    """Return an own message."""
    sql = (
        f"SELECT {_COLUMNS} FROM messages "  # noqa: S608 - constant columns
        "WHERE channel = ? AND message_id = ? AND outgoing = 1"
    )
    row = tx.one(sql, (channel.value, message_id.value))
    return _record(tx, row) if row else None


def history(
    tx: Transaction, channel: ChannelId | None, limit: int | None, *, unread: bool
) -> list[MessageRecord]:
    """Return messages, oldest first; with a limit the latest ones."""
    where = ["1"]
    values: list[object] = []
    if channel is not None:
        where.append("channel = ?")
        values.append(channel.value)
    if unread:
        where.append("shown = 0 AND outgoing = 0")
    sql = (
        f"SELECT {_COLUMNS} FROM messages WHERE {' AND '.join(where)} "  # noqa: S608 - constant parts
        "ORDER BY number DESC LIMIT ?"
    )
    rows = tx.all(sql, (*values, -1 if limit is None else limit))
    return [_record(tx, row) for row in reversed(rows)]


def on_their_way(tx: Transaction) -> list[MessageRecord]:
    """Return the own messages that the relay has not ruled on, oldest first."""
    sql = (
        f"SELECT {_COLUMNS} FROM messages "  # noqa: S608 - constant columns
        "WHERE outgoing = 1 AND state IN (?, ?) ORDER BY number"
    )
    states = (MessageState.QUEUED, MessageState.SENDING)
    return [_record(tx, row) for row in tx.all(sql, states)]


def next_unread(tx: Transaction, channel: ChannelId | None, limit: int = 64) -> list[MessageRecord]:
    """Return what waits to be shown, highest precedence first, then oldest first."""
    clause, values = ("", ()) if channel is None else (" AND channel = ?", (channel.value,))
    sql = (
        f"SELECT {_COLUMNS} FROM messages WHERE shown = 0{clause} "  # noqa: S608 - constant parts
        "ORDER BY precedence DESC, number LIMIT ?"
    )
    return [_record(tx, row) for row in tx.all(sql, (*values, limit))]


def mark_shown(tx: Transaction, numbers: Sequence[int]) -> list[int]:
    """Mark messages; return those that nobody had marked before."""
    sql = "UPDATE messages SET shown = 1 WHERE number = ? AND shown = 0"
    return [number for number in numbers if tx.execute(sql, (number,))]


def mark_unread(tx: Transaction, number: int) -> None:
    """Take back a mark whose message reached nobody."""
    tx.execute("UPDATE messages SET shown = 0 WHERE number = ?", (number,))


def count_unread(tx: Transaction, channel: ChannelId | None) -> int:
    """Count what waits to be shown."""
    sql = "SELECT count(*) FROM messages WHERE shown = 0 AND (? IS NULL OR channel = ?)"
    value = channel.value if channel else None
    row = tx.one(sql, (value, value))
    return int(row[0]) if row else 0


def count_received(tx: Transaction) -> int:
    """Count the messages of others."""
    row = tx.one("SELECT count(*) FROM messages WHERE outgoing = 0")
    return int(row[0]) if row else 0


def save_outcome(tx: Transaction, record: MessageRecord) -> None:
    """Keep an own message's state, place, time and reason."""
    tx.execute(
        "UPDATE messages SET state = ?, seq = ?, time_ms = ?, body = ? WHERE number = ?",
        (record.state, record.seq, record.time_ms, _body(tx, record), record.number),
    )


def receive(tx: Transaction, record: MessageRecord) -> None:
    """Show a message that was withheld; who was told of it then is told again."""
    state = MessageState.RECEIVED
    save_outcome(tx, replace(record, state=state, reason_code="", reason="", credentials=()))
    if record.number is not None:
        mark_unread(tx, record.number)


def mark_logged(
    tx: Transaction, channel: ChannelId, seq: int, index: int, message: str | None = None
) -> bool:
    """Note that a message stands in the log; return whether there was one to mark.

    Args:
        tx: the transaction.
        channel, seq: its place.
        index: of its entry.
        message: its id as the log shows it, if it does: a relay may give an own message the
            place of another one, whose entry must not pass for its own.
    """
    sql = "UPDATE messages SET logged = ? WHERE channel = ? AND seq = ? AND logged IS NULL"
    values: list[object] = [index, channel.value, seq]
    if message is not None:
        sql += " AND lower(hex(message_id)) = ?"
        values.append(message)
    return bool(tx.execute(sql, values))


def mark_late(
    tx: Transaction,
    channel: ChannelId,
    *,
    start: int,
    upto: int = LAST_PLACE,
    before_ms: int,
    after_ms: int = MAX_TIME,
) -> list[int]:
    """Mark the messages accepted before a time that are not in the log; return the new ones.

    Args:
        tx: the transaction.
        channel: which channel.
        start: only what stands behind this place: what comes before it is not for this log.
        upto: only what stands no further.
        before_ms: Unix milliseconds, the relay's.
        after_ms: likewise: whatever the relay says that it accepted later than that it dates so
            that it is never late.
    """
    where = (
        "channel = ? AND seq > ? AND seq <= ? AND (time_ms < ? OR time_ms > ?) "
        "AND logged IS NULL AND late = 0"
    )
    values = (channel.value, start, upto, before_ms, after_ms)
    found = tx.all(f"SELECT number FROM messages WHERE {where}", values)  # noqa: S608 - constant parts
    tx.execute(f"UPDATE messages SET late = 1 WHERE {where}", values)  # noqa: S608 - constant parts
    return [row[0] for row in found]


def count_unlogged(
    tx: Transaction, channel: ChannelId, start: int, upto: int = LAST_PLACE
) -> tuple[int, int]:
    """Count the accepted messages that are not in the log, and those that are late.

    Args:
        tx: the transaction.
        channel: which channel.
        start, upto: only what stands behind the one place, and not behind the other.
    """
    row = tx.one(
        "SELECT count(*), total(late) FROM messages "
        "WHERE channel = ? AND seq > ? AND seq <= ? AND time_ms IS NOT NULL AND logged IS NULL",
        (channel.value, start, upto),
    )
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def withheld(tx: Transaction, channel: ChannelId) -> list[int]:
    """Return the numbers of the messages of a channel that are withheld, oldest first."""
    sql = "SELECT number FROM messages WHERE channel = ? AND state = 'withheld' ORDER BY number"
    return [row[0] for row in tx.all(sql, (channel.value,))]


def _label(channel: bytes, message_id: bytes, sender: str) -> str:
    return f"message {channel.hex()} {message_id.hex()} {sender}"


def _body(tx: Transaction, record: MessageRecord) -> bytes:
    label = _label(record.channel.value, record.message_id.value, str(record.sender or ""))
    item: list[Any] = [record.header, record.content, record.reason_code, record.reason]
    if record.credentials:
        item.append(list(record.credentials))
    return tx.seal(label, cbor.encode(item))


def _record(tx: Transaction, row: Row) -> MessageRecord:
    channel, message_id, sender, outgoing, state, precedence, shown, seq, time_ms, body = row[:10]
    number, logged, late = row[10:]
    item: Any = cbor.decode(tx.unseal(_label(channel, message_id, sender), body))
    header, content, reason_code, reason, *credentials = item
    return MessageRecord(
        channel=ChannelId(channel),
        sender=DeviceId.parse(sender) if sender else None,
        message_id=MessageId(message_id),
        outgoing=bool(outgoing),
        state=MessageState(state),
        precedence=Precedence(precedence),
        header=header,
        content=content,
        shown=bool(shown),
        seq=seq,
        time_ms=time_ms,
        reason_code=reason_code,
        reason=reason,
        number=number,
        logged=logged,
        late=bool(late),
        credentials=tuple(credentials[0]) if credentials else (),
    )
