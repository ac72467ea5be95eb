"""Channels and the state of their groups.

The group lies in two sealed parts, as `liaison.mls.snapshot` gives them: the
epoch's, large and written at each commit, and the ratchets', small and written
with every message.
"""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum
from typing import Any, Final

from liaison.crypto import secret
from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.errors import ChannelClosedError, ChannelRejectedError, ChannelUnknownError
from liaison_sdk.store.base import Row, Transaction

STAMP_SIZE: Final = 16


class ChannelState(StrEnum):
    """What this device can do in a channel."""

    CREATING = "creating"
    """Stored, and not yet registered at the relay."""
    ACTIVE = "active"
    STALE = "stale"
    """This store's group is out of step; it has to be joined anew before anything is sent."""
    LEAVING = "leaving"
    LEFT = "left"
    REMOVED = "removed"
    REJECTED = "rejected"
    """A commit broke the agreement; nothing after it is taken or sent."""

    @property
    def is_open(self) -> bool:
        """Whether the device is a member, as far as is known here."""
        return self in (ChannelState.ACTIVE, ChannelState.STALE, ChannelState.LEAVING)


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """A channel without its keys.

    Args:
        channel: its id.
        stamp: random; names this very state of the group.
        state: what can be done in it.
        epoch: the group's epoch.
        name: display name; only members know it.
        agreement_id, agreement_version, policy: what binds it.
        reason: why it is rejected, removed or stale; a sentence.
        epoch_at: when the epoch began, Unix seconds.
        leaf_at: when the own leaf's key was made, Unix seconds.
        versions: agreement version of each epoch that is still readable.
        renewed: when the keys of leaves came in; see `renewals`.
        watched_since: Unix seconds from which on that was noted; 0 where it was not yet.
        rejection: the report on a commit that could not be followed, until it is made.
    """

    channel: ChannelId
    stamp: bytes
    state: ChannelState
    epoch: int
    name: str
    agreement_id: str
    agreement_version: int
    policy: str
    reason: str = ""
    epoch_at: int = 0
    leaf_at: int = 0
    versions: tuple[tuple[int, int], ...] = ()
    renewed: bytes = field(default=b"", repr=False)
    watched_since: int = 0
    rejection: bytes = b""

    def version_at(self, epoch: int) -> int:
        """Return the agreement version that an epoch was made under."""
        return dict(self.versions).get(epoch, self.agreement_version)


@dataclass(frozen=True, slots=True)
class GroupBlobs:
    """The two parts of a group's snapshot. Secret."""

    epoch: bytes
    ratchets: bytes

    def __repr__(self) -> str:
        return "<GroupBlobs>"


_COLUMNS: Final = "channel, stamp, state, epoch, body"


def load(tx: Transaction, channel: ChannelId) -> ChannelRecord | None:
    """Return a channel, or None."""
    row = tx.one(f"SELECT {_COLUMNS} FROM channels WHERE channel = ?", (channel.value,))  # noqa: S608 - constant columns
    return _record(tx, row) if row else None


def load_open(tx: Transaction, channel: ChannelId) -> ChannelRecord:
    """Return a channel in which something can be done.

    Raises:
        ChannelUnknownError: it is not here.
        ChannelRejectedError: its members have broken the agreement.
        ChannelClosedError: this device is no member, is leaving, or out of step.
    """
    record = load(tx, channel)
    if record is None:
        raise ChannelUnknownError(f"there is no channel {channel} here")
    if record.state is ChannelState.REJECTED:
        raise ChannelRejectedError(record.reason)
    if record.state is not ChannelState.ACTIVE:
        raise ChannelClosedError(f"the channel {record.name} is {record.state.value}")
    return record


def load_all(tx: Transaction) -> list[ChannelRecord]:
    """Return all channels, oldest first."""
    rows = tx.all(f"SELECT {_COLUMNS} FROM channels ORDER BY rowid")  # noqa: S608 - constant columns
    return [_record(tx, row) for row in rows]


