"""Digital signatures: the schemes of the cipher suites, keys and verification.

Public keys and signatures are in the encodings of MLS (RFC 9420 §5.1.2): raw
bytes for EdDSA and ML-DSA (with an empty context), the uncompressed point and
the DER signature for ECDSA. Private keys are the seed (EdDSA, ML-DSA) or the
scalar at full length (ECDSA). Certificates are `liaison.crypto.x509`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from liaison.crypto import ed25519
from liaison.crypto.errors import KeyFormatError, SignatureError, UnsupportedSchemeError
from liaison.values import dataclass


class SignatureScheme(StrEnum):
    """A signature scheme, by its name in the registry of TLS."""

    ED25519 = "ed25519"
    ED448 = "ed448"
    P256 = "ecdsa_secp256r1_sha256"
    P384 = "ecdsa_secp384r1_sha384"
    P521 = "ecdsa_secp521r1_sha512"
    MLDSA44 = "mldsa44"
    MLDSA65 = "mldsa65"
    MLDSA87 = "mldsa87"

    @classmethod
    def parse(cls, text: str) -> SignatureScheme:
        """Accept the registry's name.

        Raises:
            UnsupportedSchemeError: no such scheme here.
        """
        try:
            return cls(text)
        except ValueError:
            raise UnsupportedSchemeError(f"{text[:40]!r} is not a signature scheme here") from None


class Signer(Protocol):
    """Whoever can sign with one key: `SigningKey`, or a token that never shows it."""

    @property
    def scheme(self) -> SignatureScheme:
        """The scheme of every signature made."""

    @property
    def public_bytes(self) -> bytes:
        """The public key in MLS encoding."""

    def sign(self, data: bytes) -> bytes:
        """Sign `data` as it is; labels are the caller's."""


class SigningKey:
    """A private signature key in memory. It is never shown, compared or pickled."""

    __slots__ = ("_raw", "_sign", "public_bytes", "scheme")

    def __init__(self, scheme: SignatureScheme, raw: bytes) -> None:
        algorithm = _ALGORITHMS[scheme]
        if len(raw) != algorithm.private_size:
            raise KeyFormatError(f"a private key of {scheme} has {algorithm.private_size} bytes")
        self.scheme: Final = scheme
        self._raw: Final = raw
        try:
            self._sign, self.public_bytes = algorithm.load_private(raw)
        except ValueError:
            # The library's text may quote the key.
            raise KeyFormatError(f"not a private key of {scheme}") from None

    @classmethod
    def generate(cls, scheme: SignatureScheme) -> Self:
        """Make a fresh key from the library's own generator."""
        return cls(scheme, _ALGORITHMS[scheme].generate())

    @classmethod
    def from_bytes(cls, scheme: SignatureScheme, raw: bytes) -> Self:
        """Load what `private_bytes` gave.

        Raises:
            KeyFormatError: a wrong length, or a scalar out of range.
        """
        return cls(scheme, raw)

    def private_bytes(self) -> bytes:
        """Give the private key away, for storage under encryption."""
        return self._raw

    def sign(self, data: bytes) -> bytes:
        """Sign `data` as it is; ECDSA gives another signature each time."""
        return self._sign(data)

    def __repr__(self) -> str:
        return f"<SigningKey {self.scheme} of {self.public_bytes[:8].hex()}>"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


def verify(scheme: SignatureScheme, public: bytes, signature: bytes, data: bytes) -> None:
    """Check that `signature` covers `data` under the key `public`.

    Raises:
        SignatureError: it does not, or `public` is not a key of the scheme.
    """
    try:
        _verifier(scheme, public)(signature, data)
    except (InvalidSignature, KeyFormatError):
        raise SignatureError from None


def validate_public(scheme: SignatureScheme, public: bytes) -> None:
    """Check that `public` is a key of the scheme, in its one encoding.

    Raises:
        KeyFormatError: a wrong length or form, off the curve, of small order (Ed25519: of
            any but the large prime order).
    """
    _verifier(scheme, public)


