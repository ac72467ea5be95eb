"""Reads the header of a message and nothing more: what a relay needs to sort it.

Nothing is verified here and the body is not decoded; only that the whole has
the outer form of one message.
"""

from __future__ import annotations

from dataclasses import dataclass

from liaison.codec import Reader
from liaison.mls.errors import WrongWireFormatError
from liaison.mls.framing import (
    ContentType,
    Sender,
    WireFormat,
    read_content_type,
    read_header,
)


@dataclass(frozen=True, slots=True)
class Header:
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


def parse_header(message: bytes) -> Header:
    """Read the header of a PublicMessage or PrivateMessage.

    Raises:
        MalformedMessageError: not an MLSMessage, or (for a PrivateMessage) trailing bytes.
        WrongWireFormatError: a message of another kind.
    """
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
