"""Connections before anybody has shown a session on them: few, short and cheap.

A connection is counted when it is accepted, before TLS has cost anything. It is
*unproven* until a request on it carries a session that holds; so many of those
may stand open in all and from one address, each for so long. Whoever is over a
bound is closed at once, and nothing is kept of it. A connection that has shown
a session is counted for its device or office instead, so that many people may
share one address.

What was not understood as HTTP is answered with a problem document like
everything else, and logged by its count only: a library's words may quote it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

from aiohttp import web

from liaison.relay import log
from liaison.relay.errors import HTTPError, RateExceededError, TooManyConnectionsError
from liaison.relay.limits import Buckets, network_of
from liaison.relay.requests import EVERYWHERE, problem_response
from liaison.relay.settings import Settings
from liaison.values import dataclass
from liaison.wire.handshake import Principal
from liaison.wire.problems import Problem

MAX_LINE: Final = 4_096
"""Bytes of a request's first line; its path is the longest thing in it."""
MAX_HEADERS: Final = 32
"""Headers of a request, reverse proxies' among them."""
MAX_HEADER: Final = 8_190
"""Bytes of one header; a session token of a long principal has some hundred."""
_PAUSE: Final = 0.2
"""Seconds without accepting when the system gives no more sockets."""
_TELL: Final = 10.0
"""Seconds between two lines that tell how many connections were refused."""
_SHUTDOWN_WAIT: Final = 5.0
"""Seconds that a peer has to end TLS."""


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place among all, from its acceptance to its end."""

    _all: Connections
    network: str | None
    """Whose bound it counts against; None where there is none, as for a trusted proxy."""
    begun: float
    principal: Principal | None = None
    _timer: asyncio.TimerHandle | None = None
    _ended: bool = False

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Give it so long to show a session."""
        if self.network is None or self.principal is not None:
            return
        loop = asyncio.get_running_loop()
        abort = getattr(transport, "abort", transport.close)
        self._timer = loop.call_later(self._all.settings.unproven_timeout, abort)

    def prove(self, principal: Principal) -> None:
        """Count it for whoever has shown a session on it; only the first counts.

        Raises:
            TooManyConnectionsError: they have as many as they may.
        """
        if self.principal is None and self.network is not None and not self._ended:
            self._all.proved(self, principal)
            self.principal = principal
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    @property
    def is_late(self) -> bool:
        """Whether it has had half its time and shown no session: its next answer is its last."""
        if self.network is None or self.principal is not None:
            return False
        return self._all.clock() - self.begun > self._all.settings.unproven_timeout / 2

    def end(self) -> None:
        """Give the place up; again changes nothing."""
        if not self._ended:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            self._all.ended(self)


