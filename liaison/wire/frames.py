"""Frames of the WebSocket, one per binary message.

The first byte is the type, then fixed fields in network order, then for some
types a payload that runs to the end of the frame. There is no JSON and no
CBOR here: this is the path that every message takes.

| type | frame     | direction | fields                                                        |
|------|-----------|-----------|---------------------------------------------------------------|
| 01   | Hello     | to relay  | version u8, flags u8, limit u64, state version u64            |
| 02   | Send      | to relay  | request u32, channel 16, message id 16, state version u64, payload |
| 03   | Ack       | to relay  | number u64                                                    |
| 04   | Credit    | to relay  | limit u64                                                     |
| 81   | Ready     | to client | time u64 (ms), state version u64                              |
| 82   | Accepted  | to client | request u32, flags u8, seq u64, time u64 (ms), digest 32, log index u64 |
| 83   | Refused   | to client | request u32, problem document                                 |
| 84   | Deliver   | to client | number u64, kind u8, precedence u8, channel 16, seq u64, epoch u64, time u64 (ms), payload |
| 85   | CaughtUp  | to client | number u64                                                    |
| 86   | Notice    | to client | code as text                                                  |
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeVar

from liaison.errors import MalformedError
from liaison.model import ChannelId, Epoch, MessageId, Precedence, Seq
from liaison.values import dataclass
from liaison.wire.problems import Problem

VERSION: Final = 1
SUBPROTOCOL: Final = "liaison.v1"
MAX_FRAME: Final = 1 << 20
"""Bytes in one frame, either way; larger content is an attachment."""
LIMIT: Final = 1 << 63
"""Numbers stay below this, because databases store them with a sign; those that nobody stores may not."""
MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: later ones are no date."""
NOT_LOGGED: Final = (1 << 64) - 1
"""The log index of an item that no log has yet."""


class FrameError(MalformedError):
    """The frame is not well formed."""

    code = "frame.malformed"


class Close(IntEnum):
    """WebSocket close codes; each names why, and whether to come back."""

    GOING_AWAY = 1001
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    REVOKED = 4403
    FLOW = 4408
    SUPERSEDED = 4409
    OVERSIZE = 4413
    VERSION = 4426
    RATE = 4429
    UNAVAILABLE = 4503


class ItemKind(IntEnum):
    """What a delivered item is."""

    MESSAGE = 0
    COMMIT = 1
    PROPOSAL = 2
    WELCOME = 3
    GAP = 4
    """The item expired or was erased; its number is spent, its payload is empty."""

    @property
    def is_handshake(self) -> bool:
        """Commits and proposals: nothing sequenced after one overtakes it."""
        return self in (ItemKind.COMMIT, ItemKind.PROPOSAL)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame on a connection.

    Args:
        deliver: whether this connection wants deliveries; a device has one
            that does, and a newer one takes over.
        limit: highest delivery number that the client is ready for.
        state_version: counter of the client's store, so that the relay can
            tell it that a later one was seen (a store restored from a backup).
    """

    deliver: bool
    limit: int
    state_version: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Send:
    """An application message; `payload` is the MLSMessage, a PrivateMessage."""

    request: int
    channel: ChannelId
    message_id: MessageId
    state_version: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything delivered up to `number` on this connection is in the client's store."""

    number: int


@dataclass(frozen=True, slots=True)
class Credit:
    """The relay may deliver up to `limit` on this connection; it never shrinks."""

    limit: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The relay's answer to Hello: its clock and the latest state version it has seen."""

    time_ms: int
    state_version: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is durable; `digest` is the SHA-256 of the stored payload.

    `duplicate` says that it was accepted before, with the same bytes.
    """

    request: int
    duplicate: bool
    seq: Seq
    time_ms: int
    digest: bytes
    log_index: int = NOT_LOGGED


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing of the request was stored."""

    request: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Deliver:
    """One item of a channel; for Welcomes `seq` is that of the commit that added us."""

    number: int
    kind: ItemKind
    precedence: Precedence
    channel: ChannelId
    seq: Seq
    epoch: Epoch
    time_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Nothing is left beyond delivery `number`; more may come later."""

    number: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something changed that the client may want to fetch, such as `key-packages.low`."""

    code: str


ClientFrame = Hello | Send | Ack | Credit
RelayFrame = Ready | Accepted | Refused | Deliver | CaughtUp | Notice

_HELLO: Final = struct.Struct("!BBBQQ")
_SEND: Final = struct.Struct("!BI16s16sQ")
_NUMBER: Final = struct.Struct("!BQ")
_READY: Final = struct.Struct("!BQQ")
_ACCEPTED: Final = struct.Struct("!BIBQQ32sQ")
_REFUSED: Final = struct.Struct("!BI")
_DELIVER: Final = struct.Struct("!BQBB16sQQQ")
_DELIVER_FIELDS: Final = struct.Struct("!BB16sQQQ")

_SEND_TYPE: Final = b"\x02"
DELIVER_TYPE: Final = b"\x84"
DELIVER_BYTES: Final = _DELIVER.size
"""Of a Deliver frame before its payload."""


