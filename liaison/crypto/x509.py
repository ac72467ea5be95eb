"""Certificates of parties and devices: what one says, parsed and checked for form.

A party's root names the party (`liaison://nor`), a device's certificate names
the device (`liaison://nor/defatt-berlin#d1`), each as the only subjectAltName.
Times are Unix seconds. Parsing proves nothing about who issued a certificate:
`liaison.crypto.x509_path` does; `liaison.crypto.x509_issue` makes them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final, Self, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from liaison.crypto import signing
from liaison.crypto.errors import KeyFormatError, UnsupportedSchemeError
from liaison.crypto.signing import SignatureScheme
from liaison.errors import MalformedError, VerificationError
from liaison.model import URI_SCHEME, DeviceId, IdentifierError, PartyCode
from liaison.values import dataclass

MAX_CERTIFICATE_BYTES: Final = 16 * 1024
"""ML-DSA-87 needs some 7.5 KiB; anything past this is refused unread."""

_SERIAL_BITS: Final = 159

PublicKey = (
    ed25519.Ed25519PublicKey
    | ed448.Ed448PublicKey
    | ec.EllipticCurvePublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)

_E = TypeVar("_E", bound=x509.ExtensionType)

_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


class CertificateMalformedError(MalformedError):
    """The certificate is not well formed.

    Raised for DER that does not parse, an unknown kind of key, or a name in a
    form that no registrar of this service issues.
    """

    code = "certificate.malformed"


class CertificateError(VerificationError):
    """The certificate does not show what it is used for."""

    code = "certificate.invalid"


class CertificateSignatureError(CertificateError):
    """The certificate was not signed by the authority that it names."""

    code = "certificate.signature"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one certificate says. Nothing here has been verified.

    Args:
        uri: the only subjectAltName; None where an intermediate has none.
        serial: lower-case hex without leading zeros.
        fingerprint: SHA-256 of the DER, 64 hex digits.
        public_key: in MLS encoding.
        path_length: how many intermediates may follow; None where unlimited or not a CA.
    """

    der: bytes = field(repr=False)
    uri: str | None
    scheme: SignatureScheme
    public_key: bytes
    serial: str
    fingerprint: str
    not_before: int
    not_after: int
    is_ca: bool
    signs_certificates: bool
    signs_data: bool
    path_length: int | None
    subject: bytes = field(repr=False)
    issuer: bytes = field(repr=False)
    _parsed: x509.Certificate = field(repr=False, compare=False)

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read one DER certificate.

        Raises:
            CertificateMalformedError: not a version 3 certificate of a kind that is used here.
        """
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise CertificateMalformedError(
                f"a certificate has at most {MAX_CERTIFICATE_BYTES} bytes, this has {len(der)}"
            )
        try:
            return cls._read(x509.load_der_x509_certificate(der), der)
        except CertificateMalformedError:
            raise
        except (
            ValueError,
            TypeError,
            OverflowError,
            x509.InvalidVersion,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
            UnsupportedAlgorithm,
            UnsupportedSchemeError,
            KeyFormatError,
        ) as error:
            raise CertificateMalformedError(f"not a usable certificate: {error}") from error

    @classmethod
    def _read(cls, parsed: x509.Certificate, der: bytes) -> Self:
        # One certificate must not have two fingerprints: the library keeps loose
        # DER as it came, and passes over unused bits at the signature's end.
        whole = parsed.public_bytes(serialization.Encoding.DER) == der
        if not whole or not der.endswith(b"\0" + parsed.signature):
            raise CertificateMalformedError("the certificate is not encoded in strict DER")
        if parsed.version is not x509.Version.v3:
            raise CertificateMalformedError("not a version 3 certificate")
        # RFC 5280 §4.1.2.2. A longer serial would fit no revocation list.
        if not 0 < parsed.serial_number < 1 << _SERIAL_BITS:
            raise CertificateMalformedError("the serial is not positive or has over 20 octets")
        _check_extensions(parsed.extensions)
        scheme, public = describe_key(parsed.public_key())
        # The library takes points of small order, under which anyone can sign.
        signing.validate_public(scheme, public)
        constraints = _extension(parsed, x509.BasicConstraints)
        usage = _extension(parsed, x509.KeyUsage)
        return cls(
            der=der,
            uri=_only_uri(parsed),
            scheme=scheme,
            public_key=public,
            serial=f"{parsed.serial_number:x}",
            fingerprint=parsed.fingerprint(hashes.SHA256()).hex(),
            not_before=int(parsed.not_valid_before_utc.timestamp()),
            not_after=int(parsed.not_valid_after_utc.timestamp()),
            is_ca=constraints is not None and constraints.ca,
            signs_certificates=usage is not None and usage.key_cert_sign,
            signs_data=usage is not None and usage.digital_signature,
            path_length=None if constraints is None else constraints.path_length,
            subject=parsed.subject.public_bytes(),
            issuer=parsed.issuer.public_bytes(),
            _parsed=parsed,
        )

    @property
    def device(self) -> DeviceId:
        """The device that the certificate names.

        Raises:
            CertificateMalformedError: it names no device.
        """
        try:
            device = DeviceId.parse(self.uri or "")
        except IdentifierError as error:
            raise CertificateMalformedError(
                f"the certificate names no device: {error.message}"
            ) from error
        # One spelling only: two spellings could pass for two devices.
        if device.uri != self.uri:
            raise CertificateMalformedError(f"{self.uri!r} is not the canonical name {device.uri}")
        return device

    def verify_issued_by(self, issuer: Certificate) -> None:
        """Check the issuer's name and its signature, under the one algorithm its key has.

        Raises:
            CertificateSignatureError: another issuer, another algorithm, or a bad signature.

        Source: RFC 5280 §6.1.3 (a)(1), (a)(4).
        """
        if self._parsed.signature_algorithm_oid != _ALGORITHMS[issuer.scheme]:
            raise CertificateSignatureError(
                "the certificate is signed with an algorithm that its issuer's key does not have"
            )
        try:
            self._parsed.verify_directly_issued_by(issuer._parsed)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise CertificateSignatureError from error


@dataclass(frozen=True, slots=True)
class Root:
    """A party's root certificate, an anchor for that party's names only."""

    party: PartyCode
    certificate: Certificate

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read a root: self-signed, a CA, naming one party.

        Raises:
            CertificateMalformedError: not a certificate, or it names no party.
            CertificateError: not a CA, or not signed by itself.
        """
        certificate = Certificate.parse(der)
        party = _party_of(certificate)
        if not (certificate.is_ca and certificate.signs_certificates):
            raise CertificateError(f"the root of {party} is not a certificate authority")
        certificate.verify_issued_by(certificate)
        return cls(party, certificate)

    @property
    def der(self) -> bytes:
        """The certificate as it was issued."""
        return self.certificate.der

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, 64 hex digits: what people compare by telephone."""
        return self.certificate.fingerprint


def root_uri(party: PartyCode) -> str:
    """Return the name that a party's root carries, `liaison://nor`."""
    return f"{URI_SCHEME}{party.path}"


