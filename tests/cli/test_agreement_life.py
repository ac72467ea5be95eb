"""`liaison agreement propose | sign --proposal | suspend ... | exclude | history`, with a relay in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liaison.model import PartyCode
from liaison.policy import agreement_yaml, exclusion, participation, signing
from liaison.policy.agreement import Agreement
from liaison.policy.fields import format_instant
from liaison.policy.lifecycle import Participation
from liaison_sdk.registrar.office import RegistrarOffice
from tests.cli.conftest import PASSPHRASE, Answer, Liaison, found
from tests.cli.fakes import FakeClient, FakeRelay

URL = "https://relay.example:8443"
ID = "nor-deu-2026"
NOR, DEU = ("--party", "NOR"), ("--party", "DEU")

Amend = Callable[..., Path]


def connect(home: Path, relay: FakeRelay, *codes: str) -> None:
    for code in codes:
        office = RegistrarOffice.open(home, PASSPHRASE, PartyCode.parse(code))
        office.pin(URL, relay.identity, None)


@pytest.fixture
def admitted(home: Path, signed: Path, relay: FakeRelay) -> Agreement:
    """Version 1, which the relay's operator has admitted; both offices use that relay."""
    relay.versions.append(signed.read_bytes())
    connect(home, relay, "NOR", "DEU")
    return signing.verify(signed.read_bytes())


@pytest.fixture
def amendment(liaison: Liaison, admitted: Agreement, tmp_path: Path) -> Path:
    """Version 2, as YAML: nobody sends more than PRIORITY."""
    del admitted
    file = tmp_path / "next.yaml"
    assert liaison("agreement", "amend", ID, *NOR, "-o", file).code == 0
    file.write_text(file.read_text().replace("highest: FLASH", "highest: PRIORITY"))
    return file


# --- proposals --------------------------------------------------------------------------


def test_a_proposal_is_signed_here_and_waits_for_the_others(
    liaison: Liaison, relay: FakeRelay, amendment: Path
) -> None:
    done = liaison("agreement", "propose", amendment, *NOR, "--json")

    digest = agreement_yaml.parse(amendment.read_text()).digest()
    assert done.code == 0, done.err
    assert done.record == {
        "proposal": digest.hex()[:12],
        "id": ID,
        "version": 2,
        "digest": digest.hex(),
        "signed": ["NOR"],
        "missing": ["DEU"],
        "active": False,
    }
    assert f"liaison agreement sign --proposal {digest.hex()[:12]}" in done.err
    assert [status["id"] for status in liaison("agreement", "proposals", *DEU, "--json").records]
    assert signing.signers(relay.proposed[digest]) == {PartyCode.parse("NOR")}


def test_the_other_authority_sees_what_changes_and_its_signature_activates_it(
    liaison: Liaison, relay: FakeRelay, amendment: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)

    done = liaison("agreement", "sign", "--proposal", ID, *DEU, "--yes")

    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "nor-deu-2026: version 1 -> version 2"
    assert "channels[liaison].send[0].highest" in lines
    assert (
        "  everyone else of DEU  may send a file, form, notice or text at DEFERRED-PRIORITY,"
        " before at DEFERRED-FLASH" in lines
    )
    assert lines[-1] == "nor-deu-2026 version 2: signed by all parties, and admitted"
    assert signing.verify(relay.versions[-1]).version == 2


def test_programs_get_the_changes_with_the_result(liaison: Liaison, amendment: Path) -> None:
    liaison("agreement", "propose", amendment, *NOR)
    digits = agreement_yaml.parse(amendment.read_text()).digest().hex()[:6]

    record = liaison("agreement", "sign", "--proposal", digits, *DEU, "--yes", "--json").record

    assert record["active"] is True
    assert "channels[liaison].send[0].highest" in {c["path"] for c in record["changes"]}
    assert {e["effect"] for e in record["effects"]} == {"changes"}


def test_nothing_is_signed_where_nobody_has_agreed(
    liaison: Liaison, relay: FakeRelay, amendment: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)

    done = liaison("agreement", "sign", "--proposal", ID, *DEU)

    assert done.code == 1
    assert "nothing was signed" in done.err
    assert (len(relay.versions), len(relay.proposed)) == (1, 1)


