"""Issuing certificates: a party's root, its intermediates, its devices.

This runs at the registrar's, never on a relay. A certificate names its subject
in the subjectAltName alone; the distinguished names only link issuer and
subject. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from liaison.crypto.signing import SignatureScheme, SigningKey, validate_public
from liaison.crypto.x509 import Certificate, CertificateError, PublicKey, root_uri
from liaison.model import DeviceId, PartyCode

ROOT_PATH_LENGTH: Final = 2
"""Intermediates that may stand between a root and a device."""
_SERIAL_BYTES: Final = 16
_MAX_COMMON_NAME: Final = 64  # RFC 5280 ub-common-name

PrivateKey = (
    ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | ec.EllipticCurvePrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)


def issue_root(
    key: SigningKey,
    party: PartyCode,
    *,
    not_before: int,
    not_after: int,
    rng: Callable[[int], bytes],
) -> bytes:
    """Return a party's self-signed root certificate, DER.

    Args:
        key: the party's root key.
        party: the one party whose names the root may certify.
        not_before: first second of validity.
        not_after: last second of validity.
        rng: gives random bytes, for the serial number.

    Raises:
        CertificateError: the times are in the wrong order.
    """
    name = _common_name(f"{party} root")
    builder = _builder(name, name, key.scheme, key.public_bytes, not_before, not_after, rng)
    builder = _as_authority(builder, ROOT_PATH_LENGTH).add_extension(
        _uri(root_uri(party)), critical=False
    )
    return _sign(builder, key)


def issue_intermediate(  # noqa: PLR0913  a certificate has so many parts, all by name
    issuer_key: SigningKey,
    issuer_der: bytes,
    scheme: SignatureScheme,
    public_key: bytes,
    *,
    name: str,
    not_before: int,
    not_after: int,
    rng: Callable[[int], bytes],
    path_length: int = 0,
) -> bytes:
    """Return a certificate for a registrar's working key, DER.

    Args:
        issuer_key: the key of `issuer_der`.
        issuer_der: the root or intermediate that signs.
        scheme: of the new key.
        public_key: the new key, MLS encoding.
        name: what people call the new authority.
        not_before: first second of validity.
        not_after: last second of validity.
        rng: gives random bytes, for the serial number.
        path_length: how many intermediates may follow.

    Raises:
        CertificateError: the issuer's key is not the issuer's, or the times are wrong.
        KeyFormatError: `public_key` is not a key of `scheme`.
    """
    issuer = _issuer(issuer_key, issuer_der)
    builder = _builder(_common_name(name), issuer, scheme, public_key, not_before, not_after, rng)
    return _sign(_as_authority(builder, path_length), issuer_key)


def issue_device(
    issuer_key: SigningKey,
    issuer_der: bytes,
    device: DeviceId,
    scheme: SignatureScheme,
    public_key: bytes,
    *,
    not_before: int,
    not_after: int,
    rng: Callable[[int], bytes],
) -> bytes:
    """Return a device's certificate for one signature scheme, DER.

    Args:
        issuer_key: the key of `issuer_der`.
        issuer_der: the root or intermediate that signs.
        device: whom the key belongs to.
        scheme: of the device's key.
        public_key: the device's key, MLS encoding; its owner has proved possession.
        not_before: first second of validity.
        not_after: last second of validity.
        rng: gives random bytes, for the serial number.

    Raises:
        CertificateError: the issuer's key is not the issuer's, or the times are wrong.
        KeyFormatError: `public_key` is not a key of `scheme`.
    """
    issuer = _issuer(issuer_key, issuer_der)
    # The subject stays empty, so the name extension is critical (RFC 5280
    # §4.1.2.6); a device's name is longer than a common name may be.
    builder = (
        _builder(x509.Name([]), issuer, scheme, public_key, not_before, not_after, rng)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(_uri(device.uri), critical=True)
    )
    return _sign(builder, issuer_key)


def _issuer(key: SigningKey, der: bytes) -> x509.Name:
    certificate = Certificate.parse(der)
    if (certificate.scheme, certificate.public_key) != (key.scheme, key.public_bytes):
        raise CertificateError("the signing key does not belong to the issuing certificate")
    return x509.load_der_x509_certificate(der).subject


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    scheme: SignatureScheme,
    public_key: bytes,
    not_before: int,
    not_after: int,
    rng: Callable[[int], bytes],
) -> x509.CertificateBuilder:
    if not_after <= not_before:
        raise CertificateError("a certificate must end after it begins")
    serial = int.from_bytes(rng(_SERIAL_BYTES), "big") | 1 << (8 * _SERIAL_BYTES - 2)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(_load_public(scheme, public_key))
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
    )


def _as_authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(_usage(authority=True), critical=True)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_MAX_COMMON_NAME])])


def _uri(uri: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])


def _sign(builder: x509.CertificateBuilder, key: SigningKey) -> bytes:
    algorithm = _HASHES.get(key.scheme)
    return builder.sign(_load_private(key), algorithm).public_bytes(Encoding.DER)


def _load_public(scheme: SignatureScheme, public: bytes) -> PublicKey:
    validate_public(scheme, public)
    if scheme in _CURVES:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[scheme], public)
    return _RAW_PUBLIC[scheme](public)


def _load_private(key: SigningKey) -> PrivateKey:
    raw = key.private_bytes()
    if key.scheme in _CURVES:
        return ec.derive_private_key(int.from_bytes(raw, "big"), _CURVES[key.scheme])
    return _RAW_PRIVATE[key.scheme](raw)


_CURVES: Final[dict[SignatureScheme, ec.EllipticCurve]] = {
    SignatureScheme.P256: ec.SECP256R1(),
    SignatureScheme.P384: ec.SECP384R1(),
    SignatureScheme.P521: ec.SECP521R1(),
}
_HASHES: Final[dict[SignatureScheme, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    SignatureScheme.P256: hashes.SHA256(),
    SignatureScheme.P384: hashes.SHA384(),
    SignatureScheme.P521: hashes.SHA512(),
}
_RAW_PRIVATE: Final[dict[SignatureScheme, Callable[[bytes], PrivateKey]]] = {
    SignatureScheme.ED25519: ed25519.Ed25519PrivateKey.from_private_bytes,
    SignatureScheme.ED448: ed448.Ed448PrivateKey.from_private_bytes,
    SignatureScheme.MLDSA44: mldsa.MLDSA44PrivateKey.from_seed_bytes,
    SignatureScheme.MLDSA65: mldsa.MLDSA65PrivateKey.from_seed_bytes,
    SignatureScheme.MLDSA87: mldsa.MLDSA87PrivateKey.from_seed_bytes,
}
_RAW_PUBLIC: Final[dict[SignatureScheme, Callable[[bytes], PublicKey]]] = {
    SignatureScheme.ED25519: ed25519.Ed25519PublicKey.from_public_bytes,
    SignatureScheme.ED448: ed448.Ed448PublicKey.from_public_bytes,
    SignatureScheme.MLDSA44: mldsa.MLDSA44PublicKey.from_public_bytes,
    SignatureScheme.MLDSA65: mldsa.MLDSA65PublicKey.from_public_bytes,
    SignatureScheme.MLDSA87: mldsa.MLDSA87PublicKey.from_public_bytes,
}
