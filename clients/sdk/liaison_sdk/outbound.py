"""Sends what is in the outbox: encrypt, store, send, and believe only the relay's word.

A message is queued in the caller's transaction. Encrypting it (`encrypting`) is another one:
exclusive, on the group as it is stored, and it stores the group's next state
with the ciphertext before anything is sent. So a crash at any point leaves a
row that says what to do next, and no key is ever used for two messages.

A ciphertext is sent again as it is until the relay has ruled (`rulings`). Where it has to
be encrypted anew, because its epoch is over, the relay is asked first whether
the earlier one had arrived after all.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.policy.errors import PolicyRefusedError
from liaison.wire.frames import Accepted, Send
from liaison.wire.problems import RemoteError
from liaison_sdk import duties, encrypting, merging, refreshing, rulings
from liaison_sdk.committing import Committer
from liaison_sdk.connection import Connection
from liaison_sdk.environment import Environment
from liaison_sdk.errors import (
    ChannelClosedError,
    ChannelRejectedError,
    ConnectionLostError,
    StatusOverdueError,
    UndecidedError,
)
from liaison_sdk.events import Event, EventKind
from liaison_sdk.log_credentials import CredentialUnloggedError
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import Transaction, channels, outbox
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.store.outbox import OutboxRecord, OutboxState

# The relay knows of a version or of an absence that this device has not heard of.
_NEWS: Final = frozenset({"agreement.superseded", "channel.removal_pending"})
# The epoch has moved on, or has to before anything is sent.
_EPOCH_OVER: Final = _NEWS | {"channel.epoch_stale"}
# Nothing was decided: the same bytes may be taken later.
_LATER: Final = frozenset({"rate.exceeded", "unavailable", "internal"})
_FULL: Final = "queue.full"
_TAKEN: Final = "message.id_conflict"
_UNAUTHORIZED: Final = 401
_BATCH: Final = 32
_RETRY_PAUSE: Final = 0.5
_BLOCKED_PAUSE: Final = 2.0
_MOST_PAUSE: Final = 30.0
_MOMENT: Final = 3.0


class Outbound:
    """Works off the outbox while there is a connection."""

    def __init__(
        self,
        environment: Environment,
        connection: Connection,
        committer: Committer,
        follower: LogFollower,
    ) -> None:
        self._env: Final = environment
        self._connection: Final = connection
        self._committer: Final = committer
        self._follower: Final = follower
        self._resting: dict[ChannelId, float] = {}
        """Until when, on the loop's clock, a channel is left alone that takes nothing now."""
        self._unsure: dict[ChannelId, set[int]] = {}
        """Rows that are refused by what this device has heard last; the news comes first."""
        self._asked: set[int] = set()
        """Rows for which the news was fetched."""

    async def run(self) -> None:
        """Send whatever waits, now and later, until the connection is lost.

        Raises:
            ConnectionLostError: it is; what was not ruled on goes out on the next one.
        """
        # A commit may be among what waits: encrypted before it, a message would
        # pass by whoever that commit has added. A long backlog is not waited for.
        await self._connection.wait_caught_up(self._env.options.catch_up_limit)
        while True:
            change = self._env.changes.next()
            if not await self._env.read(self._waits):
                await self._await(change)
                continue
            await self._send_batch()

    def _waits(self, tx: Transaction) -> bool:
        now = self._env.loop.time()
        self._resting = {c: until for c, until in self._resting.items() if until > now}
        return bool(outbox.waiting(tx, 1, but=self._resting))

    async def _await(self, change: asyncio.Event) -> None:
        """Wait for something to send, or until a channel has rested long enough."""
        ends = min(self._resting.values(), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                await change.wait()

    async def _send_batch(self) -> None:
        """Send the next rows, or do what has to be done before they can be sent."""
        rows = await self._env.write(self._prepare)
        blocked = {channel for channel in rows if isinstance(channel, ChannelId)}
        for channel in blocked:
            await self._unblock(channel)
        ready = [row for row in rows if isinstance(row, OutboxRecord)]
        lost: BaseException | None = None
        pause = 0.0
        for row, answer in zip(ready, await self._send_all(ready), strict=True):
            if isinstance(answer, RemoteError):
                pause = max(pause, await self._heed(row, answer))
            elif isinstance(answer, BaseException):
                lost = answer
        if lost is not None:
            raise lost
        if pause:
            await self._env.options.sleep(pause)

    async def _send_all(self, rows: list[OutboxRecord]) -> list[Accepted | BaseException]:
        """Send rows; return what came of each. What was accepted is noted then."""
        sending = [asyncio.create_task(self._send(row)) for row in rows]
        try:
            return await asyncio.gather(*sending, return_exceptions=True)
        finally:
            # Also where this is cancelled, because the connection is lost: where each one breaks
            # before the last answer of a batch, nothing behind that batch would ever be sent.
            pairs = zip(rows, sending, strict=True)
            accepted = [(row, one.result()) for row, one in pairs if _has_succeeded(one)]
            if accepted:
                await self._env.write(lambda tx: self._note_accepted(tx, accepted))

    async def _send(self, row: OutboxRecord) -> Accepted:
        return await self._connection.send(
            Send(0, row.channel, row.message_id, row.state_version, row.ciphertext)
        )

    # --- encrypting ---------------------------------------------------------------------

    def _prepare(self, tx: Transaction) -> list[OutboxRecord | ChannelId]:
        """Encrypt what is queued; return rows to send, and channels that need work first."""
        rows: list[OutboxRecord | ChannelId] = []
        blocked: set[ChannelId] = set()
        for row in outbox.waiting(tx, _BATCH, but=self._resting):
            if row.channel in blocked:
                continue
            if row.state is OutboxState.ENCRYPTED:
                rows.append(row)
                continue
            try:
                encrypted = encrypting.encrypt(self._env, tx, row)
            except (StatusOverdueError, CredentialUnloggedError):
                encrypted = None
            except PolicyRefusedError as e:
                if not self._may_be_over(row, e):
                    rulings.refuse(self._env, tx, row, e.code, e.message)
                    continue
                encrypted = None
            except (ChannelClosedError, ChannelRejectedError) as e:
                rulings.refuse(self._env, tx, row, e.code, e.message)
                continue
            if encrypted is None:
                # In order: nothing of this channel overtakes what waits for the commit.
                blocked.add(row.channel)
                rows.append(row.channel)
            else:
                rows.append(encrypted)
        return rows

    def _may_be_over(self, row: OutboxRecord, error: PolicyRefusedError) -> bool:
        """Tell whether a refusal hangs on what may have changed since this device heard of it."""
        if not error.rule.startswith(refreshing.CHANGING) or row.number in self._asked:
            return False
        self._unsure.setdefault(row.channel, set()).add(row.number)
        return True

    async def _unblock(self, channel: ChannelId) -> None:
        record = await self._env.read(lambda tx: channels.load(tx, channel))
        if record is None:
            return
        try:
            if record.state is ChannelState.STALE:
                await self._rejoin(channel)
                return
            unsure = self._unsure.pop(channel, None)
            if unsure is not None:
                await refreshing.refresh(self._env, record.agreement_id)
                self._asked |= unsure
                return
            await self._committer.settle(channel)
            await self._require_fresh(record)
            await self._follower.require_group(channel)
        except UndecidedError as e:
            self._env.publish(Event(EventKind.PROBLEM, channel, e.message))
            self._resting[channel] = self._env.loop.time() + _BLOCKED_PAUSE
        except ConnectionLostError:
            raise
        except LiaisonError as e:
            # Our own removal waits to be committed by others, a party's word is overdue, a
            # member's certificate is in no log, or the relay does not take the change yet. The
            # other channels go on.
            self._env.publish(Event(EventKind.PROBLEM, channel, e.message))
            self._rest(channel, e)

    async def _require_fresh(self, record: ChannelRecord) -> None:
        """Look for a fresh word of whoever is overdue.

        Raises:
            StatusOverdueError: there is none.
        """
        env = self._env
        try:
            await env.read(lambda tx: self._check_fresh(tx, record.channel))
        except StatusOverdueError:
            await refreshing.statements(env, record.agreement_id)
            await env.read(lambda tx: self._check_fresh(tx, record.channel))

    def _check_fresh(self, tx: Transaction, channel: ChannelId) -> None:
        record = channels.load_open(tx, channel)
        trust = self._env.trust
        agreement = trust.agreement(tx, record.agreement_id, record.agreement_version)
        duties.check_fresh(self._env, tx, agreement)

    def _rest(self, channel: ChannelId, error: LiaisonError) -> None:
        """Leave a channel alone for a while, and tell who waits for it."""
        pause = _BLOCKED_PAUSE
        if isinstance(error, RemoteError):
            pause = min(float(error.problem.retry_after or pause), _MOST_PAUSE)
        self._resting[channel] = self._env.loop.time() + pause
        self._env.blocked[channel] = error
        self._env.changes.notify_outside()

    async def _rejoin(self, channel: ChannelId) -> None:
        await self._connection.backlog_taken()
        record = await self._env.read(lambda tx: channels.load(tx, channel))
        if record is not None and record.state is ChannelState.STALE:
            await self._committer.resync(channel)

    # --- the relay's ruling -------------------------------------------------------------

    def _note_accepted(
        self, tx: Transaction, accepted: list[tuple[OutboxRecord, Accepted]]
    ) -> None:
        for row, answer in accepted:
            rulings.accept(self._env, tx, row, answer)

    async def _heed(self, row: OutboxRecord, error: RemoteError) -> float:
        """Act on a refusal; where the relay can't say now what that takes, later."""
        try:
            return await self._refused(row, error)
        except RemoteError as e:
            if e.problem.status == _UNAUTHORIZED:
                raise
            # Nothing was decided: the same bytes are sent again. The connection, and the other
            # channels, go on.
            self._env.publish(Event(EventKind.PROBLEM, row.channel, e.message))
            pause = float(e.problem.retry_after or _BLOCKED_PAUSE)
            self._resting[row.channel] = self._env.loop.time() + min(pause, _MOST_PAUSE)
            return 0.0

    async def _refused(self, row: OutboxRecord, error: RemoteError) -> float:
        """Act on a refusal; return how long to wait before sending more."""
        env = self._env
        if error.remote_code == _FULL:
            # It takes messages again when old ones expire; the other channels go on.
            env.publish(Event(EventKind.PROBLEM, row.channel, error.message))
            self._resting[row.channel] = env.loop.time() + _BLOCKED_PAUSE
            return 0.0
        if error.remote_code in _LATER:
            return min(float(error.problem.retry_after or _RETRY_PAUSE), _MOST_PAUSE)
        if error.remote_code in _EPOCH_OVER or error.remote_code == _TAKEN:
            # An answer may have been lost before this one: what the relay has
            # counts, and only what it does not have is encrypted again.
            outcome = await env.api.outcome(row.channel, row.message_id)
            if outcome is not None and outcome.digest in (row.digest, *row.earlier):
                found = Accepted(0, True, outcome.seq, outcome.time_ms, outcome.digest)  # type: ignore[arg-type]  # noqa: FBT003 - the frame's field
                await env.write(lambda tx: rulings.accept(env, tx, row, found))
                return 0.0
            if error.remote_code in _EPOCH_OVER:
                requeued = await env.write(lambda tx: outbox.requeue(tx, row))
                if error.remote_code in _NEWS:
                    await self._learn(row.channel, error.remote_code)
                if requeued:
                    await self._await_epoch(row, error)
                return 0.0
        await env.write(lambda tx: rulings.refuse(env, tx, row, error.remote_code, error.message))
        return 0.0

    async def _learn(self, channel: ChannelId, code: str) -> None:
        """Fetch what the relay knows and this device did not."""
        record = await self._env.read(lambda tx: channels.load(tx, channel))
        if record is None:
            return
        if code == "agreement.superseded":
            self._env.superseded[record.agreement_id] = record.agreement_version
        await refreshing.refresh(self._env, record.agreement_id)

    async def _await_epoch(self, row: OutboxRecord, error: RemoteError) -> None:
        """Wait until this store knows what the relay knows, or some time has passed."""

        def changed(tx: Transaction) -> bool | None:
            record = channels.load(tx, row.channel)
            if record is None or record.state is not ChannelState.ACTIVE:
                return True
            if error.remote_code in _NEWS:
                group = self._env.groups.load(tx, record)
                if duties.due(self._env, tx, record, group):
                    return True
            return record.epoch > (row.epoch or 0) or None

        env = self._env
        caught_up = self._connection.is_receiving and self._connection.caught_up
        # A commit on its way takes moments; what does not come then was delivered before.
        patience = _MOMENT if caught_up else env.options.request_timeout
        try:
            async with asyncio.timeout(patience):
                await env.until(changed)
        except TimeoutError:
            env.publish(Event(EventKind.PROBLEM, row.channel, error.message))
            theirs = (await env.api.channel(row.channel)).epoch
            if caught_up and self._connection.caught_up:
                await env.write(lambda tx: _compare(env, tx, row.channel, theirs))


def _has_succeeded(task: asyncio.Task[Accepted]) -> bool:
    return not task.cancelled() and task.exception() is None


def _compare(env: Environment, tx: Transaction, channel: ChannelId, epoch: int) -> None:
    """Note that a commit is missing here that the relay has delivered, if so."""
    record = channels.load(tx, channel)
    if record is not None and record.state is ChannelState.ACTIVE and record.epoch < epoch:
        merging.mark_stale(env, tx, record, "this store lacks a commit that it was given")