@pytest.mark.parametrize(("line", "code", "versions"), [("y", 0, 2), ("n", 1, 1)])
def test_a_person_is_asked_before_the_signature(
    liaison: Liaison,
    relay: FakeRelay,
    amendment: Path,
    answer: Answer,
    line: str,
    code: int,
    versions: int,
) -> None:
    liaison("agreement", "propose", amendment, *NOR)
    answer(line)

    done = liaison("agreement", "sign", "--proposal", ID, *DEU)

    assert (done.code, len(relay.versions)) == (code, versions)
    assert "sign nor-deu-2026 version 2? [y/N]" in done.err


def test_a_relay_that_shows_another_text_gets_no_signature(
    liaison: Liaison, relay: FakeRelay, amendment: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)
    (digest,) = relay.proposed
    relay.proposed[digest] = relay.versions[0]

    done = liaison("agreement", "sign", "--proposal", ID, *DEU, "--yes")

    assert done.code != 0
    assert len(relay.versions) == 1


def test_proposals_of_one_agreement_are_told_apart_by_their_digests(
    liaison: Liaison, amendment: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)
    amendment.write_text(amendment.read_text().replace("retention_days: 30", "retention_days: 9"))
    liaison("agreement", "propose", amendment, *NOR)

    done = liaison("agreement", "sign", "--proposal", ID, *DEU, "--yes")

    assert done.code == 1
    assert "there are several proposals nor-deu-2026" in done.err
    assert liaison("agreement", "sign", "--proposal", "ffff0000", *DEU, "--yes").code == 1


def test_a_first_version_that_all_have_signed_waits_for_the_operator(
    liaison: Liaison, home: Path, relay: FakeRelay, signed: Path
) -> None:
    connect(home, relay, "NOR")

    done = liaison("agreement", "propose", signed, *NOR)

    assert done.code == 0, done.err
    assert "liaison-relay agreement admit nor-deu-2026" in done.err


@pytest.mark.parametrize("words", [[], ["a.yaml"], ["a.yaml", "--proposal", "x"]])
def test_a_signature_is_for_a_file_or_for_a_proposal(liaison: Liaison, words: list[str]) -> None:
    assert liaison("agreement", "sign", *words).code == 2


# --- the own party's word ---------------------------------------------------------------


def test_a_party_suspends_resumes_and_affirms(
    liaison: Liaison, relay: FakeRelay, admitted: Agreement
) -> None:
    suspended = liaison("agreement", "suspend", ID, "--reason", "talks", *NOR, "--json")
    resumed = liaison("agreement", "resume", ID, *NOR, "--json")
    affirmed = liaison("agreement", "affirm", ID, *NOR)

    said = [participation.verify(data, admitted) for data in relay.said]
    assert [one.state for one in said] == [
        Participation.SUSPENDED,
        Participation.ACTIVE,
        Participation.ACTIVE,
    ]
    assert (suspended.record["state"], suspended.record["reason"]) == ("suspended", "talks")
    assert resumed.record["number"] > suspended.record["number"]
    assert affirmed.out.startswith("NOR takes part: nor-deu-2026, statement ")
    assert "liaison agreement affirm nor-deu-2026" in affirmed.err


@pytest.mark.usefixtures("admitted")
def test_withdrawing_asks_and_is_final(liaison: Liaison, relay: FakeRelay) -> None:
    unasked = liaison("agreement", "withdraw", ID, *NOR)
    withdrawn = liaison("agreement", "withdraw", ID, "--yes", *NOR, "--json")
    resumed = liaison("agreement", "resume", ID, *NOR)

    assert (unasked.code, "nothing was signed" in unasked.err) == (1, True)
    assert withdrawn.record["state"] == "withdrawn"
    assert (resumed.code, len(relay.said)) == (1, 1)
    assert "can't resume" in resumed.err


