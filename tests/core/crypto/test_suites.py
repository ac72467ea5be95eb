"""The cipher suites: the working group's vectors, and what each operation refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto import suites
from liaison.crypto.errors import (
    DecryptionError,
    KeyFormatError,
    MACError,
    SignatureError,
    UnsupportedSuiteError,
)
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.suites import CipherSuite
from tests import vectors as published

SUITES = [suites.suite(code) for code in suites.SUPPORTED]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.code:04x}")
EVERY = st.sampled_from(SUITES)
every_vector = pytest.mark.parametrize(
    "case",
    published.load("mls/crypto-basics.json"),
    ids=lambda case: f"suite{case['cipher_suite']}" if case else "absent",
)


def raw(fields: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(fields[name]) for name in names]


@every_vector
def test_the_published_derivations_come_out(vectors: Path, case: Any) -> None:
    suite = suites.suite(case["cipher_suite"])

    named = case["ref_hash"]
    value, out = raw(named, "value", "out")
    assert suite.ref_hash(named["label"].encode(), value) == out
    named = case["expand_with_label"]
    secret, context, out = raw(named, "secret", "context", "out")
    label = named["label"].encode()
    assert suite.expand_with_label(secret, label, context, named["length"]) == out
    named = case["derive_secret"]
    secret, out = raw(named, "secret", "out")
    assert suite.derive_secret(secret, named["label"].encode()) == out
    named = case["derive_tree_secret"]
    secret, out = raw(named, "secret", "out")
    label, generation = named["label"].encode(), named["generation"]
    assert suite.derive_tree_secret(secret, label, generation, named["length"]) == out


@every_vector
def test_the_published_signatures_hold_and_ours_do(vectors: Path, case: Any) -> None:
    suite, named = suites.suite(case["cipher_suite"]), case["sign_with_label"]
    private, public, content, signature = raw(named, "priv", "pub", "content", "signature")
    label = named["label"].encode()

    suite.verify_with_label(public, label, content, signature)
    key = SigningKey.from_bytes(suite.signature, private)
    assert key.public_bytes == public
    suite.verify_with_label(public, label, content, suite.sign_with_label(key, label, content))


@every_vector
def test_the_published_ciphertexts_open_and_ours_do(vectors: Path, case: Any) -> None:
    suite, named = suites.suite(case["cipher_suite"]), case["encrypt_with_label"]
    private, public, context, plaintext = raw(named, "priv", "pub", "context", "plaintext")
    kem_output, ciphertext = raw(named, "kem_output", "ciphertext")
    label = named["label"].encode()

    opened = suite.decrypt_with_label(private, label, context, kem_output, ciphertext)
    assert opened == plaintext
    sent = suite.encrypt_with_label(public, label, context, plaintext)
    assert suite.decrypt_with_label(private, label, context, *sent) == plaintext


@every_suite
def test_a_labelled_ciphertext_opens_for_its_purpose_alone(suite: CipherSuite) -> None:
    pair, other = suite.generate_key_pair(), suite.generate_key_pair()
    suite.validate_hpke_public(pair.public)

    kem_output, ct = suite.encrypt_with_label(pair.public, b"Welcome", b"context", b"secret")

    opened = suite.decrypt_with_label(pair.private, b"Welcome", b"context", kem_output, ct)
    assert opened == b"secret"
    flipped = ct[:-1] + bytes((ct[-1] ^ 1,))
    for private, label, context, ciphertext in [
        (pair.private, b"UpdatePathNode", b"context", ct),
        (pair.private, b"Welcome", b"another", ct),
        (other.private, b"Welcome", b"context", ct),
        (pair.private, b"Welcome", b"context", flipped),
        (pair.private, b"Welcome", b"context", ct[:15]),
    ]:
        with pytest.raises(DecryptionError):
            suite.decrypt_with_label(private, label, context, kem_output, ciphertext)
    with pytest.raises(DecryptionError):
        suite.decrypt_with_label(pair.private, b"Welcome", b"context", kem_output[1:], ct)


@every_suite
def test_a_labelled_signature_holds_for_its_purpose_alone(suite: CipherSuite) -> None:
    key = SigningKey.generate(suite.signature)
    suite.validate_signature_public(key.public_bytes)

    signature = suite.sign_with_label(key, b"LeafNodeTBS", b"content")

    suite.verify_with_label(key.public_bytes, b"LeafNodeTBS", b"content", signature)
    for label, content in [(b"KeyPackageTBS", b"content"), (b"LeafNodeTBS", b"")]:
        with pytest.raises(SignatureError):
            suite.verify_with_label(key.public_bytes, label, content, signature)
    with pytest.raises(SignatureError):
        suite.verify_with_label(b"", b"LeafNodeTBS", b"content", signature)


def test_a_key_of_another_scheme_is_not_signed_with() -> None:
    key = SigningKey.generate(SignatureScheme.P256)

    with pytest.raises(SignatureError):
        suites.suite(0x0001).sign_with_label(key, b"label", b"content")


@every_suite
def test_an_export_is_known_to_both_sides_and_bound_to_its_context(suite: CipherSuite) -> None:
    pair = suite.derive_key_pair(bytes(suite.nh))

    enc, secret = suite.export_sender(pair.public, b"", b"MLS 1.0 external init secret", suite.nh)

    assert len(secret) == suite.nh
    context = b"MLS 1.0 external init secret"
    assert suite.export_receiver(pair.private, enc, b"", context, suite.nh) == secret
    assert suite.export_receiver(pair.private, enc, b"", b"other", suite.nh) != secret
    assert suite.export_receiver(pair.private, enc, b"info", context, suite.nh) != secret
    with pytest.raises(DecryptionError):
        suite.export_receiver(pair.private, enc[1:], b"", context, suite.nh)


@every_suite
def test_a_node_secret_gives_one_key_pair(suite: CipherSuite) -> None:
    pair = suite.derive_key_pair(b"\x07" * suite.nh)

    assert pair == suite.derive_key_pair(b"\x07" * suite.nh)
    assert suite.public_key_of(pair.private) == pair.public
    with pytest.raises(KeyFormatError):
        suite.validate_hpke_public(pair.public[:-1])


@every_suite
def test_the_messages_cipher_takes_the_suites_lengths(suite: CipherSuite) -> None:
    key, nonce = bytes(suite.nk), bytes(suite.nn)

    sealed = suite.aead_seal(key, nonce, b"aad", b"text")

    assert suite.aead_open(key, nonce, b"aad", sealed) == b"text"
    with pytest.raises(DecryptionError):
        suite.aead_open(key, nonce, b"", sealed)


@given(EVERY, st.integers(0, 47))
def test_a_tag_is_compared_in_full(suite: CipherSuite, cut: int) -> None:
    tag = suite.mac(b"key", b"data")
    suite.verify_mac(b"key", b"data", tag)

    with pytest.raises(MACError):
        suite.verify_mac(b"key", b"data", tag[: cut % suite.nh])
    with pytest.raises(MACError):
        suite.verify_mac(b"key", b"data", tag + b"\0")
    with pytest.raises(MACError):
        suite.verify_mac(b"other", b"data", tag)


@given(EVERY, st.binary(max_size=80), st.binary(max_size=20), st.binary(max_size=20))
def test_no_two_labels_or_contexts_share_a_derivation(
    suite: CipherSuite, secret: bytes, first: bytes, second: bytes
) -> None:
    moved = suite.expand_with_label(secret, first + second, b"", 32)

    apart = suite.expand_with_label(secret, first, second, 32)

    assert (apart == moved) == (second == b"")


@given(EVERY, st.binary(max_size=48), st.integers(0, 2**32 - 1))
def test_a_tree_secret_is_an_expansion_with_the_generation_as_context(
    suite: CipherSuite, secret: bytes, generation: int
) -> None:
    context = generation.to_bytes(4, "big")

    derived = suite.derive_tree_secret(secret, b"key", generation, suite.nk)

    assert derived == suite.expand_with_label(secret, b"key", context, suite.nk)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16383, "7fff"),
        (16384, "80004000"),
    ],
)
def test_a_vectors_header_is_the_shortest(size: int, header: str) -> None:
    assert suites._vector(bytes(size)) == bytes.fromhex(header) + bytes(size)


def test_an_unknown_suite_is_refused_by_name() -> None:
    for code in (0x0000, 0x0008, 0x0A0A, 0xF000, 0xF00C):
        with pytest.raises(UnsupportedSuiteError, match=f"0x{code:04x}"):
            suites.suite(code)


def test_the_default_suite_is_the_hybrid_one() -> None:
    assert suites.SUPPORTED[0] == suites.DEFAULT == 0xF002
    assert suites.suite(0xF002).name == "MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519"


def test_the_suites_are_those_of_the_rfc_and_the_draft() -> None:
    assert set(suites.SUPPORTED) == {*range(0x0001, 0x0008), *range(0xF001, 0xF00C)}
    assert {code: suites.suite(code).name for code in range(1, 8)} == {
        1: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
        2: "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
        3: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
        4: "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448",
        5: "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
        6: "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448",
        7: "MLS_256_DHKEMP384_AES256GCM_SHA384_P384",
    }


def test_a_suite_is_one_object() -> None:
    assert suites.suite(0x0001) is suites.suite(0x0001)
