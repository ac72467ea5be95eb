"""The public groups of channels, kept in memory between handshakes.

The database's row says which version of a group counts; a copy of another
version is never used, so it does not matter which node changed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.relay.services import lives
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import NotMemberError, UnknownChannelError
from liaison.relay.services.kept import Kept
from liaison.relay.services.lives import Due, Life
from liaison.storage import channels, members
from liaison.storage.channels import ChannelRow
from liaison.storage.engine import Database
from liaison.storage.members import Seat
from liaison.values import dataclass

MOST: Final = 1 << 14
"""Members of all groups that are kept, of some 2 KiB each."""
_BESIDE: Final = 1
"""What a group takes beside its members, in terms of these."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as one handshake is judged against it.

    Args:
        row: with the version that a change is compared and swapped with.
        group_info: the GroupInfo of the epoch, as its committer uploaded it.
        agreement: the version that the channel is bound to.
        life: of the agreement: its other versions, and who takes part.
        seats: the members, as they were when the group was read.
        revoked: (party, serial) of every revoked certificate.
        renewed: when the keys in each leaf came in, Unix milliseconds; read only for
            commits that remove somebody because of that.
    """

    row: ChannelRow
    group: PublicGroup
    group_info: bytes
    agreement: Agreement
    life: Life
    seats: tuple[Seat, ...]
    revoked: frozenset[tuple[PartyCode, str]]
    renewed: Mapping[int, int] = field(default_factory=dict)

    @property
    def policy(self) -> ChannelPolicy:
        """The channel's policy."""
        return self.agreement.channel(self.row.policy)

    def due(self, now: int) -> dict[int, Due]:
        """Return who has to leave the channel at a time in Unix seconds, by leaf."""
        return lives.due(self.life, self.row.policy, self.seats, now)


class States:
    """Loads channel states."""

    def __init__(self, database: Database, book: Book) -> None:
        self._database = database
        self._book = book
        self._groups: Kept[int, tuple[int, PublicGroup]] = Kept(MOST)

    async def load(self, channel: ChannelId) -> ChannelState:
        """Return a channel's state.

        Raises:
            UnknownChannelError: there is no such channel.
        """
        async with self._database.read() as tx:
            row = await find(tx, channel)
            stored = await channels.group(tx, row.key)
            agreement = (await self._book.agreement(tx, row.agreement)).agreement
            life = await self._book.life(tx, agreement.agreement_id)
            seats = tuple(await members.seats(tx, row.key))
            revoked = await self._book.revoked(tx)
        group = await self._group(row, stored.snapshot)
        return ChannelState(row, group, stored.group_info, agreement, life, seats, revoked)

    async def with_renewals(self, state: ChannelState) -> ChannelState:
        """Return a state that also tells when the keys in each leaf came in."""
        async with self._database.read() as tx:
            return replace(state, renewed=await members.renewed(tx, state.row.key))

    def put(self, channel: int, version: int, group: PublicGroup) -> None:
        """Keep a group that is durable under this version."""
        self._groups.put(channel, (version, group), len(group.identities) + _BESIDE)

    async def _group(self, row: ChannelRow, snapshot: bytes) -> PublicGroup:
        version, group = self._groups.get(row.key) or (-1, None)
        if group is None or version != row.group_version:
            # A thousand members take a while to read: not in the event loop.
            group = await asyncio.to_thread(PublicGroup.restore, snapshot)
            self.put(row.key, row.group_version, group)
        return group


async def find(tx: AsyncConnection, channel: ChannelId) -> ChannelRow:
    """Return a channel's row.

    Raises:
        UnknownChannelError: there is no such channel.
    """
    row = await channels.find(tx, channel.value)
    if row is None:
        raise UnknownChannelError(f"there is no channel {channel}")
    return row


async def find_for_member(
    tx: AsyncConnection, channel: ChannelId, caller: DeviceCaller
) -> ChannelRow:
    """Return a channel's row, for a member only.

    Raises:
        UnknownChannelError: there is no such channel.
        NotMemberError: the device is not a member of it.
    """
    row = await find(tx, channel)
    if await members.find(tx, row.key, caller.key) is None:
        raise NotMemberError(f"{caller.id} is not a member of channel {channel}")
    return row
