"""The protocol pages say what the program does: fields, tables, rule names, examples."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from liaison.policy import agreement_yaml, lifecycle
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.fields import Node
from liaison.policy.lifecycle import Event, Participation, Phase
from liaison.policy.participation import Statement
from liaison.policy.simulate import Fate
from liaison.policy.templates import Template
from tests.core.policy.documents import agreement, document

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/protocol/agreement.md").read_text()
CODE = "\n".join(
    (ROOT / "liaison/policy" / f"{name}.py").read_text()
    for name in ("evaluate", "membership", "sending", "clearances")
)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(text: str) -> set[str]:
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_field_of_an_agreement_and_of_a_channel_policy_is_described() -> None:
    described = first_column(section("The document"))

    assert set(document()) <= described
    assert {field.name for field in fields(ChannelPolicy)} <= described


def test_every_field_of_a_statement_is_described() -> None:
    described = first_column(section("Who takes part"))
    names = {field.name for field in fields(Statement)} - {"agreement_id"} | {"agreement"}

    assert names <= described


def test_the_life_cycle_is_the_table_on_the_page() -> None:
    rows = re.findall(
        r"^\| (active|suspended|withdrawn|excluded) \|(.+)\|$",
        section("Who takes part").split("| state | `affirm`")[1].split("\n\n")[0],
        re.MULTILINE,
    )
    events = (Event.AFFIRM, Event.SUSPEND, Event.RESUME, Event.WITHDRAW, Event.EXCLUDE)
    said = {
        (Participation(state), event): Participation(cell.strip())
        for state, cells in rows
        for event, cell in zip(events, cells.split("|"), strict=True)
        if cell.strip() != "-"
    }

    assert said == dict(lifecycle.TRANSITIONS)
    for phase in Phase:
        assert f"\n| {phase.value} |" in PAGE


def test_every_rule_of_the_decision_is_on_the_page() -> None:
    named = first_column(section("The decision"))
    fixed = set(re.findall(r'(?:deny|allow)\(\s*"([a-z_.]+)"', CODE))
    of_policies = set(re.findall(r'rule\(policy, "([a-z_.]+)"\)', CODE))
    grants = set(re.findall(r'grant\(agreement, policy, "([a-z]+)"', CODE))

    assert {"channel.unknown", "labels.ceiling", "member.leave"} <= fixed
    assert {"send.addressees", "release", "quotas.devices"} <= of_policies
    assert fixed <= named
    assert {f"channels.X.{name}" for name in of_policies | grants} <= named
    absent = {f"party.{state.value}" for state in Participation} - {"party.active"}
    assert {*absent, "clearances", "channels.X.send[n]"} <= named


def test_fates_and_templates_are_named() -> None:
    assert all(f"`{fate.value}`" in PAGE for fate in Fate)
    assert all(f"`{template.value}`" in PAGE for template in Template)


EXAMPLES = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_put_into_a_channel_policy_as_it_stands(example: str) -> None:
    indented = "".join(f"  {line}\n" for line in example.splitlines())
    text = agreement_yaml.render(agreement())
    made = agreement_yaml.parse(text.replace("  max_expiry: 0s\n", f"  max_expiry: 0s\n{indented}"))

    rules: dict[str, Any] = yaml.safe_load(example)
    assert set(rules) <= set(made.channels[0].document())
    assert Agreement.from_node(Node.of(made.document())) == made


def test_the_examples_show_every_optional_rule() -> None:
    shown = {name for example in EXAMPLES for name in yaml.safe_load(example)}

    assert shown == {"guests", "release", "answers", "languages", "watch", "quotas"}
