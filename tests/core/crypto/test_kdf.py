"""Hashes, HMAC, HKDF and Argon2id against the RFCs' answers and two other libraries."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import kdf
from liaison.crypto.errors import MACError
from liaison.crypto.kdf import HKDF, HKDF_SHA256, HKDF_SHA384, HKDF_SHA512

KDFS = st.sampled_from([HKDF_SHA256, HKDF_SHA384, HKDF_SHA512])
LIBRARY = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}


@given(KDFS, st.binary(max_size=300), st.binary(max_size=300))
def test_every_mac_is_the_standard_librarys(function: HKDF, key: bytes, data: bytes) -> None:
    assert function.mac(key, data) == hmac.digest(key, data, function.name.lower())


@given(KDFS, st.binary(max_size=300))
def test_every_hash_is_the_standard_librarys(function: HKDF, data: bytes) -> None:
    assert function.hash(data) == hashlib.new(function.name.lower(), data).digest()


@given(KDFS, st.binary(min_size=1, max_size=99), st.binary(max_size=99), st.integers(1, 600))
def test_every_expansion_is_the_other_librarys(
    function: HKDF, prk: bytes, info: bytes, length: int
) -> None:
    other = HKDFExpand(LIBRARY[function.name], length, info).derive(prk)

    assert function.expand(prk, info, length) == other


def test_hkdf_gives_the_answers_of_rfc_5869() -> None:
    ikm, salt = bytes([0x0B] * 22), bytes(range(13))
    info = bytes(range(0xF0, 0xFA))

    okm = kdf.hkdf_sha256(ikm, salt, info, 42)

    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_hmac_gives_the_answer_of_rfc_4231() -> None:
    tag = kdf.hmac_sha256(b"Jefe", b"what do ya want for nothing?")

    assert tag.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


@pytest.mark.parametrize("length", [-1, 255 * 32 + 1])
def test_expanding_beyond_255_hashes_or_below_zero_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        HKDF_SHA256.expand(bytes(32), b"", length)


def test_expanding_works_up_to_255_hashes() -> None:
    assert len(HKDF_SHA256.expand(bytes(32), b"", 255 * 32)) == 255 * 32


@pytest.mark.parametrize("cut", [0, 1, 16, 31])
def test_a_shortened_tag_does_not_hold(cut: int) -> None:
    tag = kdf.hmac_sha256(b"key", b"data")

    with pytest.raises(MACError):
        kdf.verify_hmac_sha256(b"key", b"data", tag[:cut])


@given(st.integers(0, 255))
def test_a_tag_with_any_bit_flipped_does_not_hold(bit: int) -> None:
    tag = bytearray(kdf.hmac_sha256(b"key", b"data"))
    kdf.verify_hmac_sha256(b"key", b"data", bytes(tag))
    tag[bit // 8] ^= 1 << bit % 8

    with pytest.raises(MACError):
        kdf.verify_hmac_sha256(b"key", b"data", bytes(tag))


def test_argon2id_gives_the_reference_implementations_answer() -> None:
    key = kdf.argon2id(b"password", b"somesalt", iterations=2, lanes=1, memory_kib=256)

    assert key.hex() == "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"


@given(
    passphrase=st.binary(max_size=100),
    salt=st.binary(min_size=8, max_size=24) | st.binary(min_size=16, max_size=16),
    iterations=st.integers(1, 3),
    lanes=st.integers(1, 3),
    memory_kib=st.integers(24, 100),
    length=st.integers(16, 80),
)
def test_every_answer_of_argon2id_is_openssls(
    passphrase: bytes, salt: bytes, iterations: int, lanes: int, memory_kib: int, length: int
) -> None:
    key = kdf.argon2id(
        passphrase, salt, iterations=iterations, lanes=lanes, memory_kib=memory_kib, length=length
    )

    assert key == Argon2id(
        salt=salt, length=length, iterations=iterations, lanes=lanes, memory_cost=memory_kib
    ).derive(passphrase)


@pytest.mark.parametrize("salt", [bytes(8), bytes(16)])
@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"memory_kib": 7}, {"length": 3}])
def test_an_argon2id_parameter_out_of_range_is_refused(salt: bytes, wrong: dict[str, int]) -> None:
    usual: dict[str, int] = {"iterations": 1, "lanes": 1, "memory_kib": 64}

    with pytest.raises(ValueError):
        kdf.argon2id(b"passphrase", salt, **usual | wrong)


def test_argon2id_depends_on_every_parameter() -> None:
    usual: dict[str, int] = {"iterations": 1, "lanes": 1, "memory_kib": 64}
    keys = {
        kdf.argon2id(b"passphrase", bytes(16), **usual),
        kdf.argon2id(b"Passphrase", bytes(16), **usual),
        kdf.argon2id(b"passphrase", bytes(15) + b"\1", **usual),
        kdf.argon2id(b"passphrase", bytes(16), **usual | {"iterations": 2}),
        kdf.argon2id(b"passphrase", bytes(16), **usual | {"lanes": 2}),
        kdf.argon2id(b"passphrase", bytes(16), **usual | {"memory_kib": 65}),
    }

    assert len(keys) == 6


def test_a_salt_below_eight_bytes_is_refused() -> None:
    with pytest.raises(ValueError):
        kdf.argon2id(b"passphrase", bytes(7), iterations=1, lanes=1, memory_kib=64)


def test_comparison_tells_equal_from_different() -> None:
    assert kdf.constant_time_equal(b"same", b"same")
    assert not kdf.constant_time_equal(b"same", b"sama")
    assert not kdf.constant_time_equal(b"same", b"sam")


def test_the_plain_hashes_are_fips_180s() -> None:
    assert kdf.sha256(b"abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223")
    assert kdf.sha384(b"abc").hex().startswith("cb00753f45a35e8bb5a03d699ac65007")
