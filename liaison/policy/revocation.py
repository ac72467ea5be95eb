"""Revocation lists: which certificates a registrar has taken back.

A list is whole (it replaces the one before), numbered, and signed by one of the
party's registrar keys. It has a maximum age: after `next_update` it no longer
proves that a certificate is *not* revoked, but what it names stays revoked for
good.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Self

from liaison.crypto.signing import Signer
from liaison.errors import MalformedError
from liaison.model import DeviceId, PartyCode
from liaison.policy import canonical, dsse
from liaison.policy.canonical import JSON
from liaison.policy.errors import DocumentError, RevocationOrderError, StaleRevocationError
from liaison.policy.fields import Node, format_instant
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.values import dataclass

FORMAT: Final = "liaison.revocations/1"
PAYLOAD_TYPE: Final = "application/vnd.liaison.revocations.v1+json"
MAX_LIST_BYTES: Final = 1024 * 1024
MAX_ENTRIES: Final = 4096
_MAX_NUMBER: Final = 2**53 - 1


class Reason(StrEnum):
    """Why a certificate was taken back."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    CEASED = "ceased"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """One certificate that no longer counts; `at` is Unix seconds, `serial` lower-case hex."""

    serial: str
    device: DeviceId
    at: int
    reason: Reason = Reason.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class RevocationList:
    """All that a registrar has revoked so far.

    Args:
        party: whose registrar.
        number: grows with every list.
        issued_at: Unix seconds.
        next_update: Unix seconds; later, someone may be hiding a newer list.
        entries: ordered by serial.
    """

    party: PartyCode
    number: int
    issued_at: int
    next_update: int
    entries: tuple[RevokedCertificate, ...] = ()

    @classmethod
    def empty(cls, party: PartyCode, *, issued_at: int, next_update: int) -> Self:
        """Return a party's first list, which revokes nothing."""
        return cls(party, 1, issued_at, next_update)

    def with_revoked(
        self, revoked: Sequence[RevokedCertificate], *, issued_at: int, next_update: int
    ) -> RevocationList:
        """Return the next list: everything in this one and more (or nothing more: a renewal)."""
        by_serial = {entry.serial: entry for entry in (*revoked, *self.entries)}
        return RevocationList(
            self.party,
            self.number + 1,
            issued_at,
            next_update,
            tuple(by_serial[serial] for serial in sorted(by_serial)),
        )

    @property
    def revoked(self) -> frozenset[tuple[PartyCode, str]]:
        """What path validation wants: (party, serial) of each entry."""
        return frozenset((self.party, entry.serial) for entry in self.entries)

    def contains(self, serial: str) -> bool:
        """Whether the list names this certificate."""
        return any(entry.serial == serial for entry in self.entries)

    def check_fresh(self, now: int) -> None:
        """Check that the list is young enough to say what is not revoked.

        Raises:
            StaleRevocationError: past its `next_update`.
        """
        if now > self.next_update:
            raise StaleRevocationError(
                f"the revocation list of {self.party} was to be renewed by"
                f" {format_instant(self.next_update)}"
            )

    def check_succeeds(self, previous: RevocationList) -> None:
        """Check that this list may replace one that was known before.

        Raises:
            RevocationOrderError: of another party, not newer, or silent about
                something that was revoked.
        """
        if self.party != previous.party:
            raise RevocationOrderError(
                f"a list of {self.party} can't follow one of {previous.party}"
            )
        if self.number <= previous.number:
            raise RevocationOrderError(
                f"revocation list {self.number} of {self.party} is not newer than"
                f" {previous.number}, which is known already"
            )
        if not previous.revoked <= self.revoked:
            raise RevocationOrderError(
                f"revocation list {self.number} of {self.party} drops a certificate that"
                f" list {previous.number} had revoked"
            )

    def document(self) -> dict[str, JSON]:
        """Return the list as it is signed."""
        return {
            "format": FORMAT,
            "party": str(self.party),
            "number": self.number,
            "issued_at": format_instant(self.issued_at),
            "next_update": format_instant(self.next_update),
            "revoked": [
                {
                    "serial": entry.serial,
                    "device": str(entry.device),
                    "at": format_instant(entry.at),
                    "reason": entry.reason.value,
                }
                for entry in self.entries
            ],
        }


def sign(revocations: RevocationList, signer: Signer) -> bytes:
    """Return the list signed by a registrar, as a DSSE envelope.

    Raises:
        DocumentError: more entries than a list may have.
    """
    payload = canonical.encode(revocations.document())
    _parse(payload)
    return dsse.sign(PAYLOAD_TYPE, payload, [signer]).encode()


def verify(data: bytes, party: Party) -> RevocationList:
    """Read a list that one of the party's registrar keys has signed.

    Age and order are the caller's to check: `check_fresh`, `check_succeeds`.

    Raises:
        DocumentError: not a revocation list, or another party's.
        SignatureMissingError: no registrar of the party has signed it.
    """
    return verify_with_keys(data, party.code, party.registrar_keys)


def verify_with_keys(
    data: bytes, party: PartyCode, registrar_keys: Sequence[VerifyKey]
) -> RevocationList:
    """Do as `verify` does, for a caller that has only the keys.

    Raises:
        DocumentError: not a revocation list, or another party's.
        SignatureMissingError: none of the keys has signed it.
    """
    if len(data) > 2 * MAX_LIST_BYTES:
        raise DocumentError("this is longer than a revocation list may be")
    envelope = dsse.Envelope.decode(data)
    dsse.verify(envelope, PAYLOAD_TYPE, registrar_keys)
    revocations = _parse(envelope.payload)
    if revocations.party != party:
        raise DocumentError(f"this is the revocation list of {revocations.party}, not of {party}")
    return revocations


def read(data: bytes) -> RevocationList:
    """Read a signed list without verifying it: for one's own store of verified lists.

    Raises:
        DocumentError: not a revocation list.
    """
    return _parse(dsse.Envelope.decode(data).payload)


def _parse(payload: bytes) -> RevocationList:
    fields = Node.of(canonical.decode_canonical(payload, limit=MAX_LIST_BYTES)).fields(
        ("format", "party", "number", "issued_at", "next_update", "revoked")
    )
    if fields["format"].value != FORMAT:
        fields["format"].fail(f"must be {FORMAT}")
    party = fields["party"].parsed(PartyCode.parse)
    issued_at, next_update = fields["issued_at"].instant(), fields["next_update"].instant()
    if next_update <= issued_at:
        fields["next_update"].fail("must be after issued_at")
    entries = tuple(_entry(node, party) for node in fields["revoked"].items(most=MAX_ENTRIES))
    serials = [entry.serial for entry in entries]
    if serials != sorted(set(serials)):
        fields["revoked"].fail("must be ordered by serial, each once")
    number = fields["number"].integer(1, _MAX_NUMBER)
    return RevocationList(party, number, issued_at, next_update, entries)


def _entry(node: Node, party: PartyCode) -> RevokedCertificate:
    fields = node.fields(("serial", "device", "at", "reason"))
    device = fields["device"].parsed(DeviceId.parse)
    if device.party != party:
        fields["device"].fail(f"is not a device of {party}")
    return RevokedCertificate(
        serial=fields["serial"].parsed(_serial),
        device=device,
        at=fields["at"].instant(),
        reason=fields["reason"].choice(Reason),
    )


def _serial(text: str) -> str:
    plain = text.lstrip("0123456789abcdef")
    if plain or not 1 <= len(text) <= 40 or text.startswith("0"):
        raise MalformedError("not a serial number (lower-case hex without leading zeros)")
    return text
