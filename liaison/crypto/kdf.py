"""Hashes, HMAC, HKDF and the password hash.

HMAC is written out over `hashlib` because it is the hot path of message
protection (some ten calls per message) and this form takes two thirds of the
time of `hmac.digest` and of the library's; the tests hold it against both.
Lengths count bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from nacl import bindings

from liaison.crypto.errors import MACError
from liaison.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_HPKE_VERSION: Final = b"HPKE-v1"


@dataclass(frozen=True, slots=True)
class HKDF:
    """HKDF and HMAC over one hash function, with HPKE's labelled forms.

    Args:
        kdf_id: HPKE's number for it.
        name: the hash function, for people.
        nh: length of a hash and of a pseudorandom key.
        block: length of the hash function's input block.
        function: makes a hashlib object of its argument.

    Source: RFC 2104, RFC 5869, RFC 9180 §4.
    """

    kdf_id: int
    name: str
    nh: int
    block: int
    function: Callable[[bytes], hashlib._Hash]

    def hash(self, data: bytes) -> bytes:
        """Hash `data` to `nh` bytes."""
        return self.function(data).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        """Compute the HMAC of `data`, `nh` bytes."""
        new = self.function
        if len(key) > self.block:
            key = new(key).digest()
        key = key.ljust(self.block, b"\0")
        return new(key.translate(_OUTER) + new(key.translate(_INNER) + data).digest()).digest()

    def verify_mac(self, key: bytes, data: bytes, tag: bytes) -> None:
        """Check a whole tag in constant time; a shortened one does not hold.

        Raises:
            MACError: the tag is another.
        """
        if not hmac.compare_digest(self.mac(key, data), tag):
            raise MACError

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """Make a pseudorandom key of `nh` bytes; an empty salt stands for zeros."""
        return self.mac(salt, ikm)

    def expand(self, prk: bytes, info: bytes, length: int) -> bytes:
        """Draw `length` bytes from a pseudorandom key, at most 255 hashes.

        Raises:
            ValueError: `length` is out of range.
        """
        if length <= self.nh:
            if length < 0:
                raise ValueError("length is negative")
            return self.mac(prk, info + b"\x01")[:length]
        blocks = -(-length // self.nh)
        if blocks > 255:
            raise ValueError(f"{length} bytes are more than 255 hashes")
        okm = block = b""
        for counter in range(1, blocks + 1):
            block = self.mac(prk, block + info + bytes((counter,)))
            okm += block
        return okm[:length]

    def labeled_extract(self, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        """Extract with HPKE's label. Source: RFC 9180 §4."""
        return self.extract(salt, _HPKE_VERSION + suite_id + label + ikm)

    def labeled_expand(
        self, suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int
    ) -> bytes:
        """Expand with HPKE's label. Source: RFC 9180 §4."""
        labeled = length.to_bytes(2) + _HPKE_VERSION + suite_id + label + info
        return self.expand(prk, labeled, length)


HKDF_SHA256: Final = HKDF(0x0001, "SHA256", 32, 64, hashlib.sha256)
HKDF_SHA384: Final = HKDF(0x0002, "SHA384", 48, 128, hashlib.sha384)
HKDF_SHA512: Final = HKDF(0x0003, "SHA512", 64, 128, hashlib.sha512)


def labeled_derive_shake256(
    suite_id: bytes, ikm: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """Derive with HPKE's one-stage KDF over SHAKE256.

    Source: draft-ietf-hpke-hpke §4 (LabeledDerive), draft-ietf-hpke-pq.
    """
    framed = ikm + _HPKE_VERSION + suite_id + len(label).to_bytes(2) + label
    return hashlib.shake_256(framed + length.to_bytes(2) + context).digest(length)


def sha256(data: bytes) -> bytes:
    """Hash to 32 bytes."""
    return hashlib.sha256(data).digest()


def sha384(data: bytes) -> bytes:
    """Hash to 48 bytes."""
    return hashlib.sha384(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Compute an authentication tag of 32 bytes."""
    return HKDF_SHA256.mac(key, data)


def verify_hmac_sha256(key: bytes, data: bytes, tag: bytes) -> None:
    """Check a tag of 32 bytes in constant time.

    Raises:
        MACError: the tag is another, or is not whole.
    """
    HKDF_SHA256.verify_mac(key, data, tag)


def hkdf_sha256(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` bytes, at most 8160, from input keying material. Source: RFC 5869.

    Raises:
        ValueError: `length` is out of range.
    """
    return HKDF_SHA256.expand(HKDF_SHA256.extract(salt, ikm), info, length)


def constant_time_equal(left: bytes, right: bytes) -> bool:
    """Compare two byte strings; the time taken tells their length only."""
    return hmac.compare_digest(left, right)


def argon2id(
    passphrase: bytes,
    salt: bytes,
    *,
    iterations: int,
    lanes: int,
    memory_kib: int,
    length: int = 32,
) -> bytes:
    """Derive a key from a passphrase, slowly and in much memory.

    Args:
        passphrase: as bytes; the caller settles the encoding and normalisation.
        salt: at least 8 bytes, 16 is usual; random and stored beside the ciphertext.
        iterations: passes over the memory, at least 1.
        lanes: parallel lanes, at least 1.
        memory_kib: memory in KiB, at least 8 per lane. RFC 9106's second choice is
            3 iterations, 4 lanes and 65,536 KiB.
        length: of the key, at least 16.

    Raises:
        ValueError: a parameter is out of range.

    Source: RFC 9106.
    """
    # The answer is the same; libsodium takes half of OpenSSL's time, but has one lane only.
    if lanes == 1 and len(salt) == bindings.crypto_pwhash_SALTBYTES:
        algorithm = bindings.crypto_pwhash_ALG_ARGON2ID13
        memory = memory_kib << 10
        return bindings.crypto_pwhash_alg(length, passphrase, salt, iterations, memory, algorithm)
    return Argon2id(
        salt=salt, length=length, iterations=iterations, lanes=lanes, memory_cost=memory_kib
    ).derive(passphrase)
