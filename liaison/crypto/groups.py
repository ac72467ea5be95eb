"""Diffie-Hellman groups: Montgomery curves and NIST's, over bytes.

Private keys are raw bytes of fixed length (Montgomery: as drawn; NIST: the
big-endian scalar). Public keys are the raw coordinate or the uncompressed
point. Whatever a peer sent is checked here and nowhere else.
"""

# ruff: noqa: D102 - the protocol above the classes says what each method does

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from liaison.crypto.errors import KeyFormatError
from liaison.values import dataclass


class GroupKey(Protocol):
    """A private key of a group."""

    @property
    def private(self) -> bytes:
        """The key's `nsk` bytes."""

    @property
    def public(self) -> bytes:
        """The public key's `npk` bytes."""

    def exchange(self, peer: bytes) -> bytes:
        """Compute the shared coordinate. Raises KeyFormatError for a bad peer key."""


class Group(Protocol):
    """A group in which Diffie-Hellman is hard.

    `order` is None where every byte string of `nsk` bytes is a private key;
    elsewhere private keys lie between 0 and `order`, and `bitmask` is what a
    candidate's first byte keeps (RFC 9180 §7.1.3).
    """

    @property
    def nsk(self) -> int:
        """Length of a private key."""

    @property
    def npk(self) -> int:
        """Length of a public key."""

    @property
    def order(self) -> int | None:
        """Number of the group's points, where private keys are scalars below it."""

    @property
    def bitmask(self) -> int:
        """Mask for a candidate's first byte."""

    def generate(self) -> GroupKey:
        """Make a fresh private key from the library's generator."""

    def load(self, private: bytes) -> GroupKey:
        """Load a private key. Raises KeyFormatError."""

    def validate(self, public: bytes) -> None:
        """Check a received public key. Raises KeyFormatError."""


_MontgomeryPrivate = x25519.X25519PrivateKey | x448.X448PrivateKey


@dataclass(frozen=True, slots=True)
class _MontgomeryKey:
    key: _MontgomeryPrivate = field(repr=False)

    @property
    def private(self) -> bytes:
        return self.key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def exchange(self, peer: bytes) -> bytes:
        try:
            if isinstance(self.key, x25519.X25519PrivateKey):
                return self.key.exchange(x25519.X25519PublicKey.from_public_bytes(peer))
            return self.key.exchange(x448.X448PublicKey.from_public_bytes(peer))
        except ValueError:
            # A wrong length, or a point of low order: everybody would know the
            # shared secret (RFC 9180 §7.1.4).
            raise KeyFormatError("not a usable public key of this curve") from None


@dataclass(frozen=True, slots=True)
class Montgomery:
    """X25519 or X448. Source: RFC 7748."""

    name: str
    nsk: int
    key_class: type[_MontgomeryPrivate]
    order: None = None
    bitmask: int = 0xFF

    @property
    def npk(self) -> int:
        return self.nsk

    def generate(self) -> GroupKey:
        return _MontgomeryKey(self.key_class.generate())

    def load(self, private: bytes) -> GroupKey:
        if len(private) != self.nsk:
            raise KeyFormatError(f"a private key of {self.name} has {self.nsk} bytes")
        return _MontgomeryKey(self.key_class.from_private_bytes(private))

    def validate(self, public: bytes) -> None:
        _probe(self).exchange(public)


# Every clamped scalar is a multiple of the cofactor, so any private key finds
# out whether a point is of low order. This one is no secret; loading it costs
# as much as using it, and a joiner checks a thousand keys.
@lru_cache
def _probe(group: Montgomery) -> GroupKey:
    return group.load(b"\x2a" * group.nsk)


@dataclass(frozen=True, slots=True)
class _WeierstrassKey:
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    group: Weierstrass

    @property
    def private(self) -> bytes:
        return self.key.private_numbers().private_value.to_bytes(self.group.nsk)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def exchange(self, peer: bytes) -> bytes:
        return self.key.exchange(ec.ECDH(), self.group.load_public(peer))


@dataclass(frozen=True, slots=True)
class Weierstrass:
    """One of NIST's prime curves. Source: SP 800-186."""

    curve: ec.EllipticCurve
    bitmask: int = 0xFF

    @property
    def nsk(self) -> int:
        return (self.curve.key_size + 7) // 8

    @property
    def npk(self) -> int:
        return 2 * self.nsk + 1

    @property
    def order(self) -> int:
        return self.curve.group_order

    def generate(self) -> GroupKey:
        return _WeierstrassKey(ec.generate_private_key(self.curve), self)

    def load(self, private: bytes) -> GroupKey:
        scalar = int.from_bytes(private)
        if len(private) != self.nsk or not 0 < scalar < self.order:
            raise KeyFormatError(f"not a private key of {self.curve.name}")
        return _WeierstrassKey(ec.derive_private_key(scalar, self.curve), self)

    def validate(self, public: bytes) -> None:
        self.load_public(public)

    def load_public(self, public: bytes) -> ec.EllipticCurvePublicKey:
        """Parse an uncompressed point on the curve, other than infinity."""
        # The library also takes compressed points: a second spelling of a key.
        if len(public) != self.npk or public[0] != 4:
            raise KeyFormatError(f"not an uncompressed point of {self.curve.name}")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)
        except ValueError:
            raise KeyFormatError(f"not a point on {self.curve.name}") from None


X25519: Final = Montgomery("X25519", 32, x25519.X25519PrivateKey)
X448: Final = Montgomery("X448", 56, x448.X448PrivateKey)
P256: Final = Weierstrass(ec.SECP256R1())
P384: Final = Weierstrass(ec.SECP384R1())
P521: Final = Weierstrass(ec.SECP521R1(), bitmask=0x01)
