"""How content is framed and signed: FramedContent, PublicMessage, PrivateMessage, MLSMessage.

Signing and verifying happen here; membership tags and encryption need the
secrets of an epoch and are in `liaison.mls.protection`.

Source: RFC 9420 §6.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto.errors import CryptoError, KeyFormatError
from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls.errors import SignatureInvalidError, WrongWireFormatError
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import MLS10
from liaison.mls.messages import Commit, GroupInfo, Welcome
from liaison.mls.proposals import Proposal, encode_proposal, read_proposal
from liaison.values import dataclass


class WireFormat(IntEnum):
    """The kinds of MLSMessage."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


class ContentType(IntEnum):
    """The kinds of content."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


class SenderKind(IntEnum):
    """What stands a sender in relation to the group."""

    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


INDEXED: Final = frozenset({SenderKind.MEMBER, SenderKind.EXTERNAL})


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message.

    Args:
        kind: member, external sender, or someone who is joining.
        index: leaf index of a member, place in external_senders of an external sender, else 0.
    """

    kind: SenderKind
    index: int = 0

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        head = codec.uint8(self.kind)
        return head + codec.uint32(self.index) if self.kind in INDEXED else head

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a sender."""
        value = reader.uint8()
        try:
            kind = SenderKind(value)
        except ValueError:
            raise MalformedMessageError(f"sender type {value} is not known") from None
        return cls(kind, reader.uint32() if kind in INDEXED else 0)


Content = bytes | Proposal | Commit
"""Application data, a proposal or a commit."""


def content_type_of(content: Content) -> ContentType:
    """Tell which kind of content this is."""
    if isinstance(content, bytes):
        return ContentType.APPLICATION
    return ContentType.COMMIT if isinstance(content, Commit) else ContentType.PROPOSAL


def encode_content(content: Content) -> bytes:
    """Encode the content without its type."""
    if isinstance(content, bytes):
        return codec.opaque(content)
    return content.encode() if isinstance(content, Commit) else encode_proposal(content)


def read_content_type(reader: Reader) -> ContentType:
    """Read a content type."""
    value = reader.uint8()
    try:
        return ContentType(value)
    except ValueError:
        raise MalformedMessageError(f"content type {value} is not known") from None


def read_content(kind: ContentType, reader: Reader) -> Content:
    """Read content of a known type."""
    if kind is ContentType.APPLICATION:
        return reader.opaque()
    return Commit.read(reader) if kind is ContentType.COMMIT else read_proposal(reader)


@dataclass(frozen=True, slots=True)
class FramedContent:
    """Content and where it belongs."""

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    content: Content

    @property
    def content_type(self) -> ContentType:
        """The kind of content."""
        return content_type_of(self.content)

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return (
            codec.opaque(self.group_id)
            + codec.uint64(self.epoch)
            + self.sender.encode()
            + codec.opaque(self.authenticated_data)
            + codec.uint8(self.content_type)
            + encode_content(self.content)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read framed content."""
        return cls(
            reader.opaque(),
            reader.uint64(),
            Sender.read(reader),
            reader.opaque(),
            read_content(read_content_type(reader), reader),
        )


