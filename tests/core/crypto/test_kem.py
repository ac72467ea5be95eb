"""Key encapsulation against the working group's vectors, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import groups, kem
from liaison.crypto.errors import DecryptionError, KeyFormatError
from liaison.crypto.kem import DHKEM, KEM, HybridKEM, KeyPair
from tests import vectors as published

KEMS: list[KEM] = [
    kem.X25519,
    kem.X448,
    kem.P256,
    kem.P384,
    kem.P521,
    kem.MLKEM768,
    kem.MLKEM1024,
    kem.MLKEM768P256,
    kem.MLKEM1024P384,
    kem.MLKEM768X25519,
]
BY_ID = {each.kem_id: each for each in KEMS}
PAIRS = {each.kem_id: each.generate_key_pair() for each in KEMS}
every_kem = pytest.mark.parametrize("each", KEMS, ids=lambda each: each.name)
P25519 = 2**255 - 19


def vector_id(case: Any) -> str:
    return f"kem{case['kem_id']:04x}-kdf{case['kdf_id']:02x}" if case else "absent"


@pytest.mark.parametrize("case", published.load("mls/hpke-pq-test-vectors.json"), ids=vector_id)
def test_the_working_groups_keys_and_secrets_come_out(vectors: Path, case: Any) -> None:
    if case["kem_id"] not in BY_ID:
        pytest.skip(f"KEM 0x{case['kem_id']:04x} belongs to no suite")
    each = BY_ID[case["kem_id"]]
    private, public = bytes.fromhex(case["skRm"]), bytes.fromhex(case["pkRm"])

    derived = each.derive_key_pair(bytes.fromhex(case["ikmR"]))

    assert derived.public == public
    if each is not kem.X448:  # there the file has the private key with its bits clamped
        assert derived.private == private
    assert each.public_key_of(private) == public
    secret = each.decapsulate(private, bytes.fromhex(case["enc"]))
    assert secret.hex() == case["shared_secret"]


@every_kem
def test_both_sides_get_one_secret_of_the_stated_lengths(each: KEM) -> None:
    pair = PAIRS[each.kem_id]

    secret, enc = each.encapsulate(pair.public)

    assert each.decapsulate(pair.private, enc) == secret
    assert (len(secret), len(enc)) == (each.nsecret, each.nenc)
    assert (len(pair.private), len(pair.public)) == (each.nsk, each.npk)


@every_kem
def test_every_encapsulation_is_fresh(each: KEM) -> None:
    secrets = {each.encapsulate(PAIRS[each.kem_id].public) for _ in range(5)}

    assert len({secret for secret, _ in secrets}) == 5
    assert len({enc for _, enc in secrets}) == 5


@every_kem
def test_every_generated_pair_is_fresh_and_fits_together(each: KEM) -> None:
    pairs = [each.generate_key_pair() for _ in range(3)]

    assert len({pair.private for pair in pairs}) == 3
    for pair in pairs:
        assert each.public_key_of(pair.private) == pair.public
        each.validate_public(pair.public)


@given(st.sampled_from(KEMS), st.binary(min_size=1, max_size=80))
def test_one_input_derives_one_valid_pair(each: KEM, ikm: bytes) -> None:
    pair = each.derive_key_pair(ikm)

    assert pair == each.derive_key_pair(ikm)
    assert pair != each.derive_key_pair(ikm + b"\0")
    assert each.public_key_of(pair.private) == pair.public
    each.validate_public(pair.public)


@every_kem
def test_a_private_key_of_another_length_is_refused(each: KEM) -> None:
    pair = PAIRS[each.kem_id]
    _, enc = each.encapsulate(pair.public)

    for bad in (b"", pair.private[:-1], pair.private + b"\0"):
        with pytest.raises(KeyFormatError):
            each.public_key_of(bad)
        with pytest.raises(KeyFormatError):
            each.decapsulate(bad, enc)


@every_kem
def test_a_public_key_of_another_length_is_refused(each: KEM) -> None:
    public = PAIRS[each.kem_id].public

    for bad in (b"", public[:-1], public + b"\0"):
        with pytest.raises(KeyFormatError):
            each.validate_public(bad)
        with pytest.raises(KeyFormatError):
            each.encapsulate(bad)


@every_kem
def test_an_encapsulation_of_another_length_does_not_open(each: KEM) -> None:
    pair = PAIRS[each.kem_id]
    _, enc = each.encapsulate(pair.public)

    for bad in (b"", enc[:-1], enc + b"\0"):
        with pytest.raises(DecryptionError):
            each.decapsulate(pair.private, bad)


@every_kem
def test_an_altered_encapsulation_gives_no_or_another_secret(each: KEM) -> None:
    pair = PAIRS[each.kem_id]
    secret, enc = each.encapsulate(pair.public)

    for at in (1, len(enc) // 2, len(enc) - 1):
        altered = bytearray(enc)
        altered[at] ^= 1
        try:
            assert each.decapsulate(pair.private, bytes(altered)) != secret
        except DecryptionError:
            assert not isinstance(each, kem.MLKEM)


LOW_ORDER_X25519 = [
    0,
    1,
    P25519 - 1,
    P25519,
    P25519 + 1,
    0xB8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
]


@pytest.mark.parametrize("coordinate", LOW_ORDER_X25519)
def test_an_x25519_point_of_low_order_is_refused_everywhere(coordinate: int) -> None:
    point = coordinate.to_bytes(32, "little")
    hybrid = PAIRS[kem.MLKEM768X25519.kem_id]
    _, enc = kem.MLKEM768X25519.encapsulate(hybrid.public)

    with pytest.raises(KeyFormatError):
        kem.X25519.validate_public(point)
    with pytest.raises(KeyFormatError):
        kem.X25519.encapsulate(point)
    with pytest.raises(DecryptionError):
        kem.X25519.decapsulate(PAIRS[kem.X25519.kem_id].private, point)
    with pytest.raises(KeyFormatError):
        kem.MLKEM768X25519.validate_public(hybrid.public[:-32] + point)
    with pytest.raises(DecryptionError):
        kem.MLKEM768X25519.decapsulate(hybrid.private, enc[:-32] + point)


@pytest.mark.parametrize("coordinate", [0, 1, 2**448 - 2**224 - 2])
def test_an_x448_point_of_low_order_is_refused(coordinate: int) -> None:
    with pytest.raises(KeyFormatError):
        kem.X448.validate_public(coordinate.to_bytes(56, "little"))


@pytest.mark.parametrize("each", [kem.P256, kem.P384, kem.P521], ids=lambda each: each.name)
def test_a_point_off_its_curve_or_in_another_form_is_refused(each: DHKEM) -> None:
    pair = PAIRS[each.kem_id]
    off = pair.public[:-1] + bytes((pair.public[-1] ^ 1,))
    compressed = bytes((2 | pair.public[-1] & 1,)) + pair.public[1 : 1 + each.nsk]
    hybrid = bytes((6 | pair.public[-1] & 1,)) + pair.public[1:]

    for bad in (off, compressed, hybrid, b"\0", b"\x04" + bytes(each.npk - 1)):
        with pytest.raises(KeyFormatError):
            each.validate_public(bad)
        with pytest.raises(DecryptionError):
            each.decapsulate(pair.private, bad)


@pytest.mark.parametrize("each", [kem.P256, kem.P384, kem.P521], ids=lambda each: each.name)
def test_a_scalar_out_of_range_is_no_private_key(each: DHKEM) -> None:
    order = each.group.order
    assert order is not None

    for bad in (0, order, order + 1):
        with pytest.raises(KeyFormatError):
            each.public_key_of(bad.to_bytes(each.nsk))


@pytest.mark.parametrize(
    "each",
    [kem.MLKEM768, kem.MLKEM1024, kem.MLKEM768P256, kem.MLKEM1024P384, kem.MLKEM768X25519],
    ids=lambda each: each.name,
)
def test_an_unreduced_lattice_coefficient_is_refused(each: KEM) -> None:
    public = b"\xff\xff\xff" + PAIRS[each.kem_id].public[3:]

    with pytest.raises(KeyFormatError):
        each.validate_public(public)
    with pytest.raises(KeyFormatError):
        each.encapsulate(public)


def test_a_hybrid_seed_skips_scalars_out_of_range() -> None:
    order = groups.P256.order
    seed = bytes(32) + order.to_bytes(32) + (5).to_bytes(32) + (6).to_bytes(32)

    assert kem.MLKEM768P256._scalar(seed) == (5).to_bytes(32)
    with pytest.raises(KeyFormatError):
        kem.MLKEM768P256._scalar(bytes(128))


@pytest.mark.parametrize(
    "each", [kem.MLKEM768P256, kem.MLKEM1024P384, kem.MLKEM768X25519], ids=lambda each: each.name
)
def test_a_hybrids_secret_depends_on_both_halves(each: HybridKEM) -> None:
    pair, other = PAIRS[each.kem_id], each.generate_key_pair()
    first, enc = each.encapsulate(pair.public)
    _, other_enc = each.encapsulate(other.public)
    at = each.pq.nenc

    assert each.decapsulate(pair.private, enc[:at] + other_enc[at:]) != first
    assert each.decapsulate(pair.private, other_enc[:at] + enc[at:]) != first


def test_a_key_pair_does_not_show_its_private_half() -> None:
    pair = KeyPair(b"\x11" * 32, b"\x22" * 32)

    assert "11" not in repr(pair).replace("22", "")
    assert r"\x22" in repr(pair) or '"' in repr(pair)
