"""Key encapsulation: Diffie-Hellman, ML-KEM and their hybrids, over bytes.

Public keys, private keys and encapsulations are in HPKE's serialization:
uncompressed points, raw Montgomery coordinates, ML-KEM's encapsulation keys,
and for hybrids the ML-KEM part followed by the other. The private key of an
ML-KEM key is its 64-byte seed, that of a hybrid its 32-byte seed.

Libraries differ in how a hybrid derives a key pair; here it is
draft-ietf-hpke-pq's LabeledDerive over SHAKE256, because two members that
derive a path secret differently would leave the group apart.
Source: RFC 9180 §4.1 and §7.1; draft-ietf-hpke-pq; draft-irtf-cfrg-hybrid-kems;
draft-irtf-cfrg-concrete-hybrid-kems.
"""

# ruff: noqa: D102 - the protocol above the classes says what each method does

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import mlkem

from liaison.crypto import groups
from liaison.crypto.errors import DecryptionError, KeyFormatError
from liaison.crypto.groups import Group
from liaison.crypto.kdf import (
    HKDF,
    HKDF_SHA256,
    HKDF_SHA384,
    HKDF_SHA512,
    labeled_derive_shake256,
)
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key, which is never shown, and its public key."""

    private: bytes = field(repr=False)
    public: bytes


class KEM(Protocol):
    """A key encapsulation mechanism of HPKE; `nsk`, `npk`, `nenc`, `nsecret` are lengths."""

    @property
    def kem_id(self) -> int:
        """HPKE's number."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def nsk(self) -> int:
        """Length of a private key."""

    @property
    def npk(self) -> int:
        """Length of a public key."""

    @property
    def nenc(self) -> int:
        """Length of an encapsulation."""

    @property
    def nsecret(self) -> int:
        """Length of a shared secret."""

    def generate_key_pair(self) -> KeyPair:
        """Make a fresh pair from the library's own generator."""

    def derive_key_pair(self, ikm: bytes) -> KeyPair:
        """Make the pair that belongs to `ikm`, at least `nsk` bytes of entropy."""

    def public_key_of(self, private: bytes) -> bytes:
        """Compute the public key. Raises KeyFormatError."""

    def validate_public(self, public: bytes) -> None:
        """Check a received public key. Raises KeyFormatError."""

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        """Make a shared secret and its encapsulation. Raises KeyFormatError."""

    def decapsulate(self, private: bytes, enc: bytes) -> bytes:
        """Recover the shared secret.

        Raises:
            DecryptionError: `enc` can't be one.
            KeyFormatError: `private` can't be one.
        """


def suite_id_of(kem_id: int) -> bytes:
    """Name a KEM inside its own derivations. Source: RFC 9180 §4.1."""
    return b"KEM" + kem_id.to_bytes(2)


