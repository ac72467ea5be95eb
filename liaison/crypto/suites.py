"""The cipher suites of MLS and the labelled operations that they define.

The table at the end is data: a suite is a row. Rows 0x0001 to 0x0007 are RFC
9420's; 0xF001 to 0xF00B are draft-ietf-mls-pq-ciphersuites-06's in its order,
whose own numbers are still to be assigned, so the private range stands in.

Labels are given without their prefix `MLS 1.0 `, except to `ref_hash`, whose
labels the RFC spells out in full. Source: RFC 9420 §5.1, 5.2, 8 and 17.1.
"""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import Final

from liaison.crypto import kem as kems
from liaison.crypto import signing
from liaison.crypto.aead import AEAD, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from liaison.crypto.errors import SignatureError, UnsupportedSuiteError
from liaison.crypto.hpke import HPKE
from liaison.crypto.kdf import HKDF, HKDF_SHA256, HKDF_SHA384, HKDF_SHA512
from liaison.crypto.kem import KEM, KeyPair
from liaison.crypto.signing import SignatureScheme, Signer
from liaison.values import dataclass

_PREFIX: Final = b"MLS 1.0 "


def _vector(data: bytes) -> bytes:
    """Write a variable-size vector with its shortest length header. Source: RFC 9420 §2.1.2."""
    size = len(data)
    if size < 1 << 6:
        return bytes((size,)) + data
    if size < 1 << 14:
        return (size | 1 << 14).to_bytes(2) + data
    if size < 1 << 30:
        return (size | 2 << 30).to_bytes(4) + data
    raise ValueError("a vector has less than 2**30 bytes")


# The RFC has some thirty labels; most are used several times per message.
@lru_cache(maxsize=256)
def _labeled(label: bytes) -> bytes:
    return _vector(_PREFIX + label)


