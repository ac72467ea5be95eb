"""Labels are shown as their policy wants it, in the language of whoever reads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from liaison.labels import Label
from liaison.labels.builtin import DEMO, NATO
from liaison.policy import signing
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.who import Pattern
from liaison_sdk.markings import BARE, Marker
from tests.sdk.support import POLICY, QUICK, Stage, endpoint, next_message

MARKED = "nor-deu-marked"
ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
LIMITED = Label.of(DEMO.policy_id, "LIMITED")


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "LIMITED"),
        ("nb", "BEGRENSET"),
        ("fr-CA", "DIFFUSION LIMITÉE"),
        ("xx", "LIMITED"),
    ],
)
def test_a_label_is_marked_in_the_readers_language_where_its_policy_can(
    language: str, shown: str
) -> None:
    assert shown in Marker(DEMO, language).mark(LIMITED)


def test_a_label_that_the_policy_does_not_know_is_shown_by_its_bare_names() -> None:
    foreign = Label.of("other", "SECRET", [("Releasable To", "NOR")])
    unknown = Label.of(DEMO.policy_id, "TOP BANANA")

    assert Marker(DEMO).mark(foreign) == BARE.mark(foreign) == "SECRET // NOR"
    assert Marker(DEMO).mark(unknown) == "TOP BANANA"
    assert Marker(DEMO).mark(None) == ""
    assert Marker(NATO).mark(Label.of(NATO.policy_id, "TOP SECRET")) == "COSMIC TOP SECRET"


async def test_every_reader_sees_the_marking_in_a_language_of_its_own(stage: Stage) -> None:
    signed = stage.world.agreement("NOR", "DEU", relay=stage.relay.identity, agreement_id=MARKED)
    everyone = (Pattern.parse("NOR"), Pattern.parse("DEU"))
    text = replace(
        signing.verify(signed),
        labels=LabelRules(DEMO.policy_id, "LIMITED", "LIMITED"),
        clearances=(ClearanceRule(everyone, "LIMITED"),),
    )
    keys = [stage.world.party(code).authority_key for code in ("NOR", "DEU")]
    await stage.relay.admit_agreement(signing.add_signature(signing.sign(text, keys[0]), keys[1]))
    for name in (ATTACHE, OFFICER):
        await stage.enrol(name)
    async with (
        stage.client(ATTACHE, replace(QUICK, language="nb-NO")) as nor,
        stage.client(OFFICER, replace(QUICK, language="de")) as deu,
    ):
        channel = await nor.create_channel(MARKED, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("Til orientering.")
        received = await next_message(deu)
        (sent,) = await nor.history()

        assert "NUR DIENSTGEBRAUCH" in received.marking
        assert "BEGRENSET" in sent.marking
        assert received.label == sent.label == LIMITED


def test_a_program_that_only_sends_does_not_load_the_rules_of_markings() -> None:
    code = "import sys, liaison_sdk.sending, liaison_sdk.message; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert "liaison_sdk.message" in loaded
    assert "liaison.labels.marking" not in loaded
