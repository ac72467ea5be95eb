"""An open client from the inside: its parts, put together, and the tasks that run them.

`Client` is what a program sees of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from liaison.values import dataclass
from liaison_sdk import account as accounts
from liaison_sdk.account import Account
from liaison_sdk.agreement_book import AgreementBook
from liaison_sdk.channel_book import ChannelBook
from liaison_sdk.committing import Committer
from liaison_sdk.connection import Connection
from liaison_sdk.environment import Environment, Options, StoreWatcher
from liaison_sdk.errors import NotEnrolledError
from liaison_sdk.groups import GroupCache
from liaison_sdk.http import RelayAPI
from liaison_sdk.inbound import Inbound
from liaison_sdk.joining import Joiner
from liaison_sdk.keystore import Keystore
from liaison_sdk.log_following import LogFollower
from liaison_sdk.maintenance import Maintenance
from liaison_sdk.offline import NoTransport
from liaison_sdk.outbound import Outbound
from liaison_sdk.reading import Reader
from liaison_sdk.receiver_lock import ReceiverLock
from liaison_sdk.releasing import Releaser
from liaison_sdk.sending import Sender
from liaison_sdk.store import SQLiteStore, Store
from liaison_sdk.trust_store import TrustStore
from liaison_sdk.waiting import Waiter

if TYPE_CHECKING:
    from liaison_sdk.client import Client
    from liaison_sdk.transport import Transport


@dataclass(frozen=True, slots=True)
class Opening:
    """How a client is opened; see `Client.open`."""

    home: Path
    passphrase: str | None = field(repr=False)
    unlocking: Future[Keystore] | None
    ca_file: Path | None
    receive: bool
    offline: bool
    options: Options
    transport: Transport | None

    async def unlock(self) -> Keystore:
        """Return the device's keystore.

        Raises:
            NotEnrolledError: the folder holds none.
            WrongPassphraseError: the passphrase is wrong; nothing was changed.
        """
        if self.unlocking is not None:
            return await asyncio.wrap_future(self.unlocking)
        if not await asyncio.to_thread(Keystore.exists, self.home):
            raise NotEnrolledError(f"no device is enrolled in {self.home}")
        return await asyncio.to_thread(Keystore.open, self.home, self.passphrase)

    def way_to_relay(self, account: Account) -> Transport:
        """Return what reaches the relay; may load aiohttp."""
        if self.transport is not None:
            return self.transport
        if self.offline:
            return NoTransport()
        # What works offline, or over a transport of its own, never loads aiohttp.
        from liaison_sdk.transport import AiohttpTransport  # noqa: PLC0415 - as said

        ca_pem = None if self.ca_file else account.ca_pem
        return AiohttpTransport(account.url, ca_file=self.ca_file, ca_pem=ca_pem)


@dataclass(slots=True)
class Parts:
    """What an open client consists of."""

    env: Environment
    connection: Connection
    committer: Committer
    maintenance: Maintenance
    follower: LogFollower
    waiter: Waiter
    sender: Sender
    releaser: Releaser
    reader: Reader
    agreements: AgreementBook
    channels: ChannelBook
    crash: BaseException | None = None
    """What ended a task that should never end."""

    def check(self) -> None:
        """Raise where waiting has no sense any more."""
        if self.crash is not None:
            raise self.crash
        if self.connection.is_over and self.connection.failure is not None:
            raise self.connection.failure

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect, send and receive in the background, as long as the block lasts."""
        outbound = Outbound(self.env, self.connection, self.committer, self.follower)
        jobs = (
            outbound.run,
            self.maintenance.run,
            self.maintenance.commit_proposals,
            self.follower.run,
        )
        tasks = [
            asyncio.create_task(work)
            for work in (self.connection.run(jobs), StoreWatcher(self.env).run())
        ]
        for task in tasks:
            task.add_done_callback(self._note_end)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.crash = self.crash or task.exception()
        self.env.changes.notify_outside()


@contextlib.asynccontextmanager
async def opened(opening: Opening, client: Client) -> AsyncIterator[Parts]:
    """Unlock, open the store, and begin to connect in the background.

    Args:
        opening: what and how.
        client: that messages and channels act through.

    Raises:
        NotEnrolledError: the folder holds no device.
        WrongPassphraseError: the passphrase is wrong; nothing was changed.
    """
    keystore = await opening.unlock()
    async with contextlib.AsyncExitStack() as stack:
        store = await SQLiteStore.open(opening.home, keystore)
        stack.push_async_callback(store.close)
        account = await store.read(accounts.load)
        # In a thread, because it may have to load aiohttp.
        transport = await asyncio.to_thread(opening.way_to_relay, account)
        api = await stack.enter_async_context(_api(opening, account, transport))
        lock = None
        if opening.receive and not opening.offline:
            lock = ReceiverLock(opening.home)
            stack.callback(lock.release)
        parts = _assemble(opening, client, _environment(opening, account, store, api), lock)
        if not opening.offline:
            await stack.enter_async_context(parts.running())
        yield parts


def _api(opening: Opening, account: Account, transport: Transport) -> RelayAPI:
    return RelayAPI(
        transport,
        relay=account.relay,
        login=account.login,
        clock=opening.options.clock,
        rng=opening.options.rng,
    )


def _environment(opening: Opening, account: Account, store: Store, api: RelayAPI) -> Environment:
    return Environment(
        account=account,
        store=store,
        api=api,
        options=opening.options,
        groups=GroupCache(),
        trust=TrustStore(account),
    )


def _assemble(
    opening: Opening, client: Client, env: Environment, lock: ReceiverLock | None
) -> Parts:
    committer = Committer(env)
    follower = LogFollower(env)
    connection = Connection(env, lock, Inbound(env, Joiner(env), follower).take)
    follower.had_all = lambda: connection.had_all
    maintenance = Maintenance(env, committer, connection.backlog_taken)
    env.listeners.add(maintenance.note)
    connection.on_notice = maintenance.notice
    connection.on_stale = maintenance.resync
    sender = Sender(env, opening.home)
    parts = Parts(
        env=env,
        connection=connection,
        committer=committer,
        maintenance=maintenance,
        follower=follower,
        waiter=Waiter(env, connection, maintenance.owed),
        sender=sender,
        releaser=Releaser(env, sender),
        reader=Reader(env, client),
        agreements=AgreementBook(env, lambda: connection.is_up),
        channels=ChannelBook(env, committer, client),
    )
    env.check = parts.check
    return parts
