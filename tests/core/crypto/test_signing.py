"""Signature schemes: round trips, refusals, and what must never be shown."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import signing
from liaison.crypto.errors import KeyFormatError, SignatureError, UnsupportedSchemeError
from liaison.crypto.signing import SignatureScheme, SigningKey

KEYS = {scheme: SigningKey.generate(scheme) for scheme in SignatureScheme}
every_scheme = pytest.mark.parametrize("scheme", list(SignatureScheme))
ECDSA = [SignatureScheme.P256, SignatureScheme.P384, SignatureScheme.P521]


@every_scheme
def test_a_signature_holds_for_its_data_alone(scheme: SignatureScheme) -> None:
    key = KEYS[scheme]
    signature = key.sign(b"data")

    signing.verify(scheme, key.public_bytes, signature, b"data")
    with pytest.raises(SignatureError):
        signing.verify(scheme, key.public_bytes, signature, b"Data")


@every_scheme
def test_a_signature_holds_under_its_key_alone(scheme: SignatureScheme) -> None:
    signature = KEYS[scheme].sign(b"data")
    stranger = SigningKey.generate(scheme)

    with pytest.raises(SignatureError):
        signing.verify(scheme, stranger.public_bytes, signature, b"data")


@every_scheme
def test_a_broken_signature_is_refused_whatever_its_shape(scheme: SignatureScheme) -> None:
    key = KEYS[scheme]
    good = key.sign(b"data")
    flipped = good[:-1] + bytes((good[-1] ^ 1,))

    for bad in (b"", good[:-1], good + b"\0", bytes(len(good)), b"\xff" * len(good), flipped):
        with pytest.raises(SignatureError):
            signing.verify(scheme, key.public_bytes, bad, b"data")


@every_scheme
def test_a_key_survives_storage(scheme: SignatureScheme) -> None:
    stored = SigningKey.from_bytes(scheme, KEYS[scheme].private_bytes())

    assert stored.public_bytes == KEYS[scheme].public_bytes
    signing.verify(scheme, KEYS[scheme].public_bytes, stored.sign(b"data"), b"data")


@every_scheme
def test_a_private_key_of_another_length_is_refused(scheme: SignatureScheme) -> None:
    raw = KEYS[scheme].private_bytes()

    for bad in (b"", raw[:-1], raw + b"\0"):
        with pytest.raises(KeyFormatError):
            SigningKey.from_bytes(scheme, bad)


@every_scheme
def test_a_public_key_of_another_length_is_refused(scheme: SignatureScheme) -> None:
    public = KEYS[scheme].public_bytes
    signing.validate_public(scheme, public)

    for bad in (b"", public[:-1], public + b"\0"):
        with pytest.raises(KeyFormatError):
            signing.validate_public(scheme, bad)
        with pytest.raises(SignatureError):
            signing.verify(scheme, bad, KEYS[scheme].sign(b"data"), b"data")


@pytest.mark.parametrize("scheme", ECDSA)
def test_a_scalar_out_of_range_is_no_private_key(scheme: SignatureScheme) -> None:
    size = len(KEYS[scheme].private_bytes())

    for bad in (bytes(size), b"\xff" * size):
        with pytest.raises(KeyFormatError):
            SigningKey.from_bytes(scheme, bad)


@pytest.mark.parametrize("scheme", ECDSA)
def test_a_point_off_its_curve_or_in_another_form_is_refused(scheme: SignatureScheme) -> None:
    public = KEYS[scheme].public_bytes
    off = public[:-1] + bytes((public[-1] ^ 1,))
    hybrid = bytes((6 | public[-1] & 1,)) + public[1:]

    for bad in (off, hybrid, b"\x04" + bytes(len(public) - 1), bytes(len(public))):
        with pytest.raises(KeyFormatError):
            signing.validate_public(scheme, bad)


def test_a_compressed_point_is_refused() -> None:
    raw = KEYS[SignatureScheme.P256].public_bytes
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    with pytest.raises(KeyFormatError):
        signing.validate_public(SignatureScheme.P256, compressed)


@pytest.mark.parametrize("y", [0, 1, 2**448 - 2**224 - 2, 2**448 - 2**224 - 1])
def test_an_ed448_key_of_small_order_is_refused(y: int) -> None:
    for sign in (b"\0", b"\x80"):
        with pytest.raises(KeyFormatError):
            signing.validate_public(SignatureScheme.ED448, y.to_bytes(56, "little") + sign)


def test_half_of_all_byte_strings_are_no_ed448_point() -> None:
    refused = 0
    for number in range(2, 202):
        try:
            signing.validate_public(SignatureScheme.ED448, number.to_bytes(57, "little"))
        except KeyFormatError:
            refused += 1

    assert 60 < refused < 140


@given(st.sampled_from([SignatureScheme.ED25519, SignatureScheme.ED448]), st.data())
def test_every_honest_edwards_key_is_accepted(scheme: SignatureScheme, data: st.DataObject) -> None:
    size = len(KEYS[scheme].private_bytes())
    seed = data.draw(st.binary(min_size=size, max_size=size))

    signing.validate_public(scheme, SigningKey.from_bytes(scheme, seed).public_bytes)


@every_scheme
def test_a_private_key_is_never_shown_or_copied_out(scheme: SignatureScheme) -> None:
    key = KEYS[scheme]

    assert key.private_bytes().hex() not in repr(key)
    assert repr(key.private_bytes()) not in repr(key)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)


def test_a_refused_private_key_is_not_quoted() -> None:
    with pytest.raises(KeyFormatError) as caught:
        SigningKey.from_bytes(SignatureScheme.P256, b"\xff" * 32)

    assert "ff" not in str(caught.value).replace("_", "")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_scheme_is_found_by_its_registered_name() -> None:
    assert SignatureScheme.parse("ecdsa_secp384r1_sha384") is SignatureScheme.P384
    with pytest.raises(UnsupportedSchemeError):
        SignatureScheme.parse("rsa_pkcs1_sha256")
