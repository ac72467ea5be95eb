"""The message content: the plaintext, in the MIMI content format.

A CBOR array of salt, references, extensions and a tree of parts. Parts have a
disposition (what to do with them) and a language. Only members see any of it.
Sizes are bounded here; what a channel allows is in its policy.

Source: draft-ietf-mimi-content-08.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from liaison.crypto import kdf
from liaison.envelope import cbor
from liaison.envelope.cbor import Item
from liaison.envelope.errors import ContentError, ContentTooLargeError
from liaison.errors import LiaisonError
from liaison.values import dataclass

SALT_BYTES: Final = 16
MIMI_ID_BYTES: Final = 32
MAX_CONTENT_BYTES: Final = 4 * 1024 * 1024
MAX_PARTS: Final = 100
"""Parts in one message, over all levels."""
MAX_PART_DEPTH: Final = 4
MAX_EXTENSIONS: Final = 32
_MAX_EXTENSION_BYTES: Final = 4095
_MAX_NAME: Final = 255
_MAX_TEXT: Final = 4000
_SHA256: Final = 1  # IANA Named Information Hash Algorithm registry

SENDER_URI: Final = 1
ROOM_URI: Final = 2
LABEL: Final = -1
"""Private extension: the full label whose salted digest is in the header."""
SUBJECT: Final = -2
"""Private extension: the subject line."""

TEXT_PLAIN: Final = "text/plain;charset=utf-8"
TEXT_MARKDOWN: Final = "text/markdown;charset=utf-8"


class Disposition(IntEnum):
    """What a reader does with a part. Unknown ones are read as UNSPECIFIED."""

    UNSPECIFIED = 0
    RENDER = 1
    REACTION = 2
    PROFILE = 3
    INLINE = 4
    ICON = 5
    ATTACHMENT = 6
    SESSION = 7
    PREVIEW = 8


class Semantics(IntEnum):
    """How the parts of a multipart belong together."""

    CHOOSE_ONE = 0
    SINGLE_UNIT = 1
    PROCESS_ALL = 2


_NULL, _SINGLE, _EXTERNAL, _MULTI = range(4)


@dataclass(frozen=True, slots=True)
class Null:
    """No body, as in a deletion."""

    disposition: Disposition = Disposition.UNSPECIFIED
    language: str = ""


@dataclass(frozen=True, slots=True)
class Single:
    """A part whose bytes are in the message."""

    media_type: str
    data: bytes
    disposition: Disposition = Disposition.RENDER
    language: str = ""

    @property
    def text(self) -> str | None:
        """The text of a `text/*` part; None for other parts and for what is not UTF-8."""
        if not self.media_type.startswith("text/"):
            return None
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class External:
    """A part that is elsewhere, usually encrypted under a key that is here.

    Args:
        size: bytes at `url`, which is the ciphertext where `algorithm` is not 0.
        algorithm: IANA AEAD number; 0 where the part is not encrypted.
        digest: SHA-256 of the bytes at `url`.
        expires: Unix seconds; 0 for never.
    """

    media_type: str
    url: str
    size: int
    algorithm: int
    key: bytes = field(repr=False)
    nonce: bytes
    aad: bytes
    digest: bytes
    description: str = ""
    filename: str = ""
    expires: int = 0
    disposition: Disposition = Disposition.ATTACHMENT
    language: str = ""


@dataclass(frozen=True, slots=True)
class Multi:
    """Two parts or more."""

    semantics: Semantics
    parts: tuple[Part, ...]
    disposition: Disposition = Disposition.RENDER
    language: str = ""


Part: TypeAlias = Null | Single | External | Multi


@dataclass(frozen=True, slots=True)
class Expiration:
    """When the reader's program forgets the message: at a Unix time, or so long after reading."""

    relative: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says.

    Args:
        salt: 16 random bytes, fresh for each message.
        body: the part, or the tree of parts.
        topic: groups messages; empty for none.
        replaces: MIMI id of the message that this one edits or deletes.
        expires: see `Expiration`.
        in_reply_to: MIMI id.
        extensions: by integer or text key.
    """

    salt: bytes = field(repr=False)
    body: Part
    topic: bytes = b""
    replaces: bytes | None = None
    expires: Expiration | None = None
    in_reply_to: bytes | None = None
    extensions: Mapping[int | str, Item] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the plaintext to encrypt.

        Raises:
            ContentError: a value has no place in the format.
            ContentTooLargeError: more bytes or parts than a message may have.
        """
        try:
            data = cbor.encode(self._item())
        except LiaisonError as error:
            raise ContentError(f"the content can't be written: {error.message}") from error
        # What others would refuse is refused here first.
        self.decode(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a plaintext.

        Raises:
            ContentError: not such a content.
            ContentTooLargeError: more bytes or parts than a message may have.
        """
        if len(data) > MAX_CONTENT_BYTES:
            raise ContentTooLargeError(f"a message has at most {MAX_CONTENT_BYTES} bytes")
        try:
            item = cbor.decode(data)
        except LiaisonError as error:
            raise ContentError(f"the content is malformed: {error.message}") from error
        salt, replaces, topic, expires, in_reply_to, extensions, body = _array(item, 7)
        return cls(
            salt=_octets(salt, SALT_BYTES),
            body=_PartReader().read(body, MAX_PART_DEPTH),
            topic=_octets(topic),
            replaces=None if replaces is None else _octets(replaces, MIMI_ID_BYTES),
            expires=None if expires is None else _expiration(expires),
            in_reply_to=None if in_reply_to is None else _octets(in_reply_to, MIMI_ID_BYTES),
            extensions=_extensions(extensions),
        )

    def parts(self) -> tuple[Part, ...]:
        """Return every part that is not a multipart, depth first."""
        return tuple(_leaves(self.body))

    def _item(self) -> Item:
        expires: Item = None
        if self.expires is not None:
            expires = [self.expires.relative, self.expires.seconds]
        return [
            self.salt,
            self.replaces,
            self.topic,
            expires,
            self.in_reply_to,
            dict(self.extensions),
            _part_item(self.body),
        ]


def text(message: str, *, language: str = "", media_type: str = TEXT_PLAIN) -> Single:
    """Return a part with text to show.

    Raises:
        ContentError: the text is not Unicode, such as what a terminal in another encoding gives.
    """
    try:
        data = message.encode()
    except UnicodeEncodeError as error:
        raise ContentError("the text has characters that are not Unicode") from error
    return Single(media_type, data, Disposition.RENDER, language)


def message_id(sender_uri: str, room_uri: str, content: bytes, salt: bytes) -> bytes:
    """Return the MIMI id of a message, 32 bytes.

    Args:
        sender_uri: of the sending device, from its leaf.
        room_uri: of the channel.
        content: the plaintext as it was encrypted.
        salt: the content's own.

    Source: draft-ietf-mimi-content-08, "Message ID".
    """
    sender, room = sender_uri.encode(), room_uri.encode()
    hashed = kdf.sha256(
        len(sender).to_bytes(2, "big")
        + sender
        + len(room).to_bytes(2, "big")
        + room
        + content
        + salt
    )
    return bytes([_SHA256]) + hashed[: MIMI_ID_BYTES - 1]


def _leaves(part: Part) -> list[Part]:
    if isinstance(part, Multi):
        return [leaf for child in part.parts for leaf in _leaves(child)]
    return [part]


def _part_item(part: Part) -> list[Item]:
    head: list[Item] = [int(part.disposition), part.language]
    match part:
        case Null():
            return [*head, _NULL]
        case Single():
            return [*head, _SINGLE, part.media_type, part.data]
        case Multi():
            return [*head, _MULTI, int(part.semantics), [_part_item(p) for p in part.parts]]
        case External():
            return [
                *head,
                _EXTERNAL,
                part.media_type,
                part.url,
                part.expires,
                part.size,
                part.algorithm,
                part.key,
                part.nonce,
                part.aad,
                _SHA256,
                part.digest,
                part.description,
                part.filename,
            ]


class _PartReader:
    """Counts parts while it reads them: a tree may be wide at every level."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, item: Item, depth: int) -> Part:
        self._count += 1
        if self._count > MAX_PARTS or depth == 0:
            raise ContentTooLargeError(
                f"a message has at most {MAX_PARTS} parts on {MAX_PART_DEPTH} levels"
            )
        if not isinstance(item, list) or len(item) < 3:
            raise ContentError("a part is not a list")
        disposition, language = _disposition(item[0]), _text(item[1], 100)
        match item[2]:
            case 0:
                _array(item, 3)
                return Null(disposition, language)
            case 1:
                _, _, _, media_type, data = _array(item, 5)
                return Single(_text(media_type), _octets(data), disposition, language)
            case 2:
                return _external(_array(item, 15), disposition, language)
            case 3:
                _, _, _, semantics, parts = _array(item, 5)
                if not isinstance(parts, list) or len(parts) < 2:
                    raise ContentError("a multipart has at least two parts")
                children = tuple(self.read(part, depth - 1) for part in parts)
                return Multi(_semantics(semantics), children, disposition, language)
            case _:
                raise ContentError("a part is of an unknown form")


def _external(item: list[Item], disposition: Disposition, language: str) -> External:
    if item[11] != _SHA256:
        raise ContentError("an external part's hash is not SHA-256")
    return External(
        media_type=_text(item[3]),
        url=_text(item[4]),
        expires=_uint(item[5], 2**32 - 1),
        size=_uint(item[6], 2**64 - 1),
        algorithm=_uint(item[7], 2**16 - 1),
        key=_octets(item[8]),
        nonce=_octets(item[9]),
        aad=_octets(item[10]),
        digest=_octets(item[12], 32),
        description=_text(item[13], _MAX_TEXT),
        filename=_text(item[14], _MAX_TEXT),
        disposition=disposition,
        language=language,
    )


def _expiration(item: Item) -> Expiration:
    relative, seconds = _array(item, 2)
    if not isinstance(relative, bool):
        raise ContentError("an expiry does not say whether it is relative")
    return Expiration(relative, _uint(seconds, 2**32 - 1))


def _extensions(item: Item) -> Mapping[int | str, Item]:
    if not isinstance(item, dict) or len(item) > MAX_EXTENSIONS:
        raise ContentError(f"extensions are a map of at most {MAX_EXTENSIONS}")
    for key, value in item.items():
        if isinstance(key, str) and not 1 <= len(key.encode()) <= _MAX_NAME:
            raise ContentError(f"an extension's name has 1 to {_MAX_NAME} bytes")
        if len(cbor.encode(value)) > _MAX_EXTENSION_BYTES:
            raise ContentError(f"an extension has at most {_MAX_EXTENSION_BYTES} bytes")
    return MappingProxyType(item)


def _disposition(item: Item) -> Disposition:
    number = _uint(item, 255)
    known = number in Disposition.__members__.values()
    return Disposition(number) if known else Disposition.UNSPECIFIED


def _semantics(item: Item) -> Semantics:
    try:
        return Semantics(_uint(item, 255))
    except ValueError as error:
        raise ContentError("a multipart is of an unknown kind") from error


def _array(item: Item, length: int) -> list[Item]:
    if not isinstance(item, list) or len(item) != length:
        raise ContentError(f"not a list of {length}")
    return item


def _octets(item: Item, length: int | None = None) -> bytes:
    if not isinstance(item, bytes) or (length is not None and len(item) != length):
        raise ContentError("not a byte string of the right length")
    return item


def _text(item: Item, most: int = 1000) -> str:
    if not isinstance(item, str) or len(item) > most:
        raise ContentError(f"not a text of at most {most} characters")
    return item


def _uint(item: Item, most: int) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item <= most:
        raise ContentError("not a number in range")
    return item
