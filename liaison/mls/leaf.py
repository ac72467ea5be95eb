"""The nodes of a ratchet tree: leaves (one client each) and parents.

Source: RFC 9420 §7.1, §7.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import IntEnum
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto.errors import CryptoError, KeyFormatError
from liaison.crypto.signing import Signer
from liaison.crypto.suites import SUPPORTED, CipherSuite
from liaison.mls.credentials import BASIC, X509, Credential
from liaison.mls.errors import SignatureInvalidError
from liaison.mls.extensions import (
    GREASE_EXTENSION,
    LAST_RESORT,
    Extension,
    read_extensions,
)
from liaison.values import dataclass

MLS10: Final = 1
"""The only protocol version."""

MAX_LEAF: Final = (1 << 16) - 1
"""The highest leaf index that this engine works with.

A blank node costs a stranger one byte and whoever checks the tree two hashes.
"""


class LeafSource(IntEnum):
    """How a leaf node came to be."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a key package may be used: Unix seconds, both ends included."""

    not_before: int
    not_after: int

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.uint64(self.not_before) + codec.uint64(self.not_after)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a lifetime."""
        return cls(reader.uint64(), reader.uint64())


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a client supports, without the default extension and proposal types."""

    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]

    @classmethod
    def default(
        cls, extensions: Iterable[int] = (), credentials: Iterable[int] = (X509, BASIC)
    ) -> Self:
        """Make what this engine supports, with further extension types of the application.

        One value in each list means nothing, so that others get used to ignoring what they
        don't know. Source: RFC 9420 §13.5.
        """
        return cls(
            (MLS10,),
            (*SUPPORTED, 0x1A1A),
            (LAST_RESORT, *extensions, GREASE_EXTENSION),
            (0x3A3A,),
            (*credentials, 0x4A4A),
        )

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        lists = (
            self.versions,
            self.cipher_suites,
            self.extensions,
            self.proposals,
            self.credentials,
        )
        return b"".join([codec.uint16s(values) for values in lists])

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read capabilities; unknown values in them are kept and mean nothing."""
        return cls(
            reader.uint16s(),
            reader.uint16s(),
            reader.uint16s(),
            reader.uint16s(),
            reader.uint16s(),
        )


@dataclass(frozen=True, slots=True)
class LeafNode:
    """A client's appearance in a tree or key package, signed by the client.

    Args:
        encryption_key: HPKE public key.
        signature_key: public key that verifies everything the client sends.
        lifetime: only where `source` is KEY_PACKAGE.
        parent_hash: only where `source` is COMMIT, else empty.
        signature: over all the rest and, where made inside a group, the place in it.
    """

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: LeafSource
    lifetime: Lifetime | None = None
    parent_hash: bytes = b""
    extensions: tuple[Extension, ...] = ()
    signature: bytes = b""

    def _fields(self) -> bytes:
        parts = [
            codec.opaque(self.encryption_key),
            codec.opaque(self.signature_key),
            self.credential.encode(),
            self.capabilities.encode(),
            codec.uint8(self.source),
        ]
        if self.lifetime is not None:
            parts.append(self.lifetime.encode())
        if self.source is LeafSource.COMMIT:
            parts.append(codec.opaque(self.parent_hash))
        parts.append(codec.vector(self.extensions))
        return b"".join(parts)

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return self._fields() + codec.opaque(self.signature)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a leaf node."""
        encryption_key = reader.opaque()
        signature_key = reader.opaque()
        credential = Credential.read(reader)
        capabilities = Capabilities.read(reader)
        source = _source(reader.uint8())
        return cls(
            encryption_key=encryption_key,
            signature_key=signature_key,
            credential=credential,
            capabilities=capabilities,
            source=source,
            lifetime=Lifetime.read(reader) if source is LeafSource.KEY_PACKAGE else None,
            parent_hash=reader.opaque() if source is LeafSource.COMMIT else b"",
            extensions=read_extensions(reader),
            signature=reader.opaque(),
        )

    def _signed_content(self, group_id: bytes, leaf: int) -> bytes:
        content = self._fields()
        if self.source is not LeafSource.KEY_PACKAGE:
            content += codec.opaque(group_id) + codec.uint32(leaf)
        return content

    def signed(self, suite: CipherSuite, signer: Signer, group_id: bytes, leaf: int) -> Self:
        """Give the same leaf with a fresh signature.

        Args:
            suite: the group's or key package's.
            signer: holds the private half of `signature_key`.
            group_id: not part of a KEY_PACKAGE leaf's signature: may be empty there.
            leaf: the leaf's index, likewise.
        """
        content = self._signed_content(group_id, leaf)
        return replace(self, signature=suite.sign_with_label(signer, b"LeafNodeTBS", content))

    def verify_signature(self, suite: CipherSuite, group_id: bytes, leaf: int) -> None:
        """Check the leaf's own signature.

        Raises:
            SignatureInvalidError: it does not hold at this place (VAL-0202).
        """
        content = self._signed_content(group_id, leaf)
        try:
            suite.verify_with_label(self.signature_key, b"LeafNodeTBS", content, self.signature)
        except (CryptoError, KeyFormatError) as error:
            raise SignatureInvalidError(
                "the leaf node's signature does not hold", check="VAL-0202"
            ) from error


def _source(value: int) -> LeafSource:
    try:
        return LeafSource(value)
    except ValueError:
        raise MalformedMessageError(f"leaf node source {value} is not known") from None


@dataclass(frozen=True, slots=True)
class ParentNode:
    """A key that the members below it hold, but for the unmerged leaves.

    Args:
        encryption_key: HPKE public key.
        parent_hash: binds the nodes above; empty at the root.
        unmerged_leaves: leaf indices below that do not hold the key, rising.
    """

    encryption_key: bytes
    parent_hash: bytes = b""
    unmerged_leaves: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return (
            codec.opaque(self.encryption_key)
            + codec.opaque(self.parent_hash)
            + codec.vector_of(codec.uint32, self.unmerged_leaves)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a parent node."""
        return cls(reader.opaque(), reader.opaque(), reader.vector(Reader.uint32))


Node = LeafNode | ParentNode