@pytest.mark.usefixtures("admitted")
def test_a_relay_that_refuses_a_statement_ends_the_command(
    liaison: Liaison, relay: FakeRelay
) -> None:
    relay.failing = "declare"

    assert liaison("agreement", "suspend", ID, *NOR).code == 1
    assert relay.said == []


# --- excluding another ------------------------------------------------------------------


@pytest.fixture
def three(liaison: Liaison, home: Path, draft: Path, relay: FakeRelay, tmp_path: Path) -> Agreement:
    """An agreement of NOR, DEU and SWE, whose offices are all in `home`."""
    del draft
    swe = tmp_path / "swe.party.json"
    swe.write_bytes(found(home, "SWE", "Sweden").party.encode())
    made = tmp_path / "three.yaml"
    files = [str(tmp_path / f"{code}.party.json") for code in ("nor", "deu", "swe")]
    liaison(
        *("agreement", "new", "--template", "multilateral", "--id", ID),
        *(word for file in files for word in ("--party", file)),
        *("--relay", tmp_path / "relay.json", "-o", made),
    )
    for number, code in enumerate(("NOR", "DEU", "SWE")):
        signed = tmp_path / f"three.{number}.json"
        liaison("agreement", "sign", made, "--party", code, "-o", signed)
        made = signed
    relay.versions.append(made.read_bytes())
    connect(home, relay, "NOR", "DEU", "SWE")
    return signing.verify(made.read_bytes())


def test_the_others_exclude_a_party_together(
    liaison: Liaison, relay: FakeRelay, three: Agreement
) -> None:
    begun = liaison("agreement", "exclude", ID, "swe", "--reason", "broke it", "--yes", *NOR)
    joined = liaison("agreement", "exclude", ID, "SWE", "--yes", *DEU, "--json")

    assert begun.code == 0, begun.err
    assert begun.out == "SWE is not excluded yet: signed by NOR, not by DEU\n"
    assert "NOR gave as the reason: broke it" in joined.err
    assert (joined.record["in_force"], joined.record["signed"]) == (True, ["DEU", "NOR"])
    assert str(exclusion.verify(relay.said[-1], three).party) == "SWE"
    again = liaison("agreement", "exclude", ID, "SWE", "--reason", "again", "--yes", *NOR)
    assert (again.code, "excluded from nor-deu-2026 already" in again.err) == (1, True)


@pytest.mark.usefixtures("three")
def test_whoever_has_signed_an_exclusion_signs_nothing_twice(
    liaison: Liaison, relay: FakeRelay
) -> None:
    liaison("agreement", "exclude", ID, "SWE", "--reason", "broke it", "--yes", *NOR)
    before = list(relay.waiting)

    again = liaison("agreement", "exclude", ID, "SWE", "--reason", "another", *NOR, "--json")

    assert (again.code, again.record["signed"]) == (0, ["NOR"])
    assert relay.waiting == before


@pytest.mark.usefixtures("three")
def test_an_exclusion_asks_and_needs_a_reason(liaison: Liaison, relay: FakeRelay) -> None:
    assert liaison("agreement", "exclude", ID, "SWE", "--yes", *NOR).code == 2
    assert liaison("agreement", "exclude", ID, "SWE", "--reason", "x", *NOR).code == 1
    assert relay.waiting == []


@pytest.mark.usefixtures("three")
def test_an_exclusion_that_waits_is_taken_back(liaison: Liaison, relay: FakeRelay) -> None:
    words = ("agreement", "exclude", ID, "SWE")
    assert liaison(*words, "--retract", *NOR).code == 1
    liaison(*words, "--reason", "broke it", "--yes", *NOR)

    done = liaison(*words, "--retract", *NOR)

    assert (done.code, done.out) == (0, f"the exclusion of SWE from {ID} is taken back\n")
    assert relay.waiting == []


def test_a_version_that_waits_is_taken_back(
    liaison: Liaison, relay: FakeRelay, amendment: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)

    done = liaison("agreement", "retract", ID, *NOR, "--json")
    again = liaison("agreement", "retract", ID, *NOR)

    assert (done.code, done.record["version"]) == (0, 2)
    assert relay.proposed == {}
    assert (again.code, f"there is no proposal {ID}" in again.err) == (1, True)


