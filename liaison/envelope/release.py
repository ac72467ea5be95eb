"""Release: the signatures of several persons, travelling in a message's header.

Each signs the same thing: the channel, the header as it stands without the
signatures, and a digest of the content, in which a random salt makes guessing
useless. A draft that was signed can so be sent into one channel only, as it is;
and once, because the message id is in the header: relay and readers refuse a
release that came before. Who these persons are their certificates say; whether they were the
right ones `liaison.policy.evaluate` decides.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import Final, Self

from liaison.crypto import kdf
from liaison.envelope import cbor
from liaison.envelope.cbor import Item
from liaison.envelope.errors import ReleaseError
from liaison.model import ChannelId
from liaison.values import dataclass

MAX_SIGNATURES: Final = 4
MAX_CHAIN: Final = 4
MAX_CERTIFICATE_BYTES: Final = 16 * 1024
MAX_SIGNATURE_BYTES: Final = 8 * 1024
DIGEST_BYTES: Final = 32
_DOMAIN: Final = "liaison release v1"


class Part(IntEnum):
    """What a person did for a message."""

    DRAFT = 1
    REVIEW = 2
    RELEASE = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ReleaseSignature:
    """One person's signature.

    Args:
        part: what the person did.
        chain: certificates in DER, the device's first, the root left out.
        signature: over `signed_bytes`.
    """

    part: Part
    chain: tuple[bytes, ...]
    signature: bytes

    def __post_init__(self) -> None:
        """Check sizes.

        Raises:
            ReleaseError: something is empty or too long.
        """
        if not 1 <= len(self.chain) <= MAX_CHAIN:
            raise ReleaseError(f"a chain has 1 to {MAX_CHAIN} certificates")
        if not all(1 <= len(der) <= MAX_CERTIFICATE_BYTES for der in self.chain):
            raise ReleaseError("a certificate is empty or too long")
        if not 1 <= len(self.signature) <= MAX_SIGNATURE_BYTES:
            raise ReleaseError("a signature is empty or too long")


@dataclass(frozen=True, slots=True)
class Release:
    """What was released, and by whom.

    Args:
        content: 32-byte digest of the content, `content_digest`.
        signatures: ordered by part and certificate, no two alike.
    """

    content: bytes
    signatures: tuple[ReleaseSignature, ...] = ()

    def __post_init__(self) -> None:
        """Check sizes and order.

        Raises:
            ReleaseError: too many signatures, or not in their one order.
        """
        if len(self.content) != DIGEST_BYTES:
            raise ReleaseError(f"the content's digest has {DIGEST_BYTES} bytes")
        if len(self.signatures) > MAX_SIGNATURES:
            raise ReleaseError(f"a release has at most {MAX_SIGNATURES} signatures")
        keys = [_key(one) for one in self.signatures]
        if keys != sorted(set(keys)):
            raise ReleaseError("the release's signatures are not ordered, each once")

    def with_signature(self, signature: ReleaseSignature) -> Release:
        """Return the release with one more signature, which replaces an older one of its kind."""
        others = [one for one in self.signatures if _key(one) != _key(signature)]
        return replace(self, signatures=tuple(sorted([*others, signature], key=_key)))

    def item(self) -> list[Item]:
        """Return what stands in the header."""
        return [
            self.content,
            [[int(one.part), list(one.chain), one.signature] for one in self.signatures],
        ]

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read what stands in a header.

        Raises:
            ReleaseError: not a release.
        """
        match item:
            case [bytes() as content, list() as listed]:
                return cls(content, tuple(_signature(one) for one in listed))
            case _:
                raise ReleaseError("the header's release is not one")


def content_digest(content: bytes) -> bytes:
    """Return what a release says of a content: SHA-256 of its encoding, which holds a salt."""
    return kdf.sha256(b"liaison release content v1\0" + content)


def signed_bytes(channel: ChannelId, bare_header: bytes, content: bytes, part: Part) -> bytes:
    """Return the bytes that a person signs.

    Args:
        channel: where the message will go.
        bare_header: the header's encoding without a release.
        content: the content's digest, 32 bytes.
        part: what the person did.
    """
    return cbor.encode([_DOMAIN, channel.value, bare_header, content, int(part)])


def _key(one: ReleaseSignature) -> tuple[int, bytes]:
    return one.part, one.chain[0]


def _signature(item: Item) -> ReleaseSignature:
    match item:
        case [int() as part, list() as chain, bytes() as signature] if not isinstance(part, bool):
            if part not in set(Part) or not all(isinstance(der, bytes) for der in chain):
                raise ReleaseError("a release signature is malformed")
            certificates = tuple(der for der in chain if isinstance(der, bytes))
            return ReleaseSignature(Part(part), certificates, signature)
        case _:
            raise ReleaseError("a release signature is malformed")
