"""Reads the header of a message and nothing more: what a relay needs to sort it.

Nothing is verified here and the body is not decoded; only that the whole has
the outer form of one message.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from liaison.codec import Reader
from liaison.mls.errors import WrongWireFormatError
from liaison.mls.framing import (
    ContentType,
    Sender,
    WireFormat,
    read_content_type,
    read_header,
)
from liaison.mls.leaf import MLS10


class Header(NamedTuple):
    """What a message says about itself, unverified.

    Args:
        sender: None in a PrivateMessage, where it is encrypted.
    """

    wire_format: WireFormat
    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    sender: Sender | None


_PRIVATE: Final = MLS10.to_bytes(2) + WireFormat.PRIVATE_MESSAGE.to_bytes(2)
_GROUP: Final = 5
"""Where the group's id begins: after the version, the wire format and a length of one byte."""
_FIXED: Final = 9
"""Bytes of the epoch and the content type, which follow it."""
_ONE: Final = 0x40
"""Lengths below it are of one byte; those of two begin with a byte below the next."""
_TWO: Final = 0x80
_KINDS: Final = {kind.value: kind for kind in ContentType}


def _private(message: bytes) -> Header | None:
    """Read a PrivateMessage whose lengths are of one byte or two, as nearly all are.

    Returns None for everything else, and where something is wrong: `parse_header` says what.
    """
    end = len(message)
    if message[:4] != _PRIVATE or end < _GROUP or message[4] >= _ONE:
        return None
    at = _GROUP + message[4]
    begin = at + _FIXED
    data = b""
    # The authenticated data, the encrypted sender, the ciphertext.
    for part in range(3):
        if begin + 2 > end:
            return None
        size = message[begin]
        begin += 1
        if size >= _ONE:
            if size >= _TWO:
                return None
            size = (size & 0x3F) << 8 | message[begin]
            begin += 1
            if size < _ONE:
                return None
        if part == 0:
            data = message[begin : begin + size]
        begin += size
    kind = _KINDS.get(message[at + _FIXED - 1])
    if begin != end or kind is None:
        return None
    epoch = int.from_bytes(message[at : at + _FIXED - 1])
    return Header(WireFormat.PRIVATE_MESSAGE, message[_GROUP:at], epoch, kind, data, None)


def parse_header(message: bytes) -> Header:
    """Read the header of a PublicMessage or PrivateMessage.

    Raises:
        MalformedMessageError: not an MLSMessage, or (for a PrivateMessage) trailing bytes.
        WrongWireFormatError: a message of another kind.
    """
    found = _private(message)
    if found is not None:
        return found
    reader = Reader(message)
    wire_format = read_header(reader)
    if wire_format is WireFormat.PRIVATE_MESSAGE:
        group_id, epoch = reader.opaque(), reader.uint64()
        kind = read_content_type(reader)
        data = reader.opaque()
        reader.take(reader.length_header())
        reader.take(reader.length_header())
        reader.end()
        return Header(wire_format, group_id, epoch, kind, data, None)
    if wire_format is WireFormat.PUBLIC_MESSAGE:
        group_id, epoch = reader.opaque(), reader.uint64()
        sender = Sender.read(reader)
        data = reader.opaque()
        return Header(wire_format, group_id, epoch, read_content_type(reader), data, sender)
    raise WrongWireFormatError("the message is not framed content")
