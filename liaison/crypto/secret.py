"""Sealing of stored secrets and of attachments, and the one source of randomness.

Everything here is AES-256-GCM. Attachments are cut into chunks after the
STREAM construction, so that they can be read, checked and resumed piece by
piece; a missing, moved, repeated or truncated chunk does not open.
Source: Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption
and its Nonce-Reuse Misuse-Resistance", 2015.
"""

from __future__ import annotations

import secrets  # noqa: TID251 - the one place that may: see random_bytes
from typing import Final

from liaison.crypto.aead import AES_256_GCM, TAG_SIZE
from liaison.crypto.errors import ChunkError

CHUNK_SIZE: Final = 65_536
CHUNK_OVERHEAD: Final = TAG_SIZE
MAX_CHUNKS: Final = 1 << 32


def random_bytes(length: int) -> bytes:
    """Draw from the operating system's generator.

    The only entropy source of the project: the rim hands this function to the
    cores as their `rng`, which themselves never draw.
    """
    return secrets.token_bytes(length)


def seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
    """Encrypt with AES-256-GCM; the result is 16 bytes longer.

    Args:
        key: 32 bytes.
        nonce: 12 bytes, never used before under this key.
        plaintext: what to hide.
        aad: what to bind without hiding it.
    """
    return AES_256_GCM.seal(key, nonce, aad, plaintext)


def open_sealed(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
    """Decrypt what `seal` made.

    Raises:
        DecryptionError: another key, nonce, aad or ciphertext.
    """
    return AES_256_GCM.open(key, nonce, aad, ciphertext)


def seal_chunk(key: bytes, index: int, last: bool, data: bytes) -> bytes:  # noqa: FBT001 - part of the nonce, always said
    """Encrypt one chunk of an attachment.

    Args:
        key: 32 random bytes made for this one attachment: the nonce holds nothing
            but the chunk's place, so no second content may meet this key.
        index: the chunk's place, from zero.
        last: whether it ends the attachment.
        data: `CHUNK_SIZE` bytes; the last chunk has 1 to `CHUNK_SIZE`, or none
            where the whole attachment is empty.

    Raises:
        ChunkError: `data` has another length, or `index` is out of range.
    """
    _check_shape(index, len(data), last=last)
    return AES_256_GCM.seal(key, _chunk_nonce(index, last=last), b"", data)


def open_chunk(key: bytes, index: int, last: bool, data: bytes) -> bytes:  # noqa: FBT001 - part of the nonce, always said
    """Decrypt one chunk that `seal_chunk` made for the same place.

    The attachment is whole only when a chunk with `last` set was opened.

    Raises:
        ChunkError: a chunk at this place can't have this length.
        DecryptionError: another key, place or content.
    """
    _check_shape(index, len(data) - CHUNK_OVERHEAD, last=last)
    return AES_256_GCM.open(key, _chunk_nonce(index, last=last), b"", data)


def chunk_count(plaintext_size: int) -> int:
    """Count the chunks of an attachment; an empty one has a single, empty chunk."""
    return max(1, -(-plaintext_size // CHUNK_SIZE))


def sealed_size(plaintext_size: int) -> int:
    """Tell how many bytes all sealed chunks of an attachment have together."""
    return plaintext_size + CHUNK_OVERHEAD * chunk_count(plaintext_size)


def _chunk_nonce(index: int, *, last: bool) -> bytes:
    return bytes(7) + index.to_bytes(4) + bytes((last,))


def _check_shape(index: int, size: int, *, last: bool) -> None:
    if not 0 <= index < MAX_CHUNKS:
        raise ChunkError("an attachment has at most 2**32 chunks")
    # One content has one sequence of chunks: an empty last chunk after full
    # ones would be a second spelling of the same attachment.
    smallest = (0 if index == 0 else 1) if last else CHUNK_SIZE
    if not smallest <= size <= CHUNK_SIZE:
        raise ChunkError
