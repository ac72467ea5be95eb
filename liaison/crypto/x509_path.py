"""Path validation: does this chain show that a key belongs to a device?

A subset of RFC 5280 §6, one function per step: every certificate is in force,
signed by the next, each issuer is a certificate authority with room below it,
nothing is revoked, and the name is of the root's own party. There are no policy
mappings and no name constraints beyond the party: a certificate with name
constraints, or with anything unknown marked critical, is refused, not ignored. Order: cheap checks
and signatures first, so that a refusal never speaks of a name that nobody vouched for.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from typing import Final

from liaison.crypto.signing import SignatureScheme
from liaison.crypto.x509 import (
    Certificate,
    CertificateError,
    CertificateMalformedError,
    CertificateSignatureError,
    Root,
)
from liaison.model import DeviceId, PartyCode
from liaison.values import dataclass

MAX_CHAIN: Final = 4
"""Certificates in a chain, the root included if it was sent."""
_PEEKED: Final = 2048


class CertificateExpiredError(CertificateError):
    """The certificate is no longer valid."""

    code = "certificate.expired"


class CertificateNotYetValidError(CertificateError):
    """The certificate is not valid yet."""

    code = "certificate.not_yet_valid"


class CertificateConstraintError(CertificateError):
    """A certificate is used for what it was not issued for."""

    code = "certificate.constraints"


class CertificateNameError(CertificateError):
    """The certificate names a device that its root may not vouch for."""

    code = "certificate.name"


class CertificateDepthError(CertificateError):
    """The certificate chain is too long."""

    code = "certificate.depth"


class UnknownRootError(CertificateError):
    """The certificate chain leads to no known root."""

    code = "certificate.unknown_root"


class CertificateRevokedError(CertificateError):
    """The registrar has revoked this certificate."""

    code = "certificate.revoked"


@dataclass(frozen=True, slots=True)
class CertifiedDevice:
    """A device and the key that its registrar vouches for.

    Args:
        public_key: MLS encoding.
        serial: of the certificate, lower-case hex.
        fingerprint: SHA-256 of the certificate, 64 hex digits.
        not_before: first second of validity, Unix time.
        not_after: last second of validity, Unix time.
    """

    device: DeviceId
    scheme: SignatureScheme
    public_key: bytes
    serial: str
    fingerprint: str
    not_before: int
    not_after: int


def verify_chain(
    chain_der: Sequence[bytes],
    roots: Iterable[Root],
    now: int,
    revoked: Container[tuple[PartyCode, str]] = frozenset(),
) -> CertifiedDevice:
    """Check a device's chain up to one of the roots, and say whose key it certifies.

    Args:
        chain_der: the device's certificate first, each signed by the next; the root may follow.
        roots: the anchors, each good for its own party only.
        now: Unix seconds.
        revoked: (party, serial) of every revoked certificate that the caller knows of.

    Raises:
        CertificateMalformedError: a certificate does not parse or names no device.
        CertificateError: a step failed; the subclass says which.

    Source: RFC 5280 §6.1 (subset).
    """
    if not 1 <= len(chain_der) <= MAX_CHAIN:
        raise CertificateDepthError(f"a chain has 1 to {MAX_CHAIN} certificates")
    chain = [Certificate.parse(der) for der in chain_der]
    root = _anchor(chain, tuple(roots))
    # Only the end may be the root: whoever reads the device from a verified chain
    # looks at its first certificate.
    path = [*(chain[:-1] if chain[-1].der == root.der else chain), root.certificate]
    if len(path) < 2:
        raise CertificateConstraintError("a root certificate is no device's certificate")
    _check_signatures(path)
    _check_validity(path, now)
    _check_authorities(path)
    _check_leaf_usage(path[0])
    device = _check_name(path[0], root.party)
    _check_revocation(path, root.party, revoked)
    return _describe(path[0], device)


@lru_cache(maxsize=_PEEKED)
def peek_device(leaf_der: bytes) -> CertifiedDevice:
    """Read whom a certificate *claims* to be for. Nothing is verified: for display only.

    The same few certificates are asked about with every message, so the latest are kept.

    Raises:
        CertificateMalformedError: it does not parse or names no device.
    """
    leaf = Certificate.parse(leaf_der)
    return _describe(leaf, leaf.device)


def _describe(leaf: Certificate, device: DeviceId) -> CertifiedDevice:
    return CertifiedDevice(
        device=device,
        scheme=leaf.scheme,
        public_key=leaf.public_key,
        serial=leaf.serial,
        fingerprint=leaf.fingerprint,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
    )


def _anchor(chain: Sequence[Certificate], roots: Sequence[Root]) -> Root:
    last = chain[-1]
    for root in roots:
        if root.der == last.der:
            return root
    candidates = [root for root in roots if root.certificate.subject == last.issuer]
    if not candidates:
        raise UnknownRootError
    # Two roots of one party may share a name during a roll-over; the signature
    # tells them apart. With one candidate it is checked with the others.
    for root in candidates[:-1]:
        if _is_issued_by(last, root.certificate):
            return root
    return candidates[-1]


def _is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_issued_by(issuer)
    except CertificateSignatureError:
        return False
    return True


def _check_signatures(path: Sequence[Certificate]) -> None:
    for certificate, issuer in itertools.pairwise(path):
        certificate.verify_issued_by(issuer)


def _check_validity(path: Sequence[Certificate], now: int) -> None:
    # RFC 5280 §6.1.3 (a)(2). Both ends belong to the period (§4.1.2.5).
    for certificate in path:
        if now < certificate.not_before:
            raise CertificateNotYetValidError(hint="check the clock of this machine")
        if now > certificate.not_after:
            raise CertificateExpiredError(hint="the device needs a new certificate: enrol it again")


def _check_authorities(path: Sequence[Certificate]) -> None:
    # RFC 5280 §6.1.4 (k), (l), (m), (n): issuers are CAs, may sign certificates,
    # and have no more intermediates below them than they allow.
    for below, issuer in enumerate(path[1:]):
        if not issuer.is_ca or not issuer.signs_certificates:
            raise CertificateConstraintError("a certificate was issued by one that is no authority")
        if issuer.path_length is not None and below > issuer.path_length:
            raise CertificateDepthError("more intermediate certificates than the issuer allows")


def _check_leaf_usage(leaf: Certificate) -> None:
    if leaf.is_ca or leaf.signs_certificates:
        raise CertificateConstraintError("an authority's certificate can't be a device's")
    if not leaf.signs_data:
        raise CertificateConstraintError("the certificate is not for signing")


def _check_name(leaf: Certificate, party: PartyCode) -> DeviceId:
    try:
        device = leaf.device
    except CertificateMalformedError as error:
        raise CertificateNameError(error.message) from error
    if device.party != party:
        raise CertificateNameError(f"the root of {party} can't vouch for {device}")
    return device


def _check_revocation(
    path: Sequence[Certificate], party: PartyCode, revoked: Container[tuple[PartyCode, str]]
) -> None:
    for certificate in path:
        if (party, certificate.serial) in revoked:
            raise CertificateRevokedError(
                f"the registrar of {party} has revoked certificate {certificate.serial}"
            )
