"""Going over to a log's successor: what was verified of the old one is kept, and compared with what the parties say.

Which log counts is what the authorities of all parties have signed, so a device follows the log of
the version in force, and no other. It remembers how far it had verified the one before. Where it
has seen more than the parties hold to, it says so: these entries count no more, and messages among
them are shown as such. Where it has seen another history, that is an alarm. Nothing is refused: it
is the parties' decision, and the reader has to know of it. Proofs from the old log hold for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from liaison import words
from liaison.errors import VerificationError
from liaison.policy.agreement import Agreement
from liaison.policy.log_rules import Predecessor
from liaison.tlog.channels import ROOM
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison_sdk import log_alarms, log_stays
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction, channels, gaps, generations, items, logs, messages, stays
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.generations import EndedLog, Generations
from liaison_sdk.store.stays import FollowRecord


class HeadContradictedError(VerificationError):
    """The parties hold to another history of the old log than this device has verified.

    One of the two was made up for somebody. The checkpoint that was verified is kept as evidence.
    """

    code = "log.head_contradicted"


def is_due(env: Environment, tx: Transaction, agreement_id: str) -> bool:
    """Whether the version in force names a later log than the one that is followed here."""
    agreement = env.trust.current(tx, agreement_id, env.now)
    return agreement.log.generation > generations.load(tx, agreement_id).current


def adopt(env: Environment, tx: Transaction, agreement_id: str) -> None:
    """Follow the log of the version in force from here on; again changes nothing."""
    if not is_due(env, tx, agreement_id):
        return
    agreement = env.trust.current(tx, agreement_id, env.now)
    before, known = generations.load(tx, agreement_id), logs.load(tx, agreement_id)
    head = _head(env.trust.versions(tx, agreement_id), before.current + 1)
    records = [one for one in channels.load_all(tx) if one.agreement_id == agreement_id]
    kept = known.size if head is None else head.size
    # The relay may have taken messages for the new log before this device went over to it.
    last = (agreement.log.generation - 1) * ROOM
    ended = EndedLog(
        before.current,
        known.size,
        known.note,
        kept,
        sum(_drop(env, tx, record, before.current, kept) for record in records),
        sum(_report_unlogged(env, tx, record, last) for record in records),
        generations.last_alarm(tx),
        env.now,
    )
    for record in records:
        _begin(tx, record)
    # Of a log of which nothing was ever verified there is nothing to tell.
    told = (*before.ended, ended) if known.note else before.ended
    generations.save(tx, Generations(agreement_id, agreement.log.generation, told))
    # What was verified in the old log has to show in this one too, or nobody would watch over it.
    generations.forget_old(tx, agreement_id)
    if head is not None and known.note:
        _compare(env, tx, agreement, known.note, head)


def _head(versions: Sequence[Agreement], generation: int) -> Predecessor | None:
    """Return what the parties say about the log before a generation."""
    found = (one.log.predecessor for one in versions if one.log.generation == generation)
    return next(found, None)


def _drop(
    env: Environment, tx: Transaction, record: ChannelRecord, generation: int, kept: int
) -> int:
    """Note the messages that are logged in what counts no more."""
    following = stays.load(tx, record.channel)
    # Of earlier logs the places say nothing about this one.
    after = following.start if following is not None and generation > 1 else 0
    dropped = generations.drop_logged(tx, record.channel, after=after, kept=kept)
    if dropped:
        text = f"{_messages(dropped)} logged in a part of the log that the parties have given up"
        env.announce(tx, Event(EventKind.UNLOGGED, record.channel, text))
    return dropped


def _report_unlogged(env: Environment, tx: Transaction, record: ChannelRecord, last: int) -> int:
    """Tell of messages, up to a place of the channel, that were in no log when theirs ended."""
    start = log_stays.before(tx, record)
    count, _ = messages.count_unlogged(tx, record.channel, start, last)
    late = messages.mark_late(tx, record.channel, start=start, upto=last, before_ms=env.now * 1000)
    if late:
        text = f"{_messages(len(late))} in no log: the one that they were for has ended"
        env.announce(tx, Event(EventKind.UNLOGGED, record.channel, text))
    return count


def _begin(tx: Transaction, record: ChannelRecord) -> None:
    """Follow a channel from wherever the new log takes it up."""
    before = stays.load(tx, record.channel)
    confirmed = record.epoch if before is None else before.confirmed
    start = max(items.highest(tx, record.channel), 0 if before is None else before.start)
    fresh = FollowRecord(record.channel, 0, None, -1, confirmed, start, welcomed=False)
    stays.save(tx, fresh)
    # What the old log said of items that have not come is for nobody to wait for.
    generations.drop_pending(tx, record.channel)
    # Nor what it has left out.
    gaps.drop(tx, record.channel)


def _compare(
    env: Environment, tx: Transaction, agreement: Agreement, note: bytes, head: Predecessor
) -> None:
    verified = Checkpoint.parse(Note.decode(note).text)
    if verified.size > head.size:
        text = (
            f"{agreement.agreement_id}: the parties have given up the log's last"
            f" {words.entries(verified.size - head.size)} that this device has verified"
        )
        env.announce(tx, Event(EventKind.UNLOGGED, None, text))
    elif verified.size == head.size and verified.root != head.root:
        error = HeadContradictedError(
            f"version {agreement.version} holds to another history of the log's first"
            f" {words.entries(head.size)} than this device has verified"
        )
        log_alarms.alarm(env, tx, agreement.agreement_id, None, error, lambda: note)


def _messages(count: int) -> str:
    return words.count(count, "message is", "messages are")
