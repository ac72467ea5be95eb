"""Ed25519: the RFC's answers, OpenSSL's as well, and every malformed key and signature refused.

The curve's arithmetic is written out here, slow and obvious, to make what no library would.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import signing
from liaison.crypto.errors import KeyFormatError, SignatureError
from liaison.crypto.signing import SignatureScheme, SigningKey

ED25519 = SignatureScheme.ED25519
KEY = SigningKey.from_bytes(ED25519, bytes(range(32)))
seeds = st.binary(min_size=32, max_size=32)

# --- the curve -x² + y² = 1 + d·x²·y², by RFC 8032 §5.1 -------------------------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]
IDENTITY = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    t = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P,
    )


def times(factor: int, point: Point) -> Point:
    if factor == 0:
        return IDENTITY
    half = times(factor // 2, add(point, point))
    return add(half, point) if factor % 2 else half


def point(y: int) -> Point:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return x if x % 2 == 0 else P - x, y


def spelled(place: Point) -> bytes:
    x, y = place
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = point(4 * pow(5, -1, P) % P)
OF_ORDER_8 = point(0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7)
SMALL = [times(n, OF_ORDER_8) for n in range(8)]
SECRET, NONCE = 0x0123456789ABCDEF, 0xFEDCBA9876543210
SIGNER = times(SECRET, BASE)


def forged(nonce_point: bytes, nonce: int, signer: bytes, data: bytes, extra: int = 0) -> bytes:
    """Sign by the equation, with whatever stands for the nonce's point and the key."""
    digest = hashlib.sha512(nonce_point + signer + data).digest()
    s = (nonce + int.from_bytes(digest, "little") * SECRET) % ORDER + extra
    return nonce_point + s.to_bytes(32, "little")


def test_the_arithmetic_of_these_tests_is_the_curves() -> None:
    signature = forged(spelled(times(NONCE, BASE)), NONCE, spelled(SIGNER), b"data")

    signing.verify(ED25519, spelled(SIGNER), signature, b"data")
    assert len(set(SMALL)) == 8
    assert times(ORDER, BASE) == IDENTITY == times(8, OF_ORDER_8)


# --- what holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "public", "data", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            (
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            hashlib.sha512(b"abc").hexdigest(),
            (
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
                "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
            ),
        ),
    ],
    ids=["TEST 1", "TEST 2", "TEST 3", "TEST SHA(abc)"],
)
def test_keys_and_signatures_are_those_of_rfc_8032(
    seed: str, public: str, data: str, signature: str
) -> None:
    key = SigningKey.from_bytes(ED25519, bytes.fromhex(seed))

    assert key.public_bytes.hex() == public
    assert key.sign(bytes.fromhex(data)).hex() == signature
    signing.verify(ED25519, key.public_bytes, bytes.fromhex(signature), bytes.fromhex(data))


@given(seeds, st.binary(max_size=2000))
def test_every_key_and_signature_is_the_one_that_openssl_makes(seed: bytes, data: bytes) -> None:
    ours, theirs = SigningKey.from_bytes(ED25519, seed), Ed25519PrivateKey.from_private_bytes(seed)

    assert ours.public_bytes == theirs.public_key().public_bytes_raw()
    assert ours.sign(data) == theirs.sign(data)
    signing.verify(ED25519, ours.public_bytes, theirs.sign(data), data)


@given(seeds, st.binary(max_size=200), st.integers(0, 511))
def test_every_flipped_bit_of_a_signature_is_refused_as_by_openssl(
    seed: bytes, data: bytes, bit: int
) -> None:
    key = SigningKey.from_bytes(ED25519, seed)
    changed = bytearray(key.sign(data))
    changed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SignatureError):
        signing.verify(ED25519, key.public_bytes, bytes(changed), data)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key.public_bytes).verify(bytes(changed), data)


# --- what is refused: signatures ------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200), st.data())
def test_no_signature_borrows_from_its_data(data: bytes, draw: st.DataObject) -> None:
    signature = KEY.sign(data)
    moved = draw.draw(st.integers(1, len(data)))

    with pytest.raises(SignatureError):
        signing.verify(ED25519, KEY.public_bytes, signature + data[:moved], data[moved:])


