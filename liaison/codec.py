"""The TLS presentation language, as RFC 9420 uses it.

Encoding is plain functions from values to bytes; decoding goes through a
`Reader`, which never reads beyond its bytes, allocates no more than it was
given, and refuses every second spelling of one value: a length header that is
not the shortest, an optional that is neither 0 nor 1, bytes after the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, Self, TypeVar

from liaison.errors import LimitError, MalformedError

MAX_VECTOR_BYTES: Final = (1 << 30) - 1
"""The longest variable-size vector that a length header can express."""

_T = TypeVar("_T")


class MalformedMessageError(MalformedError):
    """The bytes are not a well-formed message."""

    code = "codec.malformed"


class OversizeError(LimitError):
    """The value is too long to be encoded."""

    code = "codec.oversize"


class Encodable(Protocol):
    """Anything that knows its own encoding."""

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        ...


def uint8(value: int) -> bytes:
    """Encode as one byte."""
    return value.to_bytes(1, "big")


def uint16(value: int) -> bytes:
    """Encode as two bytes, big-endian."""
    return value.to_bytes(2, "big")


def uint32(value: int) -> bytes:
    """Encode as four bytes, big-endian."""
    return value.to_bytes(4, "big")


def uint64(value: int) -> bytes:
    """Encode as eight bytes, big-endian."""
    return value.to_bytes(8, "big")


_SHORT: Final = tuple(bytes((length,)) for length in range(0x40))
"""The length headers of one byte."""


def length_header(length: int) -> bytes:
    """Encode the length header of a variable-size vector, always the shortest.

    Raises:
        OversizeError: more than 2**30 - 1 bytes.

    Source: RFC 9420 §2.1.2.
    """
    if length < 0x40:
        return length.to_bytes(1, "big")
    if length < 0x4000:
        return (length | 0x4000).to_bytes(2, "big")
    if length <= MAX_VECTOR_BYTES:
        return (length | 0x8000_0000).to_bytes(4, "big")
    raise OversizeError(f"a vector of {length} bytes is too long (at most {MAX_VECTOR_BYTES})")


def opaque(data: bytes) -> bytes:
    """Encode `opaque data<V>`: the length header, then the bytes."""
    length = len(data)
    # Most are short, and this is called some twenty times for each message.
    if length < 0x40:
        return _SHORT[length] + data
    return length_header(length) + data


def vector(items: Iterable[Encodable]) -> bytes:
    """Encode `T items<V>` of things that know their own encoding."""
    return opaque(b"".join([item.encode() for item in items]))


def vector_of(encode: Callable[[_T], bytes], items: Iterable[_T]) -> bytes:
    """Encode `T items<V>` with `encode` for each item."""
    return opaque(b"".join([encode(item) for item in items]))


def uint16s(values: Sequence[int]) -> bytes:
    """Encode `uint16 values<V>`."""
    try:
        return opaque(struct.pack(f">{len(values)}H", *values))
    except struct.error:
        raise OverflowError("a value does not fit into two bytes") from None


def optional(item: Encodable | None) -> bytes:
    """Encode `optional<T>`: a presence byte, then the value if there is one."""
    return b"\x00" if item is None else b"\x01" + item.encode()


class Reader:
    """Reads values one after another from bytes.

    A failed read raises `MalformedMessageError`; the reader is of no use afterwards.
    """

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0
        self._end = len(data)

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._pos

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self._end - self._pos

    def since(self, start: int) -> bytes:
        """Give the bytes that were read since `start`, a former `position`."""
        return self._data[start : self._pos]

    def take(self, length: int) -> bytes:
        """Read exactly `length` bytes."""
        start = self._pos
        stop = start + length
        if stop > self._end:
            raise MalformedMessageError("the bytes end too early")
        self._pos = stop
        return self._data[start:stop]

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take(self._end - self._pos)

    def uint8(self) -> int:
        """Read one byte."""
        pos = self._pos
        if pos >= self._end:
            raise MalformedMessageError("the bytes end too early")
        self._pos = pos + 1
        return self._data[pos]

    def uint16(self) -> int:
        """Read two bytes, big-endian."""
        return int.from_bytes(self.take(2), "big")

    def uint32(self) -> int:
        """Read four bytes, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Read eight bytes, big-endian."""
        return int.from_bytes(self.take(8), "big")

    def length_header(self) -> int:
        """Read the length header of a variable-size vector.

        Source: RFC 9420 §2.1.2.
        """
        first = self.uint8()
        prefix = first >> 6
        if prefix == 0:
            return first
        if prefix == 3:
            raise MalformedMessageError("length header has the reserved prefix 11")
        size = 1 << prefix
        value = int.from_bytes(self.take(size - 1), "big", signed=False)
        value |= (first & 0x3F) << (8 * (size - 1))
        # A second spelling of the same length would let two byte strings carry one
        # signature, so only the shortest is valid.
        if value < 1 << (8 * (size >> 1) - 2):
            raise MalformedMessageError("length header is not the shortest encoding")
        return value

    def opaque(self) -> bytes:
        """Read `opaque<V>`."""
        start = self._pos
        if start < self._end and (length := self._data[start]) < 0x40:
            start += 1
            stop = start + length
            if stop > self._end:
                raise MalformedMessageError("the bytes end too early")
            self._pos = stop
            return self._data[start:stop]
        return self.take(self.length_header())

    def uint16s(self) -> tuple[int, ...]:
        """Read `uint16 values<V>`."""
        data = self.opaque()
        if len(data) % 2:
            raise MalformedMessageError("the bytes end too early")
        return struct.unpack(f">{len(data) // 2}H", data)

    def nested(self) -> Self:
        """Read `opaque<V>` and give a reader over its bytes."""
        return type(self)(self.opaque())

    def vector(self, read: Callable[[Reader], _T]) -> tuple[_T, ...]:
        """Read `T items<V>` with `read` for each item; the items fill the vector exactly."""
        inner = self.nested()
        items = []
        while inner.remaining:
            items.append(read(inner))
        return tuple(items)

    def optional(self, read: Callable[[Reader], _T]) -> _T | None:
        """Read `optional<T>`."""
        present = self.uint8()
        if present > 1:
            raise MalformedMessageError(f"presence byte is {present}, not 0 or 1")
        return read(self) if present else None

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            MalformedMessageError: bytes follow the value.
        """
        if self._pos != self._end:
            raise MalformedMessageError(f"{self._end - self._pos} bytes follow the value")


def decode(read: Callable[[Reader], _T], data: bytes) -> _T:
    """Decode a whole byte string as one value.

    Raises:
        MalformedMessageError: another form, or bytes after the value.
    """
    reader = Reader(data)
    value = read(reader)
    reader.end()
    return value
