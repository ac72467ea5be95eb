"""Changes of a channel's membership and keys: stage, store, upload, merge.

A commit is stored with the epoch that it leads to before it is uploaded, and
merged when the relay has accepted it, or when it comes back as a delivery,
whichever is first. Of two commits for one epoch the relay takes one; the other
is dropped, the winner processed, and the change is made anew on top of it.

One commit per channel is under way at a time, over all processes of the device:
who finds one staged helps it to its end first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

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
from liaison.wire import v1
from liaison.wire.problems import RemoteError
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
from liaison_sdk.errors import (
    ChannelClosedError,
    ChannelRejectedError,
    ChannelUnknownError,
    ConnectionLostError,
)
from liaison_sdk.groups import blobs_of
from liaison_sdk.store import Transaction, channels, commits, meta
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.commits import StagedRecord

_UNFOUNDED: Final = "channel.rejection_unfounded"
_CONFLICT: Final = "channel.epoch_conflict"
_OVER: Final = "agreement.not_active"
_AGAIN: Final = frozenset(
    {"agreement.amendment_pending", _OVER, "channel.removal_pending", "channel.removal_lapsed"}
)
"""The relay knows of something that the commit leaves out, or knows that something is over."""
_OUT: Final = ("channel.not_member", "channel.unknown")
_ATTEMPTS: Final = 16
"""Commits that may lose in a row before the caller is told."""


class Committer:
    """Makes commits, one at a time per channel."""

    def __init__(self, environment: Environment) -> None:
        self._env: Final = environment
        self._locks: dict[ChannelId, asyncio.Lock] = {}

    async def run(self, channel: ChannelId, plan: plans.Plan) -> bool:
        """Bring a change into effect; return whether there was anything to do.

        Raises:
            ChannelClosedError, ChannelRejectedError: the channel takes no changes.
            RemoteError: the relay refused the change; nothing was changed.
            ConnectionLostError: the relay can't be reached; the commit stays
                staged and goes out when it can, unless another one is first.
        """
        async with self._locks.setdefault(channel, asyncio.Lock()):
            bare = again = False
            for _ in range(_ATTEMPTS):
                staged = await self._env.write(
                    lambda tx, b=bare: self._stage(tx, channel, plan, bare=b)  # type: ignore[misc]  # a default argument binds the loop's value
                )
                if staged is None:
                    return False
                ours = isinstance(staged, _Fresh)
                try:
                    settled = await self._settle(staged.record)
                except RemoteError as e:
                    if await self._learnt(channel, e):
                        continue
                    if e.remote_code == _OVER and not again:
                        # The version after it may have come while the commit was under way.
                        again = True
                        continue
                    # A member may have proposed what nobody may commit (any more): nothing
                    # that others want of the group keeps it from going on.
                    if bare or not await self._env.read(lambda tx: self._wanted(tx, channel)):
                        raise
                    bare = True
                    continue
                if settled and ours:
                    return True
        raise ConnectionLostError("others keep changing the channel; try again")

    async def _learnt(self, channel: ChannelId, error: RemoteError) -> bool:
        """Fetch what the relay knows and this device did not; return whether that helps."""
        if error.remote_code not in _AGAIN:
            return False
        record = await self._env.read(lambda tx: channels.load(tx, channel))
        if record is None:
            return False
        name, version = record.agreement_id, record.agreement_version
        begun = error.remote_code == "agreement.amendment_pending"
        if begun and self._env.superseded.get(name) != version:
            self._env.superseded[name] = version
            await refreshing.refresh(self._env, name)
            return True
        return await refreshing.refresh(self._env, name)

    async def settle(self, channel: ChannelId) -> None:
        """Commit what has to be committed before anything is encrypted; see `urgent`."""
        await self.run(channel, plans.urgent(self._env))

    async def resume(self) -> None:
        """Help every commit that was left staged to its end."""
        for channel in await self._env.read(commits.waiting):
            async with self._locks.setdefault(channel, asyncio.Lock()):
                staged = await self._env.read(lambda tx, c=channel: commits.load(tx, c))  # type: ignore[misc]  # a default argument binds the loop's value
                if staged is not None:
                    await self._settle(staged)

    async def resync_stale(self) -> None:
        """Join every channel anew that this store is out of step with.

        What the relay still has for this device should be in the store before: it
        belongs to epochs that the new start is not part of.
        """
        for record in await self._env.read(channels.load_all):
            if record.state is ChannelState.STALE:
                await self.resync(record.channel)

    async def resync(self, channel: ChannelId, *, anyway: bool = False) -> None:
        """Join a channel anew, in the place of the own old leaf.

        Args:
            channel: which this store is out of step with; otherwise nothing is done. Several may
                ask for the same, and a second new start would leave out what came between.
            anyway: also where this store is in step, as far as it knows.

        Raises:
            RemoteError: the relay refused.
            ConnectionLostError: it can't be reached.
        """
        async with self._locks.setdefault(channel, asyncio.Lock()):
            for _ in range(_ATTEMPTS):
                try:
                    staged = await self._stage_resync(channel, anyway=anyway)
                except RemoteError as e:
                    if e.remote_code not in _OUT:
                        raise
                    await self._env.write(lambda tx: _out(self._env, tx, channel))
                    return
                if staged is None or await self._settle(staged):
                    return
        raise ConnectionLostError("others keep changing the channel; try again")

    # --- staging ------------------------------------------------------------------------

    def _wanted(self, tx: Transaction, channel: ChannelId) -> bool:
        """Tell whether members want something of others in the channel."""
        record = channels.load(tx, channel)
        if record is None or record.state is not ChannelState.ACTIVE:
            return False
        group = self._env.groups.load(tx, record)
        due = duties.due(self._env, tx, record, group)
        return plans.to_commit(group, due) != plans.to_commit(group, due, bare=True)

    def _stage(
        self, tx: Transaction, channel: ChannelId, plan: plans.Plan, *, bare: bool
    ) -> _Fresh | _Found | None:
        env = self._env
        record = open_channel(tx, channel)
        waiting = commits.load(tx, channel)
        if waiting is not None:
            return _Found(waiting)
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
            staged = self._make(tx, record, agreement, group, due, order, bare=bare)
        except LiaisonError:
            if bare or plans.own_removal(group) or not self._wanted(tx, channel):
                raise
            staged = self._make(tx, record, agreement, group, due, order, bare=True)
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
        return _Found(fresh) if alone else _Fresh(fresh)

    def _make(
        self,
        tx: Transaction,
        record: ChannelRecord,
        agreement: Agreement,
        group: Group,
        due: Due,
        order: plans.Order,
        *,
        bare: bool,
    ) -> StagedCommit:
        env = self._env
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

    async def _stage_resync(self, channel: ChannelId, *, anyway: bool) -> StagedRecord | None:
        env = self._env
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
        await env.trust.refresh_revocations(env.api, env.store, agreement)
        await refreshing.statements(env, agreement.agreement_id)

        def stage(tx: Transaction) -> StagedRecord | None:
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

        return await env.write(stage)

    # --- the relay's ruling -------------------------------------------------------------

    async def _settle(self, staged: StagedRecord) -> bool:
        """Upload a staged commit; return whether it is the channel's now."""
        env = self._env
        body = v1.Commit(
            commit=staged.commit,
            welcome=staged.welcome,
            group_info=staged.group_info,
            state_version=staged.state_version,
        )
        try:
            accepted = await env.api.commit(staged.channel, body)
        except RemoteError as e:
            if e.problem.status >= 500 or e.remote_code == "rate.exceeded":
                # Nothing was decided; the commit stays staged.
                raise ConnectionLostError(e.message) from e
            await env.write(lambda tx: _drop(tx, staged))
            if e.remote_code == _UNFOUNDED and await env.write(lambda tx: _forget(tx, staged)):
                return False
            if e.remote_code != _CONFLICT:
                raise
            await self._await_winner(staged)
            return False
        await env.write(lambda tx: merging.merge(env, tx, staged, accepted.seq, accepted.time_ms))
        return True

    async def _await_winner(self, staged: StagedRecord) -> None:
        """Wait until the commit that was first is in the store."""

        def moved(tx: Transaction) -> bool | None:
            record = channels.load(tx, staged.channel)
            if record is None or record.state is not ChannelState.ACTIVE:
                return True
            return record.epoch > staged.epoch or None

        if staged.external:
            # The group is fetched anew, so there is nothing to wait for.
            return
        try:
            async with asyncio.timeout(self._env.options.request_timeout):
                await self._env.until(moved)
        except TimeoutError as e:
            raise ConnectionLostError("the change that was first has not been delivered") from e


