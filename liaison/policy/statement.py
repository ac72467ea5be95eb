"""Why the relay proposes a removal: the reason, in the proposal's authenticated data.

A relay may propose Remove, but members act on it only with a reason that their
own anchors bear out. Today there is one: the registrar's signed revocation list
that names the leaf's certificate. Age does not matter here: what was revoked
stays revoked.
"""

from __future__ import annotations

from typing import Final

from liaison.envelope import cbor
from liaison.errors import LiaisonError
from liaison.policy import revocation
from liaison.policy.errors import RemovalReasonError
from liaison.policy.party import Party
from liaison.policy.revocation import RevocationList

VERSION: Final = 1
_V, _KIND, _DOCUMENT = range(3)
_REVOCATION: Final = 1


def encode_removal(signed_list: bytes) -> bytes:
    """Return authenticated data that gives a signed revocation list as the reason."""
    return cbor.encode({_V: VERSION, _KIND: _REVOCATION, _DOCUMENT: signed_list})


def read_removal(data: bytes) -> bytes:
    """Return the signed revocation list, unverified.

    Raises:
        RemovalReasonError: no reason of a known kind is given.
    """
    try:
        item = cbor.decode(data)
    except LiaisonError as error:
        raise RemovalReasonError("the removal gives no readable reason") from error
    if not isinstance(item, dict) or item.keys() != {_V, _KIND, _DOCUMENT}:
        raise RemovalReasonError("the removal gives no readable reason")
    document = item[_DOCUMENT]
    # Encoded again, because `true` would pass for 1.
    if not isinstance(document, bytes) or encode_removal(document) != data:
        raise RemovalReasonError("the removal gives a reason of an unknown kind")
    return document


def verify_removal(data: bytes, party: Party, serial: str) -> RevocationList:
    """Check that the reason justifies removing one certificate's leaf.

    Args:
        data: the Remove proposal's authenticated data.
        party: the removed device's party, as the agreement names it.
        serial: of the removed leaf's certificate, lower-case hex.

    Returns:
        The list, for the caller to keep if it is newer than the one it has.

    Raises:
        RemovalReasonError: no reason, not signed by the party's registrar, or
            about other certificates.
    """
    signed_list = read_removal(data)
    try:
        revocations = revocation.verify(signed_list, party)
    except LiaisonError as error:
        raise RemovalReasonError(
            f"the removal's reason is not signed by the registrar of {party.code}: {error.message}"
        ) from error
    if not revocations.contains(serial):
        raise RemovalReasonError(
            f"the registrar of {party.code} has not revoked certificate {serial}"
        )
    return revocations
