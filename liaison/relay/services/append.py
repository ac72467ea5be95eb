"""A message on its way to the writer: what it says of itself, read before it waits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import ContentType, WireFormat
from liaison.model import Precedence
from liaison.policy.evaluate import Released
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import MessageInvalidError
from liaison.relay.work import Operation
from liaison.values import dataclass
from liaison.wire import frames

if TYPE_CHECKING:
    from liaison.relay.services.accepting import Appends


@dataclass
class Append(Operation[frames.Accepted]):
    """One message that waits to be judged and stored."""

    together: Appends
    caller: DeviceCaller
    send: frames.Send
    group_id: bytes
    epoch: int
    header: Header
    digest: bytes
    precedence: int
    is_urgent: bool
    size: int
    released: tuple[Released, ...] | LiaisonError = ()
    """Who has signed the release, or why the signatures do not hold."""
    under: int = 0
    """The version of the agreement whose roots the signatures were verified by."""

    def batch(self) -> Appends:
        """Messages are stored together."""
        return self.together


def read(caller: DeviceCaller, send: frames.Send, appends: Appends) -> Append:
    """Read what a message says of itself.

    Raises:
        MessageInvalidError: it is not an application message with a readable
            header, or its id is not the frame's.
    """
    try:
        outer = peek.parse_header(send.payload)
        header = Header.decode(outer.authenticated_data)
    except LiaisonError as error:
        raise MessageInvalidError(error.message, unchanged="nothing was stored") from error
    if outer.wire_format is not WireFormat.PRIVATE_MESSAGE:
        raise MessageInvalidError("handshakes do not come as messages")
    if outer.content_type is not ContentType.APPLICATION:
        raise MessageInvalidError("this is not an application message")
    if header.message_id.value != send.message_id.value:
        raise MessageInvalidError("the frame and the message's header give different ids")
    if send.state_version >= 1 << 63:
        raise MessageInvalidError("the state version is not a number that a client can reach")
    return Append(
        together=appends,
        caller=caller,
        send=send,
        group_id=outer.group_id,
        epoch=outer.epoch,
        header=header,
        digest=hashlib.sha256(send.payload).digest(),
        precedence=header.action,
        is_urgent=header.action >= Precedence.FLASH,
        size=len(send.payload),
    )
