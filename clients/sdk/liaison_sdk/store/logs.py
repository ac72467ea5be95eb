"""What was verified of the agreements' logs: how far, which credentials, and what was wrong.

What a log says of an item that has not come yet waits here for it. Checkpoints and evidence are
under the seal, so that nobody can put an older state in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Row, Transaction
from liaison_sdk.store.items import Value

MAX_ALARMS: Final = 1000
"""Kept; later ones are not, the first tell enough."""
MAX_ALIKE: Final = 32
"""Of one kind about one channel: each has what the relay sent, which may be megabytes."""
MAX_TIME: Final = 2**63 - 1
"""Unix milliseconds that no message is accepted after."""
LAST_PLACE: Final = 2**63 - 1
"""That no item of a channel stands behind."""
_WITH_JOINED: Final = 7
"""Parts of a channel's record as earlier programs wrote it."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """How far an agreement's log was verified.

    Args:
        agreement: whose log.
        note: the last verified checkpoint; empty before the first.
        size: its number of entries.
        witnesses: who had cosigned it.
        newest: the size that the relay gave the log then.
        asked_at: when the relay last answered, Unix seconds.
        advanced_at: when the checkpoint last moved on, Unix seconds.
        problem: why nothing could be verified the last time; empty where all was well.
        cosigned_at: when a witness of the own party, or of any where it has none, cosigned last
            what was shown here, Unix seconds; 0 before the first.
    """

    agreement: str
    note: bytes = b""
    size: int = 0
    witnesses: tuple[str, ...] = ()
    newest: int = 0
    asked_at: int = 0
    advanced_at: int = 0
    problem: str = ""
    cosigned_at: int = 0


@dataclass(frozen=True, slots=True)
class FollowRecord:
    """How far a channel was followed; see `log_places.Following`.

    `start` is the place of the commit that began the stay, 0 for whoever has opened the channel;
    `welcomed` whether a Welcome was delivered in that commit's place. In a successor log `start` is
    the last item that had come when this device went over to it, and `next_seq` 0 until the first
    entry: see `log_places.follow` for where the channel may begin there.
    """

    channel: ChannelId
    next_seq: int
    epoch: int | None
    last: int
    confirmed: int
    start: int
    welcomed: bool


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


class CredentialState(StrEnum):
    """What is known of a credential."""

    LOGGED = "logged"
    UNPROVEN = "unproven"
    """The log could not say: it lacks its witnesses, or was not to be had."""
    MISSING = "missing"
    """The log is whole and does not have it."""


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A credential that was met.

    Args:
        digest: SHA-256 of the certificate's DER.
        state: what is known.
        since: when it was first asked for, Unix seconds.
        size: what the relay gave as the log's size then.
        name: whose it is, as its certificate says.
    """

    digest: bytes
    state: CredentialState
    since: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """Something that an honest relay does not do.

    Args:
        number: its place in this store.
        agreement: whose log.
        channel: None where it concerns the whole log.
        code: stable.
        text: for people.
        at: Unix seconds.
        evidence: what the relay has sent, and what contradicts it.
    """

    number: int
    agreement: str
    channel: ChannelId | None
    code: str
    text: str
    at: int
    evidence: bytes

    def __repr__(self) -> str:
        return f"<AlarmRecord {self.number} {self.code}>"


# --- the log itself ---------------------------------------------------------------------


def load(tx: Transaction, agreement: str) -> LogRecord:
    """Return how far a log was verified; a new record where it never was."""
    row = tx.one("SELECT body FROM logs WHERE agreement = ?", (agreement,))
    if row is None:
        return LogRecord(agreement)
    item: Any = cbor.decode(tx.unseal(f"log {agreement}", row[0]))
    note, size, witnesses, newest, asked_at, advanced_at, problem, *cosigned_at = item
    return LogRecord(
        agreement,
        note,
        size,
        tuple(witnesses),
        newest,
        asked_at,
        advanced_at,
        problem,
        # Where an earlier program wrote it, the checkpoint counts as fresh as it moved.
        cosigned_at[0] if cosigned_at else advanced_at,
    )


def save(tx: Transaction, record: LogRecord) -> None:
    """Keep how far a log was verified."""
    item: list[Any] = [
        record.note,
        record.size,
        list(record.witnesses),
        record.newest,
        record.asked_at,
        record.advanced_at,
        record.problem,
        record.cosigned_at,
    ]
    tx.execute(
        "INSERT OR REPLACE INTO logs (agreement, body) VALUES (?, ?)",
        (record.agreement, tx.seal(f"log {record.agreement}", cbor.encode(item))),
    )


# --- channels ---------------------------------------------------------------------------


