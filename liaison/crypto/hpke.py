"""Hybrid Public Key Encryption, base mode, one message per encapsulation.

MLS needs more of HPKE than the library offers (key derivation, export, and
KEMs that it lacks), so all of it is here and the tests hold it against the
library's `Suite` and the working group's vectors. Source: RFC 9180.
"""

from __future__ import annotations

from dataclasses import field

from liaison.crypto.aead import AEAD
from liaison.crypto.kdf import HKDF
from liaison.crypto.kem import KEM
from liaison.values import dataclass

_MODE_BASE = b"\x00"


@dataclass(frozen=True, slots=True)
class Context:
    """What both sides know after setup; all of it is secret.

    Args:
        key: for the AEAD.
        base_nonce: the nonce of the first message.
        exporter_secret: the hash's length.
    """

    key: bytes = field(repr=False)
    base_nonce: bytes = field(repr=False)
    exporter_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HPKE:
    """One combination of KEM, KDF and AEAD."""

    kem: KEM
    kdf: HKDF
    aead: AEAD
    suite_id: bytes = field(init=False)
    _psk_id_hash: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = (self.kem.kem_id, self.kdf.kdf_id, self.aead.aead_id)
        suite_id = b"HPKE" + b"".join(number.to_bytes(2) for number in ids)
        object.__setattr__(self, "suite_id", suite_id)
        empty = self.kdf.labeled_extract(suite_id, b"", b"psk_id_hash", b"")
        object.__setattr__(self, "_psk_id_hash", empty)

    def setup_sender(self, public: bytes, info: bytes) -> tuple[bytes, Context]:
        """Encapsulate to `public`; give the encapsulation and the context.

        Raises:
            KeyFormatError: `public` is not a key of the KEM.

        Source: RFC 9180 §5.1.1.
        """
        secret, enc = self.kem.encapsulate(public)
        return enc, self._schedule(secret, info)

    def setup_receiver(self, private: bytes, enc: bytes, info: bytes) -> Context:
        """Decapsulate and give the sender's context.

        Raises:
            DecryptionError: `enc` is not an encapsulation of the KEM.
            KeyFormatError: `private` is not a key of the KEM.

        Source: RFC 9180 §5.1.1.
        """
        return self._schedule(self.kem.decapsulate(private, enc), info)

    def seal(self, public: bytes, info: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Encrypt one message to `public`; give the encapsulation and the ciphertext.

        Raises:
            KeyFormatError: `public` is not a key of the KEM.

        Source: RFC 9180 §6.1.
        """
        enc, context = self.setup_sender(public, info)
        return enc, self.aead.seal(context.key, context.base_nonce, aad, plaintext)

    def open(self, private: bytes, enc: bytes, info: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt one message.

        Raises:
            DecryptionError: the message is not for this key, info and aad.
            KeyFormatError: `private` is not a key of the KEM.

        Source: RFC 9180 §6.1.
        """
        context = self.setup_receiver(private, enc, info)
        return self.aead.open(context.key, context.base_nonce, aad, ciphertext)

    def export(self, context: Context, exporter_context: bytes, length: int) -> bytes:
        """Derive a secret that both sides know. Source: RFC 9180 §5.3."""
        return self.kdf.labeled_expand(
            self.suite_id, context.exporter_secret, b"sec", exporter_context, length
        )

    def _schedule(self, shared_secret: bytes, info: bytes) -> Context:
        # Source: RFC 9180 §5.1, mode base: no PSK, hence the empty strings.
        kdf, suite_id = self.kdf, self.suite_id
        info_hash = kdf.labeled_extract(suite_id, b"", b"info_hash", info)
        context = _MODE_BASE + self._psk_id_hash + info_hash
        secret = kdf.labeled_extract(suite_id, shared_secret, b"secret", b"")
        return Context(
            key=kdf.labeled_expand(suite_id, secret, b"key", context, self.aead.nk),
            base_nonce=kdf.labeled_expand(suite_id, secret, b"base_nonce", context, self.aead.nn),
            exporter_secret=kdf.labeled_expand(suite_id, secret, b"exp", context, kdf.nh),
        )
