"""What an answer of a log means for the store: what is proven, and what is an alarm.

Where another process of the device was faster, its findings stand and these are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias

from liaison.crypto import kdf
from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.fields import format_duration
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.errors import ChannelForkError
from liaison.tlog.text import to_base64
from liaison.trust import log_items
from liaison.wire.log import LogAnswer
from liaison_sdk import log_asking, log_checks, log_credentials
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_asking import Outcome, Plan, followed_channels
from liaison_sdk.log_checks import Answered, FalseEntryError, Following, Place
from liaison_sdk.store import Transaction, generations, items, logs
from liaison_sdk.store.channels import ChannelState
from liaison_sdk.store.items import Told
from liaison_sdk.store.logs import FollowRecord, LogRecord, PendingPlace

WITHHELD: Final = "log.item_withheld"
_NOTHING: Final = kdf.sha256(b"")
"""The digest of an item that the relay has only told of: it has no bytes to compare."""
_DAY: Final = 86_400

_Evidence: TypeAlias = Callable[[], bytes]
"""What the relay has sent, written down only where it is needed."""
_Shown: TypeAlias = Callable[[Place], dict[str, Any]]
"""What the relay has sent about one place."""


def keep(
    env: Environment,
    tx: Transaction,
    plan: Plan,
    outcome: Outcome,
    answer: LogAnswer | None,
    *,
    final: bool,
) -> bool:
    """Keep what an answer shows; return False where another process was faster.

    Args:
        env: where to.
        tx: the transaction.
        plan: the question.
        outcome: of its answer.
        answer: itself, for the evidence; None where there was none.
        final: see `log_credentials.note`.
    """
    name = plan.agreement.agreement_id
    known = logs.load(tx, name)
    log = generations.load(tx, name).current
    if (log, known.note) != (plan.agreement.log.generation, plan.known.note):
        return False
    evidence = partial(_evidence, plan, answer)
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
    for channel, error in outcome.forked.items():
        alarm(env, tx, name, channel, error, evidence)
    if outcome.answered is not None and answer is not None:
        _keep_proofs(env, tx, outcome, outcome.answered, answer)
    for channel, (following, places) in outcome.followed.items():
        _keep_places(env, tx, plan, answer, channel, (following, places))
    return True


def compare_pending(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Compare what the log has said with items that have come since."""
    for record in followed_channels(tx, agreement.agreement_id):
        known = logs.load_following(tx, record.channel)
        if known is None or not logs.any_pending(tx, record.channel):
            continue
        for waiting in logs.pending(tx, record.channel):
            place = Place(waiting.index, Entry.decode(waiting.entry), waiting.values)
            settled = _settle(env, tx, agreement, known, place, partial(_kept, tx, agreement))
            if settled is not None:
                known = settled
                logs.drop_pending(tx, record.channel, waiting.seq)
        logs.save_following(tx, known)


def report_late(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Tell of messages that should be in the log by now, once of each."""
    patience = agreement.log.report_after
    before_ms, after_ms = (env.now - patience) * 1000, (env.now + _DAY) * 1000
    for record in followed_channels(tx, agreement.agreement_id):
        known = logs.load_following(tx, record.channel)
        if known is None:
            continue
        late = logs.mark_late(
            tx, record.channel, start=known.start, before_ms=before_ms, after_ms=after_ms
        )
        if late:
            words = "1 message" if len(late) == 1 else f"{len(late)} messages"
            text = f"{words} accepted more than {format_duration(patience)} ago: not in the log"
            env.announce(tx, Event(EventKind.UNLOGGED, record.channel, text))


def report_withheld(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Raise the alarm for items that are in the log and were never delivered.

    To be called only while this device receives and has taken all that waits for it.
    """
    since = env.now - agreement.log.report_after
    for record in followed_channels(tx, agreement.agreement_id):
        if record.state is not ChannelState.ACTIVE:
            continue
        for waiting in logs.pending(tx, record.channel):
            if waiting.since < since:
                text = f"item {waiting.seq} of the channel is in the log and was never delivered"
                error = ChannelForkError(text)
                place = Place(waiting.index, Entry.decode(waiting.entry), waiting.values)
                evidence = partial(_contradicted, partial(_kept, tx, agreement), place, None, None)
                alarm(
                    env, tx, agreement.agreement_id, record.channel, error, evidence, code=WITHHELD
                )


def alarm(
    env: Environment,
    tx: Transaction,
    agreement_id: str,
    channel: ChannelId | None,
    error: LiaisonError,
    evidence: _Evidence,
    *,
    code: str = "",
) -> None:
    """Keep an alarm, and tell it once."""
    ended = generations.load(tx, agreement_id).ended
    new = logs.raise_alarm(
        tx,
        agreement_id,
        channel,
        code or error.code,
        error.message,
        at=env.now,
        evidence=evidence,
        since=ended[-1].alarm if ended else 0,
    )
    if new:
        env.announce(tx, Event(EventKind.ALARM, channel, f"{agreement_id}: {error.message}"))


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
    env: Environment, tx: Transaction, outcome: Outcome, answered: Answered, answer: LogAnswer
) -> None:
    """Keep what shows to anybody that the own messages were logged, whatever comes later."""
    own, sent = str(env.account.device), answered.entries
    shown = {one.index: one.values for one in sent if one.values is not None}
    raw = {one.index: one for one in answer.entries}
    for channel, (_, places) in outcome.followed.items():
        for place in places:
            values = shown.get(place.index, {})
            if values.get("sender") == own and values.get("message") is not None:
                proof = log_checks.portable(raw[place.index], answered.seen)
                logs.save_proof(tx, channel, place.seq, proof)


