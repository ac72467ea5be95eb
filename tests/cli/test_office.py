"""The registrar's office: keys, invitations, certificates and revocations, without a relay."""

from __future__ import annotations

import dataclasses
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto import x509_path
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.policy import enrolment, revocation, signing, templates
from liaison.policy.agreement import AgreementKind
from liaison.policy.enrolment import Code, SealedRequest
from liaison.policy.errors import EnrolmentError
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.revocation import Reason
from liaison_sdk.errors import WrongPassphraseError
from liaison_sdk.registrar import authority
from liaison_sdk.registrar.errors import (
    CertificateUnknownError,
    ForeignPartyError,
    InvitationChangedError,
    InvitationExpiredError,
    InvitationUnknownError,
    InvitationUsedError,
    NotConnectedError,
    OfficeExistsError,
    OfficeMissingError,
    OfficeStateError,
    SchemeRefusedError,
)
from liaison_sdk.registrar.issuing import DAY
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import Invitation, OfficeState
from liaison_sdk.registrar.store import RegistrarStore, Role
from tests.cli.conftest import CHEAP, NOW, PASSPHRASE, found

D1 = DeviceId.parse("nor/defatt-berlin#d1")
NOR = PartyCode.parse("NOR")


def request_of(invitation: Invitation, *schemes: SignatureScheme) -> SealedRequest:
    """Do as the device does that was given the code."""
    keys = [SigningKey.generate(s) for s in schemes or (SignatureScheme.ED25519,)]
    return enrolment.seal_request(Code.parse(invitation.code), keys, random_bytes)


@pytest.fixture
def connected(office: RegistrarOffice, identity: RelayIdentity) -> RegistrarOffice:
    office.pin("https://relay.example:8443", identity, None)
    return office


def certified(office: RegistrarOffice, device: DeviceId = D1) -> str:
    """Certify one key of a device; return the certificate's serial."""
    invitation = office.invite(device, now=NOW, ttl=3600)
    answered = office.certify(invitation.lookup, request_of(invitation).data, now=NOW).answered
    assert answered is not None
    return x509_path.peek_device(answered.chains[0][0]).serial


def test_an_office_opens_again_with_the_same_keys(office: RegistrarOffice, home: Path) -> None:
    again = RegistrarOffice.open(home, PASSPHRASE, NOR)

    assert again.party == office.party
    assert again.registrar_key().public_bytes == office.registrar_key().public_bytes


def test_every_file_is_the_owners_alone_and_no_key_lies_open(
    office: RegistrarOffice, home: Path
) -> None:
    secret = office.registrar_key().private_bytes()

    files = [f for f in home.rglob("*") if f.is_file()]

    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    assert {stat.S_IMODE(f.stat().st_mode) for f in home.rglob("*") if f.is_dir()} == {0o700}
    assert not [f for f in files if secret in f.read_bytes()]


def test_a_party_is_founded_once_and_the_second_try_leaves_nothing_behind(
    office: RegistrarOffice, home: Path
) -> None:
    before = sorted((home / "parties").iterdir())

    with pytest.raises(OfficeExistsError):
        found(home)

    assert sorted((home / "parties").iterdir()) == before
    assert RegistrarOffice.open(home, PASSPHRASE, NOR).party == office.party


def test_a_wrong_passphrase_opens_nothing(office: RegistrarOffice, home: Path) -> None:
    with pytest.raises(WrongPassphraseError):
        RegistrarOffice.open(home, "another", office.party.code)


def test_a_missing_office_is_named(home: Path) -> None:
    with pytest.raises(OfficeMissingError, match="no registrar of NOR"):
        RegistrarOffice.open(home, PASSPHRASE, NOR)


def test_a_public_file_that_was_changed_on_disk_is_not_what_the_office_signs_for(
    office: RegistrarOffice, home: Path, tmp_path: Path
) -> None:
    stranger = found(tmp_path / "stranger").party
    public = RegistrarStore.folder_of(home, NOR) / "party.json"
    public.write_bytes(stranger.encode())

    assert RegistrarOffice.open(home, PASSPHRASE, NOR).party == office.party != stranger


def test_the_certificates_hold_under_the_root_and_the_reply_opens_with_the_code(
    connected: RegistrarOffice,
) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)
    request = request_of(invitation, SignatureScheme.ED25519, SignatureScheme.P384)

    answered = connected.certify(invitation.lookup, request.data, now=NOW).answered

    assert answered is not None
    reply = enrolment.open_reply(Code.parse(invitation.code), request, answered.sealed, NOW)
    assert reply.device == D1
    assert reply.party == connected.party
    assert [x509_path.peek_device(chain[0]).scheme for chain in reply.chains] == [
        SignatureScheme.ED25519,
        SignatureScheme.P384,
    ]


