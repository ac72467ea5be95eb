"""The device's channels, found by name, and everything that is done to one as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from liaison.model import ChannelId, DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison_sdk import channel as views
from liaison_sdk import creating, judgement, membership, plans, reading
from liaison_sdk.channel import Channel, Member
from liaison_sdk.committing import Committer
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelAmbiguousError, ChannelUnknownError
from liaison_sdk.store import Transaction, channels, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from liaison_sdk.trust_store import AgreementMissingError

if TYPE_CHECKING:
    from liaison_sdk.client import Client


class ChannelBook:
    """Finds, opens and changes channels."""

    def __init__(self, environment: Environment, committer: Committer, client: Client) -> None:
        self._env: Final = environment
        self._committer: Final = committer
        self._client: Final = client

    async def all(self) -> list[Channel]:
        """See `Client.channels`."""
        return await self._env.read(
            lambda tx: [
                views.view(record, self._client, confirmed=self._is_confirmed(tx, record))
                for record in channels.load_all(tx)
            ]
        )

    def _is_confirmed(self, tx: Transaction, record: ChannelRecord) -> bool:
        try:
            version = record.agreement_version
            agreement = self._env.trust.agreement(tx, record.agreement_id, version)
        except AgreementMissingError:
            # A Welcome that could not be used left a channel of which nothing is known.
            return False
        has_log = bool(agreement.relay.log_signers)
        return not has_log or stays.is_confirmed(tx, record.channel, record.epoch)

    async def find(self, name: str | ChannelId) -> Channel:
        """See `Client.channel`."""
        known = await self.all()
        found = [c for c in known if name in (c.id, str(c.id), c.name)]
        if not found and isinstance(name, str) and len(name) >= reading.MIN_PREFIX:
            found = [c for c in known if str(c.id).startswith(name.lower())]
        if not found:
            raise ChannelUnknownError(
                f"there is no channel {name} here", hint="liaison channels list shows all"
            )
        staying = [c for c in found if c.state.is_open and c.state is not ChannelState.LEAVING]
        likely = staying or [c for c in found if c.state.is_open] or found
        if len(likely) > 1:
            ids = ", ".join(str(c.id)[:8] for c in likely)
            raise ChannelAmbiguousError(
                f"{len(likely)} channels answer to {name}", hint=f"use the id, one of: {ids}"
            )
        return likely[0]

    async def create(
        self, agreement: Agreement, policy: str, name: str, members: Iterable[EndpointId]
    ) -> Channel:
        """See `Client.create_channel`."""
        wanted = list(members)
        if wanted:
            await membership.require_addable(self._env, agreement, policy, wanted)
        channel = await creating.open_channel(self._env, agreement, policy, name)
        if wanted:
            await self.add(channel, wanted)
        return await self.find(channel)

    async def members(self, channel: ChannelId) -> list[Member]:
        """See `Channel.members`."""

        def look(tx: Transaction) -> list[Member]:
            group = self._env.groups.load(tx, _known(tx, channel))
            found = judgement.devices(group).items()
            return [Member(device, leaf, leaf == group.own_leaf) for leaf, device in found]

        return await self._env.read(look)

    async def add(self, channel: ChannelId, endpoints: Sequence[EndpointId]) -> list[DeviceId]:
        """See `Channel.add`."""
        return await membership.add(self._env, self._committer, channel, endpoints)

    async def remove(
        self, channel: ChannelId, who: Sequence[EndpointId | DeviceId]
    ) -> list[DeviceId]:
        """See `Channel.remove`."""
        return await membership.remove(self._env, self._committer, channel, who)

    async def leave(self, channel: ChannelId) -> None:
        """See `Channel.leave`."""
        await membership.leave(self._env, channel)

    async def update(self, channel: ChannelId) -> None:
        """See `Channel.update`."""
        await self._committer.run(channel, lambda *_: plans.Order())

    async def resync(self, channel: ChannelId) -> None:
        """See `Channel.resync`."""
        await self._committer.resync(channel, anyway=True)

    async def rename(self, channel: ChannelId, name: str) -> None:
        """See `Channel.rename`."""
        await self._env.write(lambda tx: channels.save(tx, replace(_known(tx, channel), name=name)))


def _known(tx: Transaction, channel: ChannelId) -> ChannelRecord:
    record = channels.load(tx, channel)
    if record is None:
        raise ChannelUnknownError(f"there is no channel {channel} here")
    return record