def _keep_places(
    env: Environment,
    tx: Transaction,
    plan: Plan,
    answer: LogAnswer | None,
    channel: ChannelId,
    followed: tuple[Following, Sequence[Place]],
) -> None:
    following, places = followed
    before = logs.load_following(tx, channel)
    first = plan.following[channel]
    if before is not None and (before.next_seq, before.last) != (first.view.next_seq, first.last):
        # A new stay has begun meanwhile, or another process went on.
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
        settled = _settle(env, tx, plan.agreement, known, place, partial(_sent, plan, answer))
        if settled is not None:
            known = settled
            continue
        pending = PendingPlace(place.seq, place.index, place.entry.encode(), place.values, env.now)
        logs.add_pending(tx, channel, pending)
    logs.save_following(tx, known)


def _settle(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    shown: _Shown,
) -> FollowRecord | None:
    """Compare a place with its item; return how far the channel stands, None without the item."""
    channel = known.channel
    if place.seq == known.start and known.welcomed:
        return _settle_welcome(env, tx, agreement, known, place, shown)
    digest = logs.item_digest(tx, channel, place.seq)
    if digest is None:
        return None
    told = items.told(tx, channel, place.seq)
    try:
        if digest != _NOTHING or not _may_be_gone(place):
            log_checks.compare(place, digest)
        if told is not None:
            policy = _policy(env, tx, agreement, told)
            log_checks.compare_told(place, told, policy, ahead=agreement.times.ahead)
    except (ChannelForkError, FalseEntryError) as error:
        evidence = partial(_contradicted, shown, place, digest, told)
        alarm(env, tx, agreement.agreement_id, channel, error, evidence)
        return known
    if digest == _NOTHING:
        _tell_gone(env, tx, agreement, channel, place)
    items.forget_told(tx, channel, place.seq)
    if place.is_commit:
        return replace(known, confirmed=max(known.confirmed, place.epoch + 1))
    if place.digest is not None or _is_erased(env, agreement, place, told):
        logs.mark_logged(tx, channel, place.seq, place.index, _message(place))
    return known


def _message(place: Place) -> str | None:
    """Return the id of the message that a place is about; None where the log does not show it."""
    return None if place.values is None else str(place.values.get("message"))


def _policy(
    env: Environment, tx: Transaction, agreement: Agreement, told: Told
) -> PolicyRef | None:
    """Return how an entry names the version that an item was accepted under."""
    if told.version is None:
        return None
    try:
        version = env.trust.agreement(tx, agreement.agreement_id, told.version)
    except LiaisonError:
        # A version from before this device came in.
        return None
    return PolicyRef(version.version, version.digest())


def _is_erased(env: Environment, agreement: Agreement, place: Place, told: Told | None) -> bool:
    """Tell whether what opens an entry can have been erased by now.

    That the entry says so counts only where the item itself is as old.
    """
    return told is not None and place.entry.time < _erased_before(env, agreement)


def _settle_welcome(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    shown: _Shown,
) -> FollowRecord:
    own = str(env.account.device)
    # A Welcome has no digest to compare; who was brought in is all that there is, and has to be
    # shown.
    if place.added is None or own not in place.added:
        error = ChannelForkError(
            f"the log's commit at place {place.seq} of the channel has not brought in this device"
        )
        evidence = partial(_contradicted, shown, place, None, None)
        alarm(env, tx, agreement.agreement_id, known.channel, error, evidence)
        return known
    return replace(known, confirmed=max(known.confirmed, place.epoch + 1))


def _may_be_gone(place: Place) -> bool:
    """Tell whether the relay may have erased an item: messages only, and never handshakes."""
    kind = None if place.values is None else place.values.get("kind")
    return not place.is_commit and kind != log_items.PROPOSAL


def _tell_gone(
    env: Environment, tx: Transaction, agreement: Agreement, channel: ChannelId, place: Place
) -> None:
    """Tell of a message that the relay has not any more, though its channel keeps them longer.

    Its sender may have let it expire; that is not in the log, so the relay may as well withhold it.
    """
    if place.entry.time < _erased_before(env, agreement):
        return
    at = datetime.fromtimestamp(place.entry.time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Also where the log shows nothing of it: else a relay would need only to keep that back too.
    sender = "somebody whom the log does not show"
    if place.values is not None:
        sender = str(place.values.get("sender") or sender)
    text = (
        f"item {place.seq} of the channel, which {sender} sent at {at}, was not delivered: the relay"
        " says that it has expired"
    )
    env.announce(tx, Event(EventKind.PROBLEM, channel, text))


def _erased_before(env: Environment, agreement: Agreement) -> int:
    days = min(agreement.retention_days, *(c.retention_days for c in agreement.channels))
    return (env.now - days * _DAY) * 1000


def _contradicted(shown: _Shown, place: Place, digest: bytes | None, told: Told | None) -> bytes:
    """Write down what the log says of an item, and what the item says of itself."""
    given = {
        "digest": None if digest is None else to_base64(digest),
        "told": None if told is None else asdict(told),
    }
    return json.dumps({**shown(place), "given": given}).encode()


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
