"""The write operations of channels. Each compares the group's version and swaps it.

What was judged in `rules` was judged against one version of the public group.
When the row says another, nothing is written and the service judges again; nor is
it when the agreement has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from liaison import words
from liaison.errors import ConflictError
from liaison.fanout import topics
from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId, DeviceId
from liaison.relay.services import log_grace
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.entries import handshakes as entries
from liaison.relay.services.errors import (
    ChannelExistsError,
    DeviceRevokedError,
    NotMemberError,
    TooManyChannelsError,
    UnknownChannelError,
    UnknownDeviceError,
)
from liaison.relay.services.leaves import Leaf
from liaison.relay.services.lives import Life
from liaison.relay.services.new_groups import NewGroup
from liaison.relay.services.registry import check_standing
from liaison.relay.services.rules import CommitPlan
from liaison.relay.services.sequence import Handshake, Sequencer
from liaison.relay.services.states import ChannelState, States
from liaison.relay.work import Operation, Work
from liaison.storage import agreements, channels, devices, items, joins, members, usage
from liaison.storage.channels import ChannelRow, GroupRow
from liaison.storage.items import Stored
from liaison.storage.joins import Join
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.frames import ItemKind


class MovedError(ConflictError):
    """The group changed between judging and writing; judge again."""

    code = "channel.moved"


@dataclass(frozen=True, slots=True)
class Tools:
    """What every operation on channels needs."""

    sequencer: Sequencer
    states: States


@dataclass
class CreateChannel(Operation[v1.Sequenced]):
    """Open a channel with a group that was judged."""

    tools: Tools
    caller: DeviceCaller
    channel: ChannelId
    new: NewGroup
    life: Life
    agreement: int
    past_epochs: int
    group_info: bytes
    digest: bytes
    most: int
    """Channels under the agreement."""
    now_ms: int

    async def apply(self, work: Work) -> v1.Sequenced:
        """Write the channel; the same one again answers as before."""
        await _hold(work, self.new.binding.agreement_id, self.life)
        await _check_caller(work, self.caller, self.now_ms)
        row = await channels.find(work.tx, self.channel.value)
        if row is not None:
            await self._check_same(work, row)
        else:
            await self._check_room(work)
            await self._write(work)
        return v1.Sequenced(seq=0, epoch=0, digest=self.digest, time_ms=self.now_ms)

    async def _check_room(self, work: Work) -> None:
        id_ = self.new.binding.agreement_id
        if await usage.channels_under_agreement(work.tx, id_) >= self.most:
            raise TooManyChannelsError(
                f"{id_} has {words.count(self.most, 'channel')}",
                hint="use one that is open, or ask the relay's operator for more",
                unchanged="no channel was opened",
            )

    async def _check_same(self, work: Work, row: ChannelRow) -> None:
        stored = await channels.group(work.tx, row.key)
        if row.epoch != 0 or stored.group_info != self.group_info:
            raise ChannelExistsError(f"there is a channel {self.channel}")

    async def _write(self, work: Work) -> None:
        group, leaf = self.new.group, self.new.leaf
        pairs = {(self.caller.key, leaf.serial): leaf}
        _require_all_good(pairs, await devices.still_good(work.tx, pairs))
        key = await channels.add(
            work.tx,
            id=self.channel.value,
            group_id=group.group_id,
            agreement=self.agreement,
            policy=self.new.binding.policy,
            suite=group.suite.code,
            epoch=0,
            oldest_epoch=0,
            past_epochs=self.past_epochs,
            head=0,
            group_version=1,
            created_at=self.now_ms,
        )
        await channels.add_group(work.tx, key, GroupRow(self.new.snapshot, self.group_info))
        await members.join(work.tx, key, self.caller.key, leaf.leaf, leaf.serial, seq=0, epoch=0)
        (version,) = (one for one in self.life.versions if one.key == self.agreement)
        work.record(*entries.founded(version.agreement, self.channel, key, self.caller.id))
        bus = self.tools.sequencer.bus
        work.after_commit(lambda: self.tools.states.put(key, 1, group))
        work.after_commit(lambda: bus.wake(topics.device(self.caller.key)))


@dataclass
class AcceptCommit(Operation[v1.Sequenced]):
    """End an epoch with a commit that was judged against one version of the group."""

    tools: Tools
    caller: DeviceCaller
    channel: ChannelId
    state: ChannelState
    """What it was judged against."""
    body: v1.Commit
    plan: CommitPlan
    past_epochs: int
    now_ms: int

    async def apply(self, work: Work) -> v1.Sequenced:
        """Write the commit and what it does to the channel."""
        await _hold(work, self.state.agreement.agreement_id, self.state.life)
        await _check_caller(work, self.caller, self.now_ms)
        row = await _locked(work, self.channel)
        handshake = Handshake(ItemKind.COMMIT, self.body.commit, self.caller.key)
        known = await known_handshake(work, row, handshake)
        if known is not None:
            return sequenced(known, commit=True)
        if row.group_version != self.state.row.group_version:
            raise MovedError
        if await members.find(work.tx, row.key, self.caller.key) is None:
            raise NotMemberError(f"{self.caller.id} is not a member of channel {self.channel}")
        if self.plan.added:
            await self._check_logged(work)
        seq = await self.tools.sequencer.handshakes(work, row, [handshake], now_ms=self.now_ms)
        await self._write_group(work, row)
        await self._write_members(work, row, seq)
        now = self.now_ms // 1000
        work.record(
            *entries.committed(self.state, self.plan, self.caller.id, handshake, seq=seq, now=now)
        )
        await devices.saw_state_versions(work.tx, {self.caller.key: self.body.state_version})
        return v1.Sequenced(
            seq=seq, epoch=row.epoch + 1, digest=handshake.digest, time_ms=self.now_ms
        )

    async def _check_logged(self, work: Work) -> None:
        """Nobody comes in while the log lacks its witnesses for too long."""
        agreement = self.state.agreement
        oldest = await log_grace.oldest_uncosigned(work.tx, agreement.agreement_id)
        log_grace.check(agreement, oldest, self.now_ms)

    async def _write_group(self, work: Work, row: ChannelRow) -> None:
        plan, version = self.plan, row.group_version + 1
        values = {"epoch": row.epoch + 1, "group_version": version}
        if plan.removed or plan.added or plan.amended is not None:
            # Whoever was removed knows the keys of every epoch up to the last one, and who
            # was added knows none of them: what is sequenced from here on is for all
            # members of today, and for nobody else.
            values["oldest_epoch"] = row.epoch + 1
        if plan.amended is not None:
            values |= {"agreement": plan.amended.key, "past_epochs": self.past_epochs}
        await channels.change(work.tx, row.key, **values)
        await channels.save_group(work.tx, row.key, plan.snapshot, self.body.group_info)
        if row.removals_pending or plan.removals:
            await channels.set_removals(work.tx, row.key, plan.removals)
        work.after_commit(lambda: self.tools.states.put(row.key, version, plan.group))

    async def _write_members(self, work: Work, row: ChannelRow, seq: int) -> None:
        plan = self.plan
        keys = await self._good_devices(work)
        for leaf in plan.removed:
            if plan.joined is not None:
                await members.replace(work.tx, row.key, leaf, seq=seq)
            else:
                await members.leave(work.tx, row.key, leaf, seq=seq)
        for one in plan.updated:
            await members.set_serial(work.tx, row.key, one.leaf, one.serial)
        epoch = row.epoch + 1
        if plan.joined is not None:
            one, device = plan.joined, self.caller.key
            await members.join(
                work.tx, row.key, device, one.leaf, one.serial, seq=seq, epoch=epoch, echo=True
            )
            self._wake_after(work, [device])
        stays = [
            await members.join(
                work.tx, row.key, keys[one.device], one.leaf, one.serial, seq=seq, epoch=epoch
            )
            for one in plan.added
        ]
        if stays and plan.tree is not None and self.body.welcome is not None:
            join = Join(row.key, epoch, self.now_ms, plan.tree, self.body.welcome)
            await joins.add(work.tx, join, stays)
            self._wake_after(work, [keys[one.device] for one in plan.added])

    async def _good_devices(self, work: Work) -> dict[DeviceId, int]:
        """Return the rows of the devices whose leaves are new, none of them revoked by now."""
        plan = self.plan
        new = [*plan.added, *plan.updated, *([plan.joined] if plan.joined else [])]
        known = await devices.keys_of(work.tx, {str(one.device) for one in new})
        keys: dict[DeviceId, int] = {}
        for one in new:
            if str(one.device) not in known:
                raise UnknownDeviceError(f"the relay knows no device {one.device}")
            keys[one.device] = known[str(one.device)]
        pairs = {(keys[one.device], one.serial): one for one in new}
        good = await devices.still_good(work.tx, pairs)
        _require_all_good(pairs, good)
        return keys

    def _wake_after(self, work: Work, keys: Sequence[int]) -> None:
        bus = self.tools.sequencer.bus
        for key in keys:
            work.after_commit(partial(bus.wake, topics.device(key)))


def _require_all_good(pairs: dict[tuple[int, str], Leaf], good: set[tuple[int, str]]) -> None:
    for pair, leaf in pairs.items():
        if pair not in good:
            raise DeviceRevokedError(
                f"the certificate {leaf.serial} of {leaf.device} was revoked or is not registered"
            )


@dataclass
class AcceptProposals(Operation[v1.Sequenced]):
    """Sequence proposals that were judged against one version of the group.

    `caller` is None for the relay's own, which remove who has to go.
    """

    tools: Tools
    caller: DeviceCaller | None
    channel: ChannelId
    state: ChannelState
    """What they were judged against."""
    messages: Sequence[bytes]
    group: PublicGroup
    snapshot: bytes
    state_version: int
    now_ms: int

    async def apply(self, work: Work) -> v1.Sequenced:
        """Write the proposals."""
        await _hold(work, self.state.agreement.agreement_id, self.state.life)
        row = await _locked(work, self.channel)
        sender = self.caller.key if self.caller else None
        new = [Handshake(ItemKind.PROPOSAL, message, sender) for message in self.messages]
        if self.caller is not None:
            await _check_caller(work, self.caller, self.now_ms)
            known = await known_handshake(work, row, new[0])
            if known is not None:
                return sequenced(known, commit=False)
            if await members.find(work.tx, row.key, self.caller.key) is None:
                raise NotMemberError(f"{self.caller.id} is not a member of channel {self.channel}")
            await devices.saw_state_versions(work.tx, {self.caller.key: self.state_version})
        if row.group_version != self.state.row.group_version:
            raise MovedError
        seq = await self.tools.sequencer.handshakes(work, row, new, now_ms=self.now_ms)
        caller = self.caller.id if self.caller is not None else None
        work.record(*entries.proposed(self.state, caller, new, last=seq))
        version = row.group_version + 1
        await channels.change(work.tx, row.key, group_version=version)
        await channels.save_group(work.tx, row.key, self.snapshot)
        work.after_commit(lambda: self.tools.states.put(row.key, version, self.group))
        return v1.Sequenced(seq=seq, epoch=row.epoch, digest=new[-1].digest, time_ms=self.now_ms)


async def known_handshake(work: Work, row: ChannelRow, new: Handshake) -> Stored | None:
    """Return what a resend of the same bytes is answered with."""
    if new.sender is None:
        return None
    found = await items.find(work.tx, (row.id, new.sender, new.ident))
    return found if found is not None and found.digest == new.digest else None


def sequenced(known: Stored, *, commit: bool) -> v1.Sequenced:
    """Answer a resend as the first time."""
    return v1.Sequenced(
        seq=known.seq,
        epoch=known.epoch + 1 if commit else known.epoch,
        digest=known.digest,
        time_ms=known.accepted_at,
    )


async def _hold(work: Work, agreement: str, life: Life) -> None:
    """Keep what was judged by true until the commit. Before any lock on a channel: see `enforce`.

    Raises:
        MovedError: the agreement has changed.
    """
    if await agreements.hold(work.tx, agreement) != life.changes:
        raise MovedError


async def _locked(work: Work, channel: ChannelId) -> ChannelRow:
    row = (await channels.lock(work.tx, [channel.value])).get(channel.value)
    if row is None:
        raise UnknownChannelError(f"there is no channel {channel}")
    return row


async def _check_caller(work: Work, caller: DeviceCaller, now_ms: int) -> None:
    standing = await devices.standing(work.tx, [caller.certificate])
    check_standing(standing, caller, now_ms)