@dataclass(frozen=True, slots=True, eq=False)
class CipherSuite:
    """One cipher suite; get it from `suite`, then compare with `is`.

    Args:
        code: the number that stands in messages.
        name: the registry's name.
        kem: of HPKE.
        kdf: the hash function, HMAC and HKDF.
        aead: of messages and of HPKE.
        signature: the scheme of the members' keys.
    """

    code: int
    name: str
    kem: KEM
    kdf: HKDF
    aead: AEAD
    signature: SignatureScheme
    nh: int = field(init=False)
    nk: int = field(init=False)
    nn: int = field(init=False)
    hpke: HPKE = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nh", self.kdf.nh)
        object.__setattr__(self, "nk", self.aead.nk)
        object.__setattr__(self, "nn", self.aead.nn)
        object.__setattr__(self, "hpke", HPKE(self.kem, self.kdf, self.aead))

    def __repr__(self) -> str:
        return f"<CipherSuite 0x{self.code:04X} {self.name}>"

    def hash(self, data: bytes) -> bytes:
        """Hash to `nh` bytes."""
        return self.kdf.hash(data)

    def mac(self, key: bytes, data: bytes) -> bytes:
        """Compute an authentication tag of `nh` bytes."""
        return self.kdf.mac(key, data)

    def verify_mac(self, key: bytes, data: bytes, tag: bytes) -> None:
        """Check a whole tag in constant time.

        Raises:
            MACError: the tag is another, or is not whole.
        """
        self.kdf.verify_mac(key, data, tag)

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """HKDF-Extract, to `nh` bytes."""
        return self.kdf.extract(salt, ikm)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        """HKDF-Expand, to `length` bytes. Raises ValueError above 255 hashes."""
        return self.kdf.expand(prk, info, length)

    def expand_with_label(self, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
        """Derive `length` bytes for one purpose. Source: RFC 9420 §8."""
        info = length.to_bytes(2) + _labeled(label) + _vector(context)
        return self.kdf.expand(secret, info, length)

    def derive_secret(self, secret: bytes, label: bytes) -> bytes:
        """Derive `nh` bytes for one purpose, without context. Source: RFC 9420 §8."""
        return self.expand_with_label(secret, label, b"", self.nh)

    def derive_tree_secret(
        self, secret: bytes, label: bytes, generation: int, length: int
    ) -> bytes:
        """Derive `length` bytes for one generation of a ratchet. Source: RFC 9420 §9."""
        info = length.to_bytes(2) + _labeled(label) + b"\x04" + generation.to_bytes(4)
        return self.kdf.expand(secret, info, length)

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt under `nk` and `nn` bytes of key and nonce, never used together before."""
        return self.aead.seal(key, nonce, aad, plaintext)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt.

        Raises:
            DecryptionError: the tag does not hold.
        """
        return self.aead.open(key, nonce, aad, ciphertext)

    def ref_hash(self, label: bytes, value: bytes) -> bytes:
        """Name a value by its hash; `label` is the RFC's whole string.

        Source: RFC 9420 §5.2.
        """
        return self.kdf.hash(_vector(label) + _vector(value))

    def sign_with_label(self, signer: Signer, label: bytes, content: bytes) -> bytes:
        """Sign for one purpose. Source: RFC 9420 §5.1.2.

        Raises:
            SignatureError: the key is of another scheme than the suite's.
        """
        if signer.scheme is not self.signature:
            raise SignatureError(f"the key signs with {signer.scheme}, not {self.signature}")
        return signer.sign(_labeled(label) + _vector(content))

    def verify_with_label(
        self, public: bytes, label: bytes, content: bytes, signature: bytes
    ) -> None:
        """Check a signature made for one purpose. Source: RFC 9420 §5.1.2.

        Raises:
            SignatureError: it does not hold, or `public` is no key of the scheme.
        """
        signing.verify(self.signature, public, signature, _labeled(label) + _vector(content))

    def encrypt_with_label(
        self, public: bytes, label: bytes, context: bytes, plaintext: bytes
    ) -> tuple[bytes, bytes]:
        """Encrypt to a public key for one purpose; give KEM output and ciphertext.

        Raises:
            KeyFormatError: `public` is not a key of the KEM.

        Source: RFC 9420 §5.1.3.
        """
        return self.hpke.seal(public, _labeled(label) + _vector(context), b"", plaintext)

    def decrypt_with_label(
        self, private: bytes, label: bytes, context: bytes, kem_output: bytes, ciphertext: bytes
    ) -> bytes:
        """Decrypt what was encrypted for the same purpose.

        Raises:
            DecryptionError: it is not for this key, label and context.
            KeyFormatError: `private` is not a key of the KEM.

        Source: RFC 9420 §5.1.3.
        """
        info = _labeled(label) + _vector(context)
        return self.hpke.open(private, kem_output, info, b"", ciphertext)

    def generate_key_pair(self) -> KeyPair:
        """Make a fresh HPKE key pair from the library's own generator."""
        return self.kem.generate_key_pair()

    def derive_key_pair(self, ikm: bytes) -> KeyPair:
        """Make the HPKE key pair of a node secret, `nh` bytes. Source: RFC 9420 §7.4."""
        return self.kem.derive_key_pair(ikm)

    def public_key_of(self, private: bytes) -> bytes:
        """Compute the public half of an HPKE key. Raises KeyFormatError."""
        return self.kem.public_key_of(private)

    def validate_hpke_public(self, public: bytes) -> None:
        """Check an HPKE public key that a peer sent.

        Raises:
            KeyFormatError: a wrong length, off the curve, of low order, not reduced.
        """
        self.kem.validate_public(public)

    def validate_signature_public(self, public: bytes) -> None:
        """Check a signature public key that a peer sent.

        Raises:
            KeyFormatError: a wrong length, off the curve, of small order.
        """
        signing.validate_public(self.signature, public)

    def export_sender(
        self, public: bytes, info: bytes, exporter_context: bytes, length: int
    ) -> tuple[bytes, bytes]:
        """Agree on a secret with a key's holder; give the encapsulation and the secret.

        Raises:
            KeyFormatError: `public` is not a key of the KEM.

        Source: RFC 9420 §8.3.
        """
        enc, context = self.hpke.setup_sender(public, info)
        return enc, self.hpke.export(context, exporter_context, length)

    def export_receiver(
        self, private: bytes, enc: bytes, info: bytes, exporter_context: bytes, length: int
    ) -> bytes:
        """Recover the secret of `export_sender`.

        Raises:
            DecryptionError: `enc` is not an encapsulation of the KEM.

        Source: RFC 9420 §8.3.
        """
        context = self.hpke.setup_receiver(private, enc, info)
        return self.hpke.export(context, exporter_context, length)


_S = SignatureScheme
_A128, _A256, _CC20 = AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
_H256, _H384, _H512 = HKDF_SHA256, HKDF_SHA384, HKDF_SHA512

# fmt: off
_ROWS: Final[tuple[tuple[int, int, KEM, AEAD, HKDF, SignatureScheme, str], ...]] = (
    # code   bits KEM                   AEAD   KDF    signature   name's last part
    (0x0001, 128, kems.X25519,         _A128, _H256, _S.ED25519, "Ed25519"),
    (0x0002, 128, kems.P256,           _A128, _H256, _S.P256,    "P256"),
    (0x0003, 128, kems.X25519,         _CC20, _H256, _S.ED25519, "Ed25519"),
    (0x0004, 256, kems.X448,           _A256, _H512, _S.ED448,   "Ed448"),
    (0x0005, 256, kems.P521,           _A256, _H512, _S.P521,    "P521"),
    (0x0006, 256, kems.X448,           _CC20, _H512, _S.ED448,   "Ed448"),
    (0x0007, 256, kems.P384,           _A256, _H384, _S.P384,    "P384"),
    (0xF001, 128, kems.MLKEM768X25519, _A128, _H256, _S.ED25519, "Ed25519"),
    (0xF002, 128, kems.MLKEM768X25519, _A256, _H384, _S.ED25519, "Ed25519"),
    (0xF003, 128, kems.MLKEM768P256,   _A128, _H256, _S.P256,    "P256"),
    (0xF004, 128, kems.MLKEM768P256,   _A256, _H384, _S.P256,    "P256"),
    (0xF005, 192, kems.MLKEM1024P384,  _A256, _H384, _S.P384,    "P384"),
    (0xF006, 128, kems.MLKEM768,       _A256, _H384, _S.ED25519, "Ed25519"),
    (0xF007, 128, kems.MLKEM768,       _A256, _H384, _S.P256,    "P256"),
    (0xF008, 192, kems.MLKEM1024,      _A256, _H384, _S.P384,    "P384"),
    (0xF009, 128, kems.MLKEM768X25519, _CC20, _H384, _S.MLDSA44, "MLDSA44"),
    (0xF00A, 192, kems.MLKEM768,       _A256, _H384, _S.MLDSA65, "MLDSA65"),
    (0xF00B, 256, kems.MLKEM1024,      _A256, _H384, _S.MLDSA87, "MLDSA87"),
)
# fmt: on


def _suite_name(bits: int, kem: KEM, aead: AEAD, kdf: HKDF, last: str) -> str:
    kem_name = f"DHKEM{kem.name}" if isinstance(kem, kems.DHKEM) else kem.name
    return f"MLS_{bits}_{kem_name}_{aead.name}_{kdf.name}_{last}"


_SUITES: Final = {
    code: CipherSuite(code, _suite_name(bits, kem, aead, kdf, last), kem, kdf, aead, signature)
    for code, bits, kem, aead, kdf, signature, last in _ROWS
}

DEFAULT: Final = 0xF002
SUPPORTED: Final[tuple[int, ...]] = tuple(sorted(_SUITES, key=lambda code: code != DEFAULT))
"""Every suite's number; the default comes first."""


def suite(code: int) -> CipherSuite:
    """Find a suite by its number; the same object every time.

    Raises:
        UnsupportedSuiteError: no such suite here.
    """
    try:
        return _SUITES[code]
    except KeyError:
        raise UnsupportedSuiteError(f"cipher suite 0x{code:04x} is not supported") from None
