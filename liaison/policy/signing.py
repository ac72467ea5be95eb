"""Signing agreements, and checking that every party has signed.

An agreement counts only when the authority of *every* party in it has signed:
`verify` is all or nothing. Which of the parties' own keys are authentic is not
decided here: the relay compares them with the admitted party files, a client
starts from its own authority's key (`liaison.trust.accept_agreement`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from liaison.crypto.signing import Signer
from liaison.errors import VerificationError
from liaison.model import PartyCode
from liaison.policy import dsse
from liaison.policy.agreement import Agreement
from liaison.policy.dsse import Envelope
from liaison.policy.errors import DocumentError, SignatureMissingError
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party

PAYLOAD_TYPE: Final = "application/vnd.liaison.agreement.v1+json"


class NotAnAuthorityError(VerificationError):
    """The key is no authority's key in this agreement."""

    code = "agreement.not_an_authority"


def sign(agreement: Agreement, signer: Signer) -> bytes:
    """Return the agreement in an envelope with one authority's signature.

    Raises:
        NotAnAuthorityError: the key is not one of the agreement's authorities.
    """
    return _signed(Envelope(PAYLOAD_TYPE, agreement.payload()), agreement, signer)


def add_signature(data: bytes, signer: Signer) -> bytes:
    """Return the envelope with one more authority's signature.

    Raises:
        DocumentError: not an agreement.
        NotAnAuthorityError: the key is not one of the agreement's authorities.
        SignatureMissingError: a signature that is already there does not hold.
    """
    envelope, agreement = read(data)
    present = {signature.key_id for signature in envelope.signatures}
    for party in agreement.parties:
        keys = [key for key in party.authority_keys if key.key_id in present]
        # Signing beside a forged signature would lend it weight.
        if keys:
            dsse.verify(envelope, PAYLOAD_TYPE, keys)
    return _signed(envelope, agreement, signer)


def read(data: bytes) -> tuple[Envelope, Agreement]:
    """Read a signed agreement without verifying anything: for display and for signing.

    Raises:
        DocumentError: not an agreement.
    """
    envelope = Envelope.decode(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DocumentError(f"this is a {envelope.payload_type!r} document, not an agreement")
    return envelope, Agreement.from_payload(envelope.payload)


def signers(data: bytes) -> frozenset[PartyCode]:
    """Return the parties whose authority has signed, by the keys that the agreement embeds.

    Raises:
        DocumentError: not an agreement.
    """
    envelope, agreement = read(data)
    return signed_by(envelope, PAYLOAD_TYPE, agreement.parties)


def signed_by(
    envelope: Envelope, payload_type: str, parties: Iterable[Party]
) -> frozenset[PartyCode]:
    """Return those parties whose authority has signed a document of a kind."""
    signed = set()
    for party in parties:
        try:
            dsse.verify(envelope, payload_type, party.authority_keys)
        except SignatureMissingError:
            continue
        signed.add(party.code)
    return frozenset(signed)


def verify(data: bytes) -> Agreement:
    """Return an agreement that the authority of every party in it has signed.

    Raises:
        DocumentError: not an agreement.
        SignatureMissingError: a party has not signed, or its signature does not hold.
    """
    envelope, agreement = read(data)
    for party in agreement.parties:
        try:
            dsse.verify(envelope, PAYLOAD_TYPE, party.authority_keys)
        except SignatureMissingError as error:
            raise SignatureMissingError(
                f"the authority of {party.code} has not signed {agreement.agreement_id}"
                f" version {agreement.version}: {error.message}"
            ) from error
    return agreement


def _signed(envelope: Envelope, agreement: Agreement, signer: Signer) -> bytes:
    key = VerifyKey.of(signer)
    if not any(key in party.authority_keys for party in agreement.parties):
        raise NotAnAuthorityError(
            f"this key is not an authority's key in {agreement.agreement_id}",
            hint="sign with the authority key of a party that the agreement names",
        )
    return envelope.signed_by(signer).encode()