def load_following(tx: Transaction, channel: ChannelId) -> FollowRecord | None:
    """Return how far a channel was followed, or None where its beginning was not noted."""
    row = tx.one("SELECT body FROM log_channels WHERE channel = ?", (channel.value,))
    if row is None:
        return None
    item: Any = cbor.decode(tx.unseal(f"log channel {channel}", row[0]))
    if len(item) == _WITH_JOINED:
        del item[3]
    return FollowRecord(channel, *item)


def save_following(tx: Transaction, record: FollowRecord) -> None:
    """Keep how far a channel was followed."""
    item: list[Any] = [
        record.next_seq,
        record.epoch,
        record.last,
        record.confirmed,
        record.start,
        record.welcomed,
    ]
    tx.execute(
        "INSERT OR REPLACE INTO log_channels (channel, body) VALUES (?, ?)",
        (record.channel.value, tx.seal(f"log channel {record.channel}", cbor.encode(item))),
    )


def begin(
    tx: Transaction, channel: ChannelId, seq: int, epoch: int, *, welcomed: bool = False
) -> None:
    """Note that a stay in a channel begins, in the transaction in which it does.

    Args:
        tx: the transaction.
        channel: which channel.
        seq: of the commit that brought this device in, by the relay's word.
        epoch: the first one of the stay.
        welcomed: whether a Welcome stands for that commit here, not the commit itself.
    """
    # No commit has number 0: a stay that began with none would need nothing to confirm it.
    seq = max(seq, 1)
    save_following(tx, FollowRecord(channel, seq, epoch - 1, -1, -1, seq, welcomed))
    # Of an earlier stay nothing more will come.
    tx.execute("DELETE FROM log_pending WHERE channel = ?", (channel.value,))


def begin_own(tx: Transaction, channel: ChannelId, epoch: int) -> None:
    """Note that this device has opened a channel, in the transaction in which it does."""
    save_following(tx, FollowRecord(channel, 1, epoch, -1, epoch, 0, welcomed=False))


def is_confirmed(tx: Transaction, channel: ChannelId, epoch: int) -> bool:
    """Whether the log has shown the commit that began a channel's epoch."""
    known = load_following(tx, channel)
    return known is None or known.confirmed >= epoch


def add_pending(tx: Transaction, channel: ChannelId, place: PendingPlace) -> None:
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


def pending(tx: Transaction, channel: ChannelId) -> list[PendingPlace]:
    """Return what waits for its item, in the channel's order."""
    sql = "SELECT seq, since, body FROM log_pending WHERE channel = ? ORDER BY seq"
    return [_pending(tx, channel, *row) for row in tx.all(sql, (channel.value,))]


def _pending(
    tx: Transaction, channel: ChannelId, seq: int, since: int, body: bytes
) -> PendingPlace:
    item: Any = cbor.decode(tx.unseal(f"log pending {channel} {seq}", body))
    index, entry, values = item
    if values is not None:
        values = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    return PendingPlace(seq, index, entry, values, since)


def drop_pending(tx: Transaction, channel: ChannelId, seq: int) -> None:
    """Forget what was compared with its item."""
    tx.execute("DELETE FROM log_pending WHERE channel = ? AND seq = ?", (channel.value, seq))


def any_pending(tx: Transaction, channel: ChannelId) -> bool:
    """Whether an item that has come by now is waited for."""
    sql = (
        "SELECT 1 FROM log_pending p JOIN items i ON i.channel = p.channel AND i.seq = p.seq "
        "WHERE p.channel = ? LIMIT 1"
    )
    return tx.one(sql, (channel.value,)) is not None


def save_proof(tx: Transaction, channel: ChannelId, seq: int, proof: bytes) -> None:
    """Keep the proof that an own message is in the log; the first one stays."""
    tx.execute(
        "INSERT OR IGNORE INTO log_proofs (channel, seq, body) VALUES (?, ?, ?)",
        (channel.value, seq, tx.seal(f"log proof {channel} {seq}", proof)),
    )


def load_proof(tx: Transaction, channel: ChannelId, seq: int) -> bytes | None:
    """Return the proof that an own message is in the log; None where it is not, or another is."""
    sql = (
        "SELECT p.body FROM log_proofs p JOIN messages m ON m.channel = p.channel AND m.seq = p.seq "
        "WHERE p.channel = ? AND p.seq = ? AND m.outgoing = 1 AND m.logged IS NOT NULL"
    )
    row = tx.one(sql, (channel.value, seq))
    return None if row is None else tx.unseal(f"log proof {channel} {seq}", row[0])


# --- credentials ------------------------------------------------------------------------


