"""What a client asks the logs: one question at a time, and how its answer is checked.

A question is made in one transaction, and what its answer shows is kept in another
(`log_keeping`). Between the two the relay answers and the answer is checked, which nothing waits
for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import ChannelId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.tlog.channels import ChannelView
from liaison.tlog.entries import pseudonym
from liaison.tlog.errors import QuorumError
from liaison.trust import log as trusted
from liaison.values import dataclass
from liaison.wire.log import (
    MAX_CHANNELS,
    MAX_CREDENTIALS,
    MAX_ENTRIES,
    FollowedChannel,
    LogAnswer,
    LogQuery,
)
from liaison_sdk import log_checks, log_credentials, log_places, log_stays
from liaison_sdk.environment import Environment
from liaison_sdk.log_checks import Answered
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.log_places import Following, Place
from liaison_sdk.log_stays import Past
from liaison_sdk.store import (
    Transaction,
    channels,
    credentials,
    gaps,
    generations,
    items,
    logs,
    pending,
    stays,
)
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.gaps import GapRecord
from liaison_sdk.store.logs import LogRecord

_DAY: Final = 86_400


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
        past: what of earlier stays is asked for instead of channels and certificates.
    """

    agreement: Agreement
    versions: tuple[Agreement, ...]
    known: LogRecord
    following: Mapping[ChannelId, Following]
    asked: Mapping[bytes, str]
    query: LogQuery
    past: Past | None = None


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
        past: what the log says about the places of earlier stays that were asked for.
    """

    sizes: tuple[int, int] = (0, 0)
    answered: Answered | None = None
    problem: str = ""
    alarm: LiaisonError | None = None
    followed: dict[ChannelId, tuple[Following, list[Place]]] = field(default_factory=dict)
    forked: dict[ChannelId, LiaisonError] = field(default_factory=dict)
    found: dict[bytes, int] = field(default_factory=dict)
    past: tuple[Place, ...] = ()


def has_left(env: Environment, tx: Transaction, agreement: Agreement) -> bool:
    """Whether the own party is gone for good: the relay shows it the log only until then."""
    standing = env.trust.standing(tx, agreement.agreement_id)
    return env.account.device.party in standing.left(agreement, env.now)


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
        and (
            record.state.is_open
            or record.state is ChannelState.REJECTED
            or _lags(tx, record)
            or log_stays.lacking(tx, record) is not None
        )
    ]


def past(tx: Transaction, followed: Iterable[ChannelRecord]) -> tuple[Past, ...]:
    """Return what of earlier stays in some channels their log was not compared with."""
    found = (log_stays.lacking(tx, one) for one in followed)
    return tuple(one for one in found if one is not None)


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
    agreement, versions, known = _grounds(env, tx, agreement_id)
    found = [channels.load(tx, channel) for channel in places[:MAX_CHANNELS]]
    following = {r.channel: _following(tx, agreement, r) for r in found if r is not None}
    some = dict(list(asked.items())[:MAX_CREDENTIALS])
    query = LogQuery(
        size=known.size,
        generation=agreement.log.generation,
        channels=[
            FollowedChannel(channel=str(channel), after=one.after)
            for channel, one in following.items()
        ],
        credentials=list(some),
    )
    return Plan(agreement, versions, known, following, some, query)


def plan_past(
    env: Environment, tx: Transaction, channel: ChannelId, *, after: int = 0
) -> Plan | None:
    """Return the question for what came in earlier stays of a channel; None where nothing lacks.

    Args:
        env: what is known here.
        tx: the transaction.
        channel: which channel.
        after: only for what stands behind this place.
    """
    record = channels.load(tx, channel)
    past = None if record is None else log_stays.lacking(tx, record, after=after)
    if record is None or past is None:
        return None
    agreement, versions, known = _grounds(env, tx, record.agreement_id)
    query = LogQuery(
        size=known.size,
        generation=agreement.log.generation,
        channels=[FollowedChannel(channel=str(channel), after=past.first - 1)],
        limit=min(MAX_ENTRIES, past.last - past.first + 1),
    )
    return Plan(agreement, versions, known, {}, {}, query, past)


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
            outcome.followed[channel] = log_places.follow(known, answered.entries)
        except LiaisonError as error:
            outcome.forked[channel] = error
    if plan.past is not None:
        name = pseudonym(trusted.origin(plan.agreement), plan.past.channel)
        first, last = plan.past.first, plan.past.last
        outcome.past = log_places.between(answered.entries, name, first, last)
    return outcome


# --- what there is to ask for -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a log has not shown yet: equal as long as nothing changes.

    Args:
        channels: with the last item that has come, how far it was followed, and the epoch.
        past: what of earlier stays it was not compared with, and may show any moment.
        gaps: what it leaves out of channels.
        unknown: certificates that the log was not asked about, or does not have.
        new: whether nothing of the log was ever verified.
    """

    channels: tuple[tuple[ChannelId, int, int, int], ...]
    past: tuple[Past, ...]
    gaps: tuple[tuple[ChannelId, GapRecord], ...]
    unknown: tuple[tuple[bytes, str], ...]
    new: bool

    def __bool__(self) -> bool:
        return self.new or bool(self.channels or self.past or self.gaps or self.unknown)


