"""Documents that several authorities sign: checking each signature, and uniting what was signed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from liaison.model import PartyCode
from liaison.policy import dsse
from liaison.policy.dsse import Envelope
from liaison.policy.errors import SignatureMissingError
from liaison.policy.party import Party


def check_all(data: bytes, payload_type: str, parties: Iterable[Party]) -> frozenset[PartyCode]:
    """Return who has signed, and check that every single signature holds.

    Uniting signatures would lend a forged one the company of good ones.

    Args:
        data: the DSSE envelope.
        payload_type: of the only kind of document that is wanted.
        parties: whose authorities may sign.

    Raises:
        DocumentError: a document of another kind.
        SignatureMissingError: nobody has signed, a signature does not hold, or it
            is not by one of these authorities.
    """
    envelope = Envelope.decode(data)
    owners = {key.key_id: (party.code, key) for party in parties for key in party.authority_keys}
    signed = set()
    for signature in envelope.signatures:
        if signature.key_id not in owners:
            raise SignatureMissingError(
                "the document carries a signature by a key that no authority here has",
                unchanged="nothing was stored",
            )
        code, key = owners[signature.key_id]
        dsse.verify(replace(envelope, signatures=(signature,)), payload_type, [key])
        signed.add(code)
    if not signed:
        raise SignatureMissingError(
            "nobody has signed the document", unchanged="nothing was stored", hint="sign it first"
        )
    return frozenset(signed)


def united(one: bytes, other: bytes) -> bytes:
    """Return one envelope with the signatures of two over the same payload, all checked before."""
    first, second = Envelope.decode(one), Envelope.decode(other)
    known = {signature.key_id for signature in first.signatures}
    new = tuple(one for one in second.signatures if one.key_id not in known)
    return replace(first, signatures=(*first.signatures, *new)).encode()