@dataclass(frozen=True, slots=True)
class AuthenticatedContent:
    """Framed content with its signature and, on a commit, the confirmation tag.

    Source: RFC 9420 §6.1.
    """

    wire_format: WireFormat
    framed: FramedContent
    signature: bytes
    confirmation_tag: bytes | None = None

    def encode_auth(self) -> bytes:
        """Encode the FramedContentAuthData."""
        tag = b"" if self.confirmation_tag is None else codec.opaque(self.confirmation_tag)
        return codec.opaque(self.signature) + tag

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.uint16(self.wire_format) + self.framed.encode() + self.encode_auth()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read authenticated content."""
        wire_format = read_wire_format(reader)
        framed = FramedContent.read(reader)
        return cls(wire_format, framed, *read_auth(framed.content_type, reader))

    def ref(self, suite: CipherSuite) -> bytes:
        """Give the reference that a commit names this proposal by.

        Source: RFC 9420 §5.2.
        """
        return suite.ref_hash(b"MLS 1.0 Proposal Reference", self.encode())


def read_auth(kind: ContentType, reader: Reader) -> tuple[bytes, bytes | None]:
    """Read the FramedContentAuthData: signature and, for a commit, confirmation tag."""
    signature = reader.opaque()
    return signature, (reader.opaque() if kind is ContentType.COMMIT else None)


def read_wire_format(reader: Reader) -> WireFormat:
    """Read a wire format."""
    value = reader.uint16()
    try:
        return WireFormat(value)
    except ValueError:
        raise MalformedMessageError(f"wire format {value} is not known") from None


def signed_content(wire_format: WireFormat, framed: FramedContent, context: bytes) -> bytes:
    """Encode the FramedContentTBS.

    Args:
        context: the encoded group context of the message's epoch; left out for senders
            that can't know it.

    Source: RFC 9420 §6.1.
    """
    content = codec.uint16(MLS10) + codec.uint16(wire_format) + framed.encode()
    if framed.sender.kind in {SenderKind.MEMBER, SenderKind.NEW_MEMBER_COMMIT}:
        content += context
    return content


def sign(
    suite: CipherSuite,
    signer: Signer,
    wire_format: WireFormat,
    framed: FramedContent,
    context: bytes,
) -> AuthenticatedContent:
    """Sign framed content; a commit's confirmation tag is added later.

    Source: RFC 9420 §6.1.
    """
    content = signed_content(wire_format, framed, context)
    signature = suite.sign_with_label(signer, b"FramedContentTBS", content)
    return AuthenticatedContent(wire_format, framed, signature)


def verify(
    suite: CipherSuite, signature_key: bytes, message: AuthenticatedContent, context: bytes
) -> None:
    """Check a message's signature with the key that belongs to its sender.

    Raises:
        SignatureInvalidError: it does not hold.

    Source: RFC 9420 §6.1. Check: VAL-0101.
    """
    content = signed_content(message.wire_format, message.framed, context)
    try:
        suite.verify_with_label(signature_key, b"FramedContentTBS", content, message.signature)
    except (CryptoError, KeyFormatError) as error:
        raise SignatureInvalidError(
            "the message's signature does not hold", check="VAL-0101"
        ) from error


@dataclass(frozen=True, slots=True)
class PublicMessage:
    """A signed message that everyone can read.

    Source: RFC 9420 §6.2.
    """

    authenticated: AuthenticatedContent
    membership_tag: bytes | None = None

    @property
    def framed(self) -> FramedContent:
        """The content and where it belongs."""
        return self.authenticated.framed

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        tag = b"" if self.membership_tag is None else codec.opaque(self.membership_tag)
        return self.framed.encode() + self.authenticated.encode_auth() + tag

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a public message."""
        framed = FramedContent.read(reader)
        signature, confirmation_tag = read_auth(framed.content_type, reader)
        member = framed.sender.kind is SenderKind.MEMBER
        return cls(
            AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, framed, signature, confirmation_tag),
            reader.opaque() if member else None,
        )


@dataclass(frozen=True, slots=True)
class PrivateMessage:
    """A signed and encrypted message.

    Source: RFC 9420 §6.3.
    """

    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return (
            codec.opaque(self.group_id)
            + codec.uint64(self.epoch)
            + codec.uint8(self.content_type)
            + codec.opaque(self.authenticated_data)
            + codec.opaque(self.encrypted_sender_data)
            + codec.opaque(self.ciphertext)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a private message."""
        return cls(
            reader.opaque(),
            reader.uint64(),
            read_content_type(reader),
            reader.opaque(),
            reader.opaque(),
            reader.opaque(),
        )


Body = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage

_READERS: Final[dict[WireFormat, Callable[[Reader], Body]]] = {
    WireFormat.PUBLIC_MESSAGE: PublicMessage.read,
    WireFormat.PRIVATE_MESSAGE: PrivateMessage.read,
    WireFormat.WELCOME: Welcome.read,
    WireFormat.GROUP_INFO: GroupInfo.read,
    WireFormat.KEY_PACKAGE: KeyPackage.read,
}
_FORMATS: Final[dict[type[Body], WireFormat]] = {
    PublicMessage: WireFormat.PUBLIC_MESSAGE,
    PrivateMessage: WireFormat.PRIVATE_MESSAGE,
    Welcome: WireFormat.WELCOME,
    GroupInfo: WireFormat.GROUP_INFO,
    KeyPackage: WireFormat.KEY_PACKAGE,
}


def encode_message(body: Body) -> bytes:
    """Encode as an MLSMessage.

    Source: RFC 9420 §6.
    """
    return codec.uint16(MLS10) + codec.uint16(_FORMATS[type(body)]) + body.encode()


def read_header(reader: Reader) -> WireFormat:
    """Read version and wire format, the first four bytes of an MLSMessage."""
    version = reader.uint16()
    if version != MLS10:
        raise MalformedMessageError(f"protocol version {version} is not known")
    return read_wire_format(reader)


def decode_message(data: bytes) -> Body:
    """Decode an MLSMessage.

    Raises:
        MalformedMessageError: another form, an unknown version, or trailing bytes.
    """
    return codec.decode(lambda reader: _READERS[read_header(reader)](reader), data)


def decode_welcome(data: bytes) -> Welcome:
    """Decode an MLSMessage that must be a Welcome."""
    body = decode_message(data)
    if not isinstance(body, Welcome):
        raise WrongWireFormatError("the message is not a Welcome")
    return body


def decode_group_info(data: bytes) -> GroupInfo:
    """Decode an MLSMessage that must be a GroupInfo."""
    body = decode_message(data)
    if not isinstance(body, GroupInfo):
        raise WrongWireFormatError("the message is not a GroupInfo")
    return body
