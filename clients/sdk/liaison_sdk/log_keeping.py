"""What an answer of a log means for the store: asked in one transaction, kept in another.

Between the two the relay answers and the answer is checked, which nothing waits for. Where another
process of the device was faster, its findings stand and these are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

from liaison.crypto import kdf
from liaison.errors import LiaisonError
from liaison.model import ChannelId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.fields import format_duration
from liaison.tlog.channels import ChannelView
from liaison.tlog.entries import pseudonym
from liaison.tlog.errors import ChannelForkError, QuorumError
from liaison.trust import log as trusted
from liaison.wire.log import (
    MAX_CHANNELS,
    MAX_CREDENTIALS,
    FollowedChannel,
    LogAnswer,
    LogQuery,
)
from liaison_sdk import log_checks, log_credentials
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_checks import Answered, Following, Place
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.store import Transaction, channels, logs
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.logs import FollowRecord, LogRecord, PendingPlace

WITHHELD: Final = "log.item_withheld"
_NOTHING: Final = kdf.sha256(b"")
"""The digest of an item that the relay has only told of: it has no bytes to compare."""
_DAY: Final = 86_400

_Evidence: TypeAlias = Callable[[], bytes]
"""What the relay has sent, written down only where it is needed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One question to a log, and what its answer is to be compared with.

    Args:
        agreement: the version in force.
        versions: it, and later ones that are known.
        known: how far the log was verified.
        following: how far its channels were followed, of those that are asked for.
        asked: the certificates that are asked for, with their devices' names.
        query: the question.
    """

    agreement: Agreement
    versions: tuple[Agreement, ...]
    known: LogRecord
    following: Mapping[ChannelId, Following]
    asked: Mapping[bytes, str]
    query: LogQuery


@dataclass(slots=True)
class Outcome:
    """What an answer shows.

    Args:
        sizes: of the checkpoint that proves it, 0 where there is none, and of the log as the
            relay tells it.
        answered: what is proven; None where nothing is.
        alarm: why nothing of the answer can be believed; None where it can.
        followed: how far channels were followed, with what was new.
        forked: the channels that contradict themselves.
        found: the certificates that are in the log.
    """

    sizes: tuple[int, int] = (0, 0)
    answered: Answered | None = None
    problem: str = ""
    alarm: LiaisonError | None = None
    followed: dict[ChannelId, tuple[Following, list[Place]]] = field(default_factory=dict)
    forked: dict[ChannelId, LiaisonError] = field(default_factory=dict)
    found: dict[bytes, int] = field(default_factory=dict)


# --- asking -----------------------------------------------------------------------------


def agreements(env: Environment, tx: Transaction) -> list[Agreement]:
    """Return the agreements in force here whose relay keeps a log."""
    found = [env.trust.current(tx, a.agreement_id, env.now) for a in env.trust.agreements(tx)]
    return [agreement for agreement in found if agreement.relay.log_signers]


def followed_channels(tx: Transaction, agreement_id: str) -> list[ChannelRecord]:
    """Return the channels of an agreement of which the log may have something to show."""
    return [
        record
        for record in channels.load_all(tx)
        if record.agreement_id == agreement_id
        and record.state is not ChannelState.CREATING
        and (record.state.is_open or record.state is ChannelState.REJECTED or _lags(tx, record))
    ]


def plan(
    env: Environment,
    tx: Transaction,
    agreement_id: str,
    places: Sequence[ChannelId],
    asked: Mapping[bytes, str],
) -> Plan:
    """Return the question for some channels and certificates.

    Args:
        env: what is known here.
        tx: the transaction.
        agreement_id: whose log.
        places: at most `MAX_CHANNELS`.
        asked: at most `MAX_CREDENTIALS`.
    """
    agreement = env.trust.current(tx, agreement_id, env.now)
    versions = env.trust.versions(tx, agreement_id)
    later = [one for one in reversed(versions) if one.version > agreement.version]
    known = logs.load(tx, agreement_id)
    origin = trusted.origin(agreement)
    found = [channels.load(tx, channel) for channel in places[:MAX_CHANNELS]]
    following = {r.channel: _following(tx, origin, r) for r in found if r is not None}
    some = dict(list(asked.items())[:MAX_CREDENTIALS])
    query = LogQuery(
        size=known.size,
        channels=[
            FollowedChannel(channel=str(channel), after=one.after)
            for channel, one in following.items()
        ],
        credentials=list(some),
    )
    return Plan(agreement, (agreement, *later), known, following, some, query)


def judge(plan: Plan, party: PartyCode, answer: LogAnswer) -> Outcome:
    """Check an answer; reads and writes nothing, so it may run beside everything else."""
    outcome, versions = Outcome(), plan.versions
    seen = log_checks.read_seen(plan.known.note) if plan.known.note else None
    try:
        newest = log_checks.signed_newest(versions, answer)
        outcome.sizes = (0, 0 if newest is None else newest.size)
        answered = log_checks.verify(versions, party, seen, answer)
    except QuorumError as error:
        # Nobody's fault that could be told: the log lacks its witnesses.
        outcome.problem = error.message
        return outcome
    except LiaisonError as error:
        outcome.alarm = error
        outcome.problem = error.message
        return outcome
    outcome.answered = answered
    outcome.sizes = (answered.seen.checkpoint.size, answered.newest)
    outcome.found = log_checks.credentials(answered.entries, plan.asked)
    for channel, known in plan.following.items():
        try:
            outcome.followed[channel] = log_checks.follow(known, answered.entries)
        except LiaisonError as error:
            outcome.forked[channel] = error
    return outcome


# --- keeping ----------------------------------------------------------------------------


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
    if known.note != plan.known.note:
        return False
    evidence = partial(_evidence, plan, answer)
    if outcome.alarm is not None:
        alarm(env, tx, name, None, outcome.alarm, evidence)
    logs.save(tx, _advanced(env, known, outcome))
    arrived = log_credentials.note(
        env, tx, plan.agreement, plan.asked, outcome.found, sizes=outcome.sizes, final=final
    )
    if arrived:
        for record in followed_channels(tx, name):
            if log_credentials.release(tx, record, arrived):
                env.announce(tx, Event(EventKind.MESSAGE, record.channel))
    for channel, error in outcome.forked.items():
        alarm(env, tx, name, channel, error, evidence)
    if outcome.answered is not None and answer is not None:
        _keep_proofs(env, tx, outcome, outcome.answered, answer)
    for channel, (following, places) in outcome.followed.items():
        _keep_places(env, tx, plan, channel, following, places, evidence)
    return True


def compare_pending(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Compare what the log has said with items that have come since."""
    for record in followed_channels(tx, agreement.agreement_id):
        known = logs.load_following(tx, record.channel)
        if known is None or not logs.any_pending(tx, record.channel):
            continue
        for waiting in logs.pending(tx, record.channel):
            place = _place(waiting)
            settled = _settle(env, tx, agreement, known, place, bytes)
            if settled is not None:
                known = settled
                logs.drop_pending(tx, record.channel, waiting.seq)
        logs.save_following(tx, known)


