"""`liaison agreement amend | diff | simulate`, and what `new`, `check` and `show` say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from liaison.policy import agreement_yaml, signing, succession, templates
from liaison.policy.agreement import Agreement
from liaison.policy.standing import EVERYONE
from tests.cli.conftest import Liaison, found
from tests.cli.fakes import FakeClient

Edit = Callable[[dict[str, Any]], None]


def parsed(file: Path) -> Agreement:
    return agreement_yaml.parse(file.read_text())


def edited(file: Path, change: Edit, name: str = "edited.yaml") -> Path:
    """Do as somebody does who changes the YAML by hand."""
    document = parsed(file).document()
    change(document)
    written = file.with_name(name)
    # Through JSON, since aliases of one object are no part of it.
    written.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
    return written


@pytest.fixture
def amended(liaison: Liaison, signed: Path, tmp_path: Path) -> Path:
    """The next version of what NOR and DEU have signed; it says the same."""
    file = tmp_path / "next.yaml"
    assert liaison("agreement", "amend", signed, "-o", file).code == 0
    return file


# --- amend ------------------------------------------------------------------------------


def test_an_amendment_may_follow_the_version_it_was_made_from(signed: Path, amended: Path) -> None:
    before = signing.verify(signed.read_bytes())

    after = parsed(amended)

    assert (after.version, after.previous) == (2, before.digest())
    succession.check(before, after, EVERYONE, before.valid_from)


def test_an_amendment_of_what_is_not_signed_yet_says_so(
    liaison: Liaison, draft: Path, tmp_path: Path
) -> None:
    done = liaison("agreement", "amend", draft, "-o", tmp_path / "next.yaml", "--json")

    assert done.record["version"] == 2
    assert "version 1 is not signed by NOR, DEU" in done.err


def test_an_amendment_does_not_write_over_a_file(
    liaison: Liaison, signed: Path, draft: Path
) -> None:
    before = draft.read_bytes()

    assert liaison("agreement", "amend", signed, "-o", draft).code == 1
    assert draft.read_bytes() == before


@pytest.mark.usefixtures("client")
def test_an_unknown_file_is_not_taken_for_an_id(liaison: Liaison, tmp_path: Path) -> None:
    done = liaison("agreement", "amend", "missing.yaml", "-o", tmp_path / "next.yaml")

    assert (done.code, done.out) == (1, "")
    assert "there is no file missing.yaml" in done.err


def test_an_agreement_of_this_device_is_amended_by_its_id(
    liaison: Liaison, client: FakeClient, signed: Path, tmp_path: Path
) -> None:
    client.verified["nor-deu-2026"] = signing.verify(signed.read_bytes())

    done = liaison("agreement", "amend", "nor-deu-2026", "-o", tmp_path / "next.yaml")

    assert done.code == 0, done.err
    assert parsed(tmp_path / "next.yaml").version == 2


# --- diff -------------------------------------------------------------------------------


def test_two_that_say_the_same_differ_in_nothing(liaison: Liaison, signed: Path) -> None:
    done = liaison("agreement", "diff", signed, signed)

    assert (done.code, done.out) == (0, "")
    assert "they say the same" in done.err


def test_every_field_that_differs_is_named_with_both_values(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["retention_days"] = 60
        document["channels"][0]["read"] = ["NOR", "deu/lno-j3"]

    new = edited(amended, change)

    records = {r["path"]: r for r in liaison("agreement", "diff", signed, new, "--json").records}
    text = liaison("agreement", "diff", signed, new).out

    assert set(records) == {"previous", "version", "retention_days", "channels[liaison].read"}
    assert records["retention_days"]["before"] == 30
    assert records["retention_days"]["after"] == 60
    assert "channels[liaison].read\n  was  NOR, DEU\n  now  NOR, deu/lno-j3\n" in text


def test_a_channel_policy_that_comes_new_is_shown_whole(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["channels"].append({**document["channels"][0], "name": "notices"})

    text = liaison("agreement", "diff", signed, edited(amended, change)).out

    assert "channels[notices]\n  was  -\n  now  name: notices\n" in text


def test_a_partners_text_cannot_command_the_terminal(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    new = edited(amended, lambda document: document.update(title="x\x1b[2J\nparties: none"))

    out = liaison("agreement", "diff", signed, new).out

    assert "\x1b" not in out
    assert "\nparties: none" not in out


# --- simulate ---------------------------------------------------------------------------


def restrict(document: dict[str, Any]) -> None:
    """Let Germany's liaison officer alone read, and nobody of Germany send FLASH."""
    channel = document["channels"][0]
    channel["read"] = ["NOR", "deu/lno-j3"]
    (rule,) = channel["send"]
    channel["send"] = [
        {**rule, "who": ["NOR"]},
        {**rule, "who": ["DEU"], "highest": "PRIORITY"},
    ]


