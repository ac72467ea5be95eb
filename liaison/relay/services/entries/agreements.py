"""Steps in the life of an agreement, and what the operator does about it."""

from __future__ import annotations

import hashlib

from liaison.model import PartyCode
from liaison.policy import dsse
from liaison.policy.agreement import Agreement
from liaison.policy.exclusion import Exclusion
from liaison.policy.participation import Statement
from liaison.relay.recording import Draft
from liaison.relay.services.entries.channel import policy_of
from liaison.tlog.commitment import Value
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64


def proposed(agreement: Agreement, party: PartyCode, *, first: bool) -> Draft:
    """A party has proposed a version, or signed one that another has proposed."""
    step = "proposed" if first else "signed"
    return _version(agreement, step, party)


def admitted(agreement: Agreement) -> Draft:
    """A version was admitted; it is in force from its `valid_from` on."""
    return _version(agreement, "admitted", None)


def in_force(agreement: Agreement) -> Draft:
    """The day of a version has come."""
    return _version(agreement, "in_force", None)


def succeeds(agreement: Agreement) -> Draft:
    """A log begins in the place of another one, whose head the version names; its first entry.

    Only for a version that names a predecessor.
    """
    before = agreement.log.predecessor
    fields: dict[str, Value] = {}
    if before is not None:
        fields = {"origin": before.origin, "size": before.size, "root": to_base64(before.root)}
    id_, policy = agreement.agreement_id, policy_of(agreement)
    return Draft(log=id_, type=EntryType.CHECKPOINT, fields=fields, policy=policy)


def _version(agreement: Agreement, step: str, party: PartyCode | None) -> Draft:
    return _policy(
        agreement.agreement_id,
        party,
        step,
        "agreement",
        agreement.digest(),
        policy_of(agreement),
    )


def stated(agreement: Agreement, statement: Statement, envelope: bytes) -> Draft:
    """A party has said how it takes part."""
    step, digest = statement.state.value, _payload_digest(envelope)
    policy = policy_of(agreement)
    return _policy(agreement.agreement_id, statement.party, step, "statement", digest, policy)


def exclusion_signed(
    agreement: Agreement, party: PartyCode, envelope: bytes, *, first: bool
) -> Draft:
    """A party has proposed that another be excluded, or has signed that."""
    step, digest = "proposed" if first else "signed", _payload_digest(envelope)
    policy = policy_of(agreement)
    return _policy(agreement.agreement_id, party, step, "exclusion", digest, policy)


def excluded(agreement: Agreement, word: Exclusion, envelope: bytes) -> Draft:
    """Enough have signed: the party that is named is excluded."""
    digest, policy = _payload_digest(envelope), policy_of(agreement)
    return _policy(agreement.agreement_id, word.party, "excluded", "exclusion", digest, policy)


def _policy(
    id_: str,
    party: PartyCode | None,
    step: str,
    document: str,
    digest: bytes,
    policy: PolicyRef,
) -> Draft:
    fields: dict[str, Value] = {
        "party": None if party is None else str(party),
        "agreement": id_,
        "step": step,
        "document": document,
        "digest": to_base64(digest),
    }
    return Draft(log=id_, type=EntryType.POLICY, fields=fields, policy=policy)


def _payload_digest(envelope: bytes) -> bytes:
    return hashlib.sha256(dsse.Envelope.decode(envelope).payload).digest()