def test_certifying_the_same_request_again_repeats_the_reply(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)
    request = request_of(invitation)

    first = connected.certify(invitation.lookup, request.data, now=NOW)
    later = connected.certify(invitation.lookup, request.data, now=NOW + 10 * DAY)

    assert first == later
    assert len(connected.state.certificates) == 1


def test_a_second_set_of_keys_under_one_code_is_refused(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)
    connected.certify(invitation.lookup, request_of(invitation).data, now=NOW)

    with pytest.raises(InvitationUsedError):
        connected.certify(invitation.lookup, request_of(invitation).data, now=NOW)

    assert len(connected.state.certificates) == 1


def test_a_code_that_two_commands_answer_at_once_is_answered_once(
    connected: RegistrarOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)
    ours, theirs = request_of(invitation), request_of(invitation)
    seal = enrolment.seal_reply

    def meanwhile(*arguments: Any) -> bytes:
        monkeypatch.setattr(enrolment, "seal_reply", seal)
        connected.certify(invitation.lookup, theirs.data, now=NOW)
        return seal(*arguments)

    monkeypatch.setattr(enrolment, "seal_reply", meanwhile)
    with pytest.raises(InvitationChangedError):
        connected.certify(invitation.lookup, ours.data, now=NOW)

    assert len(connected.state.certificates) == 1


def test_a_request_that_was_not_made_with_the_code_is_refused(connected: RegistrarOffice) -> None:
    mine = connected.invite(D1, now=NOW, ttl=3600)
    other = connected.invite(DeviceId.parse("nor/desk#d1"), now=NOW, ttl=3600)

    with pytest.raises(EnrolmentError):
        connected.certify(mine.lookup, request_of(other).data, now=NOW)

    assert connected.state.certificates == ()


def test_a_request_after_the_code_ran_out_is_refused(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)

    with pytest.raises(InvitationExpiredError):
        connected.certify(invitation.lookup, request_of(invitation).data, now=NOW + 3601)


def test_a_scheme_that_the_invitation_leaves_out_is_refused(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600, schemes=[SignatureScheme.P256])

    with pytest.raises(SchemeRefusedError, match="ed25519"):
        connected.certify(invitation.lookup, request_of(invitation).data, now=NOW)


def test_a_registrar_invites_its_own_partys_devices_only(office: RegistrarOffice) -> None:
    with pytest.raises(ForeignPartyError):
        office.invite(DeviceId.parse("deu/lno-j3#d1"), now=NOW, ttl=3600)

    assert office.state.invitations == ()


def test_a_forgotten_invitation_is_unknown(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)

    connected.forget_invitation(invitation.lookup)

    with pytest.raises(InvitationUnknownError):
        connected.certify(invitation.lookup, request_of(invitation).data, now=NOW)


def test_codes_that_ran_out_long_ago_are_destroyed(office: RegistrarOffice) -> None:
    old = office.invite(D1, now=NOW, ttl=3600)

    new = office.invite(D1, now=NOW + 30 * DAY, ttl=3600)

    assert [i.lookup for i in office.state.invitations] == [new.lookup] != [old.lookup]


def test_nothing_is_certified_before_a_relay_is_pinned(office: RegistrarOffice) -> None:
    invitation = office.invite(D1, now=NOW, ttl=3600)

    with pytest.raises(NotConnectedError):
        office.certify(invitation.lookup, request_of(invitation).data, now=NOW)


def test_a_certificate_does_not_outlive_its_root(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)

    connected.certify(invitation.lookup, request_of(invitation).data, now=NOW, lifetime_days=9999)

    (issued,) = connected.state.certificates
    assert issued.not_after == connected.party.roots[0].certificate.not_after


def test_a_revocation_is_signed_numbered_and_in_the_books(connected: RegistrarOffice) -> None:
    serial = certified(connected)

    signed, hit = connected.revoke(D1, Reason.KEY_COMPROMISE, now=NOW + 60)

    listed = revocation.verify(signed, connected.party)
    assert [c.serial for c in hit] == [serial] == [e.serial for e in listed.entries]
    assert (listed.number, listed.issued_at) == (1, NOW + 60)
    assert connected.devices()[0].is_revoked
    assert connected.state.revocations == signed


def test_an_endpoint_is_revoked_with_all_its_devices(connected: RegistrarOffice) -> None:
    serials = {certified(connected, DeviceId.parse(f"nor/defatt-berlin#d{n}")) for n in (1, 2)}
    kept = certified(connected, DeviceId.parse("nor/desk#d1"))

    _, hit = connected.revoke(EndpointId.parse("nor/defatt-berlin"), Reason.CEASED, now=NOW)

    assert {c.serial for c in hit} == serials
    current = connected.revocation_list()
    assert current is not None
    assert not current.contains(kept)