_Sign = Callable[[bytes], bytes]
_Verify = Callable[[bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """What a library offers for a scheme, as functions over bytes."""

    private_size: int
    public_size: int
    generate: Callable[[], bytes]
    load_private: Callable[[bytes], tuple[_Sign, bytes]]
    load_public: Callable[[bytes], _Verify]


# Members send many messages under few keys, and checking a key costs up to as
# much as a verification. Public keys only.
@lru_cache(maxsize=1024)
def _verifier(scheme: SignatureScheme, public: bytes) -> _Verify:
    algorithm = _ALGORITHMS[scheme]
    if len(public) != algorithm.public_size:
        raise KeyFormatError(f"a public key of {scheme} has {algorithm.public_size} bytes")
    try:
        return algorithm.load_public(public)
    except ValueError:
        raise KeyFormatError(f"not a public key of {scheme}") from None


_P448: Final = 2**448 - 2**224 - 1
_D448: Final = -39081


def _check_ed448(raw: bytes) -> None:
    """Refuse what no honest key generation gives; the library takes any bytes.

    Under a key of small order one signature holds for many messages, so nobody could be held to
    what they signed. The curve is x² + y² = 1 + d·x²·y² modulo p. Source: RFC 8032 §5.2.
    """
    y = int.from_bytes(raw, "little") & ~(1 << 455)
    u, v = y * y - 1, _D448 * y * y - 1
    # A point has x² = u / v, which is a square exactly where u · v is one.
    if y >= _P448 or pow(u * v, (_P448 - 1) // 2, _P448) > 1:
        raise KeyFormatError("the public key is not a point on its curve")
    if y in {0, 1, _P448 - 1}:
        raise KeyFormatError("the public key has a small order")


def _ed448_private(raw: bytes) -> tuple[_Sign, bytes]:
    key = ed448.Ed448PrivateKey.from_private_bytes(raw)
    return key.sign, key.public_key().public_bytes_raw()


def _ed448_public(raw: bytes) -> _Verify:
    _check_ed448(raw)
    return ed448.Ed448PublicKey.from_public_bytes(raw).verify


def _ecdsa(curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm) -> _Algorithm:
    size = (curve.key_size + 7) // 8
    scheme = ec.ECDSA(algorithm)

    def generate() -> bytes:
        return ec.generate_private_key(curve).private_numbers().private_value.to_bytes(size)

    def load_private(raw: bytes) -> tuple[_Sign, bytes]:
        key = ec.derive_private_key(int.from_bytes(raw), curve)
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return lambda data: key.sign(data, scheme), public

    def load_public(raw: bytes) -> _Verify:
        # The length has ruled out the library's other forms but the hybrid one.
        if raw[0] != 4:
            raise KeyFormatError("the point is not in uncompressed form")
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, raw)
        return lambda signature, data: key.verify(signature, data, scheme)

    return _Algorithm(size, 2 * size + 1, generate, load_private, load_public)


_MLDSAPrivate = type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
_MLDSAPublic = type[mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey]


def _mldsa(private: _MLDSAPrivate, public: _MLDSAPublic, public_size: int) -> _Algorithm:
    def load_private(raw: bytes) -> tuple[_Sign, bytes]:
        key = private.from_seed_bytes(raw)
        return key.sign, key.public_key().public_bytes_raw()

    return _Algorithm(
        private_size=32,
        public_size=public_size,
        generate=lambda: private.generate().private_bytes_raw(),
        load_private=load_private,
        load_public=lambda raw: public.from_public_bytes(raw).verify,
    )


_ALGORITHMS: Final[dict[SignatureScheme, _Algorithm]] = {
    SignatureScheme.ED25519: _Algorithm(
        private_size=ed25519.SEED_SIZE,
        public_size=ed25519.PUBLIC_SIZE,
        generate=ed25519.generate,
        load_private=ed25519.load_private,
        load_public=ed25519.load_public,
    ),
    SignatureScheme.ED448: _Algorithm(
        private_size=57,
        public_size=57,
        generate=lambda: ed448.Ed448PrivateKey.generate().private_bytes_raw(),
        load_private=_ed448_private,
        load_public=_ed448_public,
    ),
    SignatureScheme.P256: _ecdsa(ec.SECP256R1(), hashes.SHA256()),
    SignatureScheme.P384: _ecdsa(ec.SECP384R1(), hashes.SHA384()),
    SignatureScheme.P521: _ecdsa(ec.SECP521R1(), hashes.SHA512()),
    SignatureScheme.MLDSA44: _mldsa(mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey, 1312),
    SignatureScheme.MLDSA65: _mldsa(mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey, 1952),
    SignatureScheme.MLDSA87: _mldsa(mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey, 2592),
}
