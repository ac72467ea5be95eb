"""The documentation says what the program says."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.cli import reference

GUIDES = ("officer.md", "registrar.md")
ALL = {" ".join(words) for words in reference.commands()}


def test_the_page_of_commands_is_the_programs_own() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page()


@pytest.mark.parametrize("words", list(reference.commands()), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    text = reference.help_of(words)

    usage, _, rest = text.partition("\n")
    assert usage.startswith(" ".join(("Usage: liaison", *words)))
    assert rest.strip().splitlines()[0].rstrip().endswith((".", ","))


@pytest.mark.parametrize("words", list(reference.commands()), ids=" ".join)
def test_every_command_takes_the_common_options(words: tuple[str, ...]) -> None:
    text = reference.help_of(words)

    is_group = "Commands:" in text and words
    assert is_group or all(o in text for o in ("--home", "--passphrase-file", "--ca", "--json"))


@pytest.mark.parametrize("name", GUIDES)
def test_the_guides_use_commands_and_options_that_there_are(name: str) -> None:
    text = (reference.PAGE.parent / name).read_text(encoding="utf-8")
    lines = re.findall(r"^\$ liaison (.*)$", text.replace("\\\n", " "), re.MULTILINE)

    assert lines
    for line in lines:
        words = shlex.split(line)
        known = [n for n in (2, 1) if " ".join(words[:n]) in ALL]
        assert known, f"no such command: liaison {line}"
        help_text = reference.help_of(tuple(words[: known[0]]))
        options = {w for w in words if w.startswith("--")}
        assert {o for o in options if o not in help_text} == set(), line