def load_credentials(
    tx: Transaction, agreement: str, digests: Iterable[bytes]
) -> dict[bytes, CredentialRecord]:
    """Return what is known of credentials, by digest; those never asked for are left out."""
    found = {}
    for digest in digests:
        row = tx.one(
            "SELECT digest, state, since, size, name FROM log_credentials "
            "WHERE agreement = ? AND digest = ?",
            (agreement, digest),
        )
        if row is not None:
            found[digest] = _credential(row)
    return found


def open_credentials(tx: Transaction, agreement: str) -> list[CredentialRecord]:
    """Return the credentials that were met and are not known to be in the log."""
    rows = tx.all(
        "SELECT digest, state, since, size, name FROM log_credentials "
        "WHERE agreement = ? AND state <> ?",
        (agreement, CredentialState.LOGGED),
    )
    return [_credential(row) for row in rows]


def save_credential(tx: Transaction, agreement: str, record: CredentialRecord) -> None:
    """Keep what is known of a credential."""
    tx.execute(
        "INSERT OR REPLACE INTO log_credentials (agreement, digest, state, since, size, name) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (agreement, record.digest, record.state, record.since, record.size, record.name),
    )


def _credential(row: Row) -> CredentialRecord:
    digest, state, since, size, name = row
    return CredentialRecord(digest, CredentialState(state), since, size, name)


# --- alarms -----------------------------------------------------------------------------


def raise_alarm(
    tx: Transaction,
    agreement: str,
    channel: ChannelId | None,
    code: str,
    text: str,
    *,
    at: int,
    evidence: Callable[[], bytes],
    since: int = 0,
) -> bool:
    """Keep an alarm; return False where the same one stands here already, or too many do.

    Of a whole log one of each kind is kept: the first tells where it went wrong.

    Args:
        tx: the transaction.
        agreement, channel, code, text: what is wrong; without a channel, with the whole log.
        at: Unix seconds.
        evidence: gives it, where the alarm is kept.
        since: the last alarm about logs that were given up: what follows stands in another.
    """
    place = None if channel is None else channel.value
    sql = "SELECT count(*) FROM log_alarms WHERE agreement = ? AND channel IS ? AND code = ?"
    alike = tx.one(sql, (agreement, place, code))
    if alike is not None and alike[0] >= MAX_ALIKE:
        return False
    for known in alarms(tx):
        same = (known.agreement, known.channel, known.code) == (agreement, channel, code)
        if same and (known.number > since if channel is None else known.text == text):
            return False
    row = tx.one("SELECT count(*) FROM log_alarms")
    if row is not None and row[0] >= MAX_ALARMS:
        return False
    item: list[Any] = [text, evidence()]
    sealed = tx.seal(f"log alarm {agreement} {code}", cbor.encode(item))
    tx.execute(
        "INSERT INTO log_alarms (agreement, channel, code, at, body) VALUES (?, ?, ?, ?, ?)",
        (agreement, place, code, at, sealed),
    )
    return True


def alarms(tx: Transaction) -> list[AlarmRecord]:
    """Return all alarms, oldest first."""
    rows = tx.all(
        "SELECT number, agreement, channel, code, at, body FROM log_alarms ORDER BY number"
    )
    return [_alarm(tx, row) for row in rows]


def alarmed(tx: Transaction, channels: Collection[ChannelId]) -> set[ChannelId]:
    """Return which of these channels an alarm stands for."""
    rows = tx.all("SELECT DISTINCT channel FROM log_alarms WHERE channel IS NOT NULL")
    return {ChannelId(row[0]) for row in rows} & set(channels)


def _alarm(tx: Transaction, row: Row) -> AlarmRecord:
    number, agreement, channel, code, at, body = row
    item: Any = cbor.decode(tx.unseal(f"log alarm {agreement} {code}", body))
    text, evidence = item
    where = None if channel is None else ChannelId(channel)
    return AlarmRecord(number, agreement, where, code, text, at, evidence)


# --- messages ---------------------------------------------------------------------------


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


def highest_item(tx: Transaction, channel: ChannelId) -> int:
    """Return the place of the last item of a channel that has come; 0 where none has."""
    row = tx.one("SELECT max(seq) FROM items WHERE channel = ?", (channel.value,))
    return 0 if row is None or row[0] is None else int(row[0])


def item_digest(tx: Transaction, channel: ChannelId, seq: int) -> bytes | None:
    """Return the digest of an item that has come, or None."""
    row = tx.one("SELECT digest FROM items WHERE channel = ? AND seq = ?", (channel.value, seq))
    return None if row is None else bytes(row[0])


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


def withheld_numbers(tx: Transaction, channel: ChannelId) -> list[int]:
    """Return the numbers of the messages of a channel that are withheld, oldest first."""
    sql = "SELECT number FROM messages WHERE channel = ? AND state = 'withheld' ORDER BY number"
    return [row[0] for row in tx.all(sql, (channel.value,))]