@given(st.integers(1, 64))
def test_no_signature_lends_to_its_data(moved: int) -> None:
    signature = KEY.sign(b"data")

    with pytest.raises(SignatureError):
        signing.verify(ED25519, KEY.public_bytes, signature[:-moved], signature[-moved:] + b"data")


@pytest.mark.parametrize("multiple", [1, 2, 7, 14])
def test_a_scalar_that_is_not_reduced_is_refused(multiple: int) -> None:
    # It satisfies the equation, so one message would have several signatures.
    nonce_point, signer = spelled(times(NONCE, BASE)), spelled(SIGNER)
    signature = forged(nonce_point, NONCE, signer, b"data", extra=multiple * ORDER)

    with pytest.raises(SignatureError):
        signing.verify(ED25519, signer, signature, b"data")


@pytest.mark.parametrize("nonce_point", SMALL)
def test_a_nonce_point_of_small_order_is_refused(nonce_point: Point) -> None:
    # With the identity it satisfies the equation, and OpenSSL accepts it.
    signer = spelled(SIGNER)
    signature = forged(spelled(nonce_point), 0, signer, b"data")

    with pytest.raises(SignatureError):
        signing.verify(ED25519, signer, signature, b"data")


@pytest.mark.parametrize("y", range(P, 2**255))
def test_a_nonce_point_in_a_second_spelling_is_refused(y: int) -> None:
    signer = spelled(SIGNER)
    for sign in (0, 1 << 255):
        signature = forged((y | sign).to_bytes(32, "little"), 0, signer, b"data")

        with pytest.raises(SignatureError):
            signing.verify(ED25519, signer, signature, b"data")


@pytest.mark.parametrize("part", SMALL[1:])
def test_a_nonce_point_with_a_part_of_small_order_is_refused(part: Point) -> None:
    # Whether this holds is where verifiers differ (with or without the cofactor); members and
    # relay must not.
    signer = spelled(SIGNER)
    nonce_point = spelled(add(times(NONCE, BASE), part))

    with pytest.raises(SignatureError):
        signing.verify(ED25519, signer, forged(nonce_point, NONCE, signer, b"data"), b"data")


# --- what is refused: keys ------------------------------------------------------------------------


@pytest.mark.parametrize("part", SMALL)
def test_a_key_of_small_order_is_refused_and_signs_nothing(part: Point) -> None:
    public = spelled(part)

    with pytest.raises(KeyFormatError):
        signing.validate_public(ED25519, public)
    with pytest.raises(SignatureError):
        signing.verify(ED25519, public, spelled(IDENTITY) + bytes(32), b"anything")


@pytest.mark.parametrize("part", SMALL[1:])
def test_a_key_with_a_part_of_small_order_is_refused_and_signs_nothing(part: Point) -> None:
    public = spelled(add(SIGNER, part))
    signature = forged(spelled(times(NONCE, BASE)), NONCE, public, b"data")

    with pytest.raises(KeyFormatError):
        signing.validate_public(ED25519, public)
    with pytest.raises(SignatureError):
        signing.verify(ED25519, public, signature, b"data")


@pytest.mark.parametrize("y", [0, 1, P - 1, *range(P, 2**255)])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_a_key_in_a_second_spelling_is_refused(y: int, sign: int) -> None:
    with pytest.raises(KeyFormatError):
        signing.validate_public(ED25519, (y | sign).to_bytes(32, "little"))


@given(seeds)
def test_every_other_sign_of_a_key_is_another_key(seed: bytes) -> None:
    key = SigningKey.from_bytes(ED25519, seed)
    negated = key.public_bytes[:31] + bytes((key.public_bytes[31] ^ 0x80,))

    signing.validate_public(ED25519, negated)
    with pytest.raises(SignatureError):
        signing.verify(ED25519, negated, key.sign(b"data"), b"data")


def test_only_every_sixteenth_byte_string_is_a_key() -> None:
    # Half are no point of the curve, and of its points every eighth is in the group.
    accepted = 0
    for number in range(2, 802):
        try:
            signing.validate_public(ED25519, number.to_bytes(32, "little"))
        except KeyFormatError:
            continue
        accepted += 1

    assert 25 < accepted < 75
