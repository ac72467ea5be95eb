"""Changes of a channel's membership and keys: stage (`staging`), upload, merge (`merging`).

A commit is stored with the epoch that it leads to before it is uploaded, and
merged when the relay has accepted it, or when it comes back as a delivery,
whichever is first. Of two commits for one epoch the relay takes one; the other
is dropped, the winner processed, and the change is made anew on top of it.

One commit per channel is under way at a time, over all processes of the device:
who finds one staged helps it to its end first.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from liaison.model import ChannelId
from liaison.wire import v1
from liaison.wire.problems import RemoteError
from liaison_sdk import merging, plans, refreshing, staging
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError, UndecidedError
from liaison_sdk.staging import Fresh
from liaison_sdk.store import Transaction, channels, commits
from liaison_sdk.store.channels import ChannelState
from liaison_sdk.store.commits import StagedRecord

_UNFOUNDED: Final = "channel.rejection_unfounded"
_CONFLICT: Final = "channel.epoch_conflict"
_OVER: Final = "agreement.not_active"
_AGAIN: Final = frozenset(
    {"agreement.amendment_pending", _OVER, "channel.removal_pending", "channel.removal_lapsed"}
)
"""The relay knows of something that the commit leaves out, or knows that something is over."""
_OUT: Final = ("channel.not_member", "channel.unknown")
_NOBODY_ADDED: Final = "log.grace_over"
"""Decided, though the same may be taken later: other changes must not wait behind it until then."""
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
            ConnectionLostError: the relay can't be reached, or can't decide now
                (`UndecidedError`); the commit stays staged and goes out when it
                can, unless another one is first.
        """
        async with self._locks.setdefault(channel, asyncio.Lock()):
            bare = again = False
            for _ in range(_ATTEMPTS):
                staged = await self._env.write(
                    lambda tx, b=bare: staging.stage(self._env, tx, channel, plan, bare=b)  # type: ignore[misc]  # a default argument binds the loop's value
                )
                if staged is None:
                    return False
                ours = isinstance(staged, Fresh)
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
                    if bare or not await self._env.read(
                        lambda tx: staging.is_wanted(self._env, tx, channel)
                    ):
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

    async def resync(self, channel: ChannelId, *, anyway: bool = False) -> None:
        """Join a channel anew, in the place of the own old leaf.

        What the relay still has for this device should be in the store before: it
        belongs to epochs that the new start is not part of.

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
                    staged = await staging.stage_resync(self._env, channel, anyway=anyway)
                except RemoteError as e:
                    if e.remote_code not in _OUT:
                        raise
                    await self._env.write(lambda tx: _out(self._env, tx, channel))
                    return
                if staged is None or await self._settle(staged):
                    return
        raise ConnectionLostError("others keep changing the channel; try again")

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
            if e.remote_code != _NOBODY_ADDED and (e.problem.status >= 500 or e.is_rate):
                # Nothing was decided; the commit stays staged.
                raise UndecidedError(e.message) from e
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
