"""What a party's authority does: it signs agreements.

The authority's key rests beside the registrar's, sealed in a file of its own,
and is unsealed for one signature at a time.
"""

from __future__ import annotations

from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison_sdk.registrar.errors import ForeignPartyError
from liaison_sdk.registrar.store import RegistrarStore, Role


def sign(store: RegistrarStore, text: Agreement) -> bytes:
    """Sign an agreement for the store's party; returns the DSSE envelope.

    Raises:
        ForeignPartyError: the agreement leaves the party out, or names other
            keys for it than it has.
    """
    _check_own_part(store, text)
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
    return signing.add_signature(envelope, store.key(Role.AUTHORITY))


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
