"""Clients for the relay's bench: raw sockets that send ready-made messages and count what comes.

A client costs as little as can be, because it shares the machine with what is measured: frames are
told apart by their first byte, and nothing is decrypted. Messages are copies of one that a member
has really encrypted, each with an id of its own: the relay, which can't look inside, sees no
difference.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from liaison.wire import frames

ACK_EVERY: Final = 64
CREDIT: Final = 1 << 62
_SEND: Final = struct.Struct("!BI16s16sQ")
_NUMBER: Final = struct.Struct("!BQ")
_DELIVER_BYTES: Final = 51
_FIRST: Final = 20
"""Seconds for a connection to open, or a backlog to come."""


@dataclass(frozen=True, slots=True)
class Template:
    """A message to be sent again and again.

    Args:
        channel: 16 bytes.
        payload: the ciphertext with its framing.
        at: where in the payload the message's id stands.
    """

    channel: bytes
    payload: bytes
    at: int

    def frame(self, request: int, number: int) -> bytes:
        """Return a Send frame in WebSocket framing, with the number as the message's id."""
        name = number.to_bytes(16)
        payload = self.payload
        body = b"".join(
            (
                _SEND.pack(2, request, self.channel, name, 0),
                payload[: self.at],
                name,
                payload[self.at + 16 :],
            )
        )
        return masked(body)


def masked(data: bytes) -> bytes:
    """Return a client's binary frame; its mask is zero, which costs the sender nothing."""
    size = len(data)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x82\xfe" + size.to_bytes(2)
    else:
        head = b"\x82\xff" + size.to_bytes(8)
    return head + bytes(4) + data


class Socket(asyncio.Protocol):
    """One device's WebSocket.

    Args:
        path: with the query that a program wants.
        token: of the session; empty where none is needed.
    """

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token
        self._buffer = b""
        self._ready = asyncio.get_running_loop().create_future()
        self._acked = 0
        self.numbered = 0
        self.transport: asyncio.Transport | None = None
        self.on_deliver: Callable[[bytes, int], None] | None = None
        self.on_accepted: Callable[[int], None] = lambda _seq: None
        self.delivered = 0
        self.refused: list[bytes] = []
        self.acks = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self.transport = cast("asyncio.Transport", transport)
        lines = [
            f"GET {self._path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: bGlhaXNvbi1iZW5jaC0wMQ==",
            f"Sec-WebSocket-Protocol: {frames.SUBPROTOCOL}",
        ]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode())

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        if not self._ready.done():
            self._ready.set_exception(error or ConnectionResetError("closed at once"))

    async def opened(self, patience: float = _FIRST) -> None:
        """Wait for the upgrade; who waits too long is closed."""
        try:
            async with asyncio.timeout(patience):
                await self._ready
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        """Send bytes that are framed already."""
        assert self.transport is not None
        self.transport.write(data)

    def hello(self, *, deliver: bool = True) -> None:
        """Greet."""
        self.write(masked(frames.encode(frames.Hello(deliver, CREDIT, 0))))

    def close(self) -> None:
        """Go away."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        data = self._buffer + data if self._buffer else data
        if not self._ready.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return
            if b" 101 " not in head[:20]:
                self._ready.set_exception(ConnectionError(head[:80].decode()))
                return
            self._ready.set_result(None)
        at, end = 0, len(data)
        while end - at >= 2:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, begin = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if begin + size > end or begin > end:
                break
            if data[at] == 0x82:
                self._frame(data, begin, begin + size)
            elif data[at] == 0x89:
                self.write(b"\x8a\x80" + bytes(4))
            at = begin + size
        self._buffer = data[at:]
        if self.acks and self.numbered - self._acked >= ACK_EVERY:
            self._acked = self.numbered
            self.write(masked(_NUMBER.pack(3, self.numbered)))

    def acknowledge(self) -> None:
        """Acknowledge all that came."""
        self._acked = self.numbered
        self.write(masked(_NUMBER.pack(3, self.numbered)))

    def _frame(self, data: bytes, begin: int, end: int) -> None:
        kind = data[begin]
        if kind == 0x84:
            self.delivered += 1
            self.numbered += 1
            if self.on_deliver is not None:
                self.on_deliver(data, begin + _DELIVER_BYTES)
        elif kind == 0x82:
            self.on_accepted(int.from_bytes(data[begin + 6 : begin + 14]))
        elif kind == 0x83:
            self.refused.append(data[begin + 5 : end])


async def connect(
    port: int, path: str, token: str = "", *, deliver: bool = True, patience: float = _FIRST
) -> Socket:
    """Open a device's stream and greet."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(path, token), "127.0.0.1", port)
    await socket.opened(patience)
    socket.hello(deliver=deliver)
    return socket


@dataclass(slots=True)
class Sender:
    """Keeps so many messages under way.

    Args:
        window: messages sent and not acknowledged.
    """

    socket: Socket
    template: Template
    numbers: Callable[[], int]
    window: int
    accepted: int = 0
    going: bool = field(default=True)

    def begin(self) -> None:
        """Send the first window."""
        self.socket.on_accepted = self._accepted
        self.socket.write(b"".join(self._next() for _ in range(self.window)))

    def _next(self) -> bytes:
        return self.template.frame(0, self.numbers())

    def _accepted(self, _seq: int) -> None:
        self.accepted += 1
        if self.going:
            self.socket.write(self._next())


async def pace(
    senders: Sequence[tuple[Socket, Template]], numbers: Callable[[], int], rate: float, count: int
) -> dict[int, float]:
    """Send at a steady rate by turns; return when each message left, by its number."""
    loop = asyncio.get_running_loop()
    left: dict[int, float] = {}
    begin = loop.time()
    for turn in range(count):
        await asyncio.sleep(max(0.0, begin + turn / rate - loop.time()))
        socket, template = senders[turn % len(senders)]
        number = numbers()
        left[number] = time.perf_counter()
        socket.write(template.frame(0, number))
    return left
