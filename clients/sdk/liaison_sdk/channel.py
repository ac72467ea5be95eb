"""A channel as a program sees it: a value to look at and a handle to act through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from liaison.envelope.header import Kind
from liaison.labels import Label
from liaison.model import ChannelId, DeviceId, EndpointId, Precedence
from liaison.policy.simulate import Simulation
from liaison.values import dataclass
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.composing import Draft
from liaison_sdk.message import Message, Sent
from liaison_sdk.store.channels import ChannelRecord, ChannelState

if TYPE_CHECKING:
    from liaison_sdk.client import Client


class Wording(TypedDict, total=False):
    """What a message can have; see `Channel.send`."""

    precedence: Precedence
    info: Precedence | None
    to: Iterable[EndpointId]
    copy: Iterable[EndpointId]
    subject: str
    reply_to: Message | None
    label: Label | None
    expires: datetime | None
    kind: Kind


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
        confirmed: whether the agreement's log has shown the commit that began it; True where
            the agreement has no log.
        state: what this device can do in it.
        reason: why it is rejected, removed or stale.
    """

    id: ChannelId
    name: str
    agreement_id: str
    agreement_version: int
    policy: str
    epoch: int
    confirmed: bool
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
        draft = _draft(
            precedence=precedence,
            info=info,
            to=to,
            copy=copy,
            subject=subject,
            reply_to=reply_to,
            label=label,
            expires=expires,
            kind=kind,
        )
        return await self.client.send(
            self.id,
            draft,
            text=text,
            language=language,
            files=_files(attach),
            report=progress,
            wait=wait,
        )

    async def simulate(
        self,
        text: str = "",
        *,
        attach: Iterable[Path | OutgoingFile] = (),
        language: str = "",
        **wording: Unpack[Wording],
    ) -> Simulation:
        """Say who would get a message, who would not, and why; nothing is sent or stored.

        Its size is an estimate. What the relay knows and this device does not yet
        can change the answer.

        Args:
            text: what it says.
            attach: files; only their names, types and sizes are looked at.
            language: RFC 5646 tag of the text.
            wording: as in `send`.

        Raises:
            ChannelClosedError, ChannelRejectedError: nothing can be sent here.
        """
        draft = _draft(**wording)
        return await self.client.simulate(
            self.id, draft, text=text, language=language, files=_files(attach)
        )

    async def draft(
        self,
        via: Channel,
        text: str = "",
        *,
        attach: Iterable[Path | OutgoingFile] = (),
        language: str = "",
        progress: Report | None = None,
        **wording: Unpack[Wording],
    ) -> Sent:
        """Draft a message for this channel, and put it before those who review and release.

        Nothing goes into this channel yet but the files, which only its members can
        fetch. The draft, signed by this device, goes into `via`; there it is reviewed
        (`Message.review`), released (`Message.release`) and sent on
        (`Message.send_released`).

        Args:
            via: a channel of the own nation.
            text: what it says.
            attach: files; uploaded to this channel.
            language: RFC 5646 tag of the text.
            progress: told how far uploads are.
            wording: as in `send`.

        Raises:
            PolicyRefusedError: the agreement would not allow it even if it were released,
                or does not let a form be sent in `via`.
            MessageRefusedError: the relay refused it for good.
        """
        draft = _draft(**wording)
        files = _files(attach)
        return await self.client.draft(
            self.id, via.id, draft, text=text, language=language, files=files, report=progress
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


def _draft(**wording: Unpack[Wording]) -> Draft:
    action = wording.get("precedence", Precedence.ROUTINE)
    info, expires = wording.get("info"), wording.get("expires")
    reply_to = wording.get("reply_to")
    return Draft(
        parts=(),
        kind=wording.get("kind", Kind.TEXT),
        action=action,
        info=action if info is None else info,
        to=tuple(wording.get("to", ())),
        copy=tuple(wording.get("copy", ())),
        label=wording.get("label"),
        subject=wording.get("subject", ""),
        expires=None if expires is None else int(expires.timestamp()),
        in_reply_to=None if reply_to is None else reply_to.ref,
    )


def _files(attach: Iterable[Path | OutgoingFile]) -> list[OutgoingFile]:
    return [f if isinstance(f, OutgoingFile) else OutgoingFile(f) for f in attach]


def view(record: ChannelRecord, client: Client, *, confirmed: bool) -> Channel:
    """Turn a stored channel into what a program sees."""
    return Channel(
        id=record.channel,
        name=record.name,
        agreement_id=record.agreement_id,
        agreement_version=record.agreement_version,
        policy=record.policy,
        epoch=record.epoch,
        confirmed=confirmed,
        state=record.state,
        reason=record.reason,
        client=client,
    )