@pytest.mark.usefixtures("three")
def test_an_exclusion_also_travels_as_a_file(
    liaison: Liaison, relay: FakeRelay, tmp_path: Path
) -> None:
    file = tmp_path / "exclusion.json"
    words = ("agreement", "exclude", ID, "SWE", "--yes")
    liaison(*words, "--reason", "broke it", "-o", file, *NOR)
    relay.waiting = []

    joined = liaison(*words, "--from", file, *DEU, "--json")
    other = liaison("agreement", "exclude", ID, "DEU", "--yes", "--from", file, *NOR)

    assert joined.record["in_force"] is True
    assert other.code == 2


# --- history and the page ---------------------------------------------------------------


def test_the_history_tells_everything_in_order(
    liaison: Liaison, relay: FakeRelay, admitted: Agreement
) -> None:
    liaison("agreement", "suspend", ID, "--reason", "talks", *NOR)

    records = liaison("agreement", "history", ID, *DEU, "--json").records
    text = liaison("agreement", "history", ID, *DEU).out

    assert [(r["kind"], r["party"], r["version"]) for r in records] == [
        ("version", None, 1),
        ("statement", "NOR", None),
    ]
    assert "NOR has suspended its participation (talks)" in text
    assert len(relay.said) == 1
    assert records[0]["at"] == admitted.valid_from


def test_the_history_says_who_has_signed_a_version_and_when_it_came_into_force(
    liaison: Liaison, relay: FakeRelay, admitted: Agreement, amendment: Path, tmp_path: Path
) -> None:
    liaison("agreement", "propose", amendment, *NOR)
    assert liaison("agreement", "sign", "--proposal", ID, "--yes", *DEU).code == 0

    records = liaison("agreement", "history", ID, *DEU, "--json").records
    text = liaison("agreement", "history", ID, *DEU).out

    began = admitted.valid_from
    assert [(r["version"], r["at"]) for r in records] == [(1, began), (2, began + 60)]
    assert [r["valid_from"] for r in records] == [began, began]
    assert [r["signed_by"] for r in records] == [["DEU", "NOR"]] * 2
    first, second = text.splitlines()
    assert ", signed by DEU, NOR, until " in first
    assert f", signed by DEU, NOR, valid from {format_instant(began)}, until " in second
    assert second.startswith(format_instant(began + 60))


def test_a_device_has_the_history_too(liaison: Liaison, client: FakeClient, signed: Path) -> None:
    client.verified[ID] = signing.verify(signed.read_bytes())

    assert liaison("agreement", "history", ID, "--json").record["version"] == 1


def test_without_the_relay_a_device_shows_what_came_before_and_says_so(
    liaison: Liaison, client: FakeClient, signed: Path
) -> None:
    client.verified[ID] = signing.verify(signed.read_bytes())
    client.cut_off = True

    for verb in ("history", "show"):
        done = liaison("agreement", verb, ID)

        assert done.code == 0
        assert "the relay does not answer; this is what came before" in done.err


@pytest.mark.usefixtures("admitted")
def test_the_page_by_id_says_how_each_party_takes_part(liaison: Liaison) -> None:
    liaison("agreement", "suspend", ID, "--reason", "talks\nDEU  Germany", *NOR)

    out = liaison("agreement", "show", ID, *DEU).out

    assert "nor-deu-2026 version 1, bilateral, suspended" in out.splitlines()
    assert "  standing       has suspended its participation: talks DEU  Germany" in out
    assert "  standing       takes part\n" in out


def test_a_document_of_the_relays_own_making_is_not_believed(
    liaison: Liaison, relay: FakeRelay, admitted: Agreement
) -> None:
    envelope = json.loads(relay.versions[0])
    forged = replace(admitted, retention_days=1)
    envelope["payload"] = base64.b64encode(forged.payload()).decode()
    relay.versions[0] = json.dumps(envelope).encode()

    assert liaison("agreement", "show", ID, *NOR).code == 3
