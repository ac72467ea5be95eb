"""The structures that commits, Welcomes and GroupInfos are made of; nothing secret.

Source: RFC 9420 §7.6, §8.1, §12.4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto.errors import CryptoError, KeyFormatError
from liaison.crypto.signing import Signer
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls.errors import SignatureInvalidError
from liaison.mls.extensions import Extension, read_extensions
from liaison.mls.leaf import MLS10, LeafNode
from liaison.mls.proposals import ProposalOrRef, encode_proposal_or_ref, read_proposal_or_ref
from liaison.values import dataclass

MAX_EPOCH: Final = (1 << 64) - 1
"""The highest number of an epoch: the last that a message can name."""


@dataclass(frozen=True, slots=True)
class GroupContext:
    """What all members of an epoch agree on.

    Source: RFC 9420 §8.1.
    """

    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: tuple[Extension, ...] = ()
    version: int = MLS10

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return (
            codec.uint16(self.version)
            + codec.uint16(self.cipher_suite)
            + codec.opaque(self.group_id)
            + codec.uint64(self.epoch)
            + codec.opaque(self.tree_hash)
            + codec.opaque(self.confirmed_transcript_hash)
            + codec.vector(self.extensions)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a group context."""
        version = reader.uint16()
        if version != MLS10:
            raise MalformedMessageError(f"protocol version {version} is not known")
        return cls(
            cipher_suite=reader.uint16(),
            group_id=reader.opaque(),
            epoch=reader.uint64(),
            tree_hash=reader.opaque(),
            confirmed_transcript_hash=reader.opaque(),
            extensions=read_extensions(reader),
        )


@dataclass(frozen=True, slots=True)
class HPKECiphertext:
    """Something encrypted to one public key."""

    kem_output: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.opaque(self.kem_output) + codec.opaque(self.ciphertext)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a ciphertext."""
        return cls(reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True)
class UpdatePathNode:
    """One new parent key, and its path secret for those below the other child."""

    encryption_key: bytes
    secrets: tuple[HPKECiphertext, ...]

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.opaque(self.encryption_key) + codec.vector(self.secrets)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a node."""
        return cls(reader.opaque(), reader.vector(HPKECiphertext.read))


@dataclass(frozen=True, slots=True)
class UpdatePath:
    """The committer's new leaf and the new keys on its filtered direct path, lowest first."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return self.leaf_node.encode() + codec.vector(self.nodes)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a path."""
        return cls(LeafNode.read(reader), reader.vector(UpdatePathNode.read))


@dataclass(frozen=True, slots=True)
class Commit:
    """Starts a new epoch: the proposals that take effect, and fresh keys of the committer."""

    proposals: tuple[ProposalOrRef, ...]
    path: UpdatePath | None

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.vector_of(encode_proposal_or_ref, self.proposals) + codec.optional(self.path)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a commit."""
        return cls(reader.vector(read_proposal_or_ref), reader.optional(UpdatePath.read))


@dataclass(frozen=True, slots=True)
class EncryptedGroupSecrets:
    """The secrets of one new member, encrypted to its key package."""

    new_member: bytes
    encrypted: HPKECiphertext

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return codec.opaque(self.new_member) + self.encrypted.encode()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read one entry."""
        return cls(reader.opaque(), HPKECiphertext.read(reader))


@dataclass(frozen=True, slots=True)
class Welcome:
    """Brings new members into the epoch that a commit began.

    Source: RFC 9420 §12.4.3.1.
    """

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return (
            codec.uint16(self.cipher_suite)
            + codec.vector(self.secrets)
            + codec.opaque(self.encrypted_group_info)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a Welcome."""
        return cls(reader.uint16(), reader.vector(EncryptedGroupSecrets.read), reader.opaque())


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """The public state of an epoch, signed by one member.

    Source: RFC 9420 §12.4.3.
    """

    context: GroupContext
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: int
    signature: bytes = b""

    def _fields(self) -> bytes:
        return (
            self.context.encode()
            + codec.vector(self.extensions)
            + codec.opaque(self.confirmation_tag)
            + codec.uint32(self.signer)
        )

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        return self._fields() + codec.opaque(self.signature)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a GroupInfo."""
        return cls(
            GroupContext.read(reader),
            read_extensions(reader),
            reader.opaque(),
            reader.uint32(),
            reader.opaque(),
        )

    def signed(self, suite: CipherSuite, signer: Signer) -> Self:
        """Give the same GroupInfo with a fresh signature."""
        signature = suite.sign_with_label(signer, b"GroupInfoTBS", self._fields())
        return replace(self, signature=signature)

    def verify_signature(self, suite: CipherSuite, signature_key: bytes) -> None:
        """Check the signature; the caller takes the key from the leaf that `signer` names.

        Raises:
            SignatureInvalidError: it does not hold (VAL-0801).
        """
        try:
            suite.verify_with_label(signature_key, b"GroupInfoTBS", self._fields(), self.signature)
        except (CryptoError, KeyFormatError) as error:
            raise SignatureInvalidError(
                "the GroupInfo's signature does not hold", check="VAL-0801"
            ) from error

    @property
    def external_pub(self) -> bytes | None:
        """The public key for external commits, if it is offered."""
        data = ext.find(self.extensions, ext.EXTERNAL_PUB)
        return None if data is None else codec.decode(Reader.opaque, data)
