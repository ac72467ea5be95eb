"""What a member owes its channels: fresh documents, fresh keys, others' proposals committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from liaison.errors import LiaisonError
from liaison.mls.group import Group, expire
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.wire.problems import RemoteError
from liaison_sdk import creating, duties, key_packages, plans, refreshing
from liaison_sdk.committing import Committer
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError, UndecidedError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.store import Transaction, channels
from liaison_sdk.store.channels import ChannelRecord, ChannelState

_ROUND: Final = 300.0
"""Seconds between rounds in which nothing has happened."""
_SOON: Final = 10.0
"""Seconds until the next one where the relay could not decide something."""
_LOW: Final = "key-packages.low"
_AGREEMENTS: Final = "agreements.changed"


class Maintenance:
    """Does the rounds while there is a connection, and at once when something calls for it."""

    def __init__(
        self,
        environment: Environment,
        committer: Committer,
        backlog_taken: Callable[[], Awaitable[None]],
    ) -> None:
        self._env: Final = environment
        self._committer: Final = committer
        self._backlog_taken: Final = backlog_taken
        self._has_renewed = False
        self._is_undecided = False
        """Whether the relay could not decide a change in this round or since: the next is soon."""
        self._low = asyncio.Event()
        self._proposed: asyncio.Queue[ChannelId] = asyncio.Queue()

    def note(self, event: Event) -> None:
        """Listen for proposals, and for channels that have to be joined anew."""
        calls = event.kind in (EventKind.PROPOSAL, EventKind.RESYNC)
        if calls and event.channel is not None:
            self._proposed.put_nowait(event.channel)
        if event.kind is EventKind.CHANNEL:
            # A Welcome has used up a key package.
            self._low.set()

    def notice(self, code: str) -> None:
        """Listen for the relay's notices."""
        if code in (_LOW, _AGREEMENTS):
            self._low.set()

    async def run(self) -> None:
        """Do rounds for ever.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        self._has_renewed = False
        while True:
            again, self._is_undecided = self._is_undecided, False
            await self._try(self._refresh)
            await self._try(lambda: creating.resume(self._env))
            await self._try(self._committer.resume)
            await self._try(self._replenish)
            await self._renew()
            await self._forget()
            if again:
                await self.resync()
            pause = _ROUND
            if self._is_undecided:
                self._low.clear()
                pause = _SOON
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * (0.5 + self._env.options.chance())):
                    await self._low.wait()

    async def owed(self) -> bool:
        """Tell whether own keys are due that were not looked after on this connection yet."""
        return not self._has_renewed and await self._env.read(self._is_due)

    def _is_due(self, tx: Transaction) -> bool:
        env = self._env
        for record in channels.load_all(tx):
            if record.state is not ChannelState.ACTIVE:
                continue
            version = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
            if plans.is_leaf_old(env, record, version.channel(record.policy).keys):
                return True
        return False

    async def resync(self) -> None:
        """Join anew what this store is out of step with, once its backlog is read.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        for record in await self._env.read(channels.load_all):
            if record.state is ChannelState.STALE:
                await self._try(lambda c=record.channel: self._committer.resync(c))  # type: ignore[misc]  # a default argument binds the loop's value

    async def commit_proposals(self) -> None:
        """Commit what others propose, each after a while in which another may have done it.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        for channel in await self._env.read(self._pending):
            self._proposed.put_nowait(channel)
        while True:
            channel = await self._proposed.get()
            await self._env.options.sleep(
                self._env.options.chance() * self._env.options.commit_jitter
            )
            await self._try(lambda c=channel: self._attend(c))  # type: ignore[misc]  # a default argument binds the loop's value

    async def _attend(self, channel: ChannelId) -> None:
        await self._backlog_taken()
        record = await self._env.read(lambda tx: channels.load(tx, channel))
        if record is None:
            return
        if record.state is ChannelState.STALE:
            await self._committer.resync(channel)
        elif record.state is ChannelState.ACTIVE:
            await self._committer.settle(channel)

    async def _try(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do one thing; a refusal of it is told, and does not end the others."""
        try:
            await work()
        except UndecidedError as e:
            # No news of the connection: ended for this, it would end again at once.
            if not self._is_undecided:
                self._is_undecided = True
                self._low.set()
            self._env.publish(Event(EventKind.PROBLEM, text=e.message))
        except ConnectionLostError:
            raise
        except LiaisonError as e:
            if isinstance(e, RemoteError) and e.problem.status == 401:
                raise
            self._env.publish(Event(EventKind.PROBLEM, text=e.message))

    async def _refresh(self) -> None:
        env = self._env
        try:
            found = await env.trust.refresh_agreements(env.api, env.store)
        except LiaisonError as e:
            refreshing.told(env, e)
            found = await env.read(env.trust.agreements)
        for agreement in found:
            await refreshing.people(env, agreement.agreement_id)
            for text in await env.read(lambda tx, a=agreement: self._hidden(tx, a)):  # type: ignore[misc]  # a default argument binds the loop's value
                env.publish(Event(EventKind.PROBLEM, text=text))
        for channel in await env.read(self._pending):
            self._proposed.put_nowait(channel)

    def _hidden(self, tx: Transaction, agreement: Agreement) -> list[str]:
        """Return what is older than it may be: a newer one may be kept from this device."""
        env = self._env
        lists = [env.trust.revocations.of(tx, agreement, code) for code in agreement.codes]
        standing = env.trust.standing(tx, agreement.agreement_id)
        return [
            f"the revocation list of {known.party} is overdue: a newer one may be kept from us"
            for known in lists
            if known and known.next_update < env.now
        ] + [
            f"what {party} says of its participation in {agreement.agreement_id} is overdue:"
            " a withdrawal may be kept from us"
            for party in standing.overdue(agreement, env.now)
        ]

    async def _replenish(self) -> None:
        self._low.clear()
        await key_packages.replenish(self._env)

    async def _forget(self) -> None:
        """Drop keys that are past their time, once what was sent under them has been read."""
        await self._backlog_taken()
        for record in await self._env.read(self._overdue):
            await self._env.write(lambda tx, c=record.channel: self._expire(tx, c))  # type: ignore[misc]  # a default argument binds the loop's value

    def _overdue(self, tx: Transaction) -> list[ChannelRecord]:
        active = [r for r in channels.load_all(tx) if r.state is ChannelState.ACTIVE]
        return [record for record in active if self._expired(tx, record) is not None]

    def _expired(self, tx: Transaction, record: ChannelRecord) -> Group | None:
        group = self._env.groups.load(tx, record)
        after = expire(group, self._env.now)
        return None if after is group else after

    def _expire(self, tx: Transaction, channel: ChannelId) -> None:
        record = channels.load(tx, channel)
        if record is None or record.state is not ChannelState.ACTIVE:
            return
        after = self._expired(tx, record)
        if after is not None:
            self._env.groups.save_epoch(tx, record, after)

    async def _renew(self) -> None:
        """Give fresh keys in time, and remove whoever has not for too long."""
        # What waited is read first: somebody may have given fresh keys in it.
        await self._backlog_taken()
        for record in await self._env.read(channels.load_all):
            if record.state is ChannelState.ACTIVE:
                # Own keys last: how old they are tells whether this device was away itself.
                for plan in (plans.unseen(self._env), plans.aged(self._env)):
                    await self._try(
                        lambda c=record.channel, p=plan: self._committer.run(c, p)  # type: ignore[misc]  # default arguments bind the loops' values
                    )
        self._has_renewed = True
        self._env.changes.notify()

    def _pending(self, tx: Transaction) -> list[ChannelId]:
        env = self._env
        found = []
        for record in channels.load_all(tx):
            if record.state is not ChannelState.ACTIVE:
                continue
            group = env.groups.load(tx, record)
            # A kind of channel that the agreement has no more: sending in it says so.
            with contextlib.suppress(PolicyRefusedError):
                due = duties.due(env, tx, record, group)
                if due and due.own is None:
                    found.append(record.channel)
        return found
