"""The connection to the relay: opened, kept, and opened again.

One WebSocket carries sends and, in the process that holds the receiver's lock,
deliveries. A delivery is acknowledged after everything that follows from it is
in the store, never before: the relay forgets what is acknowledged.

When the connection ends, whoever waits for an answer on it is told; nobody
knows then whether the request arrived, and `outbound` finds out.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final

from liaison.errors import LiaisonError
from liaison.values import dataclass
from liaison.wire import frames
from liaison.wire.frames import Accepted, CaughtUp, Close, Deliver, Notice, Ready, Refused, Send
from liaison.wire.problems import RemoteError
from liaison.wire.stream import ClientStream
from liaison_sdk import merging
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError, RelayBrokenError
from liaison_sdk.events import Event, EventKind
from liaison_sdk.receiver_lock import ReceiverLock
from liaison_sdk.store import meta

if TYPE_CHECKING:
    from liaison_sdk.transport import Socket

_FATAL_CODES: Final = frozenset({"device.revoked", "device.unknown", "version.unsupported"})
_FATAL_CLOSES: Final = frozenset({Close.REVOKED, Close.VERSION})
_LOCK_LOOKS: Final = 5
"""Looks at the store per look for the receiver's lock."""
_REQUESTS: Final = 1 << 32
_AFTERWARDS: Final = 3.0
"""Seconds that storing what came may take when the connection has ended."""


class RevokedError(ConnectionLostError):
    """The relay ended the session for good: this device's certificate is revoked."""

    code = "connection.revoked"

    def __init__(self) -> None:
        super().__init__(
            "this device's certificate was revoked",
            close_code=Close.REVOKED,
            hint="your registrar can certify a new device",
        )


Job = Callable[[], Coroutine[Any, Any, None]]
"""Runs as long as a connection lasts."""