@dataclass(slots=True)
class Connections:
    """Counts the open connections.

    Args:
        settings: the bounds.
        clock: monotonic seconds.
    """

    settings: Settings
    clock: Callable[[], float]
    refused: int = 0
    """Connections that were closed at once, since the relay started."""
    _rates: Buckets[str] = field(init=False)
    _open: int = 0
    _unproven: int = 0
    _addresses: Counter[str] = field(default_factory=Counter)
    _principals: Counter[Principal] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the rates of new connections."""
        rate, burst = self.settings.rate_connections, self.settings.burst_connections
        self._rates = Buckets(rate, burst, self.clock, "address")

    def __len__(self) -> int:
        return self._open

    @property
    def unproven(self) -> int:
        """Connections on which nobody has shown a session yet."""
        return self._unproven

    def admit(self, address: str) -> Place | None:
        """Give a new connection its place; None where there is none for it.

        Args:
            address: the peer's.
        """
        network = None if address in self.settings.trusted_proxies else network_of(address)
        if self._open >= self.settings.max_connections or not self._has_room(network):
            self.refused += 1
            return None
        self._open += 1
        if network is not None:
            self._unproven += 1
            self._addresses[network] += 1
        return Place(self, network, self.clock())

    def _has_room(self, network: str | None) -> bool:
        settings = self.settings
        if network is None:
            return True
        if self._unproven >= settings.max_unproven:
            return False
        if self._addresses[network] >= settings.max_unproven_per_address:
            return False
        try:
            self._rates.take(network)
        except RateExceededError:
            return False
        return True

    def proved(self, place: Place, principal: Principal) -> None:
        """Count a connection for its principal; by `Place.prove` only.

        Raises:
            TooManyConnectionsError: the principal has as many as it may.
        """
        if self._principals[principal] >= self.settings.max_connections_per_device:
            raise TooManyConnectionsError(
                "this device or office has too many connections open",
                hint="close some, or send several requests over one",
            )
        self._forget_unproven(place)
        self._principals[principal] += 1

    def ended(self, place: Place) -> None:
        """Count a connection no more; by `Place.end` only."""
        self._open -= 1
        if place.principal is not None:
            _less(self._principals, place.principal)
        else:
            self._forget_unproven(place)

    def _forget_unproven(self, place: Place) -> None:
        if place.network is not None:
            self._unproven -= 1
            _less(self._addresses, place.network)


def _less(counts: Counter[Any], key: object) -> None:
    counts[key] -= 1
    # A counter keeps zeros; these are of addresses that anybody may come from.
    if counts[key] <= 0:
        del counts[key]


class Handler(web.RequestHandler):
    """aiohttp's end of one connection, with its place."""

    __slots__ = ("place",)

    def __init__(
        self, manager: web.Server, place: Place, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        self.place = place
        super().__init__(manager, loop=loop, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands: the time to show a session begins."""
        self.place.opened(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place up."""
        self.place.end()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what was no HTTP, or too large a head of it, and close.

        aiohttp would log it with a traceback and quote it: neither is a stranger's to have.
        """
        del message
        if isinstance(exc, ConnectionError):
            # The client went away before it was answered, which is no failure of the relay's.
            log.logger().info("connection_left", **log.failure(exc))
        elif status >= 500 and exc is not None:
            log.logger().error("connection_failed", **log.failure(exc))
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer was begun already")
        problem = (
            Problem.of(HTTPError())
            if status < 500
            else Problem("internal", 500, "the relay failed")
        )
        answer = problem_response(problem)
        # No middleware sees this answer.
        answer.headers.update(EVERYWHERE)
        answer.force_close()
        return answer


def take_over(request: web.Request) -> tuple[asyncio.Transport, Place | None, bytes] | None:
    """Take the request's connection from aiohttp, which forgets it as if it had ended.

    The caller gives the transport another protocol before the loop goes on, and ends the place.

    Args:
        request: its answer was sent.

    Returns:
        The transport, its place and what the client sent too early; None if it is gone.
    """
    handler = request.protocol
    transport = handler.transport
    if transport is None or transport.is_closing():
        return None
    # aiohttp keeps it for a WebSocket of its own.
    early = handler._message_tail  # noqa: SLF001 - there is no other way to it
    handler.transport = None
    # Not `Handler`'s own: that would give the place up.
    web.RequestHandler.connection_lost(handler, None)
    return transport, handler.place if isinstance(handler, Handler) else None, early


def prove(request: web.Request, principal: Principal) -> None:
    """Count the request's connection for whoever has shown a session on it.

    Raises:
        TooManyConnectionsError: they have as many as they may.
    """
    if isinstance(request.protocol, Handler):
        request.protocol.place.prove(principal)


class Door(web.BaseSite):
    """Accepts connections, those that have a place, and makes TLS with them.

    Args:
        runner: set up; stops the door when it is cleaned up.
        listener: bound and listening.
        tls: None where a proxy ends TLS.
        connections: where they are counted.
        lingering: seconds that a refused body may still arrive.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        connections: Connections,
        *,
        lingering: float,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._listener = listener
        self._tls = tls
        self._connections = connections
        self._options: dict[str, Any] = {
            "access_log": None,
            # A body that is decompressed before anybody looks at it could be of any size.
            "auto_decompress": False,
            "keepalive_timeout": connections.settings.keepalive_timeout,
            "lingering_time": lingering,
            "max_line_size": MAX_LINE,
            "max_headers": MAX_HEADERS,
            "max_field_size": MAX_HEADER,
        }
        self._accepting: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._told = connections.clock()
        self._told_of = 0

    @property
    def name(self) -> str:
        """Where it listens."""
        return str(self._listener.getsockname())

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._listener.settimeout(0)
        self._accepting = asyncio.create_task(self._accept(), name="accept")

    async def stop(self) -> None:
        """Accept no more, and give up what is still in its handshake."""
        begun = [task for task in (self._accepting, *self._opening) if task is not None]
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await super().stop()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                # A peer that was gone already, or no more sockets.
                log.logger().warning("accept_failed", **log.failure(error))
                await asyncio.sleep(_PAUSE)
                continue
            place = self._connections.admit(peer[0] if peer else "local")
            if place is None:
                accepted.close()
                self._tell_refused()
            else:
                task = loop.create_task(self._open(accepted, place))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            # A connection that waits is accepted without a pause: let others run between two.
            await asyncio.sleep(0)

    async def _open(self, accepted: socket.socket, place: Place) -> None:
        loop = asyncio.get_running_loop()
        server = self._runner.server
        if server is None:
            place.end()
            accepted.close()
            return
        waits: dict[str, Any] = {}
        if self._tls is not None:
            patience = self._connections.settings.handshake_timeout
            waits = {"ssl_handshake_timeout": patience, "ssl_shutdown_timeout": _SHUTDOWN_WAIT}
        made: list[Handler] = []

        def handler() -> Handler:
            made.append(Handler(server, place, loop, **self._options))
            return made[0]

        _tune(accepted, self._connections.settings.stall_timeout)
        try:
            await loop.connect_accepted_socket(handler, accepted, ssl=self._tls, **waits)
        except OSError:
            # No TLS, not in time, or gone: a stranger's affair, of which nothing is kept.
            return
        finally:
            if not made or made[0].transport is None:
                place.end()
                if not isinstance(loop, asyncio.BaseEventLoop):
                    # uvloop has closed the descriptor already; another's may have its number.
                    accepted.detach()

    def _tell_refused(self) -> None:
        now, refused = self._connections.clock(), self._connections.refused
        if now - self._told >= _TELL:
            log.logger().warning("connections_refused", count=refused - self._told_of)
            self._told_of, self._told = refused, now


def _tune(accepted: socket.socket, stall: float) -> None:
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # An answer stays in memory while its reader takes none of it. Linux has this; elsewhere the
    # heartbeat of streams and the bound on a device's connections have to do.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        accepted.setsockopt(socket.IPPROTO_TCP, option, max(1, int(stall * 1000)))
