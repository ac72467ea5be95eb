"""The relay's end of a WebSocket: little memory while nothing happens, and no task.

aiohttp has the connection until the opening handshake is answered. Then it is handed over to a
protocol of our own, and of the request nothing is left: not its headers, its parser, or the tasks
and the middlewares that would wait for its end. A relay has many thousand connections, nearly all
of them idle, and that was half of what each of them took.

What comes is handed on at once; whoever takes it may `hold` the socket, which then reads no more.
A socket on which nothing comes is pinged, and given up when that changes nothing; one timer does
that for all of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections import deque
from typing import Final, Protocol

from aiohttp import web

from liaison.fanout.flag import Flag
from liaison.relay import connections, framing
from liaison.relay.connections import Place
from liaison.relay.framing import Frame, Kind, Reader
from liaison.relay.heartbeats import PARTS, Heartbeats

CLOSE_WAIT: Final = 0.5
"""Seconds that the client has to answer a close, and as many again to take what it was sent."""
ABNORMAL: Final = 1006
"""The code of a connection that ended without a close frame; never sent. RFC 6455 §7.4.1."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class End(Protocol):
    """Whoever takes what comes."""

    def received(self, kind: Kind, data: bytes) -> None:
        """Take a message, a ping or a pong; may not raise."""
        ...

    def ended(self, code: int) -> None:
        """The connection is gone; nothing comes any more.

        Args:
            code: of the client's close frame; `ABNORMAL` where there was none.
        """
        ...


class WebSocket(asyncio.Protocol):
    """One open connection.

    Args:
        transport: the connection's.
        most: bytes of a message.
        place: given up when it ends.
    """

    __slots__ = (
        "_closing", "_code", "_drained", "_end", "_heartbeats", "_held", "_place", "_reader",
        "_rest", "_silent", "_timer", "transport",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, most: int, place: Place | None) -> None:
        self.transport = transport
        self._reader = Reader(most)
        self._place = place
        self._end: End | None = None
        self._heartbeats: Heartbeats | None = None
        # What came while it was held.
        self._rest: deque[Frame] | None = None
        self._held = False
        self._silent = 0
        self._closing = False
        self._code = 0
        self._timer: asyncio.TimerHandle | None = None
        # Set when the transport takes more; None while it does.
        self._drained: Flag | None = None

    def begin(self, end: End, heartbeats: Heartbeats, silence: float) -> None:
        """Hand what comes to whoever takes it, from now on.

        Args:
            end: told of everything.
            heartbeats: where it is looked after.
            silence: see there.
        """
        self._end = end
        self._heartbeats = heartbeats
        heartbeats.add(self, silence)
        self.go_on()

    # --- in -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._silent = 0
        self._take(self._reader.feed(data))

    def _take(self, frames: list[Frame]) -> None:
        for n, (kind, data) in enumerate(frames):
            if self._held or self._end is None:
                self._rest = self._rest or deque()
                self._rest.extend(frames[n:])
                return
            if self._closing:
                self._while_closing(kind)
            elif kind is Kind.CLOSE:
                self._code = framing.code_of(data)
                self.close(self._code)
                self.transport.close()
            elif kind is Kind.BROKEN:
                self._code = int.from_bytes(data)
                self.close(self._code)
            else:
                self._end.received(kind, data)

    def _while_closing(self, kind: Kind) -> None:
        # It was told to go: what it still sends is nobody's any more, but for its own goodbye.
        if kind is Kind.CLOSE:
            self.transport.close()

    def hold(self) -> None:
        """Hand nothing on, and read nothing, until `go_on`."""
        if not self._held:
            self._held = True
            with contextlib.suppress(RuntimeError):
                self.transport.pause_reading()

    def go_on(self) -> None:
        """Hand on what came meanwhile, and read again unless that has it held."""
        self._held = False
        rest, self._rest = self._rest, None
        if rest:
            self._take(list(rest))
        if not self._held and not self.transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self.transport.resume_reading()

    # --- out ------------------------------------------------------------------------------

    def pong(self, data: bytes) -> None:
        """Answer a ping."""
        if not self.transport.is_closing():
            self.transport.write(framing.pong_frame(data))

    def pause_writing(self) -> None:
        """The client reads too little."""
        if self._drained is None:
            self._drained = Flag()

    def resume_writing(self) -> None:
        """It has read on."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set()

    async def drain(self) -> None:
        """Wait until the client has read enough for more.

        Raises:
            ConnectionResetError: it is gone.
        """
        if self._drained is not None:
            await self._drained.wait()
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")

    # --- end ------------------------------------------------------------------------------

    def pass_time(self) -> None:
        """A part of the time for which it may be silent has passed; `Heartbeats` says so."""
        self._silent += 1
        if self._held or self._closing or self.transport.is_closing():
            # It is not listened to, or has a shorter time already.
            self._silent = 0
        elif self._silent == PARTS:
            self.transport.write(framing.PING_FRAME)
        elif self._silent >= PARTS + PARTS // 2:
            self.transport.abort()

    def close(self, code: int) -> None:
        """Say goodbye; it ends when the client has answered, or soon. Again changes nothing."""
        if self._closing:
            return
        self._closing = True
        if not self.transport.is_closing():
            self.transport.write(framing.close_frame(code))
        self.go_on()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_WAIT, self._give_up)

    def _give_up(self) -> None:
        # What was written may still leave; who takes none of it waits for nothing.
        self.transport.close()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CLOSE_WAIT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give everything up."""
        del exc
        self._closing = True
        self._code = self._code or ABNORMAL
        if self._place is not None:
            self._place.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heartbeats is not None:
            self._heartbeats.discard(self)
        self.resume_writing()
        end, self._end = self._end, None
        if end is not None:
            end.ended(self._code)


async def accept(
    request: web.Request, subprotocol: str, most: int
) -> tuple[web.StreamResponse, WebSocket | None]:
    """Answer an opening handshake and take the connection from aiohttp.

    Args:
        request: for an upgrade.
        subprotocol: one that was offered.
        most: bytes of a message.

    Returns:
        The answer, which was sent, and the socket: `begin` it. None where the client is gone.

    Raises:
        HTTPBadRequest: it is no opening handshake; nothing was sent.
    """
    if not web.WebSocketResponse(protocols=(subprotocol,)).can_prepare(request):
        raise web.HTTPBadRequest
    key = request.headers["Sec-WebSocket-Key"].encode()
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    answer = web.StreamResponse(
        status=101,
        headers={
            "Upgrade": "websocket",
            "Connection": "upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
            "Sec-WebSocket-Protocol": subprotocol,
        },
    )
    answer.force_close()
    await answer.prepare(request)
    await answer.write_eof()
    # Nothing waits from here on: what comes after the handshake comes to the socket.
    taken = connections.take_over(request)
    if taken is None:
        return answer, None
    transport, place, early = taken
    socket = WebSocket(transport, most, place)
    transport.set_protocol(socket)
    if early:
        socket.data_received(early)
    return answer, socket
