"""A proposal or a commit that was delivered: judged, and followed.

Runs inside store transactions, as a part of `inbound`. What a new epoch means for the store is for
`merging`; commits of this device's own are made in `staging`.
"""

from __future__ import annotations

from liaison.errors import LiaisonError
from liaison.mls.errors import OwnMessageError, StaleEpochError
from liaison.mls.group import CommitStaged, OwnCommitEcho, ProposalStored, process
from liaison_sdk import judgement, log_told, merging, rejections
from liaison_sdk.delivered import Delivered, WrongItemError
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction, commits
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.items import Told


def take_proposal(
    env: Environment, tx: Transaction, record: ChannelRecord, delivered: Delivered
) -> Told | None:
    """Keep a proposal; return what it has to say in the log."""
    item, now, digest = delivered.item, delivered.at, delivered.digest
    if not record.state.is_open:
        return None
    group = env.groups.load(tx, record)
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    told = log_told.of_proposal(record, item, digest, None, known=False)
    try:
        stored = process(group, item.payload, now=now, validator=env.trust.validator(agreement))
        if not isinstance(stored, ProposalStored):
            raise WrongItemError("the relay delivered something else as a proposal")
        who = log_told.proposer(group, stored.queued)
        told = log_told.of_proposal(record, item, digest, who)
        judgement.judge_proposal(env, tx, record, agreement, group, stored.queued, now)
    except OwnMessageError:
        # It was stored before it was sent.
        return log_told.of_proposal(record, item, digest, env.account.device)
    except StaleEpochError:
        return told
    except LiaisonError as e:
        delivered.require_news()
        # A proposal that is not kept is never committed here, and a commit
        # that contains it is not followed.
        env.announce(tx, Event(EventKind.PROBLEM, record.channel, e.message))
        return told
    env.groups.save_epoch(tx, record, stored.group)
    env.announce(tx, Event(EventKind.PROPOSAL, record.channel))
    return told


def take_commit(
    env: Environment, tx: Transaction, record: ChannelRecord, delivered: Delivered
) -> Told | None:
    """Follow a commit; return what it has to say in the log, as far as it could be read."""
    item, now, digest = delivered.item, delivered.at, delivered.digest
    staged = commits.load(tx, record.channel)
    if staged is not None and staged.digest == digest:
        merging.merge(env, tx, staged, item.seq, item.time_ms)
        return None
    if not record.state.is_open:
        return None
    try:
        group = env.groups.load(tx, record)
    except ChannelClosedError:
        # A Welcome that could not be used: there is no group to follow it with.
        return None
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    try:
        result = process(group, item.payload, now=now, validator=env.trust.validator(agreement))
        if isinstance(result, OwnCommitEcho):
            # Accepted, and what it led to is not here: this store is an old copy.
            merging.mark_stale(env, tx, record, "an own commit is not in this store")
            return None
        if not isinstance(result, CommitStaged):
            raise WrongItemError("the relay delivered something else as a commit")
    except StaleEpochError:
        return None
    except LiaisonError as e:
        if record.state is not ChannelState.STALE:
            rejections.give_up(env, tx, record, group, item, digest, e)
        return None
    size = len(item.payload)
    told = log_told.of_commit(group, result.effect, digest, size=size, time_ms=item.time_ms)
    try:
        judgement.judge_commit(env, tx, record, agreement, group, result.effect, now)
    except LiaisonError as e:
        delivered.require_news()
        merging.reject(env, tx, record, e)
        return told
    commits.delete(tx, record.channel)
    if result.group is None:
        merging.leave(env, tx, record)
        return told
    at = item.time_ms // 1000
    merging.save_next_epoch(env, tx, record, group, result.group, at)
    merging.announce_members(env, tx, record, result.effect)
    rejections.tell(env, tx, record, group, result)
    return told
