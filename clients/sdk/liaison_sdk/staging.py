"""Making a commit: what is due and what is wanted, checked as its receivers will, and stored.

A staged commit lies in the store with the epoch that it leads to; `committing` brings it to the
relay. What is put into it is for `plans` and `duties`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from liaison.crypto import kdf, suites
from liaison.crypto.signing import SignatureScheme
from liaison.errors import LiaisonError
from liaison.mls import external
from liaison.mls.credentials import Credential
from liaison.mls.extensions import Extension
from liaison.mls.group import Group, StagedCommit, stage_commit
from liaison.mls.proposals import Proposal, Remove
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.values import dataclass
from liaison_sdk import (
    duties,
    joining,
    judgement,
    key_packages,
    log_told,
    merging,
    plans,
    reasons,
    refreshing,
)
from liaison_sdk.duties import Due
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError
from liaison_sdk.groups import blobs_of
from liaison_sdk.store import Transaction, channels, commits, meta
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.commits import StagedRecord


@dataclass(frozen=True, slots=True)
class Fresh:
    """Staged just now, for the caller's own change."""

    record: StagedRecord


@dataclass(frozen=True, slots=True)
class Found:
    """Staged earlier, by whomever, or first of all for something else that is due."""

    record: StagedRecord


def is_wanted(env: Environment, tx: Transaction, channel: ChannelId) -> bool:
    """Tell whether members want something of others in the channel."""
    record = channels.load(tx, channel)
    if record is None or record.state is not ChannelState.ACTIVE:
        return False
    group = env.groups.load(tx, record)
    due = duties.due(env, tx, record, group)
    return plans.to_commit(group, due) != plans.to_commit(group, due, bare=True)


def stage(
    env: Environment, tx: Transaction, channel: ChannelId, plan: plans.Plan, *, bare: bool
) -> Fresh | Found | None:
    """Stage the channel's next commit; return None where there is nothing to do.

    Args:
        env: whose.
        tx: the transaction.
        channel: where.
        plan: what the caller wants.
        bare: leave out whatever members want of others.

    Raises:
        ChannelUnknownError, ChannelClosedError, ChannelRejectedError: the channel takes no changes.
        LiaisonError: such a commit is not allowed; nothing was stored.
    """
    record = channels.load_open(tx, channel)
    waiting = commits.load(tx, channel)
    if waiting is not None:
        return Found(waiting)
    agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
    group = env.groups.load(tx, record)
    wanted = plan(tx, record, agreement, group)
    if wanted is None:
        return None
    due = duties.due(env, tx, record, group)
    # A later version comes in by a commit of its own: whoever is added is judged under
    # a version that the group knows.
    alone = due.amends and bool(wanted.proposals)
    order = plans.Order() if alone else wanted
    try:
        staged = _make(env, tx, record, agreement, group, due, order, bare=bare)
    except LiaisonError:
        if bare or plans.own_removal(group) or not is_wanted(env, tx, channel):
            raise
        staged = _make(env, tx, record, agreement, group, due, order, bare=True)
    fresh = StagedRecord(
        channel=channel,
        epoch=group.epoch,
        external=False,
        commit=staged.commit,
        welcome=staged.welcome,
        group_info=staged.group_info,
        blobs=blobs_of(staged.group),
        fresh_leaf=True,
        state_version=meta.next_state_version(tx),
        told=_told(group, staged),
    )
    commits.save(tx, fresh)
    return Found(fresh) if alone else Fresh(fresh)


def _make(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    group: Group,
    due: Due,
    order: plans.Order,
    *,
    bare: bool,
) -> StagedCommit:
    pending = plans.to_commit(group, due, bare=bare)
    proposed = {p.proposal.leaf for p in pending if isinstance(p.proposal, Remove)}
    ordered = {p.leaf for p in order.proposals if isinstance(p, Remove)}
    # Whoever is excluded goes first, whatever the commit is for.
    excluded = [leaf for leaf in due.others if leaf not in proposed]
    removals: list[Proposal] = [Remove(leaf) for leaf in excluded if leaf not in ordered]
    if due.amends:
        removals.insert(0, duties.amendment(record, due.agreement, group))
    kept = [p for p in order.proposals if not (isinstance(p, Remove) and p.leaf in proposed)]
    names: Iterable[Extension] = ()
    if order.name is not None:
        names = (joining.name_extension(order.name),)
    staged = stage_commit(
        group,
        signer=env.account.signer(group.suite.signature),
        rng=env.options.rng,
        now=env.now,
        validator=env.trust.strict_validator(tx, agreement),
        by_value=(*removals, *kept),
        # All, where all still hold: those that do not go together are then left out.
        include_pending=len(pending) == len(group.pending) or [p.ref for p in pending],
        authenticated_data=reasons.first_of(env, tx, due.agreement, group, excluded)
        or order.reason,
        group_info_extensions=names,
    )
    _check_own(env, tx, record, agreement, group, staged)
    return staged