def report_late(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Tell of messages that should be in the log by now, once of each."""
    patience = agreement.log.report_after
    before_ms = (env.now - patience) * 1000
    for record in followed_channels(tx, agreement.agreement_id):
        known = logs.load_following(tx, record.channel)
        if known is None:
            continue
        late = logs.mark_late(tx, record.channel, start=known.start, before_ms=before_ms)
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
                alarm(env, tx, agreement.agreement_id, record.channel, error, bytes, code=WITHHELD)


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
    new = logs.raise_alarm(
        tx, agreement_id, channel, code or error.code, error.message, at=env.now, evidence=evidence
    )
    if new:
        env.announce(tx, Event(EventKind.ALARM, channel, f"{agreement_id}: {error.message}"))


# --- what there is to ask for -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a log has not shown yet: equal as long as nothing changes.

    Args:
        channels: with the last item that has come, how far it was followed, and the epoch.
        unknown: certificates that the log was not asked about, or does not have.
        new: whether nothing of the log was ever verified.
    """

    channels: tuple[tuple[ChannelId, int, int, int], ...]
    unknown: tuple[tuple[bytes, str], ...]
    new: bool

    def __bool__(self) -> bool:
        return self.new or bool(self.channels) or bool(self.unknown)


def wanted(env: Environment, tx: Transaction, agreement: Agreement) -> Wanted:
    """Return what an agreement's log has not shown yet."""
    name = agreement.agreement_id
    behind: list[tuple[ChannelId, int, int, int]] = []
    unknown: dict[bytes, str] = {}
    for record in followed_channels(tx, name):
        highest, known = logs.highest_item(tx, record.channel), _next_seq(tx, record)
        confirmed = logs.is_confirmed(tx, record.channel, record.epoch)
        if highest >= known or not confirmed or logs.any_pending(tx, record.channel):
            behind.append((record.channel, highest, known, record.epoch))
        if record.state.is_open:
            unknown |= _unknown(env, tx, record, agreement)
    for credential in logs.open_credentials(tx, name):
        unknown[credential.digest] = credential.name
    new = not logs.load(tx, name).note
    return Wanted(tuple(behind), tuple(sorted(unknown.items())), new)


# --- parts ------------------------------------------------------------------------------


def _lags(tx: Transaction, record: ChannelRecord) -> bool:
    known = logs.load_following(tx, record.channel)
    return known is not None and logs.highest_item(tx, record.channel) >= known.next_seq


def _next_seq(tx: Transaction, record: ChannelRecord) -> int:
    known = logs.load_following(tx, record.channel)
    return logs.highest_item(tx, record.channel) + 1 if known is None else known.next_seq


def _unknown(
    env: Environment, tx: Transaction, record: ChannelRecord, agreement: Agreement
) -> dict[bytes, str]:
    try:
        return log_credentials.check_group(env, tx, record, agreement)
    except (CredentialUnloggedError, PolicyRefusedError):
        # Known not to be there, and asked for again among the open ones.
        return {}
    except LiaisonError:
        # A Welcome that could not be used left no group.
        return {}


def _following(tx: Transaction, origin: str, record: ChannelRecord) -> Following:
    known = logs.load_following(tx, record.channel)
    if known is None:
        last = logs.highest_item(tx, record.channel)
        return Following.from_here(origin, record.channel, last, record.epoch)
    view = ChannelView(pseudonym(origin, record.channel), known.next_seq, known.epoch)
    return Following(view, known.last, known.joined, known.confirmed)


def _advanced(env: Environment, known: LogRecord, outcome: Outcome) -> LogRecord:
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
    channel: ChannelId,
    following: Following,
    places: Sequence[Place],
    evidence: _Evidence,
) -> None:
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
        following.joined,
        following.confirmed,
        start,
        before is not None and before.welcomed,
    )
    for place in places:
        settled = _settle(env, tx, plan.agreement, known, place, evidence)
        if settled is not None:
            known = settled
            continue
        pending = PendingPlace(
            place.seq, place.index, place.is_commit, place.epoch, place.digest, env.now
        )
        logs.add_pending(tx, channel, pending)
    logs.save_following(tx, known)