def test_each_list_keeps_what_the_one_before_revoked(connected: RegistrarOffice) -> None:
    first, second = certified(connected), certified(connected, DeviceId.parse("nor/desk#d1"))
    before = revocation.verify(connected.renew_list(now=NOW), connected.party)

    connected.revoke(D1, Reason.CEASED, now=NOW + 1)
    connected.revoke(DeviceId.parse("nor/desk#d1"), Reason.CEASED, now=NOW + 2)
    renewed = revocation.verify(connected.renew_list(now=NOW + 3), connected.party)

    assert (before.number, before.entries) == (1, ())
    assert renewed.number == 4
    assert {e.serial for e in renewed.entries} == {first, second}
    renewed.check_succeeds(before)


def test_there_is_nothing_to_revoke_twice(connected: RegistrarOffice) -> None:
    certified(connected)
    connected.revoke(D1, Reason.CEASED, now=NOW)

    with pytest.raises(CertificateUnknownError, match="revoked already"):
        connected.revoke(D1, Reason.CEASED, now=NOW)

    current = connected.revocation_list()
    assert current is not None
    assert current.number == 1


def test_an_unknown_device_is_not_revoked(office: RegistrarOffice) -> None:
    with pytest.raises(CertificateUnknownError, match="none was issued"):
        office.revoke(D1, Reason.CEASED, now=NOW)


def test_two_commands_at_once_lose_nothing(home: Path, office: RegistrarOffice) -> None:
    twin = RegistrarOffice.open(home, PASSPHRASE, office.party.code)

    def invite(of: RegistrarOffice, name: str) -> None:
        for n in range(10):
            of.invite(DeviceId.parse(f"nor/{name}#d{n}"), now=NOW, ttl=3600)

    threads = [
        threading.Thread(target=invite, args=(of, n)) for of, n in ((office, "a"), (twin, "b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(office.state.invitations) == 20


def test_the_state_reads_back_as_it_was(connected: RegistrarOffice) -> None:
    certified(connected)
    connected.invite(D1, now=NOW, ttl=3600, schemes=[SignatureScheme.P256])
    connected.revoke(D1, Reason.CEASED, now=NOW)
    state = connected.state

    assert OfficeState.decode(state.encode()) == state


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"format": "liaison.registrar/9"}', b"{}"])
def test_a_damaged_state_is_refused_without_quoting_it(damage: bytes) -> None:
    with pytest.raises(OfficeStateError):
        OfficeState.decode(damage)


def test_no_code_and_no_key_stands_in_a_repr(connected: RegistrarOffice) -> None:
    invitation = connected.invite(D1, now=NOW, ttl=3600)

    shown = repr((connected.state, invitation, connected._store))

    assert invitation.code not in shown
    assert connected.registrar_key().private_bytes().hex() not in shown


def test_roles_have_different_keys(office: RegistrarOffice, home: Path) -> None:
    store = RegistrarStore.open(home, PASSPHRASE, office.party.code)

    assert len({store.key(role).public_bytes for role in Role}) == 3


def test_an_agreement_is_signed_by_both_authorities(
    office: RegistrarOffice, home: Path, tmp_path: Path, identity: RelayIdentity
) -> None:
    found(tmp_path / "deu", "DEU", "Germany")
    nor = RegistrarStore.open(home, PASSPHRASE, office.party.code)
    deu = RegistrarStore.open(tmp_path / "deu", PASSPHRASE, PartyCode.parse("DEU"))
    text = templates.new(
        AgreementKind.BILATERAL,
        agreement_id="nor-deu-2026",
        parties=[nor.party, deu.party],
        relay=identity,
        valid_from=NOW,
        valid_until=NOW + DAY,
    )

    envelope = authority.countersign(deu, authority.sign(nor, text), text)

    assert signing.verify(envelope) == text


def test_an_authority_does_not_sign_for_keys_that_are_not_its_partys(
    office: RegistrarOffice, home: Path, tmp_path: Path, identity: RelayIdentity
) -> None:
    store = RegistrarStore.open(home, PASSPHRASE, office.party.code)
    deu = found(tmp_path / "deu", "DEU", "Germany").party
    forged: Party = dataclasses.replace(
        office.party, registrar_keys=found(tmp_path / "forger").party.registrar_keys
    )
    text = templates.new(
        AgreementKind.BILATERAL,
        agreement_id="nor-deu-2026",
        parties=[forged, deu],
        relay=identity,
        valid_from=NOW,
        valid_until=NOW + DAY,
    )

    with pytest.raises(ForeignPartyError, match="other keys for NOR"):
        authority.sign(store, text)


def test_the_parameters_of_the_passphrase_are_kept_with_the_office(home: Path) -> None:
    RegistrarOffice.found(home, PASSPHRASE, NOR, "Norway", now=NOW, parameters=CHEAP)

    assert b"64" in (RegistrarStore.folder_of(home, NOR) / "keystore.json").read_bytes()
