"""Path validation: one way in, and every step refuses what it is for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509 as lib
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from liaison.crypto import x509_issue, x509_path
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509 import (
    Certificate,
    CertificateError,
    CertificateMalformedError,
    CertificateSignatureError,
    Root,
)
from liaison.crypto.x509_path import (
    CertificateConstraintError,
    CertificateDepthError,
    CertificateExpiredError,
    CertificateNameError,
    CertificateNotYetValidError,
    CertificateRevokedError,
    UnknownRootError,
    verify_chain,
)
from liaison.errors import LiaisonError
from liaison.model import DeviceId, PartyCode

NOR, DEU = PartyCode("NOR"), PartyCode("DEU")
DEVICE = DeviceId.parse("nor/defatt-berlin#d1")
BEGIN, NOW, END = 1_000_000, 2_000_000, 3_000_000
SCHEMES = tuple(SignatureScheme)


class Authority:
    """A root with its key, and what it issues."""

    def __init__(
        self,
        party: PartyCode = NOR,
        scheme: SignatureScheme = SignatureScheme.ED25519,
        begin: int = BEGIN,
        end: int = END,
    ) -> None:
        self.key = SigningKey.generate(scheme)
        self.der = x509_issue.issue_root(
            self.key, party, not_before=begin, not_after=end, rng=random_bytes
        )
        self.root = Root.parse(self.der)

    def device(
        self,
        device: DeviceId = DEVICE,
        key: SigningKey | None = None,
        begin: int = BEGIN,
        end: int = END,
    ) -> bytes:
        key = key or SigningKey.generate(self.key.scheme)
        return x509_issue.issue_device(
            self.key,
            self.der,
            device,
            key.scheme,
            key.public_bytes,
            not_before=begin,
            not_after=end,
            rng=random_bytes,
        )


def intermediate(
    issuer: SigningKey, issuer_der: bytes, *, path_length: int = 0
) -> tuple[SigningKey, bytes]:
    key = SigningKey.generate(SignatureScheme.ED25519)
    der = x509_issue.issue_intermediate(
        issuer,
        issuer_der,
        key.scheme,
        key.public_bytes,
        name="working key",
        not_before=BEGIN,
        not_after=END,
        rng=random_bytes,
        path_length=path_length,
    )
    return key, der


def issue(key: SigningKey, der: bytes) -> bytes:
    device = SigningKey.generate(SignatureScheme.ED25519)
    return x509_issue.issue_device(
        key,
        der,
        DEVICE,
        device.scheme,
        device.public_bytes,
        not_before=BEGIN,
        not_after=END,
        rng=random_bytes,
    )


def foreign(
    extensions: list[tuple[lib.ExtensionType, bool]],
    authority: Authority,
    *,
    algorithm: hashes.HashAlgorithm | None = None,
    public: ed25519.Ed25519PublicKey | ed448.Ed448PublicKey | None = None,
) -> bytes:
    """A certificate with extensions of our choosing, well signed by the authority."""
    issuer = lib.load_der_x509_certificate(authority.der)
    builder = (
        lib.CertificateBuilder()
        .subject_name(lib.Name([]))
        .issuer_name(issuer.subject)
        .public_key(public or ed25519.Ed25519PrivateKey.generate().public_key())
        .serial_number(7)
        .not_valid_before(datetime.fromtimestamp(BEGIN, UTC))
        .not_valid_after(datetime.fromtimestamp(END, UTC))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    raw = authority.key.private_bytes()
    if authority.key.scheme is SignatureScheme.ED25519:
        signer = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        return builder.sign(signer, None).public_bytes(Encoding.DER)
    curve = ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())
    return builder.sign(curve, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]  # any hash


def usage(*, signs_data: bool = True, signs_certificates: bool = False) -> lib.KeyUsage:
    return lib.KeyUsage(
        digital_signature=signs_data,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def named(*uris: str) -> lib.SubjectAlternativeName:
    return lib.SubjectAlternativeName([lib.UniformResourceIdentifier(uri) for uri in uris])


@pytest.fixture(scope="module")
def norway() -> Authority:
    return Authority()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chain_under_the_root_shows_whose_key_it_is(scheme: SignatureScheme) -> None:
    authority, key = Authority(scheme=scheme), SigningKey.generate(scheme)

    certified = verify_chain([authority.device(key=key)], [authority.root], NOW)

    assert certified.device == DEVICE
    assert (certified.scheme, certified.public_key) == (scheme, key.public_bytes)
    assert (certified.not_before, certified.not_after) == (BEGIN, END)


def test_a_root_may_certify_keys_of_another_scheme(norway: Authority) -> None:
    key = SigningKey.generate(SignatureScheme.P384)

    certified = verify_chain([norway.device(key=key)], [norway.root], NOW)

    assert certified.public_key == key.public_bytes


def test_the_root_may_stand_at_the_end_of_the_chain(norway: Authority) -> None:
    chain = [norway.device(), norway.der]

    assert verify_chain(chain, [norway.root], NOW).device == DEVICE


def test_the_right_one_of_two_roots_with_one_name_is_found() -> None:
    old, new = Authority(), Authority()

    for authority in (old, new):
        certified = verify_chain([authority.device()], [old.root, new.root], NOW)
        assert certified.device == DEVICE


def test_intermediates_may_stand_between(norway: Authority) -> None:
    upper_key, upper = intermediate(norway.key, norway.der, path_length=1)
    lower_key, lower = intermediate(upper_key, upper)

    certified = verify_chain([issue(lower_key, lower), lower, upper], [norway.root], NOW)

    assert certified.device == DEVICE


@pytest.mark.parametrize("chain", [[], [b"x"] * 5])
def test_a_chain_has_one_to_four_certificates(chain: list[bytes], norway: Authority) -> None:
    with pytest.raises(CertificateDepthError):
        verify_chain(chain, [norway.root], NOW)


def test_a_root_that_nobody_named_is_no_anchor(norway: Authority) -> None:
    stranger = Authority(party=DEU)

    with pytest.raises(UnknownRootError):
        verify_chain([norway.device(), norway.der], [stranger.root], NOW)


def test_without_roots_nothing_is_believed(norway: Authority) -> None:
    with pytest.raises(UnknownRootError):
        verify_chain([norway.device()], [], NOW)


def test_a_forged_root_of_the_same_name_signs_nothing(norway: Authority) -> None:
    forger = Authority()

    with pytest.raises(CertificateSignatureError):
        verify_chain([forger.device()], [norway.root], NOW)


def test_every_signature_in_the_chain_counts(norway: Authority) -> None:
    key, middle = intermediate(norway.key, norway.der)
    _, other = intermediate(norway.key, norway.der)

    with pytest.raises(CertificateSignatureError):
        verify_chain([issue(key, middle), other], [norway.root], NOW)


# The library warns of the serial number that the flipped bit makes negative; we refuse it.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("scheme", [SignatureScheme.ED25519, SignatureScheme.P256])
def test_every_altered_bit_of_a_certificate_is_noticed(scheme: SignatureScheme) -> None:
    authority = Authority(scheme=scheme)
    certificate = authority.device()

    for place in range(8 * len(certificate)):
        altered = bytearray(certificate)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(LiaisonError):
            verify_chain([bytes(altered)], [authority.root], NOW)


@pytest.mark.parametrize(
    ("now", "error"),
    [
        (BEGIN - 1, CertificateNotYetValidError),
        (END + 1, CertificateExpiredError),
    ],
)
def test_a_certificate_counts_in_its_period_only(
    now: int, error: type[CertificateError], norway: Authority
) -> None:
    with pytest.raises(error):
        verify_chain([norway.device()], [norway.root], now)


@pytest.mark.parametrize("now", [BEGIN, END])
def test_both_ends_of_the_period_belong_to_it(now: int, norway: Authority) -> None:
    assert verify_chain([norway.device()], [norway.root], now).device == DEVICE


def test_an_expired_root_carries_nothing() -> None:
    authority = Authority(end=NOW - 1)

    with pytest.raises(CertificateExpiredError):
        verify_chain([authority.device()], [authority.root], NOW)


def test_a_root_is_no_device(norway: Authority) -> None:
    with pytest.raises(CertificateConstraintError):
        verify_chain([norway.der], [norway.root], NOW)


def test_an_intermediate_is_no_device(norway: Authority) -> None:
    _, middle = intermediate(norway.key, norway.der)

    with pytest.raises(CertificateConstraintError):
        verify_chain([middle], [norway.root], NOW)


def test_a_device_can_not_certify_another(norway: Authority) -> None:
    key = SigningKey.generate(SignatureScheme.ED25519)
    first = norway.device(key=key)

    with pytest.raises(LiaisonError):
        verify_chain([issue(key, first), first], [norway.root], NOW)


def test_a_certificate_without_the_right_to_issue_carries_nothing(norway: Authority) -> None:
    leaf_like = foreign(
        [(lib.BasicConstraints(ca=True, path_length=0), True), (usage(), True)], norway
    )

    with pytest.raises(LiaisonError):
        verify_chain([norway.device(), leaf_like], [norway.root], NOW)


def test_no_more_intermediates_than_the_issuer_allows(norway: Authority) -> None:
    upper_key, upper = intermediate(norway.key, norway.der, path_length=0)
    lower_key, lower = intermediate(upper_key, upper)

    with pytest.raises(CertificateDepthError):
        verify_chain([issue(lower_key, lower), lower, upper], [norway.root], NOW)


def test_a_key_that_may_not_sign_is_refused(norway: Authority) -> None:
    der = foreign([(usage(signs_data=False), True), (named(DEVICE.uri), True)], norway)

    with pytest.raises(CertificateConstraintError):
        verify_chain([der], [norway.root], NOW)


def test_a_device_key_that_may_issue_is_refused(norway: Authority) -> None:
    der = foreign([(usage(signs_certificates=True), True), (named(DEVICE.uri), True)], norway)

    with pytest.raises(CertificateConstraintError):
        verify_chain([der], [norway.root], NOW)


def test_a_root_vouches_for_its_own_party_only(norway: Authority) -> None:
    der = norway.device(DeviceId.parse("deu/lno-j3#d1"))

    with pytest.raises(CertificateNameError):
        verify_chain([der], [norway.root, Authority(party=DEU).root], NOW)


@pytest.mark.parametrize(
    "uri",
    [
        "liaison://NOR/defatt-berlin#d1",
        "nor/defatt-berlin#d1",
        "liaison://nor/defatt-berlin",
        "https://nor/defatt-berlin#d1",
        "liaison://nor/defatt-berlin#d1#d2",
    ],
)
def test_a_name_has_one_spelling(uri: str, norway: Authority) -> None:
    der = foreign([(usage(), True), (named(uri), True)], norway)

    with pytest.raises(CertificateNameError):
        verify_chain([der], [norway.root], NOW)


@pytest.mark.parametrize(
    "names",
    [
        named(DEVICE.uri, "liaison://nor/other#d1"),
        lib.SubjectAlternativeName([lib.DNSName("nor.example")]),
        lib.SubjectAlternativeName(
            [lib.UniformResourceIdentifier(DEVICE.uri), lib.DNSName("nor.example")]
        ),
    ],
)
def test_a_certificate_has_exactly_one_name(
    names: lib.SubjectAlternativeName, norway: Authority
) -> None:
    der = foreign([(usage(), True), (names, True)], norway)

    with pytest.raises(CertificateMalformedError):
        verify_chain([der], [norway.root], NOW)


def test_a_certificate_without_a_name_is_nobodys(norway: Authority) -> None:
    with pytest.raises(CertificateNameError):
        verify_chain([foreign([(usage(), True)], norway)], [norway.root], NOW)


def test_a_critical_extension_that_is_not_understood_is_refused(norway: Authority) -> None:
    constraint = lib.NameConstraints(
        permitted_subtrees=[lib.UniformResourceIdentifier("nor")], excluded_subtrees=None
    )
    der = foreign([(usage(), True), (named(DEVICE.uri), True), (constraint, True)], norway)

    with pytest.raises(CertificateMalformedError):
        verify_chain([der], [norway.root], NOW)


def test_a_signature_by_another_hash_is_refused() -> None:
    authority = Authority(scheme=SignatureScheme.P256)
    der = foreign(
        [(usage(), True), (named(DEVICE.uri), True)], authority, algorithm=hashes.SHA384()
    )

    with pytest.raises(CertificateSignatureError):
        verify_chain([der], [authority.root], NOW)


def test_a_revoked_certificate_is_refused(norway: Authority) -> None:
    der = norway.device()
    serial = Certificate.parse(der).serial

    with pytest.raises(CertificateRevokedError):
        verify_chain([der], [norway.root], NOW, {(NOR, serial)})


def test_a_revoked_intermediate_takes_its_devices_with_it(norway: Authority) -> None:
    key, middle = intermediate(norway.key, norway.der)
    serial = Certificate.parse(middle).serial

    with pytest.raises(CertificateRevokedError):
        verify_chain([issue(key, middle), middle], [norway.root], NOW, {(NOR, serial)})


def test_a_serial_is_revoked_for_the_party_that_issued_it(norway: Authority) -> None:
    der = norway.device()
    serial = Certificate.parse(der).serial

    certified = verify_chain([der], [norway.root], NOW, {(DEU, serial)})

    assert certified.serial == serial


@pytest.mark.parametrize("der", [b"", b"0", b"\x30\x00", b"x" * 20_000])
def test_what_is_no_certificate_is_malformed(der: bytes, norway: Authority) -> None:
    with pytest.raises(CertificateMalformedError):
        verify_chain([der], [norway.root], NOW)


def test_bytes_after_a_certificate_are_refused(norway: Authority) -> None:
    with pytest.raises(CertificateMalformedError):
        verify_chain([norway.device() + b"\x00"], [norway.root], NOW)


def test_a_listing_reads_a_certificate_without_verifying_it(norway: Authority) -> None:
    assert x509_path.peek_device(norway.device(end=NOW)).device == DEVICE


def test_only_the_end_of_a_chain_may_be_the_root(norway: Authority) -> None:
    # Readers of a verified chain look at its first certificate.
    with pytest.raises(CertificateError):
        verify_chain([norway.der, norway.device()], [norway.root], NOW)


def tlv(tag: int, value: bytes) -> bytes:
    return bytes([tag]) + der_length(len(value)) + value


def der_length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def with_serial(der: bytes, serial: bytes) -> bytes:
    """The certificate with another serial; its signature does not hold any more."""
    tbs = lib.load_der_x509_certificate(der).tbs_certificate_bytes
    after = der[der.index(tbs) + len(tbs) :]
    content = tbs[2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0) :]
    version, rest = content[:5], content[7 + content[6] :]
    return tlv(0x30, tlv(0x30, version + tlv(2, serial) + rest) + after)


def test_a_serial_has_at_most_twenty_octets(norway: Authority) -> None:
    longest = Certificate.parse(with_serial(norway.device(), b"\x7f" * 20))

    assert len(longest.serial) == 40
    # No revocation list could name a longer one.
    with pytest.raises(CertificateMalformedError, match="20 octets"):
        Certificate.parse(with_serial(norway.device(), b"\x01" + bytes(20)))


def test_name_constraints_are_refused_even_where_they_are_not_critical(norway: Authority) -> None:
    constraints = lib.NameConstraints([lib.UniformResourceIdentifier("example.org")], None)
    der = foreign([(usage(), True), (named(DEVICE.uri), True), (constraints, False)], norway)

    with pytest.raises(CertificateMalformedError):
        verify_chain([der], [norway.root], NOW)


@pytest.mark.parametrize(
    ("neutral", "why"),
    [
        (ed25519.Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31)), "Ed25519's group"),
        (ed448.Ed448PublicKey.from_public_bytes(b"\x01" + bytes(56)), "small order"),
    ],
    ids=["ed25519", "ed448"],
)
def test_a_key_under_which_anyone_can_sign_is_refused(
    norway: Authority, neutral: ed25519.Ed25519PublicKey | ed448.Ed448PublicKey, why: str
) -> None:
    der = foreign([(usage(), True), (named(DEVICE.uri), True)], norway, public=neutral)

    with pytest.raises(CertificateMalformedError, match=why):
        verify_chain([der], [norway.root], NOW)
