"""Receipts: end-to-end messages about a message.

A receipt is a content of kind RECEIPT with one part of its own media type. It
says what happened to the message on one device, or what its reader answered.
That its sender is who it says follows from MLS, not from the receipt.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

from liaison.envelope import cbor
from liaison.envelope.cbor import Item
from liaison.envelope.content import Content, Disposition, Single
from liaison.envelope.errors import ContentError
from liaison.envelope.header import MessageRef
from liaison.errors import LiaisonError
from liaison.model import DeviceId, MessageId
from liaison.values import dataclass

MEDIA_TYPE: Final = "application/vnd.liaison.receipt+cbor"
VERSION: Final = 1
MAX_NOTE: Final = 1000
_MAX_CODE: Final = 100
_MAX_RECEIPT_BYTES: Final = 8192
_MAX_TIME: Final = 253402300799
_V, _DEVICE, _ID, _STATUS, _AT, _ANSWER, _CODE, _NOTE = range(8)
_REQUIRED: Final = frozenset({_V, _DEVICE, _ID, _STATUS, _AT})


class Status(StrEnum):
    """How far a message came on the device that sends the receipt."""

    DELIVERED = "delivered"
    DECRYPTED = "decrypted"
    DISPLAYED = "displayed"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


class Answer(StrEnum):
    """What the reader answers; only with ACKNOWLEDGED.

    Source: the reply codes of MIL-STD-2045-47001 and CPDLC's short answers.
    """

    ROGER = "roger"
    WILL_COMPLY = "will-comply"
    CANNOT_COMPLY = "cannot-comply"
    HAVE_COMPLIED = "have-complied"
    STAND_BY = "stand-by"
    AFFIRM = "affirm"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What happened to a message.

    Args:
        ref: the message; the receipt's header names it too, as `in_reply_to`.
        status: how far it came.
        at: Unix seconds on the device's clock.
        answer: the reader's, with ACKNOWLEDGED only.
        code: why it failed, a stable code, with FAILED only.
        note: for people.
    """

    ref: MessageRef
    status: Status
    at: int
    answer: Answer | None = None
    code: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Check that the fields fit the status.

        Raises:
            ContentError: they do not, or one is out of range.
        """
        if (self.answer is not None) != (self.status is Status.ACKNOWLEDGED):
            raise ContentError("an acknowledgement has an answer, other receipts have none")
        if bool(self.code) != (self.status is Status.FAILED):
            raise ContentError("a failure has a code, other receipts have none")
        if len(self.code) > _MAX_CODE or len(self.note) > MAX_NOTE:
            raise ContentError(f"a receipt's note has at most {MAX_NOTE} characters")
        if not 0 <= self.at <= _MAX_TIME:
            raise ContentError("a receipt's time is out of range")

    def encode(self) -> bytes:
        """Return the receipt's bytes."""
        fields: dict[int | str, Item] = {
            _V: VERSION,
            _DEVICE: str(self.ref.device),
            _ID: self.ref.message_id.value,
            _STATUS: self.status.value,
            _AT: self.at,
        }
        if self.answer is not None:
            fields[_ANSWER] = self.answer.value
        if self.code:
            fields[_CODE] = self.code
        if self.note:
            fields[_NOTE] = self.note
        return cbor.encode(fields)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a receipt.

        Raises:
            ContentError: not a receipt.
        """
        if len(data) > _MAX_RECEIPT_BYTES:
            raise ContentError(f"a receipt has at most {_MAX_RECEIPT_BYTES} bytes")
        try:
            receipt = cls._read(cbor.decode_loosely(data))
        except ContentError:
            raise
        except (LiaisonError, ValueError, TypeError) as error:
            raise ContentError("not a receipt") from error
        if receipt.encode() != data:
            raise ContentError("the receipt is not in its one encoding")
        return receipt

    @classmethod
    def _read(cls, item: Item) -> Self:
        if not isinstance(item, dict) or item.get(_V) != VERSION:
            raise ContentError("not a receipt of a known version")
        if not _REQUIRED <= item.keys() <= _REQUIRED | {_ANSWER, _CODE, _NOTE}:
            raise ContentError("a receipt lacks a field or has an unknown one")
        at, message_id = item[_AT], item[_ID]
        if not isinstance(at, int) or isinstance(at, bool) or not isinstance(message_id, bytes):
            raise ContentError("a receipt's field is of the wrong kind")
        answer = item.get(_ANSWER)
        return cls(
            ref=MessageRef(DeviceId.parse(_text(item[_DEVICE])), MessageId(message_id)),
            status=Status(_text(item[_STATUS])),
            at=at,
            answer=None if answer is None else Answer(_text(answer)),
            code=_text(item.get(_CODE, "")),
            note=_text(item.get(_NOTE, "")),
        )

    def as_part(self) -> Single:
        """Return the part that a receipt's content consists of."""
        return Single(MEDIA_TYPE, self.encode(), Disposition.UNSPECIFIED)

    @classmethod
    def from_content(cls, content: Content) -> Self:
        """Read the receipt that a content of kind RECEIPT consists of.

        Raises:
            ContentError: the content is something else.
        """
        body = content.body
        if not isinstance(body, Single) or body.media_type != MEDIA_TYPE:
            raise ContentError("a receipt's content is not a receipt")
        return cls.decode(body.data)


def _text(item: Item) -> str:
    if not isinstance(item, str):
        raise ContentError("a receipt's field is not text")
    return item