@dataclass(frozen=True, slots=True)
class DHKEM:
    """Diffie-Hellman over a group, hashed with HKDF. Source: RFC 9180 §4.1."""

    kem_id: int
    name: str
    group: Group
    kdf: HKDF

    @property
    def nsk(self) -> int:
        return self.group.nsk

    @property
    def npk(self) -> int:
        return self.group.npk

    @property
    def nenc(self) -> int:
        return self.group.npk

    @property
    def nsecret(self) -> int:
        return self.kdf.nh

    def generate_key_pair(self) -> KeyPair:
        key = self.group.generate()
        return KeyPair(key.private, key.public)

    def derive_key_pair(self, ikm: bytes) -> KeyPair:
        # Source: RFC 9180 §7.1.3.
        suite_id = suite_id_of(self.kem_id)
        prk = self.kdf.labeled_extract(suite_id, b"", b"dkp_prk", ikm)
        if self.group.order is None:
            private = self.kdf.labeled_expand(suite_id, prk, b"sk", b"", self.nsk)
            return KeyPair(private, self.group.load(private).public)
        for counter in range(256):
            candidate = self.kdf.labeled_expand(
                suite_id, prk, b"candidate", bytes((counter,)), self.nsk
            )
            private = bytes((candidate[0] & self.group.bitmask,)) + candidate[1:]
            if 0 < int.from_bytes(private) < self.group.order:
                return KeyPair(private, self.group.load(private).public)
        raise KeyFormatError("no key pair can be derived from this input")

    def public_key_of(self, private: bytes) -> bytes:
        return self.group.load(private).public

    def validate_public(self, public: bytes) -> None:
        self.group.validate(public)

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        ephemeral = self.group.generate()
        dh = ephemeral.exchange(public)
        return self._hashed(dh, ephemeral.public, public), ephemeral.public

    def decapsulate(self, private: bytes, enc: bytes) -> bytes:
        key = self.group.load(private)
        try:
            dh = key.exchange(enc)
        except KeyFormatError:
            raise DecryptionError from None
        return self._hashed(dh, enc, key.public)

    def _hashed(self, dh: bytes, enc: bytes, public: bytes) -> bytes:
        suite_id = suite_id_of(self.kem_id)
        prk = self.kdf.labeled_extract(suite_id, b"", b"eae_prk", dh)
        return self.kdf.labeled_expand(suite_id, prk, b"shared_secret", enc + public, self.nsecret)


_PrivateClass = type[mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey]
_PublicClass = type[mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey]


@dataclass(frozen=True, slots=True)
class MLKEM:
    """ML-KEM alone. Source: FIPS 203, draft-ietf-hpke-pq."""

    kem_id: int
    name: str
    npk: int
    nenc: int
    private_class: _PrivateClass
    public_class: _PublicClass
    nsk: int = 64
    nsecret: int = 32

    def generate_key_pair(self) -> KeyPair:
        key = self.private_class.generate()
        return KeyPair(key.private_bytes_raw(), key.public_key().public_bytes_raw())

    def derive_key_pair(self, ikm: bytes) -> KeyPair:
        private = labeled_derive_shake256(
            suite_id_of(self.kem_id), ikm, b"DeriveKeyPair", b"", self.nsk
        )
        return KeyPair(private, self.public_key_of(private))

    def public_key_of(self, private: bytes) -> bytes:
        return self._load(private).public_key().public_bytes_raw()

    def validate_public(self, public: bytes) -> None:
        self._load_public(public)

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        return self._load_public(public).encapsulate()

    def decapsulate(self, private: bytes, enc: bytes) -> bytes:
        key = self._load(private)
        if len(enc) != self.nenc:
            raise DecryptionError
        return key.decapsulate(enc)

    def _load(self, private: bytes) -> mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey:
        if len(private) != self.nsk:
            raise KeyFormatError(f"a private key of {self.name} has {self.nsk} bytes")
        return self.private_class.from_seed_bytes(private)

    def _load_public(self, public: bytes) -> mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey:
        if len(public) != self.npk:
            raise KeyFormatError(f"a public key of {self.name} has {self.npk} bytes")
        try:
            return self.public_class.from_public_bytes(public)
        except ValueError:
            raise KeyFormatError(f"not a public key of {self.name}") from None


