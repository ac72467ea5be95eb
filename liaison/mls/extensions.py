"""Extensions: typed opaque bytes, and the few types that the engine understands.

Types outside RFC 9420 are carried and never looked into. Default types need no
mention in capabilities; every other extension of a group must be supported by
all of its members.

Source: RFC 9420 §7.2, §11.1, §12.1.8.1, §13.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.mls.credentials import Credential
from liaison.values import dataclass

APPLICATION_ID: Final = 0x0001
RATCHET_TREE: Final = 0x0002
REQUIRED_CAPABILITIES: Final = 0x0003
EXTERNAL_PUB: Final = 0x0004
EXTERNAL_SENDERS: Final = 0x0005
LAST_RESORT: Final = 0x000A
"""Marks a key package that may be used more than once (draft-ietf-mls-extensions)."""

DEFAULT_TYPES: Final = frozenset({1, 2, 3, 4, 5})
"""Extension types that every client supports and no capabilities list."""

GREASE: Final = frozenset(0x0A0A + 0x1010 * k for k in range(15))
"""Values that mean nothing and must be ignored where unknown values are (§13.5)."""

GREASE_EXTENSION: Final = 0x2A2A
"""The one of them that stands in our own key packages and GroupInfos."""


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: its type and its bytes."""

    type: int
    data: bytes

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.uint16(self.type) + codec.opaque(self.data)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read one extension."""
        return cls(reader.uint16(), reader.opaque())


def read_extensions(reader: Reader) -> tuple[Extension, ...]:
    """Read `Extension extensions<V>`, no type twice.

    Source: RFC 9420 §13.4 (a list has no two extensions of one type).
    """
    found = reader.vector(Extension.read)
    if len({extension.type for extension in found}) != len(found):
        raise MalformedMessageError("an extension type stands twice in one list")
    return found


def find(extensions: Iterable[Extension], extension_type: int) -> bytes | None:
    """Give the bytes of the extension of a type, or None."""
    for extension in extensions:
        if extension.type == extension_type:
            return extension.data
    return None


def _types(values: Sequence[int]) -> bytes:
    return codec.uint16s(values)


@dataclass(frozen=True, slots=True)
class RequiredCapabilities:
    """What every member of a group must support.

    Source: RFC 9420 §11.1.
    """

    extensions: tuple[int, ...] = ()
    proposals: tuple[int, ...] = ()
    credentials: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return _types(self.extensions) + _types(self.proposals) + _types(self.credentials)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the body of the extension."""
        return cls(reader.uint16s(), reader.uint16s(), reader.uint16s())


def required_capabilities(extensions: Iterable[Extension]) -> RequiredCapabilities:
    """Give what a list of group context extensions requires; nothing if it does not say."""
    data = find(extensions, REQUIRED_CAPABILITIES)
    return RequiredCapabilities() if data is None else codec.decode(RequiredCapabilities.read, data)


def required_capabilities_extension(
    extension_types: Iterable[int] = (),
    proposal_types: Iterable[int] = (),
    credential_types: Iterable[int] = (),
) -> Extension:
    """Make the extension that requires support of these types."""
    required = RequiredCapabilities(
        tuple(extension_types), tuple(proposal_types), tuple(credential_types)
    )
    return Extension(REQUIRED_CAPABILITIES, required.encode())


@dataclass(frozen=True, slots=True)
class ExternalSender:
    """Someone outside the group who may send proposals to it.

    Source: RFC 9420 §12.1.8.1.
    """

    signature_key: bytes
    credential: Credential

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.opaque(self.signature_key) + self.credential.encode()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read one sender."""
        return cls(reader.opaque(), Credential.read(reader))


def external_senders(extensions: Iterable[Extension]) -> tuple[ExternalSender, ...]:
    """Give the external senders that a list of group context extensions names."""
    data = find(extensions, EXTERNAL_SENDERS)
    if data is None:
        return ()
    return codec.decode(lambda reader: reader.vector(ExternalSender.read), data)


def external_senders_extension(senders: Iterable[ExternalSender]) -> Extension:
    """Make the extension that admits these external senders."""
    return Extension(EXTERNAL_SENDERS, codec.vector(senders))
