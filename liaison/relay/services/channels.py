"""Channels: opened, changed by commits and proposals, described to their members."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import UnavailableError
from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import log
from liaison.relay.services import new_groups, rejections, renewals, rules
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import (
    AgreementNotActiveError,
    NotMemberError,
    UnknownAgreementError,
    UnknownChannelError,
    UnknownEpochError,
)
from liaison.relay.services.handshakes import (
    AcceptCommit,
    AcceptProposals,
    CreateChannel,
    MovedError,
    Tools,
    sequenced,
)
from liaison.relay.services.judging import Judge
from liaison.relay.services.limits import Limits
from liaison.relay.services.lives import Admitted, Life
from liaison.relay.services.pages import FIRST, MOST_MEMBERS, Page, cut, following
from liaison.relay.services.refusals import Asked, Refusals
from liaison.relay.services.removals import Removals
from liaison.relay.services.sequence import Handshake
from liaison.relay.services.states import ChannelState, States, find, find_for_member
from liaison.relay.writer import Writer
from liaison.storage import channels, items, joins, members
from liaison.storage.channels import ChannelRow
from liaison.storage.engine import Database
from liaison.trust import ChannelBinding
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.frames import ItemKind

_TRIES: Final = 20
"""How often a handshake is judged anew because others were written meanwhile."""


@dataclass(frozen=True)
class Channels:
    """The channel service."""

    database: Database
    writer: Writer
    book: Book
    states: States
    tools: Tools
    removals: Removals
    identity: RelayIdentity
    clock: Callable[[], int]
    limits: Limits
    judge: Judge
    refusals: Refusals

    async def create(self, caller: DeviceCaller, body: v1.NewChannel) -> v1.Sequenced:
        """Open a channel; the same request again is answered as the first time.

        Raises:
            GroupRefusedError: the group is not one that a channel may begin with.
            UnknownAgreementError, AgreementNotActiveError: so is its agreement.
            PolicyRefusedError: the agreement does not let the caller open it.
            ChannelExistsError: the id is taken.
            TooManyChannelsError: the agreement has as many as the relay keeps.
        """
        binding = new_groups.read_binding(body.group_info)

        async def once() -> v1.Sequenced:
            return await self._create(caller, body, binding)

        asked = Asked(caller, "create", agreement=binding.agreement_id)
        return await self.refusals.watch(asked, _until_settled(once))

    async def _create(
        self, caller: DeviceCaller, body: v1.NewChannel, binding: ChannelBinding
    ) -> v1.Sequenced:
        now = self.clock()
        async with self.database.read() as tx:
            life = await self.book.life(tx, binding.agreement_id)
            revoked = await self.book.revoked(tx)
        admitted = _in_force(life, caller, binding, now // 1000)
        new = await asyncio.to_thread(
            new_groups.check_new_group,
            caller, body, admitted.agreement, life.standing, revoked, self.identity, self.judge,
            now // 1000,
        )  # fmt: skip
        policy = admitted.agreement.channel(binding.policy)
        return await self.writer.submit(
            CreateChannel(
                tools=self.tools,
                caller=caller,
                channel=ChannelId.parse(body.channel),
                new=new,
                life=life,
                agreement=admitted.key,
                past_epochs=policy.keys.past_epochs,
                group_info=body.group_info,
                digest=hashlib.sha256(body.group_info).digest(),
                most=self.limits.channels,
                now_ms=now,
            )
        )

    async def listing(self, caller: DeviceCaller, page: Page = FIRST) -> v1.Channels:
        """Describe the channels that the device is a member of, the oldest first.

        Raises:
            UnknownChannelError: it was never in the channel that the page is to begin after.
        """
        async with self.database.read() as tx:
            after = 0 if page.after is None else await _ever_in(tx, caller, page.after)
            found = await members.channels_of(tx, caller.key, after=after, limit=page.limit + 1)
            counts = await members.counts(tx, found)
            keys = cut(found, page, (counts[key] for key in found), MOST_MEMBERS)
            described = await self._describe(tx, await channels.by_keys(tx, keys))
        last = described[-1].channel if described else ""
        return v1.Channels(channels=described, next=following(found, keys, last))

    async def get(self, caller: DeviceCaller, channel: ChannelId) -> v1.Channel:
        """Describe a channel to a member.

        Raises:
            UnknownChannelError, NotMemberError: not there, or not for the caller.
        """
        async with self.database.read() as tx:
            row = await find_for_member(tx, channel, caller)
            (described,) = await self._describe(tx, {row.key: row})
        return described

    async def _describe(
        self, tx: AsyncConnection, rows: Mapping[int, ChannelRow]
    ) -> list[v1.Channel]:
        present = await members.present_in(tx, rows)
        removals = await channels.removals_in(tx, rows)
        described = []
        for key, row in sorted(rows.items()):
            agreement = (await self.book.agreement(tx, row.agreement)).agreement
            described.append(
                v1.Channel(
                    channel=row.id.hex(),
                    agreement=agreement.agreement_id,
                    agreement_version=agreement.version,
                    policy=row.policy,
                    epoch=row.epoch,
                    head=row.head,
                    members=[v1.Member(leaf=m.leaf, device=m.name) for m in present.get(key, ())],
                    pending_removals=removals.get(key, []),
                )
            )
        return described

    # --- handshakes ---------------------------------------------------------------------

    async def commit(
        self, caller: DeviceCaller, channel: ChannelId, body: v1.Commit
    ) -> v1.Sequenced:
        """End the current epoch; the same commit again is answered as the first time.

        Raises:
            EpochConflictError: another commit came first; nothing was stored.
            CommitInvalidError, RemovalPendingError, PolicyRefusedError: see `rules`.
            RejectionUnfoundedError: see `rejections`.
            UnknownChannelError, NotMemberError: not there, or not for the caller.
        """

        async def once() -> v1.Sequenced:
            state = await self.states.load(channel)
            known = await self._known(state, Handshake(ItemKind.COMMIT, body.commit, caller.key))
            return known or await self._commit(state, caller, channel, body)

        asked = Asked(caller, "commit", channel=channel)
        answer = await self.refusals.watch(asked, _until_settled(once))
        if body.welcome is None:
            # An external commit can't carry the removals that were due: propose them again.
            await self.removals.propose(channel)
        return answer

    async def _commit(
        self, state: ChannelState, caller: DeviceCaller, channel: ChannelId, body: v1.Commit
    ) -> v1.Sequenced:
        if renewals.are_asked_for(body.commit):
            state = await self.states.with_renewals(state)
        now = self.clock()
        plan = await asyncio.to_thread(
            rules.check_commit, state, caller, body, self.identity, self.judge, now // 1000
        )
        if plan.rejection is not None:
            await rejections.check(self.database, state.row, caller, plan.rejection)
        agreement = state.agreement if plan.amended is None else plan.amended.agreement
        sequenced = await self.writer.submit(
            AcceptCommit(
                tools=self.tools,
                caller=caller,
                channel=channel,
                state=state,
                body=body,
                plan=plan,
                past_epochs=agreement.channel(state.row.policy).keys.past_epochs,
                now_ms=now,
            )
        )
        if plan.rejection is not None:
            log.logger().warning(
                "commit_rejected",
                channel=str(channel),
                epoch=plan.rejection.epoch,
                code=plan.rejection.code,
                device=str(plan.rejection.committer),
                principal=str(caller.id),
            )
        return sequenced

    async def propose(
        self, caller: DeviceCaller, channel: ChannelId, body: v1.Proposal
    ) -> v1.Sequenced:
        """Sequence a member's proposal; the same again is answered as the first time.

        Raises:
            EpochConflictError: it is of another epoch.
            CommitInvalidError, TooManyProposalsError, PolicyRefusedError: see `rules`.
            UnknownChannelError, NotMemberError: not there, or not for the caller.
        """

        async def once() -> v1.Sequenced:
            state = await self.states.load(channel)
            new = Handshake(ItemKind.PROPOSAL, body.proposal, caller.key)
            known = await self._known(state, new)
            return known or await self._propose(state, caller, channel, body)

        asked = Asked(caller, "propose", channel=channel)
        return await self.refusals.watch(asked, _until_settled(once))

    async def _propose(
        self, state: ChannelState, caller: DeviceCaller, channel: ChannelId, body: v1.Proposal
    ) -> v1.Sequenced:
        now, limit = self.clock(), self.limits.proposals
        group, snapshot = await asyncio.to_thread(
            _judged, state, caller, body.proposal, limit, self.judge, now // 1000
        )
        return await self.writer.submit(
            AcceptProposals(
                tools=self.tools,
                caller=caller,
                channel=channel,
                state=state,
                messages=[body.proposal],
                group=group,
                snapshot=snapshot,
                state_version=body.state_version,
                now_ms=now,
            )
        )

    async def _known(self, state: ChannelState, new: Handshake) -> v1.Sequenced | None:
        # A resend is of an epoch that is over, maybe: it is recognised before it is judged.
        async with self.database.read() as tx:
            found = await items.find(tx, (state.row.id, new.sender or 0, new.ident))
        if found is None or found.digest != new.digest:
            return None
        return sequenced(found, commit=new.kind is ItemKind.COMMIT)

    # --- for devices that join ----------------------------------------------------------

    async def group_state(self, caller: DeviceCaller, channel: ChannelId) -> v1.GroupState:
        """Return what a member needs to come back by external commit.

        Raises:
            UnknownChannelError, NotMemberError: not there, or not for the caller.
        """
        async with self.database.read() as tx:
            await find_for_member(tx, channel, caller)
        state = await self.states.load(channel)
        tree = await asyncio.to_thread(state.group.ratchet_tree)
        return v1.GroupState(epoch=state.group.epoch, tree=tree, group_info=state.group_info)

    async def tree(self, caller: DeviceCaller, channel: ChannelId, epoch: int) -> v1.GroupState:
        """Return the public tree of an epoch: the current one, or one with a Welcome that waits.

        Raises:
            UnknownChannelError: there is no such channel.
            NotMemberError: the device is not a member, and this epoch is not the one it joined in.
            UnknownEpochError: the relay does not keep that epoch's tree.
        """
        if epoch >= 1 << 63:
            raise UnknownEpochError
        async with self.database.read() as tx:
            row = await find(tx, channel)
            if not await members.may_see_tree(tx, row.key, caller.key, epoch):
                raise NotMemberError(f"{caller.id} is not a member of channel {channel}")
            kept = await joins.tree(tx, row.key, epoch)
        if kept is not None:
            return v1.GroupState(epoch=epoch, tree=kept)
        state = await self.states.load(channel)
        if state.group.epoch != epoch:
            raise UnknownEpochError(f"the relay does not keep the tree of epoch {epoch}")
        tree = await asyncio.to_thread(state.group.ratchet_tree)
        return v1.GroupState(epoch=epoch, tree=tree)


async def _ever_in(tx: AsyncConnection, caller: DeviceCaller, channel: str) -> int:
    key = await members.ever_in(tx, caller.key, ChannelId.parse(channel).value)
    if key is None:
        raise UnknownChannelError(
            "there is no such channel to go on after", hint="list them from the first one on"
        )
    return key


def _in_force(life: Life, caller: DeviceCaller, binding: ChannelBinding, now: int) -> Admitted:
    newest = life.in_force(now) or life.newest
    if newest is None:
        raise UnknownAgreementError(f"the relay knows no agreement {binding.agreement_id!r}")
    if not newest.agreement.has_party(caller.party):
        raise UnknownAgreementError(f"{caller.party} has no agreement {binding.agreement_id!r}")
    if newest.agreement.version != binding.version:
        raise AgreementNotActiveError(
            f"version {binding.version} of {binding.agreement_id} is not the one in force,"
            f" that is {newest.agreement.version}"
        )
    return newest


def _judged(
    state: ChannelState,
    caller: DeviceCaller,
    message: bytes,
    limit: int,
    judge: Judge,
    now: int,
) -> tuple[PublicGroup, bytes]:
    group = rules.check_proposal(state, caller, message, limit, judge, now)
    return group, group.snapshot()


async def _until_settled(once: Callable[[], Awaitable[v1.Sequenced]]) -> v1.Sequenced:
    for _ in range(_TRIES):
        try:
            return await once()
        except MovedError:
            continue
    raise UnavailableError("the channel changes too fast", hint="send it again")