def test_who_gains_and_loses_what_is_said_in_words(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    new = edited(amended, restrict)

    done = liaison("agreement", "simulate", new, "--against", signed)

    lines = done.out.splitlines()
    assert (done.code, lines[0]) == (0, "nor-deu-2026: version 1 -> version 2")
    assert "  everyone else of DEU  may no longer be a member" in lines
    assert (
        "  deu/lno-j3            may send a file, form, notice or text at DEFERRED-PRIORITY,"
        " before at DEFERRED-FLASH" in lines
    )
    assert not [line for line in lines if "NOR" in line or "nor/" in line]


def test_programs_get_one_line_for_each_change(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    new = edited(amended, restrict)

    records = liaison("agreement", "simulate", new, "--against", signed, "--json").records

    lost = [r for r in records if (r["right"], r["effect"]) == ("member", "loses")]
    assert lost == [
        {
            "endpoint": None,
            "who": "everyone else of DEU",
            "party": "DEU",
            "channel": "liaison",
            "effect": "loses",
            "right": "member",
            "before": "yes",
            "after": "no",
        }
    ]


def test_an_endpoint_that_nobody_names_can_be_asked_about(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    new = edited(amended, restrict)

    done = liaison("agreement", "simulate", new, "--against", signed, "--endpoint", "deu/j5")

    assert "  deu/j5                may no longer be a member" in done.out.splitlines()


def test_those_under_a_prefix_are_judged_on_their_own(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["channels"][0]["remove"] = ["NOR", "deu/lno-*"]

    out = liaison("agreement", "simulate", edited(amended, change), "--against", signed).out

    assert "everyone else of DEU  may no longer remove others" in out
    assert "other deu/lno-*" not in out


def test_a_clearance_is_told_once_and_not_for_every_channel(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["channels"].append({**document["channels"][0], "name": "second"})
        document["clearances"][0]["who"] = ["NOR"]

    new = edited(amended, change)

    records = liaison("agreement", "simulate", new, "--against", signed, "--json").records

    (cleared,) = [r for r in records if r["right"] == "cleared"]
    assert (cleared["who"], cleared["channel"], cleared["effect"]) == (
        "everyone else of DEU",
        None,
        "loses",
    )


def test_an_amendment_that_changes_no_right_says_so(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    done = liaison("agreement", "simulate", amended, "--against", signed)

    assert (done.code, done.out) == (0, "")
    assert "nobody would gain or lose anything" in done.err


def test_an_amendment_that_could_not_follow_is_told_before_it_is_signed(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    new = edited(amended, lambda document: document.update(previous=f"sha256:{'0' * 64}"))

    done = liaison("agreement", "simulate", new, "--against", signed)

    assert "it could not follow: version 2 was made from another version 1" in done.err


def test_a_first_version_has_nothing_to_be_compared_with(liaison: Liaison, draft: Path) -> None:
    assert liaison("agreement", "simulate", draft).code == 2


# --- new, check and show ----------------------------------------------------------------


@pytest.fixture
def parts(draft: Path, tmp_path: Path) -> list[str]:
    """What `agreement new` is given besides the template; `draft` has written the files."""
    del draft
    words = ["--id", "second-2026", "--relay", str(tmp_path / "relay.json")]
    for code in ("nor", "deu"):
        words += ["--party", str(tmp_path / f"{code}.party.json")]
    return words


@pytest.mark.parametrize("template", [t for t in templates.Template if t.value != "bilateral"])
def test_there_is_an_agreement_for_every_template(
    liaison: Liaison, parts: list[str], template: templates.Template, tmp_path: Path
) -> None:
    made = tmp_path / "second.yaml"

    done = liaison("agreement", "new", "--template", template.value, *parts, "-o", made)

    assert done.code == 0, done.err
    assert liaison("agreement", "check", made).code == 0
    assert liaison("agreement", "show", made).code == 0


def test_a_label_policy_from_a_file_stands_in_the_agreement(
    liaison: Liaison, parts: list[str], tmp_path: Path
) -> None:
    spif, made = tmp_path / "demo.xml", tmp_path / "second.yaml"
    liaison("label", "policy", "demo", "-o", spif)
    highest = liaison("label", "policy", "demo", "--json").record["classifications"][-1]

    done = liaison(
        *("agreement", "new", "--template", "bilateral", *parts, "-o", made),
        *("--label-policy", spif, "--ceiling", highest),
    )

    assert done.code == 0, done.err
    agreement = parsed(made)
    assert agreement.labels.ceiling == highest
    assert agreement.labels.spif is not None
    assert agreement.label_policy is not None
    (rule,) = agreement.clearances
    assert (rule.highest, [str(one) for one in rule.who]) == (highest, ["NOR", "DEU"])


def test_a_built_in_policy_is_only_named_and_nobody_is_cleared_for_more_than_was_said(
    liaison: Liaison, parts: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "second.yaml"
    words = ("agreement", "new", "--template", "bilateral", *parts, "-o", made)

    liaison(*words, "--label-policy", "nato")

    agreement = parsed(made)
    assert agreement.labels.spif is None
    assert agreement.label_policy is not None
    assert agreement.labels.ceiling == agreement.label_policy.classifications[0]


@pytest.mark.parametrize(
    "words", [["--label-policy", "nato", "--ceiling", "X"], ["--ceiling", "X"]]
)
def test_a_ceiling_is_a_level_of_the_policy_that_was_named(
    liaison: Liaison, parts: list[str], words: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "second.yaml"

    done = liaison("agreement", "new", "--template", "bilateral", *parts, "-o", made, *words)

    assert done.code == 2
    assert not made.exists()


def test_check_names_who_may_read_and_is_not_cleared(liaison: Liaison, draft: Path) -> None:
    new = edited(draft, lambda document: document["clearances"][0].update(who=["NOR"]))

    done = liaison("agreement", "check", new)

    assert done.code == 0
    assert (
        "everyone else of DEU may be in liaison channels and is not cleared for UNMARKED"
        in done.err
    )
    assert "cleared" not in liaison("agreement", "check", draft).err


def test_check_says_that_the_usual_label_needs_a_category(
    liaison: Liaison, parts: list[str], tmp_path: Path
) -> None:
    made = tmp_path / "second.yaml"
    words = ("agreement", "new", "--template", "bilateral", *parts, "-o", made)
    liaison(*words, "--label-policy", "demo", "--ceiling", "GUARDED")
    guarded = edited(made, lambda document: document["labels"].update(default="GUARDED"))

    done = liaison("agreement", "check", guarded)

    assert done.code == 0
    assert (
        "every message must name its label, since GUARDED alone is none: GUARDED stands" in done.err
    )


def test_the_page_has_everything_that_was_agreed(liaison: Liaison, draft: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["duties"] = {"NOR": "Mans the desk."}
        document["residual_duties"] = "Secrecy for ten years."
        document["exclusion"] = "majority"
        channel = document["channels"][0]
        guest = {"who": ["deu/j5"], "invited_by": ["NOR"], "until": "2026-12-01T00:00:00Z"}
        channel["read"] = ["NOR", "deu/lno-j3"]
        channel["guests"] = [guest]
        channel["release"] = {
            "kinds": ["notice"],
            "lowest": "FLASH",
            "review": ["nor/j2"],
            "release": ["nor/cos"],
            "persons": 3,
        }
        channel["answers"] = {"FLASH": {"acknowledge": "10m", "reply": "1h"}}
        channel["languages"] = ["en", "de"]
        channel["quotas"] = {"devices": 9, "administrators": 3}
        watch = {"who": ["NOR"], "days": ["mon", "tue"], "begins": "08:00", "ends": "24:00"}
        channel["watch"] = [watch]
        channel["max_expiry"] = "7d"

    out = liaison("agreement", "show", edited(draft, change)).out

    for line in (
        "  duties         Mans the desk.",
        "after the end: Secrecy for ten years.",
        "exclusion    the majority of the others excludes a party",
        "cleared for UNMARKED: NOR, DEU",
        "  guests       deu/j5 until 2026-12-01T00:00:00Z, invited by NOR",
        "  release      3 persons sign: notice, FLASH and above",
        "               reviewed by nor/j2",
        "               released by nor/cos",
        "  answers      FLASH: acknowledge within 10m, reply within 1h",
        "  languages    en, de",
        "  manned       NOR: mon, tue, 08:00 to 24:00 UTC",
        "  each party   9 devices at most, 3 endpoints that add or remove others",
        "  expiry       after 7d at most",
    ):
        assert line in out.splitlines(), out


def test_the_page_tells_one_device_or_day_as_one(liaison: Liaison, draft: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["retention_days"] = 1
        channel = document["channels"][0]
        channel["retention_days"] = 1
        channel["quotas"] = {"devices": 1, "administrators": 1}

    out = liaison("agreement", "show", edited(draft, change)).out

    for line in (
        "retention    1 day",
        "  retention    1 day",
        "  each party   1 device at most, 1 endpoint that adds or removes others",
    ):
        assert line in out.splitlines(), out


def test_an_amendments_page_names_what_it_follows(
    liaison: Liaison, signed: Path, amended: Path
) -> None:
    before = signing.verify(signed.read_bytes())

    assert f"follows      {before.digest().hex()}" in liaison("agreement", "show", amended).out


def test_with_a_device_the_directory_counts_too(
    liaison: Liaison,
    client: FakeClient,
    signed: Path,
    amended: Path,
) -> None:
    client.verified["nor-deu-2026"] = signing.verify(signed.read_bytes())
    new = edited(amended, restrict)

    known = liaison("agreement", "simulate", new)
    offline = liaison("agreement", "simulate", new, "--no-sync")

    assert "deu/lno-j3" in known.out
    assert known.code == offline.code == 0
    client.cut_off = True
    assert "this is for the endpoints that are named" in liaison("agreement", "simulate", new).err


def test_a_party_without_an_office_here_can_be_read_from_its_file(
    liaison: Liaison, parts: list[str], tmp_path: Path
) -> None:
    stranger = tmp_path / "fra.party.json"
    stranger.write_bytes(found(tmp_path / "far", "FRA", "France").party.encode())
    made = tmp_path / "three.yaml"

    done = liaison(
        *("agreement", "new", "--template", "multilateral", *parts),
        *("--party", stranger, "-o", made),
    )

    assert done.code == 0, done.err
    assert [str(code) for code in parsed(made).codes] == ["NOR", "DEU", "FRA"]
