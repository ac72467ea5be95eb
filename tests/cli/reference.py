"""The help of every command, as a page: `python -m tests.cli.reference` writes it again."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from liaison_cli.main import app, run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "commands.md"
INTRODUCTION = """\
# The commands of `liaison`

Made from the program by `python -m tests.cli.reference`; a test compares them.

Results go to stdout; with `--json` each is one JSON object on a line of its own, and a list is
one line for each element. Everything else goes to stderr, as `liaison: error: ...`,
`liaison: hint: ...` or `liaison: note: ...`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed: refused, unreachable, unknown, a file that can't be read |
| 2 | the command was not understood |
| 3 | a signature, certificate or digest does not hold |

`liaison --install-completion` makes the shell complete commands and options.
"""


def commands(tree: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group, in the program's order."""
    tree = tree if tree is not None else typer.main.get_command(app)
    yield path
    for name in tree.list_commands(None) if hasattr(tree, "list_commands") else ():
        yield from commands(tree.get_command(None, name), (*path, name))


def help_of(words: tuple[str, ...]) -> str:
    """Return what `liaison WORDS --help` prints at 100 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            run([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for words in commands():
        title = " ".join(("liaison", *words))
        parts.append(f"## `{title}`\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
