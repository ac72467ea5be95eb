"""Outgoing frames of one WebSocket: gathered, and written once per loop turn.

A system call for each small frame is what a relay spends most of its time on;
one for all frames of a turn made delivery more than twice as fast. So frames
are collected here and written to the transport together, in WebSocket framing
of our own: a server's frames are not masked and ours are never fragmented, so
that is a header of 2 to 10 bytes. Pings and the close frame go to the same
transport past this module; both write whole frames, so they mix.

Source: RFC 6455 §5.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, Protocol

HIGH_WATER: Final = 64 << 10
"""Bytes in the transport's buffer from which a writer waits; small, so that FLASH overtakes."""

_BINARY: Final = 0x82  # FIN and opcode 2


class Drains(Protocol):
    """Whoever knows when the transport takes more: the connection's protocol, or aiohttp's writer."""

    def drain(self) -> Coroutine[Any, Any, None]:
        """Wait until then; raises ConnectionResetError when the client is gone."""


def header(size: int) -> bytes:
    """Return the header of an unmasked, unfragmented binary frame."""
    if size < 126:
        return bytes((_BINARY, size))
    if size < 1 << 16:
        return bytes((_BINARY, 126)) + size.to_bytes(2, "big")
    return bytes((_BINARY, 127)) + size.to_bytes(8, "big")


class Outbox:
    """Frames on their way to one client.

    Args:
        transport: the connection's.
        writer: who is told when the transport is full.
        loop: the running loop.
    """

    __slots__ = ("_loop", "_parts", "_scheduled", "_size", "_transport", "_writer")

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        writer: Drains,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport
        self._writer = writer
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0
        self._scheduled: asyncio.Handle | None = None

    def put(self, *parts: bytes) -> None:
        """Add one frame, given in parts, to what leaves at the end of this loop turn."""
        size = sum(map(len, parts))
        self.put_framed((header(size), *parts), size)

    def put_framed(self, parts: Iterable[bytes], size: int) -> None:
        """Add whole frames that have their headers already.

        Args:
            parts: of the frames, in order.
            size: of all of them, roughly.
        """
        self._parts.extend(parts)
        self._size += size
        if self._scheduled is None:
            self._scheduled = self._loop.call_soon(self.flush)

    def send(self, parts: Iterable[bytes]) -> None:
        """Hand whole frames to the transport now, behind everything that waits."""
        self._parts.extend(parts)
        self.flush()

    @property
    def is_full(self) -> bool:
        """Whether `drained` may have to wait."""
        size = self._size
        return size >= HIGH_WATER or size + self._transport.get_write_buffer_size() > HIGH_WATER

    def flush(self) -> None:
        """Hand everything to the transport now."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    async def drained(self) -> None:
        """Wait until the client has read enough for more to be worth making.

        What is little stays for the end of the loop turn, when it leaves with what comes until then.

        Raises:
            ConnectionResetError: the client went away meanwhile.
        """
        if not self.is_full:
            return
        self.flush()
        if self._transport.get_write_buffer_size() > HIGH_WATER:
            await self._writer.drain()
