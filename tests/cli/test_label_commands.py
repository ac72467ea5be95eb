"""`liaison label ...`: files in, an answer out; no device, no relay, no state."""

from __future__ import annotations

from pathlib import Path

import pytest

from liaison.labels import Label, spif_xml, stanag4774
from liaison.labels import clearance as clearances
from liaison.labels.builtin import DEMO, NATO
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.stanag4774 import Category, CategoryType, PolicyIdentifier
from tests.cli.conftest import Liaison

CREATED = 1_790_424_000


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.xml"
    file.write_bytes(spif_xml.write(DEMO.spif))
    return file


@pytest.fixture
def label(tmp_path: Path) -> Path:
    file = tmp_path / "label.xml"
    short = Label.of("liaison.demo", "CLOSED", [("Releasable To", "NOR")])
    file.write_bytes(stanag4774.write(DEMO.expand(short, created=CREATED)))
    return file


@pytest.fixture
def clearance(tmp_path: Path) -> Path:
    return cleared(tmp_path, "CLOSED")


def cleared(folder: Path, level: str, policy: str = "DEMO") -> Path:
    file = folder / f"clearance-{level}-{policy}.xml"
    release = Category("Releasable To", CategoryType.PERMISSIVE, ("NOR",))
    made = ConfidentialityClearance(PolicyIdentifier(policy), (level,), (release,))
    file.write_bytes(clearances.write(made))
    return file


# --- decide -------------------------------------------------------------------------------------


def test_a_grant_is_one_object_with_its_rule_and_reason(
    liaison: Liaison, policy: Path, clearance: Path, label: Path
) -> None:
    done = liaison(
        "label", "decide", "--policy", policy, "--clearance", clearance, "--label", label, "--json"
    )

    assert (done.code, done.err) == (0, "")
    assert done.record == {
        "decision": "grant",
        "rule": "cleared",
        "reason": "the clearance covers CLOSED and its categories",
    }


def test_a_denial_is_an_answer_too(
    liaison: Liaison, policy: Path, label: Path, tmp_path: Path
) -> None:
    low = cleared(tmp_path, "LIMITED")

    done = liaison("label", "decide", "--policy", policy, "--clearance", low, "--label", label)

    assert done.code == 0
    assert done.out == (
        "deny (classification): the label is CLOSED, the clearance goes up to LIMITED\n"
    )


def test_nothing_is_granted_without_a_clearance_or_without_a_label(
    liaison: Liaison, label: Path, clearance: Path, tmp_path: Path
) -> None:
    without = liaison("--json", "label", "decide", "--policy", "demo", "--label", label)
    nothing = liaison("--json", "label", "decide", "--policy", "nato")
    secret = cleared(tmp_path, "SECRET", policy="NATO")
    unlabelled = liaison("--json", "label", "decide", "--policy", "nato", "--clearance", secret)
    default = liaison("--json", "label", "decide", "--policy", "demo", "--clearance", clearance)

    assert without.record["rule"] == "clearance.nil"
    assert nothing.record["rule"] == "clearance.nil"
    assert unlabelled.record["rule"] == "label.nil"
    # The demonstration policy gives unlabelled information its lowest level.
    assert default.record["decision"] == "grant"


@pytest.mark.parametrize("broken", ["policy", "clearance", "label"])
def test_a_broken_file_gets_no_answer(
    liaison: Liaison, policy: Path, clearance: Path, label: Path, broken: str, tmp_path: Path
) -> None:
    files = {"policy": policy, "clearance": clearance, "label": label}
    files[broken] = tmp_path / "broken.xml"
    files[broken].write_text("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>")

    done = liaison(
        "label", "decide", "--json",
        *(part for name, file in files.items() for part in (f"--{name}", file)),
    )  # fmt: skip

    assert (done.code, done.out) == (1, "")
    assert "label.xml_refused" in done.err
    assert "document type" in done.err


def test_a_decision_is_for_a_time(
    liaison: Liaison, tmp_path: Path, label: Path, clearance: Path
) -> None:
    text = spif_xml.write(DEMO.spif).decode()
    file = tmp_path / "until.xml"
    file.write_text(
        text.replace("keyIdentifier=", 'notAfter="2026-12-31T23:59:59Z" keyIdentifier=', 1)
    )
    words = ("label", "decide", "--policy", file, "--clearance", clearance, "--label", label)

    before = liaison("--json", *words, "--at", "2026-12-31T00:00:00Z")
    after = liaison("--json", *words, "--at", "2027-01-01T00:00:00Z")
    wrong = liaison(*words, "--at", "tomorrow")

    assert before.record["decision"] == "grant"
    assert after.record["rule"] == "policy.validity"
    assert wrong.code == 2


