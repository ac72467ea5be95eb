"""The client: one enrolled device, open in an asyncio program.

    async with Client.open(home, passphrase=...) as client:
        channel = await client.channel("duty")
        await channel.send("Convoy at the border.", precedence=Precedence.FLASH)
        async for message in client.messages():
            print(message.text)

It keeps no global state, installs no signal handlers and configures no
logging. Its work is done by the modules around it; here they are put together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from liaison.envelope.receipt import Answer
from liaison.model import ChannelId, DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison_sdk import account as accounts
from liaison_sdk import (
    attachments,
    committing,
    creating,
    directory,
    judgement,
    membership,
    reading,
)
from liaison_sdk import (
    channel as channel_views,
)
from liaison_sdk.account import Account
from liaison_sdk.attachments import OutgoingFile, Report
from liaison_sdk.channel import Channel, Member
from liaison_sdk.committing import Committer
from liaison_sdk.composing import Draft
from liaison_sdk.connection import Connection
from liaison_sdk.directory import DirectoryEntry
from liaison_sdk.environment import (
    DEFAULT_OPTIONS,
    Environment,
    Options,
    StoreWatcher,
)
from liaison_sdk.errors import (
    ChannelAmbiguousError,
    ChannelUnknownError,
    NotEnrolledError,
)
from liaison_sdk.events import Event
from liaison_sdk.groups import GroupCache
from liaison_sdk.http import RelayAPI
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.keystore import Keystore
from liaison_sdk.maintenance import Maintenance
from liaison_sdk.message import Attachment, Message, Sent
from liaison_sdk.offline import NoTransport
from liaison_sdk.outbound import Outbound
from liaison_sdk.reading import Reader
from liaison_sdk.receiver_lock import ReceiverLock
from liaison_sdk.sending import Sender
from liaison_sdk.store import SQLiteStore, Store, Transaction, channels
from liaison_sdk.store.channels import ChannelState
from liaison_sdk.trust_store import TrustStore
from liaison_sdk.waiting import Waiter

if TYPE_CHECKING:
    from liaison_sdk.transport import Transport


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open client consists of."""

    env: Environment
    connection: Connection
    committer: Committer
    maintenance: Maintenance
    waiter: Waiter
    sender: Sender
    reader: Reader