def load_group(tx: Transaction, channel: ChannelId) -> GroupBlobs | None:
    """Return the group's snapshot, or None where there is no group any more."""
    row = tx.one("SELECT epoch_blob, ratchets FROM channels WHERE channel = ?", (channel.value,))
    if row is None or row[0] is None:
        return None
    return GroupBlobs(
        tx.unseal(_label("epoch", channel), row[0]), tx.unseal(_label("ratchets", channel), row[1])
    )


def insert(tx: Transaction, record: ChannelRecord, blobs: GroupBlobs) -> ChannelRecord:
    """Keep a channel, in the place of one with the same id; return it with its stamp."""
    record = _stamped(record)
    tx.execute(
        "INSERT INTO channels (channel, stamp, state, epoch, body, epoch_blob, ratchets) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (channel) DO UPDATE SET "
        "stamp = excluded.stamp, state = excluded.state, epoch = excluded.epoch, "
        "body = excluded.body, epoch_blob = excluded.epoch_blob, ratchets = excluded.ratchets",
        (
            record.channel.value,
            record.stamp,
            record.state,
            record.epoch,
            _body(tx, record),
            tx.seal(_label("epoch", record.channel), blobs.epoch),
            tx.seal(_label("ratchets", record.channel), blobs.ratchets),
        ),
    )
    return record


def save_ratchets(tx: Transaction, record: ChannelRecord, ratchets: bytes) -> ChannelRecord:
    """Keep the group after a message; return the channel with its new stamp."""
    record = _stamped(record)
    tx.execute(
        "UPDATE channels SET stamp = ?, ratchets = ? WHERE channel = ?",
        (record.stamp, tx.seal(_label("ratchets", record.channel), ratchets), record.channel.value),
    )
    return record


def save(tx: Transaction, record: ChannelRecord) -> None:
    """Keep a channel's other fields; its group and stamp stay."""
    tx.execute(
        "UPDATE channels SET state = ?, epoch = ?, body = ? WHERE channel = ?",
        (record.state, record.epoch, _body(tx, record), record.channel.value),
    )


def forget_group(tx: Transaction, record: ChannelRecord) -> None:
    """Delete the group's keys: this device is no member any more."""
    save(tx, record)
    tx.execute(
        "UPDATE channels SET stamp = ?, epoch_blob = NULL, ratchets = NULL WHERE channel = ?",
        (secret.random_bytes(STAMP_SIZE), record.channel.value),
    )


def delete(tx: Transaction, channel: ChannelId) -> None:
    """Forget a channel that never came to be."""
    tx.execute("DELETE FROM channels WHERE channel = ?", (channel.value,))


def _stamped(record: ChannelRecord) -> ChannelRecord:
    return replace(record, stamp=secret.random_bytes(STAMP_SIZE))


def _label(part: str, channel: ChannelId) -> str:
    return f"channel {part} {channel}"


def _body(tx: Transaction, record: ChannelRecord) -> bytes:
    item: list[Any] = [
        record.name,
        record.agreement_id,
        record.agreement_version,
        record.policy,
        record.reason,
        record.epoch_at,
        record.leaf_at,
        [list(pair) for pair in record.versions],
        record.renewed,
        record.watched_since,
        record.rejection,
    ]
    return tx.seal(_label("body", record.channel), cbor.encode(item))


def _record(tx: Transaction, row: Row) -> ChannelRecord:
    channel = ChannelId(row[0])
    item: Any = cbor.decode(tx.unseal(_label("body", channel), row[4]))
    name, agreement_id, agreement_version, policy, reason, epoch_at, leaf_at, versions = item[:8]
    # Not there in what an earlier version of this program has written.
    newer: list[Any] = [*item[8:], *(b"", 0, b"")[len(item) - 8 :]]
    renewed, watched_since, rejection = newer
    return ChannelRecord(
        channel=channel,
        stamp=row[1],
        state=ChannelState(row[2]),
        epoch=row[3],
        name=name,
        agreement_id=agreement_id,
        agreement_version=agreement_version,
        policy=policy,
        reason=reason,
        epoch_at=epoch_at,
        leaf_at=leaf_at,
        versions=tuple((epoch, version) for epoch, version in versions),
        renewed=renewed,
        watched_since=watched_since,
        rejection=rejection,
    )
