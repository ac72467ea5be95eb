"""What an answer of a log means for the store: what is proven, and what is an alarm.

Where another process of the device was faster, its findings stand and these are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from liaison import words
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.fields import format_duration
from liaison.tlog.entries import Entry
from liaison.tlog.errors import ChannelForkError
from liaison.wire.log import LogAnswer
from liaison_sdk import log_asking, log_checks, log_credentials, log_gaps, log_settling, log_stays
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_alarms import alarm
from liaison_sdk.log_asking import Outcome, Plan, followed_channels
from liaison_sdk.log_gaps import Patience
from liaison_sdk.log_places import Following, Place
from liaison_sdk.log_settling import Shown
from liaison_sdk.store import Transaction, generations, logs, messages, pending, proofs, stays
from liaison_sdk.store.logs import LogRecord
from liaison_sdk.store.pending import PendingPlace
from liaison_sdk.store.stays import FollowRecord

WITHHELD: Final = "log.item_withheld"
_DAY: Final = 86_400


def keep(
    env: Environment,
    tx: Transaction,
    plan: Plan,
    outcome: Outcome,
    answer: LogAnswer | None,
    *,
    final: bool,
    patience: Patience,
) -> bool:
    """Keep what an answer shows; return False where another process was faster.

    Args:
        env: where to.
        tx: the transaction.
        plan: the question.
        outcome: of its answer.
        answer: itself, for the evidence; None where there was none.
        final: see `log_credentials.note`.
        patience: see `log_gaps`.
    """
    name = plan.agreement.agreement_id
    known = logs.load(tx, name)
    log = generations.load(tx, name).current
    if (log, known.note) != (plan.agreement.log.generation, plan.known.note):
        return False
    evidence, shown = partial(_evidence, plan, answer), partial(_sent, plan, answer)
    if outcome.alarm is not None:
        alarm(env, tx, name, None, outcome.alarm, evidence)
    after = _advanced(env, plan.agreement, known, outcome)
    logs.save(tx, after)
    _tell_old(env, tx, plan.agreement, known, after)
    arrived = log_credentials.note(
        env, tx, plan.agreement, plan.asked, outcome.found, sizes=outcome.sizes, final=final
    )
    if arrived:
        for record in followed_channels(tx, name):
            if log_credentials.release(tx, record):
                env.announce(tx, Event(EventKind.MESSAGE, record.channel))
    for channel, error in log_gaps.forks(env, tx, plan, outcome, patience).items():
        alarm(env, tx, name, channel, error, evidence)
    if answer is not None:
        _keep_proofs(env, tx, plan, outcome, answer)
    for channel, (following, places) in outcome.followed.items():
        _keep_places(env, tx, plan, shown, channel, (following, places))
    _keep_past(env, tx, plan, outcome, shown)
    return True


def compare_pending(env: Environment, tx: Transaction, agreement: Agreement) -> bool:
    """Compare what the log has said with items that have come since; return whether any had."""
    found = False
    for record in followed_channels(tx, agreement.agreement_id):
        known = stays.load(tx, record.channel)
        if known is None or not pending.has_any_come(tx, record.channel):
            continue
        for waiting in pending.load_all(tx, record.channel):
            place = Place(waiting.index, Entry.decode(waiting.entry), waiting.values)
            settled = log_settling.settle(
                env, tx, agreement, known, place, partial(_kept, tx, agreement)
            )
            if settled is not None:
                if waiting.seq < known.start:
                    # What came in an earlier stay says nothing about the epochs of this one.
                    settled = known
                known, found = settled, True
                pending.drop(tx, record.channel, waiting.seq)
        stays.save(tx, known)
    return found


def report_late(env: Environment, tx: Transaction, agreement: Agreement) -> bool:
    """Tell of messages that should be in the log by now, once of each; return whether there are."""
    found = False
    patience = agreement.log.report_after
    before_ms, after_ms = (env.now - patience) * 1000, (env.now + _DAY) * 1000
    for record in followed_channels(tx, agreement.agreement_id):
        if stays.load(tx, record.channel) is None:
            continue
        start = log_stays.before(tx, record)
        late = messages.mark_late(
            tx, record.channel, start=start, before_ms=before_ms, after_ms=after_ms
        )
        if late:
            count = words.count(len(late), "message")
            text = f"{count} accepted more than {format_duration(patience)} ago: not in the log"
            env.announce(tx, Event(EventKind.UNLOGGED, record.channel, text))
            found = True
    return found


def report_withheld(env: Environment, tx: Transaction, agreement: Agreement, ago: float) -> bool:
    """Raise the alarm for items that are in the log and were never delivered.

    Args:
        env: where it is told.
        tx: the transaction.
        agreement: whose log.
        ago: seconds since this device had taken all that waited for it; infinity where it never
            had. It need not have all now: a relay could see to it that it never does when it asks.

    Returns:
        Whether there is a new one.
    """
    found = False
    since = env.now - ago - agreement.log.report_after
    for record in followed_channels(tx, agreement.agreement_id):
        # Also where this store is out of step: that it is, is the relay's word.
        if not record.state.is_open:
            continue
        for waiting in pending.load_all(tx, record.channel):
            if waiting.since > env.now:
                # By a clock that has been put right since: else it would be due by that one.
                pending.add(tx, record.channel, replace(waiting, since=env.now))
            if waiting.since < since:
                text = f"item {waiting.seq} of the channel is in the log and was never delivered"
                error = ChannelForkError(text)
                place = Place(waiting.index, Entry.decode(waiting.entry), waiting.values)
                evidence = partial(
                    log_settling.contradicted, partial(_kept, tx, agreement), place, None, None
                )
                new = alarm(
                    env, tx, agreement.agreement_id, record.channel, error, evidence, code=WITHHELD
                )
                found = found or new
    return found


# --- parts ------------------------------------------------------------------------------


def _tell_old(
    env: Environment, tx: Transaction, agreement: Agreement, before: LogRecord, after: LogRecord
) -> None:
    """Tell, once, that the relay shows nothing new any more; it may show others more.

    It is no alarm that is kept: the witnesses may be away, and `LogStatus` says so for as long as
    it lasts.
    """
    if log_asking.has_left(env, tx, agreement):
        return
    was = log_checks.is_old(agreement, before.cosigned_at, before.asked_at)
    if not was and log_checks.is_old(agreement, after.cosigned_at, after.asked_at):
        text = f"{agreement.agreement_id}: {log_checks.old_text(after.cosigned_at)}"
        env.announce(tx, Event(EventKind.ALARM, None, text))


def _advanced(
    env: Environment, agreement: Agreement, known: LogRecord, outcome: Outcome
) -> LogRecord:
    known = replace(known, asked_at=env.now, newest=outcome.sizes[1], problem=outcome.problem)
    if outcome.answered is None:
        return known
    seen = outcome.answered.seen
    moved = seen.checkpoint.size > known.size or not known.note
    return replace(
        known,
        note=seen.note,
        size=seen.checkpoint.size,
        witnesses=tuple(sorted(seen.witnesses)),
        advanced_at=env.now if moved else known.advanced_at,
        cosigned_at=max(
            known.cosigned_at,
            log_checks.cosigned_at(agreement, env.account.device.party, seen, env.now),
        ),
    )


def _keep_proofs(
    env: Environment, tx: Transaction, plan: Plan, outcome: Outcome, answer: LogAnswer
) -> None:
    """Keep what shows to anybody that the own messages were logged, whatever comes later."""
    if outcome.answered is None:
        return
    own, sent = str(env.account.device), outcome.answered.entries
    shown = {one.index: one.values for one in sent if one.values is not None}
    raw = {one.index: one for one in answer.entries}
    found: list[tuple[ChannelId, Sequence[Place]]] = [
        (channel, places) for channel, (_, places) in outcome.followed.items()
    ]
    if plan.past is not None:
        found.append((plan.past.channel, outcome.past))
    for channel, places in found:
        for place in places:
            values = shown.get(place.index, {})
            if values.get("sender") == own and values.get("message") is not None:
                proof = log_checks.portable(raw[place.index], outcome.answered.seen)
                proofs.save(tx, channel, place.seq, proof)


def _keep_places(
    env: Environment,
    tx: Transaction,
    plan: Plan,
    shown: Shown,
    channel: ChannelId,
    followed: tuple[Following, Sequence[Place]],
) -> None:
    following, places = followed
    before = stays.load(tx, channel)
    first = plan.following[channel]
    if log_stays.has_moved(before, first):
        return
    start = first.after if before is None else before.start
    known = FollowRecord(
        channel,
        following.view.next_seq,
        following.view.epoch,
        following.last,
        following.confirmed,
        start,
        before is not None and before.welcomed,
    )
    for place in places:
        settled = log_settling.settle(env, tx, plan.agreement, known, place, shown)
        if settled is not None:
            known = settled
            continue
        waiting = PendingPlace(place.seq, place.index, place.entry.encode(), place.values, env.now)
        pending.add(tx, channel, waiting)
    stays.save(tx, known)


def _keep_past(
    env: Environment, tx: Transaction, plan: Plan, outcome: Outcome, shown: Shown
) -> None:
    """Compare what came in earlier stays with what the log says."""
    if plan.past is None:
        return
    channel = plan.past.channel
    for place in outcome.past:
        if log_stays.is_lacking(tx, channel, place.seq):
            log_settling.compare(env, tx, plan.agreement, channel, place, shown)


def _sent(plan: Plan, answer: LogAnswer | None, place: Place) -> dict[str, Any]:
    # Only what it is about: many items may be contradicted.
    body = None if answer is None else answer.model_dump(mode="json")
    if body is not None:
        body["entries"] = [one for one in body["entries"] if one["index"] == place.index]
    return {"known": plan.known.note.decode(), "answered": body}


def _kept(tx: Transaction, agreement: Agreement, place: Place) -> dict[str, Any]:
    """Return what is known of an entry that was shown before its item came."""
    return {
        "known": logs.load(tx, agreement.agreement_id).note.decode(),
        "index": place.index,
        "entry": place.entry.encode().decode(),
        "values": None if place.values is None else dict(place.values),
    }


def _evidence(plan: Plan, answer: LogAnswer | None) -> bytes:
    return json.dumps(
        {
            "known": plan.known.note.decode(),
            "asked": plan.query.model_dump(mode="json"),
            "answered": None if answer is None else answer.model_dump(mode="json"),
        }
    ).encode()