class Client:
    """One device. Make it by `Client.open`, use it inside `async with`."""

    def __init__(
        self,
        home: Path,
        passphrase: str | None,
        *,
        unlocking: Future[Keystore] | None,
        ca_file: Path | None,
        receive: bool,
        offline: bool,
        options: Options,
        transport: Transport | None,
    ) -> None:
        self._home: Final = home
        self._passphrase: str | None = passphrase
        self._unlocking: Final = unlocking
        self._ca_file: Final = ca_file
        self._receive: Final = receive
        self._offline: Final = offline
        self._options: Final = options
        self._transport: Final = transport
        self._open: _Parts | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._crash: BaseException | None = None
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
            home,
            passphrase,
            unlocking=unlocking,
            ca_file=ca_file,
            receive=receive,
            offline=offline,
            options=options,
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"<Client {self._home}>"

    async def __aenter__(self) -> Self:
        """Unlock, open the store, and begin to connect in the background.

        Raises:
            NotEnrolledError: the folder holds no device.
            WrongPassphraseError: the passphrase is wrong; nothing was changed.
        """
        keystore = await self._unlock()
        async with contextlib.AsyncExitStack() as stack:
            store = await SQLiteStore.open(self._home, keystore)
            stack.push_async_callback(store.close)
            account = await store.read(accounts.load)
            parts = await self._assemble(stack, store, account)
            self._open = parts
            if not self._offline:
                stack.push_async_callback(self._stop)
                self._start(parts)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close: what is queued stays queued, and goes out when a client is open again."""
        await self._stack.aclose()
        self._open = None
        if error is None and self._crash is not None:
            raise self._crash

    async def _unlock(self) -> Keystore:
        if self._unlocking is not None:
            return await asyncio.wrap_future(self._unlocking)
        if not await asyncio.to_thread(Keystore.exists, self._home):
            raise NotEnrolledError(f"no device is enrolled in {self._home}")
        keystore = await asyncio.to_thread(Keystore.open, self._home, self._passphrase)
        self._passphrase = None
        return keystore

    async def _assemble(
        self, stack: contextlib.AsyncExitStack, store: Store, account: Account
    ) -> _Parts:
        options = self._options
        transport = self._transport
        if transport is None:
            # In a thread, because it may have to load aiohttp.
            transport = await asyncio.to_thread(self._way_to_relay, account)
        api = await stack.enter_async_context(
            RelayAPI(
                transport,
                relay=account.relay,
                login=account.login,
                clock=options.clock,
                rng=options.rng,
            )
        )
        env = Environment(
            account=account,
            store=store,
            api=api,
            options=options,
            groups=GroupCache(),
            trust=TrustStore(account),
        )
        lock = None
        if self._receive and not self._offline:
            lock = ReceiverLock(self._home)
            stack.callback(lock.release)
        committer = Committer(env)
        connection = Connection(env, lock, Inbound(env, Joiner(env)).take)
        maintenance = Maintenance(env, committer, connection.backlog_taken)
        env.listeners.add(maintenance.note)
        connection.on_notice = maintenance.notice
        connection.on_stale = maintenance.resync
        env.check = self._check
        return _Parts(
            env=env,
            connection=connection,
            committer=committer,
            maintenance=maintenance,
            waiter=Waiter(env, connection),
            sender=Sender(env, self._home),
            reader=Reader(env, self),
        )

    def _way_to_relay(self, account: Account) -> Transport:
        if self._offline:
            return NoTransport()
        # What works offline, or over a transport of its own, never loads aiohttp.
        from liaison_sdk.transport import AiohttpTransport  # noqa: PLC0415 - as said

        ca_pem = None if self._ca_file else account.ca_pem
        return AiohttpTransport(account.url, ca_file=self._ca_file, ca_pem=ca_pem)

    def _start(self, parts: _Parts) -> None:
        outbound = Outbound(parts.env, parts.connection, parts.committer)
        jobs = (outbound.run, parts.maintenance.run, parts.maintenance.commit_proposals)
        for work in (parts.connection.run(jobs), StoreWatcher(parts.env).run()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._note_end)
            self._tasks.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._crash = self._crash or task.exception()
        if self._open is not None:
            self._open.env.changes.notify_outside()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _check(self) -> None:
        if self._crash is not None:
            raise self._crash
        connection = self._parts.connection
        if connection.is_over and connection.failure is not None:
            raise connection.failure

    @property
    def _parts(self) -> _Parts:
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
        await self._parts.waiter.synced(timeout, receives=self._receive)

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
        env = self._env
        if self.connected:
            return await env.trust.refresh_agreements(env.api, env.store)
        return await env.read(env.trust.agreements)

    async def agreement(self, agreement_id: str) -> Agreement:
        """Return one agreement, verified.

        Raises:
            AgreementMissingError: it is not here, and there is no connection.
            RemoteError: the relay does not have it.
        """
        env = self._env
        if self.connected:
            return await env.trust.fetch_agreement(env.api, env.store, agreement_id)
        return await env.read(lambda tx: env.trust.agreement(tx, agreement_id))

    async def devices(self, agreement_id: str) -> list[DirectoryEntry]:
        """Return the devices of an agreement's parties that hold valid certificates.

        Raises:
            ConnectionLostError: the relay can't be reached.
        """
        return await directory.devices(self._env, await self.agreement(agreement_id))

    # --- channels -----------------------------------------------------------------------

    async def channels(self) -> list[Channel]:
        """Return all channels, oldest first, also those that this device has left."""
        records = await self._env.read(channels.load_all)
        return [channel_views.view(record, self) for record in records]

    async def channel(self, name: str | ChannelId) -> Channel:
        """Return a channel by id, by display name, or by the beginning of its id.

        Raises:
            ChannelUnknownError: there is none.
            ChannelAmbiguousError: there are several.
        """
        found = [c for c in await self.channels() if name in (c.id, str(c.id), c.name)]
        if not found and isinstance(name, str) and len(name) >= reading.MIN_PREFIX:
            found = [c for c in await self.channels() if str(c.id).startswith(name.lower())]
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
        env = self._env
        await self.wait_connected()
        agreement = await self.agreement(agreement_id)
        wanted = list(members)
        if wanted:
            await membership.require_addable(env, agreement, policy, wanted)
        channel = await creating.open_channel(env, agreement, policy, name)
        if wanted:
            await self.add_members(channel, wanted)
        return await self.channel(channel)

    async def members(self, channel: ChannelId) -> list[Member]:
        """See `Channel.members`."""
        env = self._env

        def look(tx: Transaction) -> list[Member]:
            record = channels.load(tx, channel)
            if record is None:
                raise ChannelUnknownError(f"there is no channel {channel} here")
            group = env.groups.load(tx, record)
            found = judgement.devices(group).items()
            return [Member(device, leaf, leaf == group.own_leaf) for leaf, device in found]

        return await env.read(look)

    async def add_members(
        self, channel: ChannelId, endpoints: Sequence[EndpointId]
    ) -> list[DeviceId]:
        """See `Channel.add`."""
        return await membership.add(self._env, self._parts.committer, channel, endpoints)

    async def remove_members(
        self, channel: ChannelId, who: Sequence[EndpointId | DeviceId]
    ) -> list[DeviceId]:
        """See `Channel.remove`."""
        return await membership.remove(self._env, self._parts.committer, channel, who)

    async def leave(self, channel: ChannelId) -> None:
        """See `Channel.leave`."""
        await membership.leave(self._env, channel)

    async def update(self, channel: ChannelId) -> None:
        """See `Channel.update`."""
        await self._parts.committer.run(channel, lambda *_: committing.Order())

    async def resync(self, channel: ChannelId) -> None:
        """See `Channel.resync`."""
        await self._parts.committer.resync(channel)

    async def rename(self, channel: ChannelId, name: str) -> None:
        """See `Channel.rename`."""

        def rename(tx: Transaction) -> None:
            record = channels.load(tx, channel)
            if record is None:
                raise ChannelUnknownError(f"there is no channel {channel} here")
            channels.save(tx, replace(record, name=name))

        await self._env.write(rename)

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

    async def acknowledge(self, message: Message, answer: Answer, note: str) -> Sent:
        """See `Message.acknowledge`."""
        return await self._parts.sender.acknowledge(message, answer, note)

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

    async def message(self, prefix: str) -> Message:
        """Return a message by the beginning of its id.

        Raises:
            MessageUnknownError: there is none.
            MessageAmbiguousError: there are several.
        """
        return await self._parts.reader.message(prefix)

    async def save(
        self,
        message: Message,
        attachment: Attachment,
        target: Path,
        overwrite: bool,  # noqa: FBT001 - `Message.save` has it by keyword
        report: Report | None,
    ) -> Path:
        """See `Message.save`, which is the way to call this."""
        return await attachments.download(
            self._env,
            message.channel_id,
            attachment.descriptor,
            target,
            overwrite=overwrite,
            report=report,
        )
