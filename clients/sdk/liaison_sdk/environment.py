"""What the parts of a client share: time, chance, the store, the relay, and news of change.

Everything that differs between a real client and a test stands here and is
passed in; there is no other state outside the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Final, TypeVar

from liaison.crypto import secret
from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.account import Account
from liaison_sdk.events import Event
from liaison_sdk.groups import GroupCache
from liaison_sdk.http import RelayAPI
from liaison_sdk.store import Store, Transaction
from liaison_sdk.trust_store import TrustStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How a client behaves; the defaults suit a device on an ordinary network.

    Args:
        clock: Unix time in seconds.
        rng: random bytes for keys, ids and salts.
        chance: a number from 0 to 1, for jitter only.
        sleep: waits so many seconds.
        poll_interval: seconds between looks for what other processes did to the store.
        backoff_first, backoff_most: bounds of the wait before reconnecting, seconds.
        commit_jitter: most seconds that a member waits before it commits others' proposals.
        request_timeout: seconds to wait for the relay's answer to a sent message.
        catch_up_limit: most seconds that sending waits for the backlog of a new connection.
        window: deliveries that may be under way.
        key_packages: how many single-use key packages to keep at the relay.
        log_pause: seconds between something that the log has to show and the question for it.
        log_poll: most seconds between questions while something is not in the log.
        log_walk: entries of a log that are read at a time, to see that no channel stands in it
            twice, some 300 bytes each; 0 where none may be.
        language: the reader's, such as `fr`: labels are marked in it where their policy can.
    """

    clock: Callable[[], float] = time.time
    rng: Callable[[int], bytes] = secret.random_bytes
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    poll_interval: float = 0.2
    backoff_first: float = 0.25
    backoff_most: float = 30.0
    commit_jitter: float = 1.0
    request_timeout: float = 30.0
    catch_up_limit: float = 5.0
    window: int = 256
    key_packages: int = 20
    log_pause: float = 0.5
    log_poll: float = 30.0
    log_walk: int = 4096
    language: str = "en"


DEFAULT_OPTIONS: Final = Options()


class Changes:
    """Tells waiting tasks that the store may look different; a wake-up, never content."""

    def __init__(self) -> None:
        self._any = asyncio.Event()
        self._outside = asyncio.Event()

    def notify(self) -> None:
        """Wake who waits: this client has changed the store."""
        event, self._any = self._any, asyncio.Event()
        event.set()

    def notify_outside(self) -> None:
        """Wake who waits: another process has changed the store, or the connection came or went."""
        self.notify()
        event, self._outside = self._outside, asyncio.Event()
        event.set()

    def next(self) -> asyncio.Event:
        """Return the event of the next change; take it before looking, then wait."""
        return self._any

    def next_outside(self) -> asyncio.Event:
        """Return the event of the next change that this client did not make itself."""
        return self._outside


@dataclass(slots=True)
class Logged:
    """What stands in the logs for good: remembered, so that it is looked up once.

    By the generation of the log that the store follows: another process of the device may go
    over to a log's successor at any time, and what the old log has shown counts no more then.

    Args:
        credentials: agreement, generation, and SHA-256 of a certificate.
        epochs: channel, generation, and the group context of an epoch, all of whose members'
            certificates do: another group may have an epoch of the same number.
    """

    credentials: set[tuple[str, int, bytes]] = field(default_factory=set)
    epochs: set[tuple[ChannelId, int, bytes]] = field(default_factory=set)


@dataclass(slots=True)
class Environment:
    """One open client's surroundings."""

    account: Account
    store: Store
    api: RelayAPI
    options: Options
    groups: GroupCache
    trust: TrustStore
    changes: Changes = field(default_factory=Changes)
    listeners: set[Callable[[Event], None]] = field(default_factory=set)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    rulings: dict[int, asyncio.Event] = field(default_factory=dict)
    """Set when the relay's ruling on a row of the outbox was stored by this client."""
    superseded: dict[str, int] = field(default_factory=dict)
    """Versions, by agreement, of which the relay has said that a later one has begun."""
    blocked: dict[ChannelId, LiaisonError] = field(default_factory=dict)
    """Why nothing is encrypted in a channel now, for who waits for a message of it."""
    logged: Logged = field(default_factory=Logged)
    """Which certificates are known to be in their agreements' logs."""
    check: Callable[[], None] = lambda: None
    """Raises where waiting has no sense any more."""

    @property
    def now(self) -> int:
        """Unix seconds."""
        return int(self.options.clock())

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Look at the store."""
        return await self.store.read(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Change the store in one exclusive transaction, and wake who waits for changes."""
        result = await self.store.write(work)
        self.changes.notify()
        return result

    def publish(self, event: Event) -> None:
        """Tell the listeners; from the event loop's thread."""
        for listener in tuple(self.listeners):
            listener(event)

    def announce(self, tx: Transaction, event: Event) -> None:
        """Tell the listeners once the transaction is durable; from the store's thread."""

        def tell() -> None:
            self.loop.call_soon_threadsafe(self.publish, event)

        tx.after_commit(tell)

    def ruled(self, tx: Transaction, number: int) -> None:
        """Wake who waits for the ruling on a row, once the transaction is durable."""

        def tell() -> None:
            event = self.rulings.get(number)
            if event is not None:
                self.loop.call_soon_threadsafe(event.set)

        tx.after_commit(tell)

    async def until(self, work: Callable[[Transaction], T | None]) -> T:
        """Look at the store until `work` finds something, here or by another process."""
        while True:
            change = self.changes.next()
            self.check()
            found = await self.store.read(work)
            if found is not None:
                return found
            await change.wait()


class StoreWatcher:
    """Notices what other processes of the device commit."""

    def __init__(self, environment: Environment) -> None:
        self._environment: Final = environment

    async def run(self) -> None:
        """Poll for ever; a poll reads one counter from shared memory."""
        env = self._environment
        seen = await env.store.data_version()
        while True:
            await env.options.sleep(env.options.poll_interval)
            version = await env.store.data_version()
            if version != seen:
                seen = version
                env.changes.notify_outside()


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