def wanted(env: Environment, tx: Transaction, agreement: Agreement) -> Wanted:
    """Return what an agreement's log has not shown yet."""
    name = agreement.agreement_id
    behind: list[tuple[ChannelId, int, int, int]] = []
    unknown: dict[bytes, str] = {}
    followed = followed_channels(tx, name)
    for record in followed:
        highest, known = items.highest(tx, record.channel), _next_seq(tx, record)
        confirmed = stays.is_confirmed(tx, record.channel, record.epoch)
        if highest >= known or not confirmed or pending.has_any_come(tx, record.channel):
            behind.append((record.channel, highest, known, record.epoch))
        if record.state.is_open:
            unknown |= _unknown(env, tx, record, agreement)
    for credential in credentials.unlogged(tx, name):
        unknown[credential.digest] = credential.name
    lacking = tuple(one for one in past(tx, followed) if not _is_late(env, tx, agreement, one))
    is_behind = generations.load(tx, name).current < agreement.log.generation
    new = is_behind or not logs.load(tx, name).note
    found = ((one.channel, gaps.load(tx, one.channel)) for one in followed)
    left_out = tuple((channel, gap) for channel, gap in found if gap is not None)
    return Wanted(tuple(behind), lacking, left_out, tuple(sorted(unknown.items())), new)


# --- parts ------------------------------------------------------------------------------


def _grounds(
    env: Environment, tx: Transaction, agreement_id: str
) -> tuple[Agreement, tuple[Agreement, ...], LogRecord]:
    """Return the version in force, with the later ones of the same log, and how far that is known."""
    agreement = env.trust.current(tx, agreement_id, env.now)
    later = [
        one
        for one in reversed(env.trust.versions(tx, agreement_id))
        if one.version > agreement.version and one.log.generation == agreement.log.generation
    ]
    return agreement, (agreement, *later), logs.load(tx, agreement_id)


def _is_late(env: Environment, tx: Transaction, agreement: Agreement, past: Past) -> bool:
    """Whether what lacks of earlier stays is asked for with everything else only.

    A relay that has not shown it by then may never do: that is no reason to ask twice a minute, for
    good. It is not forgotten either, or a relay would only need to wait.
    """
    before_ms = (env.now - agreement.log.report_after) * 1000
    return log_stays.is_late(tx, past, before_ms=before_ms, after_ms=(env.now + _DAY) * 1000)


def _lags(tx: Transaction, record: ChannelRecord) -> bool:
    known = stays.load(tx, record.channel)
    return known is not None and items.highest(tx, record.channel) >= known.next_seq


def _next_seq(tx: Transaction, record: ChannelRecord) -> int:
    known = stays.load(tx, record.channel)
    return items.highest(tx, record.channel) + 1 if known is None else known.next_seq


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


def _following(tx: Transaction, agreement: Agreement, record: ChannelRecord) -> Following:
    origin, known = trusted.origin(agreement), stays.load(tx, record.channel)
    if known is None:
        last = items.highest(tx, record.channel)
        return Following.from_here(origin, record.channel, last, record.epoch)
    view = ChannelView(pseudonym(origin, record.channel), known.next_seq, known.epoch)
    return Following(view, known.last, known.confirmed, known.start, agreement.log.generation)