@dataclass(frozen=True, slots=True)
class _Fresh:
    record: StagedRecord


@dataclass(frozen=True, slots=True)
class _Found:
    """Staged earlier, by whomever."""

    record: StagedRecord


def open_channel(tx: Transaction, channel: ChannelId) -> ChannelRecord:
    """Return a channel in which something can be done.

    Raises:
        ChannelUnknownError: it is not here.
        ChannelRejectedError: its members have broken the agreement.
        ChannelClosedError: this device is no member, is leaving, or out of step.
    """
    record = channels.load(tx, channel)
    if record is None:
        raise ChannelUnknownError(f"there is no channel {channel} here")
    if record.state is ChannelState.REJECTED:
        raise ChannelRejectedError(record.reason)
    if record.state is not ChannelState.ACTIVE:
        raise ChannelClosedError(f"the channel {record.name} is {record.state.value}")
    return record


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


def _drop(tx: Transaction, staged: StagedRecord) -> None:
    current = commits.load(tx, staged.channel)
    if current is not None and current.digest == staged.digest:
        commits.delete(tx, staged.channel)


def _forget(tx: Transaction, staged: StagedRecord) -> bool:
    """Forget a report that the relay does not take; return whether there was one.

    To come back matters more. Such a report is made of a commit that the relay gave to nobody
    else, or before it or this device was restored from a backup.
    """
    record = channels.load(tx, staged.channel)
    if record is None or not record.rejection:
        return False
    channels.save(tx, replace(record, rejection=b""))
    return True


def _out(env: Environment, tx: Transaction, channel: ChannelId) -> None:
    record = channels.load(tx, channel)
    if record is not None and record.state.is_open:
        merging.leave(env, tx, record)
