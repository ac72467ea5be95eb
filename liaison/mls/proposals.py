"""The proposals: what may change in a group from one epoch to the next.

Each class is one proposal type; a proposal's own rules are in
`liaison.mls.validation`, what it does to the tree in `liaison.mls.evolution`.

Source: RFC 9420 §12.1, §8.4, §12.4.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.mls.extensions import Extension, read_extensions
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import LeafNode
from liaison.values import dataclass


class ProposalType(IntEnum):
    """The default proposal types."""

    ADD = 1
    UPDATE = 2
    REMOVE = 3
    PSK = 4
    REINIT = 5
    EXTERNAL_INIT = 6
    GROUP_CONTEXT_EXTENSIONS = 7


DEFAULT_TYPES: Final = frozenset(ProposalType)
EXTERNAL_SENDER_TYPES: Final = frozenset(
    {
        ProposalType.ADD,
        ProposalType.REMOVE,
        ProposalType.PSK,
        ProposalType.REINIT,
        ProposalType.GROUP_CONTEXT_EXTENSIONS,
    }
)
"""What someone outside the group may propose (§12.1.8)."""
PATH_REQUIRED_TYPES: Final = frozenset(
    {
        ProposalType.UPDATE,
        ProposalType.REMOVE,
        ProposalType.EXTERNAL_INIT,
        ProposalType.GROUP_CONTEXT_EXTENSIONS,
    }
)
"""Proposals that can't be committed without a path (§12.4)."""


class PskType(IntEnum):
    """Where a pre-shared key comes from."""

    EXTERNAL = 1
    RESUMPTION = 2


class ResumptionUsage(IntEnum):
    """What a resumption PSK is used for."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


@dataclass(frozen=True, slots=True)
class PreSharedKeyID:
    """Names one use of a pre-shared key.

    Args:
        type: external (named by `psk_id`) or resumption (named by group and epoch).
        nonce: Nh fresh random bytes.
    """

    type: PskType
    nonce: bytes
    psk_id: bytes = b""
    usage: ResumptionUsage = ResumptionUsage.APPLICATION
    group_id: bytes = b""
    epoch: int = 0

    @property
    def links(self) -> bool:
        """Whether it begins a group that goes on from another."""
        return self.type is PskType.RESUMPTION and self.usage is not ResumptionUsage.APPLICATION

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        if self.type is PskType.EXTERNAL:
            body = codec.opaque(self.psk_id)
        else:
            body = codec.uint8(self.usage) + codec.opaque(self.group_id) + codec.uint64(self.epoch)
        return codec.uint8(self.type) + body + codec.opaque(self.nonce)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a PSK id."""
        kind = reader.uint8()
        if kind == PskType.EXTERNAL:
            psk_id = reader.opaque()
            return cls(PskType.EXTERNAL, reader.opaque(), psk_id=psk_id)
        if kind != PskType.RESUMPTION:
            raise MalformedMessageError(f"PSK type {kind} is not known")
        usage = reader.uint8()
        if usage not in set(ResumptionUsage):
            raise MalformedMessageError(f"resumption PSK usage {usage} is not known")
        group_id, epoch = reader.opaque(), reader.uint64()
        return cls(
            PskType.RESUMPTION,
            reader.opaque(),
            usage=ResumptionUsage(usage),
            group_id=group_id,
            epoch=epoch,
        )


@dataclass(frozen=True, slots=True)
class Add:
    """Add the client that the key package describes."""

    type: ClassVar[ProposalType] = ProposalType.ADD
    key_package: KeyPackage

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return self.key_package.encode()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(KeyPackage.read(reader))


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the sender's leaf."""

    type: ClassVar[ProposalType] = ProposalType.UPDATE
    leaf_node: LeafNode

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return self.leaf_node.encode()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(LeafNode.read(reader))


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the member at a leaf."""

    type: ClassVar[ProposalType] = ProposalType.REMOVE
    leaf: int

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return codec.uint32(self.leaf)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(reader.uint32())


@dataclass(frozen=True, slots=True)
class PreSharedKey:
    """Mix a pre-shared key into the next epoch."""

    type: ClassVar[ProposalType] = ProposalType.PSK
    psk: PreSharedKeyID

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return self.psk.encode()

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(PreSharedKeyID.read(reader))


@dataclass(frozen=True, slots=True)
class ReInit:
    """End this group; its members go on in a new one with these parameters."""

    type: ClassVar[ProposalType] = ProposalType.REINIT
    group_id: bytes
    version: int
    cipher_suite: int
    extensions: tuple[Extension, ...] = ()

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return (
            codec.opaque(self.group_id)
            + codec.uint16(self.version)
            + codec.uint16(self.cipher_suite)
            + codec.vector(self.extensions)
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(reader.opaque(), reader.uint16(), reader.uint16(), read_extensions(reader))


@dataclass(frozen=True, slots=True)
class ExternalInit:
    """Start the next epoch from a secret that the joiner chose; external commits only."""

    type: ClassVar[ProposalType] = ProposalType.EXTERNAL_INIT
    kem_output: bytes

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return codec.opaque(self.kem_output)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(reader.opaque())


@dataclass(frozen=True, slots=True)
class GroupContextExtensions:
    """Replace all extensions of the group context."""

    type: ClassVar[ProposalType] = ProposalType.GROUP_CONTEXT_EXTENSIONS
    extensions: tuple[Extension, ...]

    def encode_body(self) -> bytes:
        """Give the bytes after the type."""
        return codec.vector(self.extensions)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the bytes after the type."""
        return cls(read_extensions(reader))


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions

_READERS: Final[dict[int, Callable[[Reader], Proposal]]] = {
    ProposalType.ADD: Add.read,
    ProposalType.UPDATE: Update.read,
    ProposalType.REMOVE: Remove.read,
    ProposalType.PSK: PreSharedKey.read,
    ProposalType.REINIT: ReInit.read,
    ProposalType.EXTERNAL_INIT: ExternalInit.read,
    ProposalType.GROUP_CONTEXT_EXTENSIONS: GroupContextExtensions.read,
}


def encode_proposal(proposal: Proposal) -> bytes:
    """Encode a proposal with its type."""
    return codec.uint16(proposal.type) + proposal.encode_body()


def read_proposal(reader: Reader) -> Proposal:
    """Read a proposal with its type.

    A type that is not known here has an unknown length, so it ends the decoding.
    """
    kind = reader.uint16()
    read = _READERS.get(kind)
    if read is None:
        raise MalformedMessageError(f"proposal type {kind:#06x} is not known")
    return read(reader)


@dataclass(frozen=True, slots=True)
class ProposalRef:
    """Names a proposal that was sent before the commit."""

    ref: bytes


ProposalOrRef = Proposal | ProposalRef


def encode_proposal_or_ref(item: ProposalOrRef) -> bytes:
    """Encode one entry of a commit's proposals."""
    if isinstance(item, ProposalRef):
        return b"\x02" + codec.opaque(item.ref)
    return b"\x01" + encode_proposal(item)


def read_proposal_or_ref(reader: Reader) -> ProposalOrRef:
    """Read one entry of a commit's proposals."""
    kind = reader.uint8()
    if kind == 1:
        return read_proposal(reader)
    if kind == 2:
        return ProposalRef(reader.opaque())
    raise MalformedMessageError(f"entry type {kind} of a commit's proposals is not known")