def _settle(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    evidence: _Evidence,
) -> FollowRecord | None:
    """Compare a place with its item; return how far the channel stands, None without the item."""
    channel = known.channel
    if place.seq == known.start and known.welcomed:
        return _settle_welcome(env, tx, agreement, known, place, evidence)
    digest = logs.item_digest(tx, channel, place.seq)
    if digest is None:
        return None
    try:
        if digest != _NOTHING:
            log_checks.compare(place, digest)
    except ChannelForkError as error:
        alarm(env, tx, agreement.agreement_id, channel, error, evidence)
        return known
    if place.is_commit:
        return replace(known, confirmed=max(known.confirmed, place.epoch + 1))
    if place.digest is not None or place.time_ms < _erased_before(env, agreement):
        logs.mark_logged(tx, channel, place.seq, place.index)
    return known


def _settle_welcome(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    known: FollowRecord,
    place: Place,
    evidence: _Evidence,
) -> FollowRecord:
    own = str(env.account.device)
    if place.added and own not in place.added:
        error = ChannelForkError(
            f"the log's commit at place {place.seq} of the channel has not brought in this device"
        )
        alarm(env, tx, agreement.agreement_id, known.channel, error, evidence)
        return known
    return replace(known, confirmed=max(known.confirmed, place.epoch + 1))


def _erased_before(env: Environment, agreement: Agreement) -> int:
    days = min(agreement.retention_days, *(c.retention_days for c in agreement.channels))
    return (env.now - days * _DAY) * 1000


def _place(waiting: PendingPlace) -> Place:
    # When it was accepted is in the message, where there is one; what waited was not erased.
    return Place(waiting.seq, waiting.index, waiting.is_commit, waiting.epoch, waiting.digest, 0)


def _evidence(plan: Plan, answer: LogAnswer | None) -> bytes:
    return json.dumps(
        {
            "known": plan.known.note.decode(),
            "asked": plan.query.model_dump(mode="json"),
            "answered": None if answer is None else answer.model_dump(mode="json"),
        }
    ).encode()
