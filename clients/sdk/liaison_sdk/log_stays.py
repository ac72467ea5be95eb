"""What came in stays of a channel that are over, and is not known to be in the log.

Whoever joins a channel anew, or is removed and added again, follows it from the commit that brought
this device back. What had come before, or comes still, and was not compared with the log by then is
asked for by its place. Whether the log leaves something out between such places can't be told here,
because nothing says where a stay has ended: that is for whoever reads all entries (`log_walking`).
What the log had shown of an earlier stay, and was not delivered by its end, is waited for as before:
the relay shows of a channel only what came while this device was in it, so all of it is due.
"""

from __future__ import annotations

from liaison.model import ChannelId
from liaison.tlog.channels import first_of
from liaison.values import dataclass
from liaison_sdk.log_places import Following
from liaison_sdk.store import Transaction, generations, items, stays
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.stays import FollowRecord


@dataclass(frozen=True, slots=True)
class Past:
    """Places of a channel before the stay that is followed.

    Args:
        channel: which channel.
        first: the first one of which the log is still to be asked.
        last: the last one.
    """

    channel: ChannelId
    first: int
    last: int


def lacking(tx: Transaction, record: ChannelRecord, *, after: int = 0) -> Past | None:
    """Return the places of earlier stays that the log was not compared at; None where there are none.

    Args:
        tx: the transaction.
        record: the channel.
        after: only what stands behind this place.
    """
    known = stays.load(tx, record.channel)
    if known is None:
        return None
    # In a successor log a channel is followed from where that one takes it up, which may lie before
    # the last item that had come.
    below = min(known.start, known.next_seq)
    found = items.uncompared(tx, record.channel, max(after, before(tx, record)), below)
    return None if found is None else Past(record.channel, *found)


def has_moved(now: FollowRecord | None, then: Following) -> bool:
    """Whether a new stay has begun, or another process went on, since the log was asked.

    Args:
        now: how far the channel is followed.
        then: how far it was, when it was asked for.
    """
    return now is not None and (now.next_seq, now.last) != (then.view.next_seq, then.last)


def before(tx: Transaction, record: ChannelRecord) -> int:
    """Return the last place of a channel that the log which is followed is not expected to show.

    What came in an earlier stay it has to show; what came under a log that has ended it has not.
    """
    known = stays.load(tx, record.channel)
    if known is None:
        return 0
    if known.next_seq == 0:
        return known.start
    return first_of(known.next_seq, generations.load(tx, record.agreement_id).current) - 1


def is_late(tx: Transaction, past: Past, *, before_ms: int, after_ms: int) -> bool:
    """Whether the log should have been showing what lacks of earlier stays for a while.

    Args:
        tx: the transaction.
        past: where it lacks.
        before_ms, after_ms: as in `messages.mark_late`.
    """
    # The last one has waited for the shortest time.
    return not before_ms <= items.accepted_at(tx, past.channel, past.last) <= after_ms


def is_lacking(tx: Transaction, channel: ChannelId, seq: int) -> bool:
    """Whether the log was not compared at a place, though there is something to compare.

    Where a Welcome was taken there is not: its bytes are not those of the commit.
    """
    return items.uncompared(tx, channel, seq - 1, seq + 1) is not None
