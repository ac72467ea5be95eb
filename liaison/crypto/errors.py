"""What can go wrong in the primitives.

The texts never carry key material, plaintext or the bytes that failed.
"""

from __future__ import annotations

from liaison.errors import MalformedError, VerificationError


class CryptoError(VerificationError):
    """A cryptographic check did not hold.

    The family of the three below, for callers that treat them alike.
    """

    code = "crypto.failed"


class DecryptionError(CryptoError):
    """The ciphertext does not open with this key.

    Wrong key, wrong nonce, wrong associated data and altered ciphertext all
    look the same, on purpose.
    """

    code = "crypto.decryption_failed"


class SignatureError(CryptoError):
    """The signature does not hold under this public key."""

    code = "crypto.signature_invalid"


class MACError(CryptoError):
    """The authentication tag does not hold under this key."""

    code = "crypto.mac_invalid"


class KeyFormatError(MalformedError):
    """The bytes are not a key of this algorithm.

    Raised for wrong lengths and for values that the algorithm forbids: a point
    off its curve, a point of low order, a scalar out of range, a lattice
    coefficient that is not reduced.
    """

    code = "crypto.key_malformed"


class ChunkError(MalformedError):
    """The chunk has a length that no chunk at its place can have."""

    code = "crypto.chunk_malformed"


class UnsupportedSuiteError(MalformedError):
    """There is no cipher suite with this number here."""

    code = "crypto.suite_unsupported"


class UnsupportedSchemeError(MalformedError):
    """There is no signature scheme with this name here."""

    code = "crypto.scheme_unsupported"
