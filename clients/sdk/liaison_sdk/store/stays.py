"""This device's stay in each channel, and how far it was followed through the agreement's log.

Of earlier stays see `liaison_sdk.log_stays`. Under the seal, so that nobody can put an older state in its place.
"""

from __future__ import annotations

from typing import Any, Final

from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store import gaps, pending
from liaison_sdk.store.base import Transaction

_WITH_JOINED: Final = 7
"""Parts of a channel's record as earlier programs wrote it."""


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


def load(tx: Transaction, channel: ChannelId) -> FollowRecord | None:
    """Return how far a channel was followed, or None where its beginning was not noted."""
    row = tx.one("SELECT body FROM log_channels WHERE channel = ?", (channel.value,))
    if row is None:
        return None
    item: Any = cbor.decode(tx.unseal(f"log channel {channel}", row[0]))
    if len(item) == _WITH_JOINED:
        del item[3]
    return FollowRecord(channel, *item)


def save(tx: Transaction, record: FollowRecord) -> None:
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
    save(tx, FollowRecord(channel, seq, epoch - 1, -1, -1, seq, welcomed))
    # The new stay is followed from its commit on. What an earlier one waits for it goes on waiting
    # for: else a relay would only need to have a device join anew to hide what it withholds.
    pending.drop_from(tx, channel, seq)
    gaps.drop(tx, channel)


def begin_own(tx: Transaction, channel: ChannelId, epoch: int) -> None:
    """Note that this device has opened a channel, in the transaction in which it does."""
    save(tx, FollowRecord(channel, 1, epoch, -1, epoch, 0, welcomed=False))
    gaps.drop(tx, channel)


def is_confirmed(tx: Transaction, channel: ChannelId, epoch: int) -> bool:
    """Whether the log has shown the commit that began a channel's epoch."""
    known = load(tx, channel)
    return known is None or known.confirmed >= epoch
