"""The page on labels says what the program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from liaison.labels import clearance as clearances
from liaison.labels.builtin import BUILT_IN, DEMO
from liaison.labels.received import decide_received, read_labels

PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocol" / "labels.md"


def test_the_examples_of_the_page_are_decided_as_it_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    label, clearance = re.findall(r"```xml\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r'^(\{"decision".*)$', text, re.MULTILINE)

    answer = decide_received(
        DEMO, clearances.parse(clearance.encode()), read_labels(label.encode()), now=None
    )

    assert json.loads(shown) == {
        "decision": answer.decision,
        "rule": answer.rule,
        "reason": answer.reason,
    }


def test_the_page_names_every_rule_and_every_built_in_policy() -> None:
    text = PAGE.read_text(encoding="utf-8")
    source = (PAGE.parents[2] / "liaison" / "labels").glob("*.py")
    rules = set()
    for file in source:
        rules |= set(re.findall(r'(?:_deny\(|rule=|rule = )"([a-z.]+)"', file.read_text("utf-8")))

    assert rules >= {"cleared", "clearance.nil", "label.nil", "category.permissive"}
    assert {rule for rule in rules if f"`{rule}`" not in text} == set()
    assert {name for name in BUILT_IN.ids if f"`{name}`" not in text} == set()
