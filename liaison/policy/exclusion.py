"""Excluding a party: the word of the others, by the rule that all had agreed on.

The statement names the party and is signed by authorities of the others, each
with its own signature in one envelope. It is final.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from liaison import words
from liaison.crypto.signing import Signer
from liaison.model import PartyCode
from liaison.policy import canonical, dsse, signing
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.canonical import JSON
from liaison.policy.errors import DocumentError, SignatureMissingError
from liaison.policy.fields import Node, format_instant
from liaison.values import dataclass

FORMAT: Final = "liaison.exclusion/1"
PAYLOAD_TYPE: Final = "application/vnd.liaison.exclusion.v1+json"
MAX_EXCLUSION_BYTES: Final = 16 * 1024
_FIELDS: Final = ("format", "agreement", "party", "reason", "issued_at")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """That a party no longer belongs.

    Args:
        agreement_id: which agreement; all its versions.
        party: who is excluded.
        reason: for people.
        issued_at: Unix seconds from which it holds.
    """

    agreement_id: str
    party: PartyCode
    reason: str
    issued_at: int

    def document(self) -> dict[str, JSON]:
        """Return the statement as it is signed."""
        return {
            "format": FORMAT,
            "agreement": self.agreement_id,
            "party": str(self.party),
            "reason": self.reason,
            "issued_at": format_instant(self.issued_at),
        }


def sign(exclusion: Exclusion, signer: Signer) -> bytes:
    """Return the statement in an envelope with one authority's signature."""
    payload = canonical.encode(exclusion.document())
    _parse(payload)
    return dsse.sign(PAYLOAD_TYPE, payload, [signer]).encode()


def add_signature(data: bytes, signer: Signer) -> bytes:
    """Return the envelope with one more authority's signature.

    Raises:
        DocumentError: not an exclusion.
    """
    read(data)
    return dsse.Envelope.decode(data).signed_by(signer).encode()


def read(data: bytes) -> Exclusion:
    """Read an exclusion without verifying it: for display and for signing.

    Raises:
        DocumentError: not an exclusion.
    """
    envelope = dsse.Envelope.decode(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DocumentError(f"this is a {envelope.payload_type!r} document, not an exclusion")
    return _parse(envelope.payload)


def signers(data: bytes, agreement: Agreement) -> frozenset[PartyCode]:
    """Return the other parties whose authority has signed."""
    excluded = read(data).party
    others = (party for party in agreement.parties if party.code != excluded)
    return signing.signed_by(dsse.Envelope.decode(data), PAYLOAD_TYPE, others)


def verify(data: bytes, agreement: Agreement, left: Iterable[PartyCode] = ()) -> Exclusion:
    """Read an exclusion that as many of the others have signed as the agreement demands.

    Args:
        data: the DSSE envelope.
        agreement: the version in force.
        left: parties that have withdrawn or were excluded before; they have no vote.

    Raises:
        DocumentError: not an exclusion, about another agreement, or the agreement
            excludes nobody.
        UnknownPartyError: the party does not belong to the agreement.
        SignatureMissingError: too few have signed.
    """
    exclusion = read(data)
    if exclusion.agreement_id != agreement.agreement_id:
        raise DocumentError(f"the exclusion is about {exclusion.agreement_id}")
    party = agreement.party(exclusion.party).code
    voters = set(agreement.codes) - set(left) - {party}
    agreed = signers(data, agreement) & voters
    needed = _needed(agreement.exclusion, len(voters))
    if len(agreed) < needed:
        missing = ", ".join(sorted(map(str, voters - agreed)))
        raise SignatureMissingError(
            f"excluding {party} takes {needed} of the others,"
            f" {words.count(len(agreed), 'has', 'have')} signed",
            hint=f"not signed: {missing}",
        )
    return exclusion


def _needed(rule: ExclusionRule, voters: int) -> int:
    match rule:
        case ExclusionRule.NEVER:
            raise DocumentError("the agreement excludes nobody", hint="a party withdraws itself")
        case ExclusionRule.MAJORITY:
            return voters // 2 + 1
        case ExclusionRule.ALL_OTHERS:
            # Two parties: one alone would throw the other out of its own agreement; it can
            # withdraw itself to the same effect.
            return max(voters, 1)


def _parse(payload: bytes) -> Exclusion:
    node = Node.of(canonical.decode_canonical(payload, limit=MAX_EXCLUSION_BYTES))
    fields = node.fields(_FIELDS)
    if fields["format"].value != FORMAT:
        fields["format"].fail(f"must be {FORMAT}")
    return Exclusion(
        agreement_id=fields["agreement"].text(most=100),
        party=fields["party"].parsed(PartyCode.parse),
        reason=fields["reason"].text(most=1000),
        issued_at=fields["issued_at"].instant(),
    )
