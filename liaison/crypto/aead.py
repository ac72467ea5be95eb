"""Authenticated encryption: one interface over AES-GCM and ChaCha20-Poly1305.

Nonces have 12 bytes and tags 16. A nonce must never serve two messages under
one key; who derives the key sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from liaison.crypto.errors import DecryptionError
from liaison.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

TAG_SIZE: Final = 16
NONCE_SIZE: Final = 12


@dataclass(frozen=True, slots=True)
class AEAD:
    """An authenticated cipher.

    Args:
        aead_id: HPKE's number for it.
        name: for people.
        nk: length of a key.
        nn: length of a nonce.
        cipher: makes the library's object of a key.
    """

    aead_id: int
    name: str
    nk: int
    nn: int
    cipher: Callable[[bytes], AESGCM | ChaCha20Poly1305]

    def seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Encrypt and append a tag of 16 bytes.

        Raises:
            ValueError: the key or the nonce has another length than `nk`, `nn`.
        """
        return self._keyed(key, nonce).encrypt(nonce, plaintext, aad)

    def open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Check the tag and decrypt.

        Raises:
            DecryptionError: the tag does not hold.
            ValueError: the key or the nonce has another length than `nk`, `nn`.
        """
        try:
            return self._keyed(key, nonce).decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise DecryptionError from None

    def _keyed(self, key: bytes, nonce: bytes) -> AESGCM | ChaCha20Poly1305:
        # The library also takes AES keys and nonces of other lengths, silently
        # making another cipher of the one that was agreed.
        if len(key) != self.nk or len(nonce) != self.nn:
            raise ValueError(f"{self.name} takes a key of {self.nk} and a nonce of {self.nn} bytes")
        return self.cipher(key)


AES_128_GCM: Final = AEAD(0x0001, "AES128GCM", 16, NONCE_SIZE, AESGCM)
AES_256_GCM: Final = AEAD(0x0002, "AES256GCM", 32, NONCE_SIZE, AESGCM)
CHACHA20_POLY1305: Final = AEAD(0x0003, "CHACHA20POLY1305", 32, NONCE_SIZE, ChaCha20Poly1305)