def describe_key(key: object) -> tuple[SignatureScheme, bytes]:
    """Return a public key's scheme and MLS encoding.

    Raises:
        UnsupportedSchemeError: a kind of key that signs nothing here.

    Source: RFC 9420 §5.1.1.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return SignatureScheme.ED25519, key.public_bytes_raw()
    if isinstance(key, ed448.Ed448PublicKey):
        return SignatureScheme.ED448, key.public_bytes_raw()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        point = key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return _CURVES[key.curve.name], point
    for kind, scheme in _LATTICES:
        if isinstance(key, kind):
            return scheme, key.public_bytes_raw()
    raise UnsupportedSchemeError(f"{type(key).__name__} keys are not used for certificates")


def _check_extensions(extensions: x509.Extensions) -> None:
    # RFC 5280 §4.2: reject a critical extension that is not processed. Name
    # constraints are not processed, and whoever forgot to mark them meant them.
    for extension in extensions:
        refused = extension.critical or extension.oid == ExtensionOID.NAME_CONSTRAINTS
        if refused and extension.oid not in _UNDERSTOOD:
            raise CertificateMalformedError(
                f"the certificate has an unknown critical extension {extension.oid.dotted_string}"
            )


def _party_of(certificate: Certificate) -> PartyCode:
    path = (certificate.uri or "").removeprefix(URI_SCHEME)
    try:
        party = PartyCode.parse(path.upper())
    except IdentifierError as error:
        raise CertificateMalformedError("the root certificate names no party") from error
    if certificate.uri != root_uri(party):
        raise CertificateMalformedError(f"{certificate.uri!r} is not the name of a party's root")
    return party


def _only_uri(parsed: x509.Certificate) -> str | None:
    names = _extension(parsed, x509.SubjectAlternativeName)
    if names is None:
        return None
    entries = list(names)
    if len(entries) != 1 or not isinstance(entries[0], x509.UniformResourceIdentifier):
        raise CertificateMalformedError("a certificate carries exactly one name, a liaison:// URI")
    return entries[0].value


def _extension(parsed: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


_CURVES: Final = {
    "secp256r1": SignatureScheme.P256,
    "secp384r1": SignatureScheme.P384,
    "secp521r1": SignatureScheme.P521,
}
_LATTICES: Final = (
    (mldsa.MLDSA44PublicKey, SignatureScheme.MLDSA44),
    (mldsa.MLDSA65PublicKey, SignatureScheme.MLDSA65),
    (mldsa.MLDSA87PublicKey, SignatureScheme.MLDSA87),
)
_ALGORITHMS: Final = {
    SignatureScheme.ED25519: SignatureAlgorithmOID.ED25519,
    SignatureScheme.ED448: SignatureAlgorithmOID.ED448,
    SignatureScheme.P256: SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureScheme.P384: SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureScheme.P521: SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    SignatureScheme.MLDSA44: SignatureAlgorithmOID.ML_DSA_44,
    SignatureScheme.MLDSA65: SignatureAlgorithmOID.ML_DSA_65,
    SignatureScheme.MLDSA87: SignatureAlgorithmOID.ML_DSA_87,
}