def test_a_label_of_another_policy_is_decided_by_its_equivalent(
    liaison: Liaison, label: Path, tmp_path: Path
) -> None:
    secret = cleared(tmp_path, "SECRET", policy="NATO")

    done = liaison(
        "--json", "label", "decide", "--policy", "nato", "--clearance", secret, "--label", label
    )

    assert done.record["decision"] == "grant"


# --- show, check, policy ------------------------------------------------------------------------


def test_a_label_is_shown_with_its_marking_and_what_it_says(liaison: Liaison, label: Path) -> None:
    done = liaison("label", "show", label, "--language", "fr")

    assert done.out.splitlines() == [
        "DEMO SECRET DIFFUSION NOR",
        "",
        f"policy          DEMO ({DEMO.oid})",
        "classification  CLOSED",
        "permissive      Releasable To: NOR",
        "created         2026-09-26T12:00:00Z",
    ]


def test_a_shown_label_is_an_object_for_programs(liaison: Liaison, label: Path) -> None:
    done = liaison("label", "show", "--json", "--portion", label)

    assert done.record == {
        "role": "originatorConfidentialityLabel",
        "policy": "DEMO",
        "policy_oid": DEMO.oid,
        "classification": "CLOSED",
        "privacy_mark": None,
        "categories": [{"tag": "Releasable To", "type": "PERMISSIVE", "values": ["NOR"]}],
        "originator": None,
        "created": "2026-09-26T12:00:00Z",
        "review": None,
        "marking": "C REL TO NOR",
        "background": "#C62828",
        "foreground": "#FFFFFF",
    }


def test_a_label_of_an_unknown_policy_is_shown_by_its_names(liaison: Liaison, label: Path) -> None:
    text = label.read_text()
    label.write_text(text.replace(f' URI="urn:oid:{DEMO.oid}"', "").replace(">DEMO<", ">OTHER<"))

    assert liaison("label", "show", label).out.startswith("OTHER CLOSED // NOR\n")


def test_a_value_does_not_command_the_terminal_nor_look_like_a_line(
    liaison: Liaison, label: Path
) -> None:
    text = label.read_text().replace(f' URI="urn:oid:{DEMO.oid}"', "").replace(">DEMO<", ">OTHER<")
    label.write_text(text.replace(">NOR<", ">NOR\nclassification  OPEN\x9b31m<"))

    done = liaison("label", "show", label)

    assert [line for line in done.out.splitlines() if line.startswith("classification")] == [
        "classification  CLOSED"
    ]
    assert "\x9b" not in done.out


def test_a_check_names_the_rule_that_is_broken(liaison: Liaison, label: Path) -> None:
    good = liaison("--json", "label", "check", label, "--policy", "demo")
    label.write_text(label.read_text().replace(">NOR<", ">USA<"))
    bad = liaison("label", "check", label, "--policy", "demo")
    other = liaison("label", "check", label, "--policy", "tlp")

    assert (good.code, good.record["valid"], good.record["classification"]) == (0, True, "CLOSED")
    assert (bad.code, bad.out) == (1, "")
    assert bad.err == "liaison: error: the policy 'DEMO' has no category 'Releasable To': 'USA'\n"
    assert other.err == "liaison: error: the label is of 'DEMO', not of 'TLP 2.0'\n"


def test_what_is_obsolete_is_no_new_label(liaison: Liaison, label: Path) -> None:
    short = Label.of("liaison.demo", "LIMITED", [("Special Handling", "COURIER")])
    label.write_bytes(stanag4774.write(DEMO.expand(short, created=CREATED)))

    old = liaison("label", "check", label, "--policy", "demo")
    new = liaison("label", "check", label, "--policy", "demo", "--new")

    assert old.code == 0
    assert (new.code, "COURIER is obsolete" in new.err) == (1, True)


def test_a_policy_is_written_as_a_file_and_read_again(liaison: Liaison, tmp_path: Path) -> None:
    file = tmp_path / "nato.xml"

    written = liaison("--json", "label", "policy", "nato", "-o", file)
    again = liaison("--json", "label", "policy", file)

    assert file.read_bytes() == spif_xml.write(NATO.spif)
    assert written.record["classifications"] == list(NATO.classifications)
    assert again.record == {k: v for k, v in written.record.items() if k != "file"}
    assert liaison("label", "policy", "nato", "-o", file).code == 1


def test_a_policy_of_no_name_is_not_found(liaison: Liaison) -> None:
    done = liaison("label", "policy", "narnia")

    assert done.code == 1
    assert "built in are nato, tlp, demo, unmarked" in done.err
