"""Roots and issuing: a root names one party, and nobody issues with another's key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509 as lib
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from liaison.crypto import x509_issue
from liaison.crypto.errors import KeyFormatError
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509 import Certificate, CertificateError, CertificateMalformedError, Root
from liaison.errors import LiaisonError
from liaison.model import DeviceId, PartyCode

NOR = PartyCode("NOR")
DEVICE = DeviceId.parse("nor/defatt-berlin#d1")


def self_signed(uri: str | None, *, ca: bool = True) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    name = lib.Name([lib.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    usage = lib.KeyUsage(
        digital_signature=False,
        key_cert_sign=ca,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        lib.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(datetime.fromtimestamp(1000, UTC))
        .not_valid_after(datetime.fromtimestamp(2000, UTC))
        .add_extension(lib.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if uri is not None:
        names = lib.SubjectAlternativeName([lib.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, None).public_bytes(Encoding.DER)


def root_of(party: PartyCode, key: SigningKey) -> bytes:
    return x509_issue.issue_root(key, party, not_before=1000, not_after=2000, rng=random_bytes)


@pytest.mark.parametrize("code", ["NOR", "UN-OCHA", "ABCDEFGHIJKLMNOP-A2345-B2345-C2345"])
def test_a_root_names_its_party(code: str) -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)

    assert Root.parse(root_of(PartyCode.parse(code), key)).party == PartyCode(code)


@pytest.mark.parametrize("uri", [None, "liaison://NOR", "liaison://nor/x#d", "https://nor", "nor"])
def test_a_root_without_a_proper_name_is_refused(uri: str | None) -> None:
    with pytest.raises(CertificateMalformedError):
        Root.parse(self_signed(uri))


def test_a_certificate_that_may_not_issue_is_no_root() -> None:
    with pytest.raises(CertificateError, match="not a certificate authority"):
        Root.parse(self_signed("liaison://nor", ca=False))


def test_a_root_is_signed_by_itself() -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)
    der = bytearray(root_of(NOR, key))
    der[-1] ^= 1

    with pytest.raises(LiaisonError):
        Root.parse(bytes(der))


def test_nobody_issues_with_a_key_that_is_not_the_issuers() -> None:
    key, other = (SigningKey.generate(SignatureScheme.ED25519) for _ in range(2))

    with pytest.raises(CertificateError, match="does not belong"):
        x509_issue.issue_device(
            other,
            root_of(NOR, key),
            DEVICE,
            other.scheme,
            other.public_bytes,
            not_before=1000,
            not_after=2000,
            rng=random_bytes,
        )


def test_bytes_that_are_no_key_get_no_certificate() -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)

    with pytest.raises(KeyFormatError):
        x509_issue.issue_device(
            key,
            root_of(NOR, key),
            DEVICE,
            SignatureScheme.P256,
            b"\x04" + bytes(64),
            not_before=1000,
            not_after=2000,
            rng=random_bytes,
        )


def test_a_certificate_ends_after_it_begins() -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)

    with pytest.raises(CertificateError, match="end after it begins"):
        x509_issue.issue_root(key, NOR, not_before=5, not_after=5, rng=random_bytes)


def test_serial_numbers_come_from_the_given_randomness_and_are_positive() -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)

    der = x509_issue.issue_root(key, NOR, not_before=1, not_after=2, rng=lambda n: b"\xff" * n)
    zero = x509_issue.issue_root(key, NOR, not_before=1, not_after=2, rng=bytes)

    assert Root.parse(der).certificate.serial == "ff" * 16
    assert Root.parse(zero).certificate.serial == "40" + "00" * 15


def test_a_device_name_longer_than_a_common_name_is_certified() -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)
    device = DeviceId.parse(f"nor/{'a' * 60}#{'b' * 60}")

    der = x509_issue.issue_device(
        key,
        root_of(NOR, key),
        device,
        key.scheme,
        key.public_bytes,
        not_before=1000,
        not_after=2000,
        rng=random_bytes,
    )

    assert Certificate.parse(der).device == device