@dataclass(frozen=True, slots=True)
class HybridKEM:
    """ML-KEM and a Diffie-Hellman group together: secure while either holds.

    Args:
        kem_id: HPKE's number.
        name: for people.
        pq: the ML-KEM half.
        group: the other half.
        group_seed: how many seed bytes the group's private key is drawn from.
        label: separates the hybrids' hash inputs from one another.
    """

    kem_id: int
    name: str
    pq: MLKEM
    group: Group
    group_seed: int
    label: bytes
    nsk: int = 32
    nsecret: int = 32

    @property
    def npk(self) -> int:
        return self.pq.npk + self.group.npk

    @property
    def nenc(self) -> int:
        return self.pq.nenc + self.group.npk

    def generate_key_pair(self) -> KeyPair:
        # The library's generator gives 64 bytes; a hash of them is the seed.
        fresh = self.pq.private_class.generate().private_bytes_raw()
        return self.derive_key_pair(fresh)

    def derive_key_pair(self, ikm: bytes) -> KeyPair:
        private = labeled_derive_shake256(
            suite_id_of(self.kem_id), ikm, b"DeriveKeyPair", b"", self.nsk
        )
        return KeyPair(private, self.public_key_of(private))

    def public_key_of(self, private: bytes) -> bytes:
        pq_private, group_private = self._expand(private)
        return self.pq.public_key_of(pq_private) + self.group.load(group_private).public

    def validate_public(self, public: bytes) -> None:
        pq_public, group_public = self._split(public, self.pq.npk, self.npk)
        self.pq.validate_public(pq_public)
        self.group.validate(group_public)

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        pq_public, group_public = self._split(public, self.pq.npk, self.npk)
        pq_secret, pq_enc = self.pq.encapsulate(pq_public)
        ephemeral = self.group.generate()
        dh = ephemeral.exchange(group_public)
        secret = self._combine(pq_secret, dh, ephemeral.public, group_public)
        return secret, pq_enc + ephemeral.public

    def decapsulate(self, private: bytes, enc: bytes) -> bytes:
        pq_private, group_private = self._expand(private)
        key = self.group.load(group_private)
        try:
            pq_enc, group_enc = self._split(enc, self.pq.nenc, self.nenc)
            dh = key.exchange(group_enc)
        except KeyFormatError:
            raise DecryptionError from None
        pq_secret = self.pq.decapsulate(pq_private, pq_enc)
        return self._combine(pq_secret, dh, group_enc, key.public)

    def _expand(self, private: bytes) -> tuple[bytes, bytes]:
        if len(private) != self.nsk:
            raise KeyFormatError(f"a private key of {self.name} has {self.nsk} bytes")
        seed = hashlib.shake_256(private).digest(self.pq.nsk + self.group_seed)
        return seed[: self.pq.nsk], self._scalar(seed[self.pq.nsk :])

    def _scalar(self, seed: bytes) -> bytes:
        size, order = self.group.nsk, self.group.order
        if order is None:
            return seed
        for at in range(0, len(seed), size):
            if 0 < int.from_bytes(seed[at : at + size]) < order:
                return seed[at : at + size]
        raise KeyFormatError(f"the seed gives no private key of {self.name}")

    def _split(self, data: bytes, at: int, size: int) -> tuple[bytes, bytes]:
        if len(data) != size:
            raise KeyFormatError(f"this part of {self.name} has {size} bytes")
        return data[:at], data[at:]

    def _combine(self, pq_secret: bytes, dh: bytes, group_enc: bytes, group_public: bytes) -> bytes:
        return hashlib.sha3_256(pq_secret + dh + group_enc + group_public + self.label).digest()


X25519: Final = DHKEM(0x0020, "X25519", groups.X25519, HKDF_SHA256)
X448: Final = DHKEM(0x0021, "X448", groups.X448, HKDF_SHA512)
P256: Final = DHKEM(0x0010, "P256", groups.P256, HKDF_SHA256)
P384: Final = DHKEM(0x0011, "P384", groups.P384, HKDF_SHA384)
P521: Final = DHKEM(0x0012, "P521", groups.P521, HKDF_SHA512)
MLKEM768: Final = MLKEM(
    0x0041, "MLKEM768", 1184, 1088, mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey
)
MLKEM1024: Final = MLKEM(
    0x0042, "MLKEM1024", 1568, 1568, mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey
)
MLKEM768P256: Final = HybridKEM(
    0x0050, "MLKEM768P256", MLKEM768, groups.P256, 128, b"MLKEM768-P256"
)
MLKEM1024P384: Final = HybridKEM(
    0x0051, "MLKEM1024P384", MLKEM1024, groups.P384, 48, b"MLKEM1024-P384"
)
MLKEM768X25519: Final = HybridKEM(
    0x647A, "MLKEM768X25519", MLKEM768, groups.X25519, 32, b"\\.//^\\"
)