@dataclass(slots=True)
class _Live:
    """One open connection.

    Args:
        since: when the relay answered Hello, in seconds of the event loop's clock.
    """

    socket: Socket
    stream: ClientStream
    delivers: bool
    since: float
    answers: dict[int, asyncio.Future[Accepted]] = field(default_factory=dict)
    inbox: asyncio.Queue[Deliver | CaughtUp] = field(default_factory=asyncio.Queue)
    taking: list[Deliver] = field(default_factory=list)
    """Out of the inbox, and not yet acknowledged."""
    next_request: int = 1
    is_of_use: bool = False
    """Whether something has come of it: an answer, or what was delivered is in the store."""
    is_marked: bool = False
    """Whether the last of the inbox, or what came out of it last, is CaughtUp: it says nothing twice."""
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once what waited at the relay when the connection began is in the store."""


class Connection:
    """Keeps one connection up.

    Args:
        environment: what it belongs to.
        lock: of the folder; None for a process that never receives.
        take: stores deliveries, in order.
    """

    def __init__(
        self,
        environment: Environment,
        lock: ReceiverLock | None,
        take: Callable[[list[Deliver]], Awaitable[None]],
    ) -> None:
        self._env: Final = environment
        self._lock: Final = lock
        self._take: Final = take
        self._live: _Live | None = None
        self.attempts = 0
        self.failure: LiaisonError | None = None
        """Why there is no connection now; None while there is one, and before the first try."""
        self.is_over = False
        """Whether `failure` is for good."""
        self.caught_up = False
        self._had_all = -math.inf
        self.on_notice: Callable[[str], None] = lambda _: None
        self.on_stale: Callable[[], Awaitable[None]] = _nothing

    @property
    def is_up(self) -> bool:
        """Whether the relay has answered Hello on a connection that is still open."""
        return self._live is not None

    @property
    def is_receiving(self) -> bool:
        """Whether deliveries come here rather than to another process of the device."""
        return self._lock is not None and self._lock.is_held

    @property
    def had_all(self) -> float:
        """When all that waited at the relay was here for the last time, on the loop's clock.

        Minus infinity where that never was, or deliveries go elsewhere.
        """
        if not self.is_receiving:
            return -math.inf
        return self._env.loop.time() if self.caught_up else self._had_all

    async def run(self, jobs: tuple[Job, ...]) -> None:
        """Connect, run the jobs, and start over when the connection is lost; for ever.

        Returns only when the relay has turned this device away for good.
        """
        tries = 0
        while True:
            try:
                await self._connect_and_run(jobs)
            except LiaisonError as e:
                tries = 0 if self._note_end(e) else tries + 1
                if self.is_over:
                    return
            await self._env.options.sleep(self._pause(tries))

    async def wait_caught_up(self, limit: float) -> None:
        """Wait until the backlog of this connection is in the store, but not for long.

        Raises:
            ConnectionLostError: there is no connection.
        """
        if self._live is None:
            raise ConnectionLostError
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._live.caught_up.wait()

    async def backlog_taken(self) -> None:
        """Wait until what waited at the relay is in the store, where this process receives."""
        while self.is_receiving and self.is_up and not self.caught_up:
            change = self._env.changes.next()
            if not self.caught_up:
                await change.wait()

    async def send(self, frame: Send) -> Accepted:
        """Send a message and wait for the relay's ruling.

        Raises:
            RemoteError: the relay refused.
            ConnectionLostError: there is no connection, or it was lost before the
                answer; whether the message was accepted is not known.
        """
        live = self._live
        if live is None:
            raise ConnectionLostError
        request = live.next_request
        live.next_request = (request + 1) % _REQUESTS
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        live.answers[request] = answer
        try:
            await live.socket.send(frames.encode(replace(frame, request=request)))
            async with asyncio.timeout(self._env.options.request_timeout):
                return await answer
        except TimeoutError as e:
            await live.socket.close()
            raise ConnectionLostError("the relay did not answer in time") from e
        finally:
            live.answers.pop(request, None)

    def _pause(self, tries: int) -> float:
        options = self._env.options
        most = min(options.backoff_most, options.backoff_first * 2.0 ** min(tries, 20))
        # Half of it by chance: a relay that comes back is not met by all its clients at once.
        return most / 2 + options.chance() * most / 2

    def _note_end(self, error: LiaisonError) -> bool:
        """Note why there is no connection; return whether the one before was of use.

        A relay that breaks off as soon as it has said Ready is not met with a new connection at once, each time.
        """
        live, self._live = self._live, None
        self.caught_up = False
        self.attempts += 1
        code = error.close_code if isinstance(error, ConnectionLostError) else None
        if code in _FATAL_CLOSES or (
            isinstance(error, RemoteError) and error.remote_code in _FATAL_CODES
        ):
            self.is_over = True
        if code == Close.REVOKED:
            error = RevokedError()
        if code in (Close.UNAUTHENTICATED, 401):
            self._env.api.forget_session()
        self.failure = error
        self._env.publish(Event(EventKind.DISCONNECTED, text=error.message))
        self._env.changes.notify_outside()
        if live is None:
            return False
        return (
            live.is_of_use or self._env.loop.time() - live.since >= self._env.options.backoff_most
        )

    async def _connect_and_run(self, jobs: tuple[Job, ...]) -> None:
        delivers = self._lock is not None and await self._lock.acquire()
        session = await self._env.api.session()
        await self._env.write(
            lambda tx: merging.mark_all_stale(self._env, tx, session.state_version)
        )
        socket = await self._env.api.stream()
        try:
            live = await self._greet(socket, delivers=delivers)
            self._live = live
            self.failure = None
            self._env.publish(Event(EventKind.CONNECTED))
            self._env.changes.notify_outside()
            own: tuple[Job, ...] = (lambda: self._read(live), lambda: self._work(live))
            if self._lock is not None and not delivers:
                own = (*own, self._await_lock)
            try:
                await _run_until_one_ends((*own, *jobs))
            except LiaisonError:
                await self._take_rest(live)
                raise
        finally:
            for answer in () if self._live is None else self._live.answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionLostError("the connection was lost"))
            await socket.close()

    async def _greet(self, socket: Socket, *, delivers: bool) -> _Live:
        env = self._env
        stream = ClientStream(window=env.options.window)
        version = await env.read(lambda tx: meta.number(tx, meta.STATE_VERSION))
        await socket.send(frames.encode(stream.hello(version, deliver=delivers)))
        try:
            async with asyncio.timeout(env.options.request_timeout):
                ready = frames.decode_relay(await socket.receive())
        except TimeoutError as e:
            raise ConnectionLostError("the relay did not answer Hello in time") from e
        if not isinstance(ready, Ready):
            raise RelayBrokenError("the relay did not answer Hello with Ready")
        await env.write(lambda tx: merging.mark_all_stale(env, tx, ready.state_version))
        live = _Live(socket, stream, delivers, env.loop.time())
        if not delivers:
            # Another process receives, all the time: nothing has piled up.
            live.caught_up.set()
        return live

    # --- jobs of the connection itself --------------------------------------------------

    async def _read(self, live: _Live) -> None:
        while True:
            frame = frames.decode_relay(await live.socket.receive())
            match frame:
                case Deliver(number=number):
                    live.stream.receive(number)
                    self.caught_up = live.is_marked = False
                    live.inbox.put_nowait(frame)
                case CaughtUp():
                    if not live.is_marked:
                        live.is_marked = True
                        live.inbox.put_nowait(frame)
                case Accepted(request=request):
                    _answer(live, request, frame)
                case Refused(request=request, problem=problem):
                    _answer(live, request, RemoteError(problem))
                case Notice(code=code):
                    self.on_notice(code)
                case Ready():
                    raise RelayBrokenError("the relay said Ready twice")

    async def _work(self, live: _Live) -> None:
        """Store what was delivered, then acknowledge it."""
        while True:
            batch: list[Deliver] = []
            marker = None
            item = await live.inbox.get()
            while marker is None:
                if isinstance(item, CaughtUp):
                    marker = item
                    break
                batch.append(item)
                if live.inbox.empty():
                    break
                item = live.inbox.get_nowait()
            if batch:
                live.taking = batch
                await self._take_and_acknowledge(live)
            if marker is not None and live.inbox.empty():
                had_all = self._env.loop.time()
                # What waited is read first: joining anew ends the stay that it belongs to.
                await self.on_stale()
                self._had_all = had_all
                # What came meanwhile has its own mark.
                self.caught_up = live.inbox.empty()
                live.caught_up.set()
                self._env.publish(Event(EventKind.CAUGHT_UP))
                self._env.changes.notify_outside()

    async def _take_and_acknowledge(self, live: _Live) -> None:
        await self._take(live.taking)
        live.is_of_use = True
        # After the store's commit, never before.
        for answer in live.stream.stored(live.taking[-1].number):
            await live.socket.send(frames.encode(answer))
        live.taking = []

    async def _take_rest(self, live: _Live) -> None:
        """Store what came before the connection ended, and say so where that still can be said.

        Otherwise it would all come again, and where each connection ends soon, nothing behind it.
        """
        while not live.inbox.empty():
            item = live.inbox.get_nowait()
            if isinstance(item, Deliver):
                live.taking.append(item)
        if live.taking:
            # Why the connection ended is what its owner has to hear, and soon. What could not be
            # stored, or waits for an answer of the relay, comes again.
            with contextlib.suppress(LiaisonError, TimeoutError):
                async with asyncio.timeout(_AFTERWARDS):
                    await self._take_and_acknowledge(live)

    async def _await_lock(self) -> None:
        """Take over receiving when the process that does it ends."""
        lock = self._lock
        if lock is None:
            return
        while not await lock.acquire():
            await self._env.options.sleep(self._env.options.poll_interval * _LOCK_LOOKS)
        if self._live is not None:
            # Nothing was wrong with it.
            self._live.is_of_use = True
        raise ConnectionLostError("this process receives from now on")


async def _nothing() -> None:
    """Stand in for what the client puts here."""


def _answer(live: _Live, request: int, answer: Accepted | RemoteError) -> None:
    waiting = live.answers.get(request)
    if waiting is None or waiting.done():
        # Its sender has given up; the store still knows what to ask about.
        return
    live.is_of_use = True
    if isinstance(answer, Accepted):
        waiting.set_result(answer)
    else:
        waiting.set_exception(answer)


async def _run_until_one_ends(jobs: tuple[Job, ...]) -> None:
    """Run jobs together; when one ends or fails, stop the others and do as it did."""
    tasks = [asyncio.ensure_future(job()) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
