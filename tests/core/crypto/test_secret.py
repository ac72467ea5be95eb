"""Sealing of stored secrets and the chunks of attachments."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import secret
from liaison.crypto.aead import AEAD, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305
from liaison.crypto.errors import ChunkError, DecryptionError
from liaison.crypto.secret import CHUNK_SIZE

KEY, NONCE = bytes(range(32)), bytes(range(12))


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_whatever_is_sealed_opens_again(plaintext: bytes, aad: bytes) -> None:
    sealed = secret.seal(KEY, NONCE, plaintext, aad)

    assert len(sealed) == len(plaintext) + 16
    assert secret.open_sealed(KEY, NONCE, sealed, aad) == plaintext


@given(st.integers(0, 8 * 21 - 1))
def test_any_flipped_bit_keeps_a_sealed_text_shut(bit: int) -> None:
    sealed = bytearray(secret.seal(KEY, NONCE, b"hello", b"aad"))
    sealed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(DecryptionError):
        secret.open_sealed(KEY, NONCE, bytes(sealed), b"aad")


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 20])
def test_a_shortened_sealed_text_stays_shut(cut: int) -> None:
    sealed = secret.seal(KEY, NONCE, b"hello")

    with pytest.raises(DecryptionError):
        secret.open_sealed(KEY, NONCE, sealed[:cut])


def test_another_key_nonce_or_aad_keeps_it_shut() -> None:
    sealed = secret.seal(KEY, NONCE, b"hello", b"aad")

    for key, nonce, aad in [
        (KEY[::-1], NONCE, b"aad"),
        (KEY, NONCE[::-1], b"aad"),
        (KEY, NONCE, b""),
    ]:
        with pytest.raises(DecryptionError):
            secret.open_sealed(key, nonce, sealed, aad)


@pytest.mark.parametrize(
    "aead", [AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305], ids=lambda a: a.name
)
def test_a_cipher_takes_keys_and_nonces_of_its_own_length_only(aead: AEAD) -> None:
    key, nonce = bytes(aead.nk), bytes(aead.nn)
    assert aead.open(key, nonce, b"", aead.seal(key, nonce, b"", b"text")) == b"text"

    for other_key, other_nonce in [
        (bytes(24), nonce),
        (bytes(48 - aead.nk), nonce),
        (key, bytes(8)),
        (key, bytes(16)),
    ]:
        with pytest.raises(ValueError):
            aead.seal(other_key, other_nonce, b"", b"text")


def chunks_of(data: bytes) -> list[bytes]:
    pieces = [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)] or [b""]
    return [
        secret.seal_chunk(KEY, index, index == len(pieces) - 1, piece)
        for index, piece in enumerate(pieces)
    ]


SIZES = st.sampled_from([0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])


@given(SIZES)
def test_every_attachment_opens_chunk_by_chunk(size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    chunks = chunks_of(data)

    assert len(chunks) == secret.chunk_count(size)
    assert sum(map(len, chunks)) == secret.sealed_size(size)
    opened = [
        secret.open_chunk(KEY, index, index == len(chunks) - 1, chunk)
        for index, chunk in enumerate(chunks)
    ]
    assert b"".join(opened) == data


@given(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=100))
def test_a_chunk_is_aes_gcm_under_a_nonce_of_place_and_end(index: int, data: bytes) -> None:
    nonce = bytes(7) + index.to_bytes(4, "big") + b"\x01"

    assert secret.seal_chunk(KEY, index, True, data) == AESGCM(KEY).encrypt(nonce, data, b"")


def test_a_moved_repeated_or_truncated_chunk_does_not_open() -> None:
    chunks = chunks_of(bytes(3 * CHUNK_SIZE))

    for index, last, chunk in [
        (0, False, chunks[1]),
        (1, False, chunks[0]),
        (1, True, chunks[1]),
        (2, False, chunks[2]),
    ]:
        with pytest.raises(DecryptionError):
            secret.open_chunk(KEY, index, last, chunk)


@pytest.mark.parametrize(
    ("index", "last", "size"),
    [
        (0, False, CHUNK_SIZE - 1),
        (0, False, 0),
        (0, True, CHUNK_SIZE + 1),
        (1, True, 0),
        (-1, True, 5),
        (2**32, True, 5),
    ],
)
def test_a_chunk_of_impossible_size_or_place_is_refused(index: int, last: bool, size: int) -> None:
    with pytest.raises(ChunkError):
        secret.seal_chunk(KEY, index, last, bytes(size))
    with pytest.raises(ChunkError):
        secret.open_chunk(KEY, index, last, bytes(size + 16))


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_chunk_shorter_than_its_tag_is_refused(size: int) -> None:
    with pytest.raises(ChunkError):
        secret.open_chunk(KEY, 0, True, bytes(size))


def test_random_bytes_come_in_the_length_asked_for_and_differ() -> None:
    draws = {secret.random_bytes(32) for _ in range(100)}

    assert len(draws) == 100
    assert {len(draw) for draw in draws} == {32}
