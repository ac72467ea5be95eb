"""HPKE against RFC 9180, the working group's vectors and the library's own suites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke as library
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519

from liaison.crypto import aead, kdf, kem
from liaison.crypto.errors import DecryptionError, KeyFormatError
from liaison.crypto.hpke import HPKE, Context
from liaison.crypto.kem import KEM
from tests import vectors as published

KDFS = {each.kdf_id: each for each in (kdf.HKDF_SHA256, kdf.HKDF_SHA384, kdf.HKDF_SHA512)}
AEADS = {
    each.aead_id: each for each in (aead.AES_128_GCM, aead.AES_256_GCM, aead.CHACHA20_POLY1305)
}
PQ_KEMS: list[KEM] = [
    kem.MLKEM768,
    kem.MLKEM1024,
    kem.MLKEM768P256,
    kem.MLKEM1024P384,
    kem.MLKEM768X25519,
]
KEMS = {each.kem_id: each for each in PQ_KEMS}


def vector_id(case: Any) -> str:
    if not case:
        return "absent"
    return f"kem{case['kem_id']:04x}-kdf{case['kdf_id']:02x}-aead{case['aead_id']}"


def check_schedule(case: Any, hpke: HPKE, context: Context) -> None:
    """Check what a case derives from its shared secret, and that its messages open."""
    assert hpke.suite_id.hex() == case["suite_id"]
    assert context.key.hex() == case["key"]
    assert context.base_nonce.hex() == case["base_nonce"]
    assert context.exporter_secret.hex() == case["exporter_secret"]
    for message in case["encryptions"]:
        nonce, aad, ct = (bytes.fromhex(message[name]) for name in ("nonce", "aad", "ct"))
        assert hpke.aead.open(context.key, nonce, aad, ct).hex() == message["pt"]
    for export in case["exports"]:
        exporter_context = bytes.fromhex(export["exporter_context"])
        value = hpke.export(context, exporter_context, export["L"])
        assert value.hex() == export["exported_value"]


@pytest.mark.parametrize("case", published.load("mls/hpke-pq-test-vectors.json"), ids=vector_id)
def test_the_working_groups_messages_open_and_exports_agree(vectors: Path, case: Any) -> None:
    if case["kdf_id"] not in KDFS:
        pytest.skip(f"KDF 0x{case['kdf_id']:04x} is in no suite")
    # ML-KEM-512 is in no suite: there the schedule alone is checked, from the published secret.
    each = KEMS.get(case["kem_id"], replace(kem.MLKEM768, kem_id=case["kem_id"]))
    hpke = HPKE(each, KDFS[case["kdf_id"]], AEADS[case["aead_id"]])
    private, enc, info = (bytes.fromhex(case[name]) for name in ("skRm", "enc", "info"))

    check_schedule(case, hpke, hpke._schedule(bytes.fromhex(case["shared_secret"]), info))

    if case["kem_id"] in KEMS:
        check_schedule(case, hpke, hpke.setup_receiver(private, enc, info))
        first = case["encryptions"][0]
        aad, ct = bytes.fromhex(first["aad"]), bytes.fromhex(first["ct"])
        assert hpke.open(private, enc, info, aad, ct).hex() == first["pt"]


def test_the_first_example_of_rfc_9180_comes_out() -> None:
    hpke = HPKE(kem.X25519, kdf.HKDF_SHA256, aead.AES_128_GCM)
    pair = kem.X25519.derive_key_pair(
        bytes.fromhex("6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037")
    )
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    ciphertext = bytes.fromhex(
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    info = b"Ode on a Grecian Urn"

    assert pair.public.hex() == "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"
    opened = hpke.open(pair.private, enc, info, b"Count-0", ciphertext)
    assert opened == b"Beauty is truth, truth beauty"
    exported = hpke.export(hpke.setup_receiver(pair.private, enc, info), b"", 32)
    assert exported.hex() == "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"


LIBRARY_KEM = {
    "X25519": library.KEM.X25519,
    "P256": library.KEM.P256,
    "P384": library.KEM.P384,
    "P521": library.KEM.P521,
    "MLKEM768": library.KEM.MLKEM768,
    "MLKEM1024": library.KEM.MLKEM1024,
    "MLKEM768X25519": library.KEM.MLKEM768_X25519,
    "MLKEM1024P384": library.KEM.MLKEM1024_P384,
}
CURVES = {"P256": ec.SECP256R1(), "P384": ec.SECP384R1(), "P521": ec.SECP521R1()}


def library_key(each: KEM, private: bytes) -> Any:
    """The library's object for one of our private keys."""
    if each.name in CURVES:
        return ec.derive_private_key(int.from_bytes(private), CURVES[each.name])
    if isinstance(each, kem.HybridKEM):
        pq, other = each._expand(private)
        if each is kem.MLKEM768X25519:
            return library.MLKEM768X25519PrivateKey(
                mlkem.MLKEM768PrivateKey.from_seed_bytes(pq),
                x25519.X25519PrivateKey.from_private_bytes(other),
            )
        return library.MLKEM1024P384PrivateKey(
            mlkem.MLKEM1024PrivateKey.from_seed_bytes(pq),
            ec.derive_private_key(int.from_bytes(other), ec.SECP384R1()),
        )
    if each is kem.MLKEM768:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(private)
    if each is kem.MLKEM1024:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(private)
    return x25519.X25519PrivateKey.from_private_bytes(private)


