"""A local certificate authority and server certificate, for trials over TLS.

Only for machines where nobody else can be expected to vouch for a name yet: the
relay's `--dev-tls`. The key pairs are P-256, which every TLS client knows. The
web's certificates have nothing to do with those of `liaison.crypto.x509`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from liaison.values import dataclass

LIFETIME: Final = timedelta(days=90)
_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TrialTLS:
    """PEM texts: the authority for clients, and the server's chain and key.

    The authority's own key is not among them: it is forgotten as soon as it has
    signed, so that nothing else can ever be signed with it.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def issue(hosts: tuple[str, ...], now: int) -> TrialTLS:
    """Make an authority and a certificate of a server for names and addresses.

    Args:
        hosts: DNS names and IP addresses, at least one.
        now: Unix seconds; valid from an hour before for `LIFETIME`.
    """
    at = datetime.fromtimestamp(now, UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("Liaison trial authority")
    authority = _sign(
        _builder(issuer, issuer, authority_key.public_key(), at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True),
        authority_key,
        authority_key,
    )
    certificate = _sign(
        _builder(_name(hosts[0]), issuer, server_key.public_key(), at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False),
        authority_key,
        server_key,
    )
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TrialTLS(authority, certificate, key)


def names_and_end(pem: bytes) -> tuple[frozenset[str], int]:
    """Return the names and addresses of the first certificate, and its last second."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    names = {str(name.value) for name in found}
    return frozenset(names), int(certificate.not_valid_after_utc.timestamp())


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + LIFETIME)
    )


def _sign(
    builder: x509.CertificateBuilder,
    authority: ec.EllipticCurvePrivateKey,
    subject: ec.EllipticCurvePrivateKey,
) -> bytes:
    # Python 3.13 verifies strictly: both identifiers have to be there.
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(subject.public_key()), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
    )
    return builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
