"""Patterns: whom a rule speaks of."""

from __future__ import annotations

import pytest

from liaison.model import EndpointId
from liaison.policy import who
from liaison.policy.who import Pattern, PatternError

ROLES = {"officers": (Pattern.parse("nor/lno-*"), Pattern.parse("DEU"))}


@pytest.mark.parametrize(
    ("pattern", "endpoint", "expected"),
    [
        ("*", "swe/desk", True),
        ("NOR", "nor/desk", True),
        ("NOR", "deu/desk", False),
        ("nor/desk", "nor/desk", True),
        ("nor/desk", "nor/desk-2", False),
        ("nor/desk", "deu/desk", False),
        ("nor/lno-*", "nor/lno-j3", True),
        ("nor/lno-*", "nor/desk", False),
        ("nor/lno-*", "deu/lno-j3", False),
        ("nor/*", "nor/desk", True),
        ("role:officers", "nor/lno-j3", True),
        ("role:officers", "nor/desk", False),
        ("role:officers", "deu/desk", True),
        ("role:nobody", "nor/desk", False),
    ],
)
def test_a_pattern_speaks_of_these(pattern: str, endpoint: str, expected: bool) -> None:
    assert Pattern.parse(pattern).matches(EndpointId.parse(endpoint), ROLES) is expected


def test_an_empty_list_is_nobody() -> None:
    assert not who.matches((), EndpointId.parse("nor/desk"), ROLES)


@pytest.mark.parametrize(
    "text",
    ["", "nor", "NOR/desk", "**", "nor/*desk", "nor/a*b", "role:", "role:Officers", "*/desk", "N"],
)
def test_what_names_nobody_in_a_known_way_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        Pattern.parse(text)


@pytest.mark.parametrize("text", ["*", "UN-OCHA", "nor/desk", "nor/lno-*", "role:officers"])
def test_a_pattern_keeps_its_text(text: str) -> None:
    assert str(Pattern.parse(text)) == text
