"""WebSocket framing of what a client sends, without a socket.

Bytes in, whole messages and control frames out. A client's frames are masked, may be cut into
fragments and may come in any pieces; of what is not whole yet at most one message is kept, and what
is too large is refused by its header, before it is in memory. Extensions are never agreed on, so no
frame may use one.

Source: RFC 6455 §5.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from aiohttp._websocket.helpers import websocket_mask

_CONTINUATION: Final = 0x0
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_MOST_OF_CONTROL: Final = 125
_LEAST: Final = 6
"""Bytes of the shortest frame: two of the header and four of the mask."""

PROTOCOL_ERROR: Final = 1002
TOO_BIG: Final = 1009


class Kind(IntEnum):
    """What came: an opcode, or that what came is no WebSocket."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA
    BROKEN = 0x10
    """The connection can't go on; the payload is the close code that says why, 2 bytes."""


Frame = tuple[Kind, bytes]
_BINARY: Final = Kind.BINARY
_BROKEN: Final = Kind.BROKEN
_WHOLE: Final = _FINAL | int(Kind.BINARY)
"""How a message begins that is not cut into fragments."""
_KINDS: Final = {int(kind): kind for kind in Kind if kind is not Kind.BROKEN}


class Reader:
    """Takes apart what one client sends.

    Args:
        most: bytes of a message; a larger one is broken.
    """

    __slots__ = ("_fragments", "_kept", "_kind", "_most", "_need")

    def __init__(self, most: int) -> None:
        self._most = most
        # What is not a whole frame yet, and how many bytes it takes until there is more to say of
        # it: looked at for each piece, a large frame that comes in small ones would cost very much.
        self._kept: bytearray | None = None
        self._need = 0
        self._kind = Kind.BROKEN
        self._fragments: bytearray | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """Return what is whole now, in order; nothing comes after `BROKEN`."""
        if self._kept is not None:
            self._kept += data
            if len(self._kept) < self._need:
                return []
            data, self._kept = bytes(self._kept), None
        found: list[Frame] = []
        at, end, most = 0, len(data), self._most
        while end - at >= _LEAST:
            first, second = data[at], data[at + 1]
            size, begin = second & 0x7F, at + _LEAST
            if size == 126:
                begin += 2
                size = int.from_bytes(data[at + 2 : at + 4])
            elif size == 127:
                begin += 8
                size = int.from_bytes(data[at + 2 : at + 10])
            if begin > end:
                return self._keep(data, at, begin, found)
            # Nearly all are whole messages, of which there is nothing more to be asked.
            plain = first == _WHOLE and second & _MASKED and size <= most
            if not plain or self._fragments is not None:
                code = self._refusal(first, second, size)
                if code:
                    found.append((_BROKEN, code.to_bytes(2)))
                    return found
            stop = begin + size
            if stop > end:
                return self._keep(data, at, stop, found)
            payload = bytearray(data[begin:stop])
            websocket_mask(data[begin - 4 : begin], payload)
            at = stop
            if first == _WHOLE:
                found.append((_BINARY, bytes(payload)))
            else:
                self._other(first, payload, found)
        return self._keep(data, at, at + _LEAST, found) if at < end else found

    def _keep(self, data: bytes, at: int, until: int, found: list[Frame]) -> list[Frame]:
        self._kept, self._need = bytearray(data[at:]), until - at
        return found

    def _refusal(self, first: int, second: int, size: int) -> int:
        """Return the close code of a frame that may not be, by its header; else 0."""
        opcode = first & 0x0F
        if first & _RESERVED or not second & _MASKED:
            return PROTOCOL_ERROR
        if opcode & _CONTROL:
            known = opcode in _KINDS and first & _FINAL
            return 0 if known and size <= _MOST_OF_CONTROL else PROTOCOL_ERROR
        # A message that was begun goes on, and only such a one.
        if (opcode == _CONTINUATION) == (self._fragments is None):
            return PROTOCOL_ERROR
        if opcode != _CONTINUATION and opcode not in _KINDS:
            return PROTOCOL_ERROR
        before = len(self._fragments) if self._fragments is not None else 0
        return TOO_BIG if before + size > self._most else 0

    def _other(self, first: int, payload: bytearray, found: list[Frame]) -> None:
        opcode = first & 0x0F
        if opcode & _CONTROL:
            found.append((_KINDS[opcode], bytes(payload)))
            return
        if opcode != _CONTINUATION:
            self._kind, self._fragments = _KINDS[opcode], bytearray()
        assert self._fragments is not None  # noqa: S101 - `_refusal` has looked
        self._fragments += payload
        if first & _FINAL:
            found.append((self._kind, bytes(self._fragments)))
            self._fragments = None


def close_frame(code: int) -> bytes:
    """Return the frame that ends a connection."""
    return bytes((_FINAL | Kind.CLOSE, 2)) + code.to_bytes(2)


def pong_frame(data: bytes) -> bytes:
    """Return the answer to a ping.

    Args:
        data: the ping's, at most 125 bytes.
    """
    return bytes((_FINAL | Kind.PONG, len(data))) + data


PING_FRAME: Final = bytes((_FINAL | Kind.PING, 0))


def code_of(payload: bytes) -> int:
    """Return the code of a close frame's payload.

    Returns:
        1000 where it has none, and PROTOCOL_ERROR where it may not stand in a frame.
    """
    if not payload:
        return 1000
    code = int.from_bytes(payload[:2])
    reserved = code in {1004, 1005, 1006, 1015}
    return code if len(payload) > 1 and 1000 <= code < 5000 and not reserved else PROTOCOL_ERROR
