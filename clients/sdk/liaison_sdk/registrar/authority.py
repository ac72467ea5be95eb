"""What a party's authority does: it signs agreements, statements and exclusions.

The authority's key rests beside the registrar's, sealed in a file of its own,
and is unsealed for one signature at a time.
"""

from __future__ import annotations

from dataclasses import replace

from liaison.crypto import kdf
from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.dsse import Envelope
from liaison.policy.errors import DocumentError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison_sdk.registrar.errors import ForeignPartyError
from liaison_sdk.registrar.state import OfficeState, Said
from liaison_sdk.registrar.store import RegistrarStore, Role


def sign(store: RegistrarStore, text: Agreement) -> bytes:
    """Sign an agreement for the store's party; returns the DSSE envelope.

    Raises:
        ForeignPartyError: the agreement leaves the party out, or names other
            keys for it than it has.
    """
    _check_own_part(store, text)
    # In the books first: the log will tell of it, and whoever watches knows it for its own.
    _book(store, text)
    return signing.sign(text, store.key(Role.AUTHORITY))


def countersign(store: RegistrarStore, envelope: bytes, text: Agreement) -> bytes:
    """Add the party's signature to an envelope; returns the larger one.

    Args:
        store: the signing party's.
        envelope: signed by others.
        text: what the envelope holds, as the caller has read it.

    Raises:
        ForeignPartyError: see `sign`.
    """
    _check_own_part(store, text)
    _book(store, text)
    return signing.add_signature(envelope, store.key(Role.AUTHORITY))


def declare(
    store: RegistrarStore,
    text: Agreement,
    event: Event,
    accepted: Statement | None,
    *,
    reason: str,
    now: int,
) -> bytes:
    """Sign the party's next statement of its participation; returns the DSSE envelope.

    It is in the books before this returns, and no number is ever used for two.

    Args:
        store: the party's.
        text: the newest version of the agreement.
        event: what the party does.
        accepted: the newest statement that counts, verified; None before the first.
        reason: for people.
        now: Unix seconds.

    Raises:
        ForeignPartyError: the agreement leaves the party out, or names other keys for it.
        LifecycleError: that can't follow.
        StatementOrderError: the clock is behind the statement before.
    """
    _check_own_part(store, text)
    key = store.key(Role.AUTHORITY)
    signed = b""

    def step(state: OfficeState) -> OfficeState:
        nonlocal signed
        said = _following(store.party.code, text, event, accepted, reason, now)
        booked = state.statement(text.agreement_id)
        used = 0 if booked is None else participation.read(booked).number
        said = replace(said, number=max(said.number, used + 1))
        signed = participation.sign(said, key)
        note = _said(text.agreement_id, signed, said.state.value, said.issued_at)
        return state.with_statement(text.agreement_id, signed).with_said(note)

    store.change(step)
    return signed


def _following(
    party: PartyCode,
    text: Agreement,
    event: Event,
    accepted: Statement | None,
    reason: str,
    now: int,
) -> Statement:
    first = Statement.first(text, party, now=now)
    if accepted is None and event is Event.AFFIRM:
        return replace(first, reason=reason)
    before = accepted or first
    return before.after(event, reason=reason, now=now, max_age=text.status.max_age)


def exclude(
    store: RegistrarStore, text: Agreement, party: PartyCode, *, reason: str, now: int
) -> bytes:
    """Sign that another party is excluded; returns the DSSE envelope for the others to sign.

    Raises:
        ForeignPartyError: the agreement leaves the own party out.
        UnknownPartyError: the other party is not in it.
        DocumentError: the agreement excludes nobody.
    """
    _check_own_part(store, text)
    said = Exclusion(text.agreement_id, text.party(party).code, reason, now)
    _check_excludes(store, text, said)
    signed = exclusion.sign(said, store.key(Role.AUTHORITY))
    _book_exclusion(store, signed, now)
    return signed


def countersign_exclusion(
    store: RegistrarStore, envelope: bytes, text: Agreement, *, now: int
) -> bytes:
    """Add the party's signature to an exclusion; returns the larger envelope.

    Args:
        store: the signing party's.
        envelope: signed by others.
        text: the newest version of the agreement.
        now: Unix seconds.

    Raises:
        ForeignPartyError: see `exclude`.
        DocumentError: it is about another agreement, or that excludes nobody.
    """
    _check_own_part(store, text)
    _check_excludes(store, text, exclusion.read(envelope))
    signed = exclusion.add_signature(envelope, store.key(Role.AUTHORITY))
    _book_exclusion(store, signed, now)
    return signed


def _book(store: RegistrarStore, text: Agreement) -> None:
    digest, name, since = text.digest(), text.agreement_id, text.valid_from
    store.change(lambda state: state.with_signed(digest, name, since))


def _book_exclusion(store: RegistrarStore, signed: bytes, now: int) -> None:
    """Note an exclusion before anybody gets it: whoever watches the log looks for it there."""
    word = exclusion.read(signed)
    note = _said(word.agreement_id, signed, f"exclusion of {word.party}", now)
    store.change(lambda state: state.with_said(note))


def _said(agreement_id: str, signed: bytes, what: str, at: int) -> Said:
    return Said(agreement_id, kdf.sha256(Envelope.decode(signed).payload).hex(), what, at)


def _check_excludes(store: RegistrarStore, text: Agreement, said: Exclusion) -> None:
    if said.agreement_id != text.agreement_id:
        raise DocumentError(f"the exclusion is about {said.agreement_id}")
    if said.party == store.party.code:
        raise ForeignPartyError(
            "a party is excluded by the others", hint="withdraw the own one instead"
        )
    if text.exclusion is ExclusionRule.NEVER:
        raise DocumentError("the agreement excludes nobody", hint="a party withdraws itself")


def _check_own_part(store: RegistrarStore, text: Agreement) -> None:
    party = store.party
    if not text.has_party(party.code):
        raise ForeignPartyError(f"{party.code} is no party of agreement {text.agreement_id}")
    # Whoever signs vouches for the anchors of its own party before its own devices.
    if text.party(party.code) != party:
        raise ForeignPartyError(
            f"agreement {text.agreement_id} names other keys for {party.code} than its own",
            hint="make the agreement again with the file that liaison party export writes",
        )
