"""Accepting an agreement: trust starts at one's own authority and ends with all parties.

A client knows one authority key, its own (from enrolment). An agreement that
this key has signed names the other parties' keys, and those must have signed
too. Nothing that a relay serves is believed on any other ground.
"""

from __future__ import annotations

from liaison.errors import VerificationError
from liaison.policy import dsse, signing
from liaison.policy.agreement import Agreement
from liaison.policy.errors import SignatureMissingError
from liaison.policy.party import Party


class NotOurAuthorityError(VerificationError):
    """The agreement is not signed by this device's own authority."""

    code = "agreement.not_ours"


def accept_agreement(data: bytes, own: Party) -> Agreement:
    """Verify a signed agreement, starting from one's own authority.

    Whether it is in force at some time is `agreement.is_in_force`'s to say.

    Args:
        data: the DSSE envelope.
        own: the caller's party with its anchors, from enrolment.

    Raises:
        DocumentError: not an agreement.
        NotOurAuthorityError: own authority has not signed, or the agreement
            names another key as its.
        SignatureMissingError: another party has not signed.
    """
    envelope = dsse.Envelope.decode(data)
    try:
        ours = dsse.verify(envelope, signing.PAYLOAD_TYPE, own.authority_keys)
    except SignatureMissingError as error:
        raise NotOurAuthorityError(
            f"the authority of {own.code} has not signed this agreement"
        ) from error
    agreement = signing.verify(data)
    # The party's entry must be ours: else someone could put us into an
    # agreement under a name whose keys are not ours.
    if not agreement.has_party(own.code) or ours not in agreement.party(own.code).authority_keys:
        raise NotOurAuthorityError(f"the agreement names another authority for {own.code}")
    return agreement
