"""Credentials, and the seam to whoever can judge them.

The engine never trusts a credential by itself: it asks a `CredentialValidator`
for every leaf that enters a tree and for every external sender. The identity
that comes back is what the engine compares: it must stay the same when a member
replaces its leaf, and no identity stands twice in a group.

Source: RFC 9420 §5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.mls.errors import CredentialInvalidError
from liaison.values import dataclass

MAX_LIFETIME_SECONDS: Final = 91 * 86_400
"""The widest lifetime that a key package may have: ninety days and a day for clock skew."""

BASIC: Final = 0x0001
X509: Final = 0x0002


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a leaf claims to be.

    Args:
        type: `BASIC` or `X509`.
        identity: the bare claim of a basic credential.
        chain: DER certificates of an X.509 credential, the device's own first.
    """

    type: int
    identity: bytes = b""
    chain: tuple[bytes, ...] = ()

    @classmethod
    def basic(cls, identity: bytes) -> Self:
        """Make a bare claim; nothing supports it."""
        return cls(BASIC, identity=identity)

    @classmethod
    def x509(cls, chain: Sequence[bytes]) -> Self:
        """Make a credential from a certificate chain in DER, the end entity first."""
        return cls(X509, chain=tuple(chain))

    def encode(self) -> bytes:
        """Give the canonical bytes."""
        head = codec.uint16(self.type)
        if self.type == BASIC:
            return head + codec.opaque(self.identity)
        return head + codec.vector_of(codec.opaque, self.chain)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read a credential of a known type; another type has an unknown length."""
        kind = reader.uint16()
        if kind == BASIC:
            return cls(BASIC, identity=reader.opaque())
        if kind == X509:
            return cls(X509, chain=reader.vector(Reader.opaque))
        raise MalformedMessageError(f"credential type {kind:#06x} is not known")


class CredentialValidator(Protocol):
    """The authentication service: decides whether a credential may stand for a key.

    It may also have an attribute `max_lifetime: int`: the widest lifetime of a key package,
    in seconds, instead of `MAX_LIFETIME_SECONDS`.
    """

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> bytes:
        """Check the credential of a leaf and give its identity.

        Args:
            credential: as it stands in the leaf.
            signature_key: the leaf's, in MLS encoding.
            now: Unix time in seconds to judge at.

        Returns:
            The identity: equal bytes mean the same client.

        Raises:
            CredentialInvalidError: it does not stand for a client that may be here.
        """
        ...

    def validate_external_sender(
        self, credential: Credential, signature_key: bytes, now: int
    ) -> bytes:
        """Check an entry of the external_senders extension and give its identity.

        Raises:
            CredentialInvalidError: it may not send proposals from outside.
        """
        ...


class BasicValidator:
    """Takes basic credentials at their word.

    For test vectors and foreign libraries; the product accepts X.509 only.

    Args:
        max_lifetime: the widest lifetime of a key package, in seconds.
    """

    def __init__(self, max_lifetime: int = MAX_LIFETIME_SECONDS) -> None:
        self.max_lifetime = max_lifetime

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> bytes:
        """Give the claimed identity."""
        del signature_key, now
        if credential.type != BASIC:
            raise CredentialInvalidError("the credential is not a basic one")
        return credential.identity

    def validate_external_sender(
        self, credential: Credential, signature_key: bytes, now: int
    ) -> bytes:
        """Give the claimed identity."""
        return self.validate(credential, signature_key, now)
