"""The client: one enrolled device, open in an asyncio program.

    async with Client.open(home, passphrase=...) as client:
        channel = await client.channel("duty")
        await channel.send("Convoy at the border.", precedence=Precedence.FLASH)
        async for message in client.messages():
            print(message.text)

It keeps no global state, installs no signal handlers and configures no
logging. Its work is done by the modules around it; `opening` puts them together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from liaison.envelope.receipt import Answer
from liaison.envelope.release import Part
from liaison.model import ChannelId, DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.policy.simulate import Simulation
from liaison_sdk import attachments, directory, opening
from liaison_sdk.account import Account
from liaison_sdk.agreements import AgreementStanding, HistoryEntry
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.channel import Channel, Member
from liaison_sdk.composing import Draft
from liaison_sdk.directory import DirectoryEntry
from liaison_sdk.environment import DEFAULT_OPTIONS, Environment, Options
from liaison_sdk.events import Event
from liaison_sdk.keystore import Keystore
from liaison_sdk.message import Attachment, Message, Sent
from liaison_sdk.opening import Opening, Parts
from liaison_sdk.store import proofs

if TYPE_CHECKING:
    from liaison_sdk.log_status import LogStatus
    from liaison_sdk.transport import Transport


class Client:
    """One device. Make it by `Client.open`, use it inside `async with`."""

    def __init__(self, how: Opening) -> None:
        self._how: Opening | None = how
        self._home = how.home
        self._receives = how.receive
        self._open: Parts | None = None
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        passphrase: str | None = None,
        unlocking: Future[Keystore] | None = None,
        ca_file: Path | None = None,
        receive: bool = True,
        offline: bool = False,
        options: Options = DEFAULT_OPTIONS,
        transport: Transport | None = None,
    ) -> Self:
        """Prepare a client of the device that is enrolled in a folder; `async with` opens it.

        Args:
            home: the device's folder.
            passphrase: of its keystore; None for the system's keyring.
            unlocking: the keystore itself, from `Keystore.opening`; then no passphrase is needed.
            ca_file: TLS CA certificates instead of those kept at enrolment.
            receive: whether to receive, where no other process of the device does.
            offline: never connect; only what is in the store.
            options: time, chance and pace.
            transport: instead of aiohttp.
        """
        return cls(
            Opening(
                home=home,
                passphrase=passphrase,
                unlocking=unlocking,
                ca_file=ca_file,
                receive=receive,
                offline=offline,
                options=options,
                transport=transport,
            )
        )

    def __repr__(self) -> str:
        return f"<Client {self._home}>"

    async def __aenter__(self) -> Self:
        """Unlock, open the store, and begin to connect in the background.

        Raises:
            NotEnrolledError: the folder holds no device.
            WrongPassphraseError: the passphrase is wrong; nothing was changed.
        """
        # It holds the passphrase, so it goes, whatever comes of it.
        how, self._how = self._how, None
        if how is None:
            raise RuntimeError("a client is opened once")
        self._open = await self._stack.enter_async_context(opening.opened(how, self))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close: what is queued stays queued, and goes out when a client is open again."""
        await self._stack.aclose()
        parts, self._open = self._open, None
        if error is None and parts is not None and parts.crash is not None:
            raise parts.crash

    @property
    def _parts(self) -> Parts:
        if self._open is None:
            raise RuntimeError("the client is not open: use it inside `async with`")
        return self._open

    @property
    def _env(self) -> Environment:
        return self._parts.env

    # --- the device and its connection --------------------------------------------------

    @property
    def account(self) -> Account:
        """The enrolled device with its anchors."""
        return self._env.account

    @property
    def device(self) -> DeviceId:
        """The device's name."""
        return self.account.device

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the relay now."""
        return self._parts.connection.is_up

    async def wait_connected(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - part of the contract
        """Wait for a connection.

        Args:
            timeout: seconds; None gives up at the first attempt that fails.

        Raises:
            ConnectionLostError: there is none.
        """
        await self._parts.waiter.connected(timeout)

    async def sync(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - part of the contract
        """Wait until everything that waited at the relay is here, and the outbox is empty.

        With `receive=False` only the outbox counts.

        Args:
            timeout: seconds; None gives up at the first attempt to connect that fails.

        Raises:
            ConnectionLostError: the relay can't be reached, or not for long enough.
        """
        await self._parts.waiter.synced(timeout, receives=self._receives)

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over what happens from now on; never ends."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._env.listeners.add(queue.put_nowait)
        try:
            while True:
                yield await queue.get()
        finally:
            self._env.listeners.discard(queue.put_nowait)

    # --- agreements and devices ---------------------------------------------------------

    async def agreements(self) -> list[Agreement]:
        """Return the agreements of the own party, verified; fetched where connected."""
        return await self._parts.agreements.all()

    async def agreement(self, agreement_id: str) -> Agreement:
        """Return one agreement, verified.

        Raises:
            AgreementMissingError: it is not here, and there is no connection.
            RemoteError: the relay does not have it.
        """
        return await self._parts.agreements.find(agreement_id)

    async def standing(self, agreement_id: str) -> AgreementStanding:
        """Return where an agreement stands: version, phase, and how each party takes part.

        Fetched where connected; else by what was known last.

        Raises:
            AgreementMissingError: it is not here, and there is no connection.
            RemoteError: the relay does not have it.
        """
        return await self._parts.agreements.standing(agreement_id)

    async def agreement_history(self, agreement_id: str) -> list[HistoryEntry]:
        """Return an agreement's versions, statements and exclusions, oldest first.

        Fetched where connected; else by what was known last. A device that came late
        may not have the earliest versions and statements.

        Raises:
            AgreementMissingError: it is not here, and there is no connection.
            RemoteError: the relay does not have it.
        """
        return await self._parts.agreements.history(agreement_id)

    async def devices(self, agreement_id: str) -> list[DirectoryEntry]:
        """Return the devices of an agreement's parties that hold valid certificates.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        return await directory.devices(self._env, await self.agreement(agreement_id))

    # --- the relay's logs ---------------------------------------------------------------

    async def log_status(self) -> list[LogStatus]:
        """Return what is known of the agreements' logs, without asking the relay."""
        from liaison_sdk import log_status  # noqa: PLC0415 - few programs ask

        env = self._env
        return await env.read(lambda tx: log_status.status(env, tx))

    async def follow_logs(self, *, whole: bool = False) -> list[LogStatus]:
        """Ask the relay for all that the logs have to show now, and return what is known then.

        Args:
            whole: whether the logs are read entry by entry, too, from the beginning to the end:
                some 300 bytes for each message that the partnership ever sent.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        await self._parts.follower.follow_all()
        if whole:
            await self._parts.follower.read_all()
        return await self.log_status()

    async def log_proof(self, message: Message) -> bytes | None:
        """Return what proves to anybody that an own message is in the log; None before it is.

        JSON: `entry`, its C2SP tlog-proof as `proof`, and `disclosure`, which opens the entry.
        """
        channel, seq = message.channel_id, message.seq
        if seq is None or not message.outgoing:
            return None
        return await self._env.read(lambda tx: proofs.load(tx, channel, seq))

    # --- channels -----------------------------------------------------------------------

    async def channels(self) -> list[Channel]:
        """Return all channels, oldest first, also those that this device has left."""
        return await self._parts.channels.all()

    async def channel(self, name: str | ChannelId) -> Channel:
        """Return a channel by id, by display name, or by the beginning of its id.

        Raises:
            ChannelUnknownError: there is none.
            ChannelAmbiguousError: there are several.
        """
        return await self._parts.channels.find(name)

    async def create_channel(
        self,
        agreement_id: str,
        policy: str,
        name: str,
        members: Iterable[EndpointId] = (),
    ) -> Channel:
        """Open a channel and add members to it.

        Args:
            agreement_id: that binds it.
            policy: one of the agreement's channel policies.
            name: display name; the relay never learns it.
            members: endpoints to add with all their devices; the own one brings in its
                other devices.

        Raises:
            PolicyRefusedError: the agreement does not allow it.
            EndpointNoDevicesError: an endpoint has no device; nothing was opened. Where its
                last device went meanwhile, the channel is there without it.
        """
        await self.wait_connected()
        agreement = await self._parts.agreements.in_force(agreement_id)
        return await self._parts.channels.create(agreement, policy, name, members)

    async def members(self, channel: ChannelId) -> list[Member]:
        """See `Channel.members`."""
        return await self._parts.channels.members(channel)

    async def add_members(
        self, channel: ChannelId, endpoints: Sequence[EndpointId]
    ) -> list[DeviceId]:
        """See `Channel.add`."""
        return await self._parts.channels.add(channel, endpoints)

    async def remove_members(
        self, channel: ChannelId, who: Sequence[EndpointId | DeviceId]
    ) -> list[DeviceId]:
        """See `Channel.remove`."""
        return await self._parts.channels.remove(channel, who)

    async def leave(self, channel: ChannelId) -> None:
        """See `Channel.leave`."""
        await self._parts.channels.leave(channel)

    async def update(self, channel: ChannelId) -> None:
        """See `Channel.update`."""
        await self._parts.channels.update(channel)

    async def resync(self, channel: ChannelId) -> None:
        """See `Channel.resync`."""
        await self._parts.channels.resync(channel)

    async def rename(self, channel: ChannelId, name: str) -> None:
        """See `Channel.rename`."""
        await self._parts.channels.rename(channel, name)

    # --- sending ------------------------------------------------------------------------

    async def send(
        self,
        channel: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
        report: Report | None,
        wait: bool,
    ) -> Sent:
        """See `Channel.send`, which is the way to call this."""
        return await self._parts.sender.send(
            channel, draft, text=text, language=language, files=files, report=report, wait=wait
        )

    async def simulate(
        self,
        channel: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
    ) -> Simulation:
        """See `Channel.simulate`, which is the way to call this."""
        return await self._parts.sender.simulate(
            channel, draft, text=text, language=language, files=files
        )

    async def draft(
        self,
        channel: ChannelId,
        via: ChannelId,
        draft: Draft,
        *,
        text: str,
        language: str,
        files: Sequence[OutgoingFile],
        report: Report | None,
    ) -> Sent:
        """See `Channel.draft`, which is the way to call this."""
        return await self._parts.releaser.draft(
            channel, via, draft, text=text, language=language, files=files, report=report
        )

    async def sign_draft(self, message: Message, part: Part) -> Sent:
        """See `Message.review` and `Message.release`, which are the ways to call this."""
        return await self._parts.releaser.sign(message, part)

    async def send_released(self, message: Message, *, wait: bool) -> Sent:
        """See `Message.send_released`, which is the way to call this."""
        return await self._parts.releaser.send(message, wait=wait)

    async def acknowledge(
        self, message: Message, answer: Answer, note: str, *, wait: bool = True
    ) -> Sent:
        """See `Message.acknowledge`."""
        return await self._parts.sender.acknowledge(message, answer, note, wait=wait)

    async def queued(self) -> list[Sent]:
        """Return the own messages and answers that the relay has not ruled on, oldest first.

        An answer bears the id of the message that it is about.
        """
        return await self._parts.sender.queued()

    async def ruling(self, queued: Sent) -> Sent:
        """Wait for what the relay says of a message or an answer that was queued.

        Raises:
            MessageRefusedError: it refused for good.
            StatusOverdueError, CredentialUnloggedError: it can't be encrypted now, and stays queued.
        """
        return await self._parts.sender.ruling(queued.channel, queued.message_id, queued.number)

    async def outbox(self) -> list[Message]:
        """Return the own messages that the relay has not accepted yet, oldest first."""
        return await self._parts.reader.on_their_way()

    # --- reading ------------------------------------------------------------------------

    async def messages(self, channel: ChannelId | None = None) -> AsyncIterator[Message]:
        """Iterate over messages as they come; never ends.

        Each is given out once, over all processes of the device that iterate: it
        is marked as shown before it is given out. Highest precedence first.

        Raises:
            LiaisonError: the relay has turned this device away for good.
        """
        async for message in self._parts.reader.messages(channel):
            yield message

    async def unread(self, channel: ChannelId | None = None) -> list[Message]:
        """Return what nobody was shown yet, without marking it."""
        return await self.history(channel, unread_only=True)

    async def mark_shown(self, shown: Iterable[Message]) -> list[Message]:
        """Mark messages as shown; return those that were not before."""
        return await self._parts.reader.mark_shown(shown)

    async def history(
        self,
        channel: ChannelId | None = None,
        *,
        limit: int | None = None,
        unread_only: bool = False,
    ) -> list[Message]:
        """Return messages from the store, own and others', oldest first.

        Args:
            channel: of one channel only.
            limit: the latest so many.
            unread_only: only others' messages that nobody was shown yet.
        """
        return await self._parts.reader.history(channel, limit, unread=unread_only)

    async def message(self, name: str) -> Message:
        """Return a message by the beginning of its id.

        Where two devices gave their messages one id, `ID@DEVICE` names one of them.

        Raises:
            MessageUnknownError: there is none.
            MessageAmbiguousError: there are several.
        """
        return await self._parts.reader.message(name)

    async def save(
        self,
        message: Message,
        attachment: Attachment,
        target: Path,
        overwrite: bool,  # noqa: FBT001 - `Message.save` has it by keyword
        report: Report | None,
    ) -> Path:
        """See `Message.save`, which is the way to call this."""
        # A draft's files lie where the draft will go.
        drafted = message.draft is not None and attachment in message.draft.attachments
        where = message.draft.channel_id if message.draft and drafted else message.channel_id
        return await attachments.download(
            self._env,
            where,
            attachment.descriptor,
            target,
            name=attachment.filename,
            overwrite=overwrite,
            report=report,
        )
