"""Ed25519, by libsodium: every message of the default suite is signed and verified here.

libsodium verifies in half the time of OpenSSL and refuses what should never hold: a key or a
nonce point of small order, and every second spelling of a number. Keys and signatures are raw
bytes. Source: RFC 8032 §5.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

from liaison.crypto.errors import KeyFormatError, SignatureError

SEED_SIZE: Final = 32
PUBLIC_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64


def generate() -> bytes:
    """Make a fresh private key from the library's own generator; 32 bytes, the seed."""
    _, secret = bindings.crypto_sign_keypair()
    return secret[:SEED_SIZE]


def load_private(seed: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    """Give what signs with a private key of 32 bytes, and its public key."""
    public, secret = bindings.crypto_sign_seed_keypair(seed)

    def sign(data: bytes) -> bytes:
        return bindings.crypto_sign(data, secret)[:SIGNATURE_SIZE]

    return sign, public


def load_public(public: bytes) -> Callable[[bytes, bytes], None]:
    """Give what checks a signature over data under a public key of 32 bytes.

    It raises SignatureError where the signature does not hold.

    Raises:
        KeyFormatError: not a point in its one spelling, or not of the large prime order.
    """
    # Under a key of small order one signature holds for many messages, so nobody could be held
    # to what they signed; no honest key generation gives a point with a part of small order.
    if not bindings.crypto_core_ed25519_is_valid_point(public):
        raise KeyFormatError("the public key is not a point of Ed25519's group")

    def verify(signature: bytes, data: bytes) -> None:
        # The library takes both as one string: a signature of another length would borrow from
        # the data, or lend to it.
        if len(signature) != SIGNATURE_SIZE:
            raise SignatureError
        try:
            bindings.crypto_sign_open(signature + data, public)
        except BadSignatureError:
            raise SignatureError from None

    return verify