def encode(frame: ClientFrame | RelayFrame) -> bytes:
    """Return the frame's bytes."""
    match frame:
        case Send(request, channel, message_id, state_version, payload):
            return _SEND.pack(2, request, channel.value, message_id.value, state_version) + payload
        case Deliver():
            return deliver_head(frame.number, frame) + frame.payload
        case Ack(number):
            return _NUMBER.pack(3, number)
        case Accepted():
            head = (0x82, frame.request, frame.duplicate, frame.seq, frame.time_ms)
            return _ACCEPTED.pack(*head, frame.digest, frame.log_index)
        case Refused(request, problem):
            return _REFUSED.pack(0x83, request) + problem.encode()
        case Credit(limit):
            return _NUMBER.pack(4, limit)
        case Hello():
            return _HELLO.pack(1, frame.version, frame.deliver, frame.limit, frame.state_version)
        case Ready(time_ms, state_version):
            return _READY.pack(0x81, time_ms, state_version)
        case CaughtUp(number):
            return caught_up(number)
        case Notice(code):
            return b"\x86" + code.encode()


def caught_up(number: int) -> bytes:
    """Return a CaughtUp frame's bytes: one for each reader whenever something was delivered."""
    return _NUMBER.pack(0x85, number)


def deliver_head(number: int, item: Deliver) -> bytes:
    """Return a Deliver frame's fields without its payload.

    The payload is shared by every reader of the item; only the head differs.
    """
    return _DELIVER.pack(
        0x84, number, item.kind, item.precedence, item.channel.value, item.seq, item.epoch,
        item.time_ms,
    )  # fmt: skip


def deliver_fields(
    kind: int, precedence: int, channel: bytes, seq: int, epoch: int, time_ms: int
) -> bytes:
    """Return what stands between a Deliver frame's number and its payload.

    The number is the only field of which each reader has another: 8 bytes after the type.
    """
    return _DELIVER_FIELDS.pack(kind, precedence, channel, seq, epoch, time_ms)


def decode_client(data: bytes) -> ClientFrame:
    """Read a frame that a client sent.

    Raises:
        FrameError: unknown type, wrong length, a flag that is neither 0 nor 1, a number
            or a time out of range.
    """
    # By far the most are messages, with all of their fields.
    if data[:1] == _SEND_TYPE and _SEND.size <= len(data) <= MAX_FRAME:
        return _send(data)
    return _decode(data, _CLIENT)


def decode_relay(data: bytes) -> RelayFrame:
    """Read a frame that a relay sent.

    Raises:
        FrameError: unknown type, wrong length, a flag that is neither 0 nor 1, a number
            or a time out of range, a gap with a payload.
    """
    return _decode(data, _RELAY)


_F = TypeVar("_F")


def _decode(data: bytes, table: dict[int, Callable[[bytes], _F]]) -> _F:
    if not data:
        raise FrameError("the frame is empty")
    if len(data) > MAX_FRAME:
        raise FrameError(f"the frame has {len(data)} bytes, over the limit of {MAX_FRAME}")
    reader = table.get(data[0])
    if reader is None:
        raise FrameError(f"frame type {data[0]:#04x} is not known")
    try:
        return reader(data)
    except (struct.error, ValueError) as e:
        raise FrameError(f"frame type {data[0]:#04x} is malformed") from e


def _flag(value: int) -> bool:
    if value > 1:
        raise FrameError("a flag is neither 0 nor 1")
    return bool(value)


def _count(value: int) -> int:
    if value >= LIMIT:
        raise FrameError("a number is out of range")
    return value


def _time(value: int) -> int:
    if value > MAX_TIME_MS:
        raise FrameError("a time is out of range")
    return value


def _hello(data: bytes) -> Hello:
    _, version, deliver, limit, state_version = _HELLO.unpack(data)
    return Hello(_flag(deliver), limit, _count(state_version), version)


# Thousands of messages are for one channel.
_channel = lru_cache(maxsize=4096)(ChannelId)


def _send(data: bytes) -> Send:
    _, request, channel, message_id, state_version = _SEND.unpack_from(data)
    return Send(
        request,
        _channel(channel),
        MessageId(message_id),
        _count(state_version),
        data[_SEND.size :],
    )


def _accepted(data: bytes) -> Accepted:
    _, request, duplicate, seq, time_ms, digest, index = _ACCEPTED.unpack(data)
    return Accepted(request, _flag(duplicate), Seq(_count(seq)), _time(time_ms), digest, index)


def _refused(data: bytes) -> Refused:
    _, request = _REFUSED.unpack_from(data)
    return Refused(request, Problem.decode(data[_REFUSED.size :]))


def _deliver(data: bytes) -> Deliver:
    _, number, kind, precedence, channel, seq, epoch, time_ms = _DELIVER.unpack_from(data)
    if kind == ItemKind.GAP and len(data) > _DELIVER.size:
        # By its bytes the item would be found in the log, and nobody told that it was not shown.
        raise FrameError("a gap has a payload")
    return Deliver(
        _count(number), ItemKind(kind), Precedence(precedence), ChannelId(channel),
        Seq(_count(seq)), Epoch(_count(epoch)), _time(time_ms), data[_DELIVER.size :],
    )  # fmt: skip


def _number(data: bytes) -> int:
    value: int = _NUMBER.unpack(data)[1]
    return value


def _ready(data: bytes) -> Ready:
    _, time_ms, state_version = _READY.unpack(data)
    return Ready(_time(time_ms), _count(state_version))


_CLIENT: Final[dict[int, Callable[[bytes], ClientFrame]]] = {
    0x01: _hello,
    0x02: _send,
    0x03: lambda data: Ack(_number(data)),
    0x04: lambda data: Credit(_number(data)),
}
_RELAY: Final[dict[int, Callable[[bytes], RelayFrame]]] = {
    0x81: _ready,
    0x82: _accepted,
    0x83: _refused,
    0x84: _deliver,
    0x85: lambda data: CaughtUp(_number(data)),
    0x86: lambda data: Notice(data[1:].decode()),
}
