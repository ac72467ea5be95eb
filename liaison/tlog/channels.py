"""What a channel's members check of it in the log: nothing is left out, and nothing stands twice.

Sequence numbers are dense: entries of types accepted, receipt and commit take one each. And each
epoch ends with one commit, the one that the member has applied. In a successor log a channel goes
on with numbers that the logs before it can't have given out; where exactly, `first_of` tells, so
that nothing can be left out at its beginning either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.entries import Entry
from liaison.tlog.errors import ChannelForkError, ChannelGapError
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64
from liaison.values import dataclass

ROOM: Final = 1 << 32
"""Numbers of a channel's items for each log of its agreement: more than a channel ever has."""
_START: Final = 1


def first_of(seq: int, generation: int) -> int:
    """Return the number with which a channel has to begin in a log, if it does not begin elsewhere.

    Args:
        seq: the number with which it begins there: in the log's own room if it was opened under one
            before, else it begins as all channels do.
        generation: of the log.
    """
    before = (generation - 1) * ROOM
    return before + _START if seq > before else _START


@dataclass(frozen=True, slots=True)
class ChannelView:
    """How far a member has followed its channel in the log.

    Args:
        channel: its pseudonym, from `entries.pseudonym`.
        next_seq: the sequence number that has to come next; 1 for a new channel.
        epoch: the epoch that has not ended yet, as far as the log says; None before the first
            sequenced entry that was followed.
    """

    channel: bytes
    next_seq: int = _START
    epoch: int | None = None

    def follow(self, entry: Entry) -> ChannelView:
        """Take the next entry of the log; return the view after it.

        Entries of other channels, and those that take no place in the channel, change nothing.

        Raises:
            ChannelGapError: a sequence number is missing or stands twice.
            ChannelForkError: a commit for an epoch that has ended, or for one yet to come, or an
                item of an epoch yet to come.
        """
        if entry.channel != self.channel or entry.seq is None or entry.epoch is None:
            return self
        if entry.seq != self.next_seq:
            raise ChannelGapError(
                f"the log goes on with item {entry.seq} of the channel, not {self.next_seq}"
            )
        epoch = entry.epoch if self.epoch is None else self.epoch
        if entry.type is EntryType.COMMIT:
            if entry.epoch != epoch:
                raise ChannelForkError(
                    f"the log has a commit that ends epoch {entry.epoch}, and the channel is in "
                    f"epoch {epoch}"
                )
            return replace(self, next_seq=entry.seq + 1, epoch=epoch + 1)
        if entry.epoch > epoch:
            raise ChannelForkError(
                f"the log has an item of epoch {entry.epoch}, which no commit has begun"
            )
        return replace(self, next_seq=entry.seq + 1, epoch=epoch)


def verify_commit(entry: Entry, shown: Disclosure | Sealed, epoch: int, digest: bytes) -> None:
    """Check that the log holds the commit that a member has applied.

    Args:
        entry: the log's commit entry.
        shown: of its fields, `digest` at least.
        epoch: that the member's commit ended.
        digest: SHA-256 of the commit as the member received it, 32 bytes.

    Raises:
        OpeningError: what is shown is of something else.
        ChannelForkError: another commit, or of another epoch: this member and the log's other
            readers were shown two channels.
    """
    logged = entry.open(shown).get("digest")
    if entry.type is not EntryType.COMMIT or entry.epoch != epoch or logged != to_base64(digest):
        raise ChannelForkError(f"the log has another commit at the end of epoch {epoch}")
