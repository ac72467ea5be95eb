"""What a registrar looks at when its parties have given up a log: nothing is to be lost unseen.

Whatever of the old log the office has read and the parties hold to no more, and whatever they hold
to that the office has not read, is told as an alarm: somebody has to look into it. From then on the
successor is read, from its first entry, which has to name the head that was agreed.
"""

from __future__ import annotations

from collections.abc import Mapping

from liaison import words
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison.tlog.text import to_base64
from liaison.trust import log as trusted
from liaison_sdk.log_checks import Proven
from liaison_sdk.registrar.state import WatchAlarm, WatchedLog


def current(agreement: Agreement, known: WatchedLog, now: int) -> WatchedLog:
    """Return how far the log of a version was watched; a new value where it is a successor.

    Args:
        agreement: the version in force.
        known: how far its log was watched, or the one before it.
        now: Unix seconds.
    """
    if not known.note or agreement.log.predecessor is None or _is_of(agreement, known):
        return known
    new = (WatchAlarm(-1, text, now) for text in differences(agreement, known))
    return WatchedLog(known.agreement, alarms=(*known.alarms, *new), said=known.said)


def differences(agreement: Agreement, known: WatchedLog) -> list[str]:
    """Tell what a version that gives up a log would give up of what was read, or adds to that.

    Args:
        agreement: the version.
        known: how far the log before was watched.
    """
    head = agreement.log.predecessor
    if head is None or not known.note or _is_of(agreement, known):
        return []
    return _differences(Checkpoint.parse(Note.decode(known.note).text), head)


def _is_of(agreement: Agreement, known: WatchedLog) -> bool:
    """Whether it is the version's own log that was watched."""
    return Checkpoint.parse(Note.decode(known.note).text).origin == trusted.origin(agreement)


def _differences(read: Checkpoint, head: Predecessor) -> list[str]:
    if read.origin != head.origin:
        return [
            f"after {read.origin}, the parties have given up another log that was not read here"
        ]
    if read.size > head.size:
        given_up = words.entries(read.size - head.size)
        were = words.noun(read.size - head.size, "was", "were")
        return [f"the parties have given up the last {given_up} of {read.origin} that {were} read"]
    if read.size < head.size:
        unread = words.count(head.size - read.size, "more entry", "more entries")
        return [f"the parties hold to {unread} of {read.origin} than were read here"]
    if read.root != head.root:
        return [f"the parties hold to another history of {read.origin} than was read here"]
    return []


def check_first(
    agreement: Agreement, known: WatchedLog, shown: Mapping[int, Proven], now: int
) -> list[WatchAlarm]:
    """Check that a successor begins with the head that was agreed.

    Args:
        agreement: the version in force.
        known: how far its log was watched before.
        shown: what was opened of its entries, by index.
        now: Unix seconds.
    """
    head = agreement.log.predecessor
    if head is None or known.size:
        return []
    first = shown.get(0)
    wanted = {"origin": head.origin, "size": head.size, "root": to_base64(head.root)}
    if (
        first is not None
        and first.entry.type is EntryType.CHECKPOINT
        and first.values is not None
        and all(first.values.get(name) == value for name, value in wanted.items())
    ):
        return []
    text = f"the log does not begin with the head of {head.origin} that the parties agreed on"
    return [WatchAlarm(0, text, now)]
