"""A channel as a program sees it: a value to look at and a handle to act through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from liaison.envelope.header import Kind
from liaison.labels import Label
from liaison.model import ChannelId, DeviceId, EndpointId, Precedence
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.composing import Draft
from liaison_sdk.message import Message, Sent
from liaison_sdk.store.channels import ChannelRecord, ChannelState

if TYPE_CHECKING:
    from liaison_sdk.client import Client


@dataclass(frozen=True, slots=True)
class Member:
    """A device in a channel."""

    device: DeviceId
    leaf: int
    own: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, as it was when it was looked up.

    Args:
        id: names it for good.
        name: display name, known to members only.
        agreement_id, agreement_version, policy: what binds it.
        epoch: of its MLS group.
        state: what this device can do in it.
        reason: why it is rejected, removed or stale.
    """

    id: ChannelId
    name: str
    agreement_id: str
    agreement_version: int
    policy: str
    epoch: int
    state: ChannelState
    reason: str
    client: Client = field(repr=False, compare=False)

    async def members(self) -> list[Member]:
        """Return the devices in the group, from the own state of it.

        Raises:
            ChannelClosedError: this device is not one of them.
        """
        return await self.client.members(self.id)

    async def send(  # noqa: PLR0913 - what a message can have, all by keyword
        self,
        text: str = "",
        *,
        precedence: Precedence = Precedence.ROUTINE,
        info: Precedence | None = None,
        to: Iterable[EndpointId] = (),
        copy: Iterable[EndpointId] = (),
        attach: Iterable[Path | OutgoingFile] = (),
        subject: str = "",
        reply_to: Message | None = None,
        label: Label | None = None,
        expires: datetime | None = None,
        language: str = "",
        kind: Kind = Kind.TEXT,
        progress: Report | None = None,
        wait: bool = True,
    ) -> Sent:
        """Send a message.

        It is checked against the agreement, stored in the outbox, and goes out as
        soon as there is a connection, from this process or another one of the device.

        Args:
            text: what it says.
            precedence: for those who are to act.
            info: for the others; at most `precedence`, which is the default.
            to: who is to act; says nothing about who can read.
            copy: who is to be informed.
            attach: files; uploaded before the message is queued.
            subject: subject line.
            reply_to: an earlier message.
            label: confidentiality; the agreement's default where left out.
            expires: when nobody shows it any more.
            language: RFC 5646 tag of the text.
            kind: what it is for.
            progress: told how far uploads are.
            wait: whether to wait until the relay has accepted it. Cancelling the
                wait leaves the message in the outbox.

        Raises:
            PolicyRefusedError: the agreement does not allow it; nothing was stored.
            MessageRefusedError: the relay refused it for good.
            ChannelClosedError, ChannelRejectedError: nothing can be sent here.
        """
        draft = Draft(
            parts=(),
            kind=kind,
            action=precedence,
            info=precedence if info is None else info,
            to=tuple(to),
            copy=tuple(copy),
            label=label,
            subject=subject,
            expires=None if expires is None else int(expires.timestamp()),
            in_reply_to=None if reply_to is None else reply_to.ref,
        )
        files = [f if isinstance(f, OutgoingFile) else OutgoingFile(f) for f in attach]
        return await self.client.send(
            self.id, draft, text=text, language=language, files=files, report=progress, wait=wait
        )

    async def add(self, *endpoints: EndpointId) -> list[DeviceId]:
        """Add all devices of these endpoints that are not members yet; return them.

        Raises:
            PolicyRefusedError: the agreement does not allow it.
            EndpointNoDevicesError: an endpoint has no device that can be added.
        """
        return await self.client.add_members(self.id, endpoints)

    async def remove(self, *who: EndpointId | DeviceId) -> list[DeviceId]:
        """Remove devices, or all devices of endpoints; return them.

        They can read nothing that is encrypted from now on.

        Raises:
            PolicyRefusedError: the agreement does not allow it.
        """
        return await self.client.remove_members(self.id, who)

    async def leave(self) -> None:
        """Ask the others to remove this device; nothing can be sent from now on."""
        await self.client.leave(self.id)

    async def update(self) -> None:
        """Give the own leaf, and with it the whole group, fresh keys."""
        await self.client.update(self.id)

    async def resync(self) -> None:
        """Join anew in the place of the own leaf, where this device can't follow any more."""
        await self.client.resync(self.id)

    async def rename(self, name: str) -> None:
        """Give the channel another name on this device, and for those whom it adds."""
        await self.client.rename(self.id, name)


def view(record: ChannelRecord, client: Client) -> Channel:
    """Turn a stored channel into what a program sees."""
    return Channel(
        id=record.channel,
        name=record.name,
        agreement_id=record.agreement_id,
        agreement_version=record.agreement_version,
        policy=record.policy,
        epoch=record.epoch,
        state=record.state,
        reason=record.reason,
        client=client,
    )
