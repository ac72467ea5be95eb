"""The documentation uses commands and options that the program has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from liaison_auditor.main import app, run

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("guide/auditor.md", "operating/witness.md")


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name)


COMMANDS = sorted(_commands(typer.main.get_command(app)))


def _help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    usage, _, rest = _help(words, capsys).partition("\n")

    assert usage.startswith(" ".join(("Usage: liaison-auditor", *words)))
    assert rest.strip().split("\n\n")[0].rstrip().endswith(".")
    assert "--json" in rest


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_use_commands_and_options_that_there_are(
    page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = re.findall(r"^(?:\$ )?liaison-auditor (.*)$", text.replace("\\\n", " "), re.MULTILINE)

    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        known = [c for c in COMMANDS if tuple(words[: len(c)]) == c]
        assert known, f"no such command: liaison-auditor {line}"
        options = {w for w in words if w.startswith("--")}
        text = _help(known[0], capsys)
        assert {o for o in options if o not in text} == set(), line
