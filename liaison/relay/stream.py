"""One WebSocket connection: messages in, deliveries out.

Nothing waits in memory for a slow client. Messages are read only while fewer
than `max_in_flight` wait for their acknowledgement; deliveries are read from
the database only when the client granted them, has acknowledged enough of what
it has, and has read what was written. The protocol's rules are in
`liaison.wire.stream`; here they meet a socket.

What closes a connection is a frame that can't be understood or breaks the flow
rules. A message that is refused closes nothing: its Refused frame says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from aiohttp import web

from liaison.errors import LiaisonError, MalformedError
from liaison.fanout.flag import Flag
from liaison.relay import log, websocket
from liaison.relay.errors import RateExceededError
from liaison.relay.framing import Kind
from liaison.relay.limits import Limits
from liaison.relay.outbox import Outbox
from liaison.relay.pump import Pump
from liaison.relay.services import Services
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.refusals import TOLD
from liaison.relay.settings import Settings
from liaison.relay.slots import Slots
from liaison.relay.streams import Streams, code_for
from liaison.relay.websocket import WebSocket
from liaison.wire import frames
from liaison.wire.frames import Close
from liaison.wire.problems import OversizeError, Problem, UnsupportedVersionError
from liaison.wire.stream import FlowError

HELLO_WAIT: Final = 10.0
"""Seconds that a new connection has for its first frame."""
MAX_MESSAGE: Final = frames.MAX_FRAME + 4_096
"""Beyond it the connection is closed (1009); up to it an oversize message is refused by name."""
_SEND: Final = 0x02
_PATIENCE: Final = 256
"""Messages over the rate, in a row, after which the connection is closed."""

_INTERNAL: Final = Problem("internal", 500, "the relay failed")


class _CloseError(Exception):
    """The connection has to be closed with a code."""

    def __init__(self, code: Close) -> None:
        super().__init__(code)
        self.code = code


class Connection:
    """The relay's end of one device's stream.

    Args:
        caller: the device, authenticated.
        services: the relay's.
        settings: the relay's.
        limits: the relay's rates.
        streams: where the connection is counted.
        now_ms: the relay's clock.
        logger: where its beginning and end are told.
    """

    def __init__(
        self,
        caller: DeviceCaller,
        services: Services,
        settings: Settings,
        limits: Limits,
        streams: Streams,
        now_ms: Callable[[], int],
        logger: log.Log,
    ) -> None:
        self.caller = caller
        self._services = services
        self._settings = settings
        self._limits = limits
        self._streams = streams
        self._metrics = streams.metrics
        self._now_ms = now_ms
        self._log = logger
        self._socket: WebSocket | None = None
        self._pump: Pump | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._is_greeted = False
        self._slots = Slots(settings.max_in_flight)
        # Made for the first: most connections have none most of the time.
        self._tasks: set[asyncio.Task[None]] | None = None
        self._over_rate = 0
        self._close: Close | None = None
        self._ended = Flag()

    # --- life of the connection ---------------------------------------------------------

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Answer the opening handshake; the connection lives on when this has returned.

        Raises:
            TooManyStreamsError: there is no room for it.
            HTTPBadRequest: the request is no opening handshake.
        """
        # Counted before the first await, or two openings could both find room.
        self._streams.check_room(self.caller.id)
        self._streams.add(self)
        try:
            answer, socket = await websocket.accept(request, frames.SUBPROTOCOL, MAX_MESSAGE)
        except BaseException:
            self._forget()
            raise
        if socket is None:
            self._forget()
            return answer
        loop = asyncio.get_running_loop()
        self._socket = socket
        self._outbox = Outbox(socket.transport, socket, loop)
        self._log.info("stream_opened", device=str(self.caller.id))
        if self._close is None:
            self._greeting = loop.call_later(HELLO_WAIT, self.stop, Close.MALFORMED)
        else:
            # Revoked, or the relay stops, since the request was admitted.
            socket.close(self._close)
        socket.begin(self, self._streams.heartbeats, self._settings.heartbeat)
        return answer

    def stop(self, code: Close) -> None:
        """Begin to close the connection with a code; later calls change nothing."""
        if self._close is None:
            self._close = code
            if self._pump is not None:
                # At once: nothing may come after the close frame, nor to whom was revoked.
                self._pump.stop()
            if self._delivering is not None:
                self._delivering.cancel()
            if self._socket is not None:
                self._outbox.flush()
                self._socket.close(code)

    def ended(self, code: int) -> None:
        """Finish what was begun: the client is gone."""
        self._greeted()
        # The task is kept by what it waits for, and by nobody where that is nothing.
        self._spawn(self._finish(code))

    async def _finish(self, code: int) -> None:
        try:
            if self._delivering is not None:
                self._delivering.cancel()
            # What was begun is finished: a message is accepted or refused, and an
            # acknowledgement that came is not forgotten.
            await self._slots.empty()
            mine = asyncio.current_task()
            begun = [task for task in (self._delivering, *(self._tasks or ())) if task]
            await asyncio.gather(*(t for t in begun if t is not mine), return_exceptions=True)
            if self._pump is not None:
                await self._pump.settled()
        finally:
            close = int(self._close or code)
            self._metrics.closes[close] += 1
            self._log.info("stream_closed", device=str(self.caller.id), close=close)
            # In a circle with this one, they would stay until the collector looks, which is rare.
            self._pump = self._delivering = self._socket = None
            self._forget()

    def _forget(self) -> None:
        self._streams.remove(self)
        self._ended.set()

    async def stopped(self) -> None:
        """Wait until the connection has ended and nothing that it began is under way."""
        await self._ended.wait()

    # --- frames in ----------------------------------------------------------------------

    def received(self, kind: Kind, data: bytes) -> None:
        """Take what came."""
        try:
            self._take(kind, data)
        except _CloseError as error:
            self.stop(error.code)
        except FlowError:
            self.stop(Close.FLOW)
        except Exception as error:  # noqa: BLE001 - told to the operator and, by its code, the client
            self._fail(error)

    def _take(self, kind: Kind, data: bytes) -> None:
        if kind is Kind.BINARY:
            if not self._is_greeted:
                self._hold(self._greet(_hello(data)))
            elif not self._handle(data) or self._outbox.is_full:
                self._hold(self._room())
            return
        if kind is Kind.TEXT:
            raise _CloseError(Close.MALFORMED)
        self._count()
        if kind is Kind.PING and self._socket is not None:
            self._socket.pong(data)
            if self._outbox.is_full:
                self._hold(self._room())

    def _hold(self, until: Coroutine[Any, Any, None]) -> None:
        """Take nothing more until something is done."""
        if self._socket is not None:
            self._socket.hold()
        self._spawn(self._held(until))

    async def _held(self, until: Coroutine[Any, Any, None]) -> None:
        try:
            await until
        except _CloseError as error:
            self.stop(error.code)
        except ConnectionResetError:
            # The client went away while we wrote; there is nobody to tell.
            self.stop(Close.GOING_AWAY)
        except Exception as error:  # noqa: BLE001 - told to the operator and, by its code, the client
            self._fail(error)
        if self._socket is not None:
            self._socket.go_on()

    async def _room(self) -> None:
        await self._slots.room()
        await self._outbox.drained()

    def _count(self) -> None:
        """Count a frame that is no message; who sends very many is not served on."""
        try:
            self._limits.frame(self.caller.id)
        except RateExceededError:
            raise _CloseError(Close.RATE) from None

    def _greeted(self) -> None:
        self._is_greeted = True
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None

    async def _greet(self, hello: frames.Hello) -> None:
        self._greeted()
        if hello.version != frames.VERSION:
            self._put(frames.Refused(0, Problem.of(UnsupportedVersionError())))
            raise _CloseError(Close.VERSION)
        known = await self._services.registry.state_version(self.caller)
        self._put(frames.Ready(self._now_ms(), known))
        if hello.deliver:
            await self._streams.take_over(self)
            if self._close is not None:
                # A still newer connection came while the older one ended.
                return
            self._pump = Pump(
                self.caller,
                self._services.delivery,
                self._outbox,
                limit=hello.limit,
                batch=self._settings.delivery_batch,
                failed=self._fail,
                metrics=self._metrics,
                turn=self._streams.turn,
            )
            self._delivering = asyncio.create_task(self._deliver(self._pump))

    def _handle(self, data: bytes) -> bool:
        """Take one frame; whether another may be taken at once."""
        if len(data) > frames.MAX_FRAME:
            self._count()
            self._refuse_oversize(data)
            return True
        match _decode(data):
            case frames.Send() as send:
                self._metrics.frames_in["send"] += 1
                self._send(send)
                return self._slots.has_room
            case frames.Ack(number):
                self._metrics.frames_in["ack"] += 1
                self._count()
                self._delivery_frames().acknowledge(number)
            case frames.Credit(limit):
                self._metrics.frames_in["credit"] += 1
                self._count()
                self._delivery_frames().grant(limit)
            case frames.Hello():
                raise _CloseError(Close.MALFORMED)
        return True

    def _delivery_frames(self) -> Pump:
        if self._pump is None:
            raise FlowError("this connection takes no deliveries")
        return self._pump

    def _refuse_oversize(self, data: bytes) -> None:
        if data[0] != _SEND:
            raise _CloseError(Close.OVERSIZE)
        # Its head is whole, so the client can be told which message it was.
        head = frames.decode_client(data[: frames.MAX_FRAME])
        if isinstance(head, frames.Send):
            error = OversizeError(
                f"a message has at most {frames.MAX_FRAME} bytes with its head",
                hint="send what is large as an attachment",
            )
            self._refuse(head.request, error)

    def _send(self, send: frames.Send) -> None:
        try:
            self._limits.principal(self.caller.id)
        except RateExceededError as error:
            self._over_rate += 1
            if self._over_rate > _PATIENCE:
                raise _CloseError(Close.RATE) from None
            self._refuse(send.request, error)
            return
        self._over_rate = 0
        self._slots.take()
        try:
            begun = self._services.messages.put(self.caller, send, partial(self._answer, send))
        except Exception as error:  # noqa: BLE001 - told to the client by `_answer`
            self._answer(send, error)
            return
        if not begun:
            self._spawn(self._accept(send))

    async def _accept(self, send: frames.Send) -> None:
        try:
            self._tell(send, await self._services.messages.accept(self.caller, send))
        except Exception as error:  # noqa: BLE001 - told to the client by `_tell`
            self._tell(send, error)

    def _answer(self, send: frames.Send, outcome: frames.Accepted | Exception) -> None:
        """Answer a message, once the log knows of its refusal where it has to."""
        if isinstance(outcome, TOLD):
            self._spawn(self._refused(send, outcome))
        else:
            self._tell(send, outcome)

    async def _refused(self, send: frames.Send, refusal: LiaisonError) -> None:
        try:
            await self._services.messages.refused(self.caller, send, refusal)
        except Exception as error:  # noqa: BLE001 - told to the client by `_tell`
            self._tell(send, error)
        else:
            self._tell(send, refusal)

    def _tell(self, send: frames.Send, outcome: frames.Accepted | Exception) -> None:
        self._slots.leave()
        if isinstance(outcome, frames.Accepted):
            self._put(outcome)
        elif isinstance(outcome, LiaisonError):
            self._refuse(send.request, outcome)
        else:
            self._log.error("accept_failed", device=str(self.caller.id), **log.failure(outcome))
            self._put(frames.Refused(send.request, _INTERNAL))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
            self._tasks = self._tasks or None

    # --- frames out ---------------------------------------------------------------------

    def _put(self, frame: frames.RelayFrame) -> None:
        self._metrics.frames_out[type(frame).__name__] += 1
        self._outbox.put(frames.encode(frame))

    def _refuse(self, request: int, error: LiaisonError) -> None:
        self._metrics.problems[error.code] += 1
        self._put(frames.Refused(request, Problem.of(error)))

    async def _deliver(self, pump: Pump) -> None:
        try:
            await pump.run()
        except ConnectionResetError:
            self.stop(Close.GOING_AWAY)
        except Exception as error:  # noqa: BLE001 - told to the operator and, by its code, the client
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, LiaisonError):
            # Revoked or unknown by now; or the database is out of reach.
            self._log.warning("stream_ended", device=str(self.caller.id), code=error.code)
            self.stop(code_for(error))
        else:
            self._log.error("stream_failed", device=str(self.caller.id), **log.failure(error))
            self.stop(Close.UNAVAILABLE)


def _hello(data: bytes) -> frames.Hello:
    hello = _decode(data)
    if not isinstance(hello, frames.Hello):
        raise _CloseError(Close.MALFORMED)
    return hello


def _decode(data: bytes) -> frames.ClientFrame:
    try:
        return frames.decode_client(data)
    except MalformedError:
        raise _CloseError(Close.MALFORMED) from None