async def stage_resync(
    env: Environment, channel: ChannelId, *, anyway: bool
) -> StagedRecord | None:
    """Stage a commit by which this device joins a channel anew, in the place of its own old leaf.

    Args:
        env: whose.
        channel: where.
        anyway: also where this store is in step, as far as it knows.

    Returns:
        None where there is nothing to do, or this device is no member any more.

    Raises:
        ChannelClosedError: the relay has nothing to join with.
        RemoteError: the relay refused to tell.
        ConnectionLostError: it can't be reached.
    """
    record = await env.read(lambda tx: channels.load(tx, channel))
    if record is None or not (
        record.state is ChannelState.STALE or (anyway and record.state is ChannelState.ACTIVE)
    ):
        return None
    state = await env.api.group(channel)
    if state.group_info is None:
        raise ChannelClosedError("the relay gives no GroupInfo to join with")
    group_info, tree = state.group_info, state.tree
    hint = await env.api.channel(channel)
    agreement = await env.trust.fetch_agreement(
        env.api, env.store, hint.agreement, hint.agreement_version
    )
    await env.trust.revocations.refresh(env.api, env.store, agreement)
    await refreshing.statements(env, agreement.agreement_id)

    def work(tx: Transaction) -> StagedRecord | None:
        current = channels.load(tx, channel)
        if current is None or current.state is not record.state:
            return None
        joined = _join_anew(env, agreement, group_info, tree, current.rejection)
        if joined is None:
            merging.leave(env, tx, current)
            return None
        binding = joining.check_channel(env, channel, agreement, joined.group)
        joining.check_not_back(current, binding)
        channels.save(tx, _bound(current, agreement, binding.policy))
        staged = StagedRecord(
            channel=channel,
            epoch=state.epoch,
            external=True,
            commit=joined.commit,
            welcome=None,
            group_info=joined.group_info,
            blobs=blobs_of(joined.group),
            fresh_leaf=True,
            state_version=meta.next_state_version(tx),
            told=_told(None, joined),
        )
        commits.save(tx, staged)
        return staged

    return await env.write(work)


def _check_own(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    group: Group,
    staged: StagedCommit,
) -> None:
    """Ask of an own commit what every receiver will ask; then nobody has to reject it."""
    judgement.judge_commit(env, tx, record, agreement, group, staged.effect, env.now)


def _told(before: Group | None, staged: StagedCommit) -> bytes:
    """Return what an own commit will have to say in the log."""
    digest, size = kdf.sha256(staged.commit), len(staged.commit)
    return log_told.of_commit(before, staged.effect, digest, size=size).encode()


def _join_anew(
    env: Environment, agreement: Agreement, group_info: bytes, tree: bytes, rejection: bytes
) -> StagedCommit | None:
    validator = env.trust.validator(agreement)
    identity = env.account.device.uri.encode()
    leaf = external.own_leaf(group_info, tree, identity, validator=validator, now=env.now)
    if leaf is None:
        return None
    scheme = _scheme(agreement)
    return external.join(
        group_info,
        ratchet_tree=tree,
        signer=env.account.signer(scheme),
        credential=Credential.x509(env.account.chain(scheme)),
        rng=env.options.rng,
        now=env.now,
        validator=validator,
        replace_leaf=leaf,
        authenticated_data=rejection,
        capabilities=key_packages.CAPABILITIES,
    )


def _scheme(agreement: Agreement) -> SignatureScheme:
    return suites.suite(agreement.cipher_suite).signature


def _bound(record: ChannelRecord, agreement: Agreement, policy: str) -> ChannelRecord:
    return replace(
        record,
        agreement_id=agreement.agreement_id,
        agreement_version=agreement.version,
        policy=policy,
    )