@pytest.mark.parametrize(
    ("function", "cipher", "library_kdf", "library_aead"),
    [
        (kdf.HKDF_SHA256, aead.AES_128_GCM, "HKDF_SHA256", "AES_128_GCM"),
        (kdf.HKDF_SHA384, aead.AES_256_GCM, "HKDF_SHA384", "AES_256_GCM"),
        (kdf.HKDF_SHA512, aead.CHACHA20_POLY1305, "HKDF_SHA512", "CHACHA20_POLY1305"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
@pytest.mark.parametrize("name", list(LIBRARY_KEM))
def test_the_library_reads_us_and_we_read_the_library(
    name: str, function: kdf.HKDF, cipher: aead.AEAD, library_kdf: str, library_aead: str
) -> None:
    each: KEM = getattr(kem, name)
    ours = HPKE(each, function, cipher)
    theirs = library.Suite(
        LIBRARY_KEM[name], getattr(library.KDF, library_kdf), getattr(library.AEAD, library_aead)
    )
    pair = each.generate_key_pair()
    key = library_key(each, pair.private)

    enc, ciphertext = ours.seal(pair.public, b"info", b"", b"from us")
    assert theirs.decrypt(enc + ciphertext, key, b"info") == b"from us"

    sealed = theirs.encrypt(b"from them", key.public_key(), b"info")
    enc, ciphertext = sealed[: each.nenc], sealed[each.nenc :]
    assert ours.open(pair.private, enc, b"info", b"", ciphertext) == b"from them"


def test_a_message_opens_only_as_it_was_sealed() -> None:
    hpke = HPKE(kem.X25519, kdf.HKDF_SHA256, aead.AES_128_GCM)
    pair, other = kem.X25519.generate_key_pair(), kem.X25519.generate_key_pair()
    enc, ct = hpke.seal(pair.public, b"info", b"aad", b"text")
    assert hpke.open(pair.private, enc, b"info", b"aad", ct) == b"text"

    for private, info, aad, ciphertext in [
        (other.private, b"info", b"aad", ct),
        (pair.private, b"inf0", b"aad", ct),
        (pair.private, b"info", b"", ct),
        (pair.private, b"info", b"aad", ct[:-1]),
        (pair.private, b"info", b"aad", b""),
    ]:
        with pytest.raises(DecryptionError):
            hpke.open(private, enc, info, aad, ciphertext)


def test_a_malformed_private_key_is_told_from_a_malformed_message() -> None:
    hpke = HPKE(kem.X25519, kdf.HKDF_SHA256, aead.AES_128_GCM)
    pair = kem.X25519.generate_key_pair()
    enc, ct = hpke.seal(pair.public, b"", b"", b"text")

    with pytest.raises(KeyFormatError):
        hpke.open(pair.private[1:], enc, b"", b"", ct)
    with pytest.raises(DecryptionError):
        hpke.open(pair.private, enc[1:], b"", b"", ct)


def test_a_context_shows_none_of_its_secrets() -> None:
    hpke = HPKE(kem.X25519, kdf.HKDF_SHA256, aead.AES_128_GCM)
    _, context = hpke.setup_sender(kem.X25519.generate_key_pair().public, b"")

    assert repr(context) == "Context()"
