"""`liaison party ...` and `liaison agreement ...`, with a relay in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy import enrolment, revocation, signing
from liaison.policy.agreement import Agreement
from liaison.policy.enrolment import Code
from liaison.policy.party import Party
from liaison_sdk.registrar.office import RegistrarOffice
from tests.cli.conftest import Liaison, found
from tests.cli.fakes import FakeRelay

URL = "https://relay.example:8443"


def ask(relay: FakeRelay, code: str) -> None:
    """Do as the device does that was given the code."""
    parsed = Code.parse(code)
    key = SigningKey.generate(SignatureScheme.ED25519)
    sealed = enrolment.seal_request(parsed, [key], random_bytes)
    relay.request(parsed.lookup_text, sealed.data)


@pytest.fixture
def connected(office: RegistrarOffice, relay: FakeRelay) -> RegistrarOffice:
    office.pin(URL, relay.identity, None)
    return office


def test_init_makes_a_party_file_that_anybody_can_read(
    liaison: Liaison, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "nor.party.json"

    done = liaison("--json", "party", "init", "NOR", "--name", "Norway", "-o", file)

    party = Party.parse(file.read_bytes())
    assert (done.code, str(party.code), party.name) == (0, "NOR", "Norway")
    assert done.record == {
        "party": "NOR",
        "name": "Norway",
        "file": str(file),
        "root": party.roots[0].fingerprint,
    }
    assert (home / "parties" / "nor").is_dir()


def test_init_does_not_write_over_a_file_and_makes_nothing_then(
    liaison: Liaison, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "nor.party.json"
    file.write_text("somebody's")

    done = liaison("party", "init", "NOR", "--name", "Norway", "-o", file)

    assert done.code == 1
    assert "liaison: note: nothing was made" in done.err
    assert file.read_text() == "somebody's"
    assert not home.exists()


def test_export_prints_the_party_file(liaison: Liaison, office: RegistrarOffice) -> None:
    assert liaison("party", "export").out.encode() == office.party.encode()


def test_show_gives_the_fingerprints_of_a_file_without_a_passphrase(
    liaison: Liaison, office: RegistrarOffice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "theirs.json"
    file.write_bytes(office.party.encode())
    monkeypatch.delenv("LIAISON_PASSPHRASE_FILE")

    record = liaison("party", "show", file, "--json").record

    assert record["roots"] == [office.party.roots[0].fingerprint]
    assert record["authority_keys"] == [office.party.authority_keys[0].key_id]
    assert record["own"] is False


def test_several_parties_must_be_told_apart(liaison: Liaison, home: Path) -> None:
    found(home, "NOR")
    found(home, "DEU", "Germany")

    done = liaison("party", "devices")

    assert done.code == 1
    assert "there are several parties here: DEU, NOR" in done.err
    assert liaison("party", "devices", "--party", "deu").code == 0


def test_connect_pins_the_relay_and_publishes_a_list(
    liaison: Liaison, office: RegistrarOffice, relay: FakeRelay, tmp_path: Path
) -> None:
    identity, ca = tmp_path / "relay.json", tmp_path / "ca.pem"
    identity.write_bytes(relay.identity.encode())
    ca.write_text("PEM")

    done = liaison("--ca", ca, "party", "connect", URL, "--identity", identity)

    assert done.code == 0
    assert office.connection.identity == relay.identity
    assert office.connection.ca_pem == "PEM"
    assert revocation.verify(relay.lists[0], office.party).entries == ()
    assert relay.logins[0]["relay"] == relay.identity
    assert relay.closed == 1


def test_a_relay_that_refuses_the_session_is_not_pinned(
    liaison: Liaison, office: RegistrarOffice, relay: FakeRelay, tmp_path: Path
) -> None:
    identity = tmp_path / "relay.json"
    identity.write_bytes(relay.identity.encode())
    relay.failing = "session"

    done = liaison("party", "connect", URL, "--identity", identity)

    assert (done.code, done.err) == (1, "liaison: error: the relay is busy\n")
    assert office.state.connection is None


def test_the_code_stands_alone_on_stdout(
    liaison: Liaison, connected: RegistrarOffice, relay: FakeRelay
) -> None:
    done = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1")

    code = Code.parse(done.out.strip())
    assert str(code) == done.out.strip()
    assert relay.expected[code.lookup_text].device == "nor/defatt-berlin#d1"
    assert code.secret.hex() not in repr(relay.expected)
    assert connected.invitation(code.lookup_text).code == str(code)


def test_a_code_that_the_relay_did_not_take_is_destroyed(
    liaison: Liaison, connected: RegistrarOffice, relay: FakeRelay
) -> None:
    relay.failing = "invite"

    done = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1")

    assert (done.code, done.out) == (1, "")
    assert connected.state.invitations == ()


@pytest.mark.usefixtures("connected")
def test_a_request_is_listed_with_its_keys_and_approved(liaison: Liaison, relay: FakeRelay) -> None:
    invited = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    assert liaison("party", "requests", "--json").record["state"] == "invited"
    ask(relay, invited["code"])

    listed = liaison("party", "requests", "--json").record
    approved = liaison("party", "approve", "nor/defatt-berlin", "--json")

    assert (listed["state"], listed["problem"]) == ("requested", None)
    assert [k["scheme"] for k in listed["keys"]] == ["ed25519"]
    assert approved.code == 0
    assert approved.record["device"] == "nor/defatt-berlin#d1"
    assert [lookup for lookup, _, _ in relay.replies] == [invited["lookup"]]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("name", ["lookup", "device", "endpoint", "--all"])
def test_a_request_is_named_in_several_ways(liaison: Liaison, relay: FakeRelay, name: str) -> None:
    invited = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    ask(relay, invited["code"])
    names = {
        "lookup": invited["lookup"][:6],
        "device": "nor/defatt-berlin#d1",
        "endpoint": "nor/defatt-berlin",
        "--all": "--all",
    }

    assert liaison("party", "approve", names[name]).code == 0
    assert len(relay.replies) == 1


@pytest.mark.usefixtures("connected")
def test_nothing_to_approve_is_an_error(liaison: Liaison, relay: FakeRelay) -> None:
    liaison("party", "invite", "nor/defatt-berlin", "--device", "d1")

    done = liaison("party", "approve", "nor/defatt-berlin")

    assert done.code == 1
    assert "there is no request of nor/defatt-berlin" in done.err
    assert relay.replies == []


@pytest.mark.usefixtures("connected")
def test_approve_wants_names_or_all_but_not_both(liaison: Liaison) -> None:
    assert liaison("party", "approve").code == 2
    assert liaison("party", "approve", "nor/x", "--all").code == 2


@pytest.mark.usefixtures("connected")
def test_a_request_under_a_foreign_code_is_left_alone_and_exits_3(
    liaison: Liaison, relay: FakeRelay
) -> None:
    mine = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    other = liaison("party", "invite", "nor/desk", "--device", "d1", "--json").record
    ask(relay, other["code"])
    relay.request(mine["lookup"], relay.expected[other["lookup"]].sealed_request or b"")

    listed = {r["device"]: r for r in liaison("party", "requests", "--json").records}
    done = liaison("party", "approve", "--all")

    assert listed["nor/defatt-berlin#d1"]["problem"]
    assert done.code == 3
    assert done.out == "nor/desk#d1 is certified\n"
    assert [lookup for lookup, _, _ in relay.replies] == [other["lookup"]]


@pytest.mark.usefixtures("connected")
def test_a_lost_reply_is_repeated_with_the_same_certificates(
    liaison: Liaison, relay: FakeRelay
) -> None:
    invited = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    ask(relay, invited["code"])
    relay.failing = "reply_enrolment"
    assert liaison("party", "approve", "--all").code == 1
    relay.failing = None

    assert liaison("party", "approve", "--all").code == 0

    (device,) = liaison("party", "devices", "--json").records
    assert len(device["certificates"]) == 1


def test_a_withdrawn_code_is_gone_here_and_there(
    liaison: Liaison, connected: RegistrarOffice, relay: FakeRelay
) -> None:
    liaison("party", "invite", "nor/defatt-berlin", "--device", "d1")

    done = liaison("party", "withdraw", "nor/defatt-berlin#d1")

    assert done.code == 0
    assert relay.expected == {}
    assert connected.state.invitations == ()


def test_revoke_publishes_the_next_list(
    liaison: Liaison, connected: RegistrarOffice, relay: FakeRelay
) -> None:
    invited = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    ask(relay, invited["code"])
    liaison("party", "approve", "--all")

    done = liaison(
        "party", "revoke", "nor/defatt-berlin#d1", "--reason", "key_compromise", "--json"
    )

    listed = revocation.verify(relay.lists[-1], connected.party)
    assert done.record["number"] == listed.number == 1
    assert done.record["revoked"] == [
        {"device": "nor/defatt-berlin#d1", "serial": listed.entries[0].serial}
    ]
    assert liaison("party", "devices", "--json").record["revoked"] is True


def test_a_list_that_could_not_be_published_is_kept_and_goes_out_with_the_next(
    liaison: Liaison, connected: RegistrarOffice, relay: FakeRelay
) -> None:
    invited = liaison("party", "invite", "nor/defatt-berlin", "--device", "d1", "--json").record
    ask(relay, invited["code"])
    liaison("party", "approve", "--all")
    relay.failing = "publish_revocations"
    assert liaison("party", "revoke", "nor/defatt-berlin", "--reason", "ceased").code == 1
    relay.failing = None

    assert liaison("party", "renew-list").code == 0

    assert len(revocation.verify(relay.lists[-1], connected.party).entries) == 1


# --- agreements -------------------------------------------------------------------------


def test_a_new_agreement_is_sound_and_unsigned(liaison: Liaison, draft: Path) -> None:
    record = liaison("agreement", "check", draft, "--json").record

    assert record["id"] == "nor-deu-2026"
    assert (record["signed_by"], record["complete"]) == ([], False)


def test_both_authorities_sign_the_same_bytes(liaison: Liaison, draft: Path, signed: Path) -> None:
    agreement = signing.verify(signed.read_bytes())

    record = liaison("agreement", "check", signed, "--json").record

    assert record["complete"] is True
    assert record["signed_by"] == ["DEU", "NOR"]
    assert record["digest"] == agreement.digest().hex()
    assert record["digest"] == liaison("agreement", "check", draft, "--json").record["digest"]


def test_one_signature_is_not_complete(liaison: Liaison, draft: Path, tmp_path: Path) -> None:
    done = liaison(
        *("agreement", "sign", draft, "--party", "NOR", "-o", tmp_path / "first.json", "--json")
    )

    assert (done.record["signed_by"], done.record["complete"]) == (["NOR"], False)


def test_a_signed_agreement_that_was_changed_exits_3(
    liaison: Liaison, signed: Path, tmp_path: Path
) -> None:
    envelope = json.loads(signed.read_bytes())
    text = Agreement.from_payload(signing.read(signed.read_bytes())[0].payload)
    envelope["signatures"][0]["sig"] = envelope["signatures"][1]["sig"]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(envelope))

    done = liaison("agreement", "check", changed)

    assert (done.code, done.out) == (3, "")
    assert f"on {text.agreement_id} does not hold" in done.err


def test_a_party_file_with_other_keys_exits_3(
    liaison: Liaison, signed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.party.json"
    other.write_bytes(found(tmp_path / "other-home", "DEU", "Germany").party.encode())

    done = liaison("agreement", "check", signed, "--party-file", other)

    assert done.code == 3
    assert "other keys for DEU" in done.err
    good = tmp_path / "deu.party.json"
    assert liaison("agreement", "check", signed, "--party-file", good).code == 0


def test_a_fault_in_the_yaml_names_its_line(liaison: Liaison, draft: Path) -> None:
    text = draft.read_text().replace("kind: bilateral", "kind: friendship")
    draft.write_text(text)
    line = text.splitlines().index("kind: friendship") + 1

    done = liaison("agreement", "check", draft)

    assert done.code == 1
    assert f"line {line}" in done.err


def test_a_signed_file_is_not_written_over(liaison: Liaison, draft: Path, signed: Path) -> None:
    before = signed.read_bytes()

    done = liaison("agreement", "sign", draft, "--party", "NOR", "-o", signed)

    assert done.code == 1
    assert signed.read_bytes() == before


def test_the_page_names_the_parties_and_who_has_signed(
    liaison: Liaison, draft: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.json"
    liaison("agreement", "sign", draft, "--party", "NOR", "-o", first)

    page = liaison("agreement", "show", first).out

    assert "NOR  Norway  (has signed)" in page
    assert "DEU  Germany  (has not signed)" in page
    assert "channel policy liaison" in page


def test_the_document_is_what_is_signed(liaison: Liaison, signed: Path) -> None:
    shown = liaison("agreement", "show", signed, "--json").record

    assert shown == signing.verify(signed.read_bytes()).document()
