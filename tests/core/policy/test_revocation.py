"""Revocation lists."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import DeviceId, PartyCode
from liaison.policy import canonical, dsse, revocation
from liaison.policy.errors import (
    DocumentError,
    RevocationOrderError,
    SignatureMissingError,
    StaleRevocationError,
)
from liaison.policy.revocation import Reason, RevocationList, RevokedCertificate
from tests.core.policy.documents import DAY, NOW, world

NOR, DEU = PartyCode("NOR"), PartyCode("DEU")
DEVICE = DeviceId.parse("nor/defatt-berlin#d1")
LOST = RevokedCertificate("4a", DEVICE, NOW, Reason.KEY_COMPROMISE)
serials = st.sets(st.integers(1, 2**159).map(lambda n: f"{n:x}"), max_size=8)


def first() -> RevocationList:
    return RevocationList.empty(NOR, issued_at=NOW, next_update=NOW + DAY)


def after(*revoked: RevokedCertificate) -> RevocationList:
    return first().with_revoked(revoked, issued_at=NOW, next_update=NOW + DAY)


def sign(revocations: RevocationList) -> bytes:
    return revocation.sign(revocations, world().party("NOR").registrar_key)


@given(names=serials)
def test_every_signed_list_comes_back_as_it_was(names: set[str]) -> None:
    revocations = after(*(replace(LOST, serial=name) for name in names))

    assert revocation.verify(sign(revocations), world().party("NOR").party) == revocations
    assert revocations.revoked == {(NOR, name) for name in names}


def test_a_list_signed_by_someone_else_is_refused() -> None:
    stranger = SigningKey.generate(SignatureScheme.ED25519)

    with pytest.raises(SignatureMissingError):
        revocation.verify(revocation.sign(after(LOST), stranger), world().party("NOR").party)


def test_the_authority_is_not_the_registrar() -> None:
    signed = revocation.sign(after(LOST), world().party("NOR").authority_key)

    with pytest.raises(SignatureMissingError):
        revocation.verify(signed, world().party("NOR").party)


def test_a_registrar_revokes_for_its_own_party_only() -> None:
    nation = world().party("DEU")
    signed = revocation.sign(after(LOST), nation.registrar_key)

    with pytest.raises(DocumentError, match="of NOR, not of DEU"):
        revocation.verify(signed, nation.party)


def test_a_list_names_its_own_partys_devices_only() -> None:
    foreign = replace(LOST, device=DeviceId.parse("deu/lno-j3#d1"))

    with pytest.raises(DocumentError, match="not a device of NOR"):
        sign(after(foreign))


@pytest.mark.parametrize("serial", ["", "4A", "04a", "x", "1" * 41])
def test_a_serial_has_one_spelling(serial: str) -> None:
    with pytest.raises(DocumentError):
        sign(after(replace(LOST, serial=serial)))


def test_entries_are_in_order_so_that_a_list_has_one_form() -> None:
    entries = [replace(LOST, serial=serial) for serial in ("9", "1")]
    shuffled = replace(after(*entries), entries=tuple(entries))

    with pytest.raises(DocumentError, match="ordered"):
        sign(shuffled)


def test_a_list_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(DocumentError, match="next_update"):
        sign(replace(first(), next_update=NOW))


def test_an_old_list_does_not_prove_that_nothing_else_is_revoked() -> None:
    first().check_fresh(NOW + DAY)

    with pytest.raises(StaleRevocationError):
        first().check_fresh(NOW + DAY + 1)


def test_the_next_list_has_all_of_this_one_and_a_higher_number() -> None:
    second = after(LOST)
    third = second.with_revoked((), issued_at=NOW + 1, next_update=NOW + DAY)

    third.check_succeeds(second)
    assert third.number == 3
    assert third.contains("4a")


@pytest.mark.parametrize(
    "successor",
    [
        after(LOST),
        replace(after(), number=9),
        replace(after(LOST), number=9, party=DEU),
        replace(after(LOST), number=1),
    ],
)
def test_a_list_that_goes_back_is_refused(successor: RevocationList) -> None:
    with pytest.raises(RevocationOrderError):
        successor.check_succeeds(after(LOST))


def test_a_signed_document_of_another_form_is_no_list() -> None:
    key = world().party("NOR").registrar_key
    payload = canonical.encode({"format": "liaison.revocations/2"})
    data = dsse.sign(revocation.PAYLOAD_TYPE, payload, [key]).encode()

    with pytest.raises(DocumentError):
        revocation.verify(data, world().party("NOR").party)
