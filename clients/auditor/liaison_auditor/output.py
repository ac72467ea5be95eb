"""What a command prints, and where.

Results go to stdout: text for people, or with `--json` one JSON object per line, in ASCII.
Everything else goes to stderr as `liaison-auditor: error: ...`, `... hint: ...` or `... note: ...`,
lower case and without a full stop. What a bundle says is text of strangers: nothing in it commands
a terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from liaison.errors import LiaisonError

Record = Mapping[str, Any]

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
# Line and paragraph separators and everything that overrides the direction of writing.
_DECEIVING: Final = frozenset(
    map(chr, (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF))
)
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Co", "Cn"})


def clean(text: str) -> str:
    """Return text with line breaks, but with nothing that commands a terminal."""
    return "".join(_shown(c) for c in text.replace("\r\n", "\n"))


def clean_line(text: str) -> str:
    """Return text that stays on its one line."""
    return clean(text).replace("\n", " ")


class Output:
    """The two streams of one command."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def record(self, record: Record, text: str) -> None:
        """Print one result, flushed, so that a pipe sees it at once."""
        self._line(json.dumps(record) if self.as_json else clean(text))

    def table(self, records: Iterable[Record], columns: Sequence[str], empty: str) -> None:
        """Print a list: one JSON object per line, or a table of the named columns.

        Args:
            records: the elements.
            columns: the keys that people see, in order; they are the headings too.
            empty: what people read when there is nothing.
        """
        if self.as_json:
            for row in records:
                self._line(json.dumps(row))
            return
        rows = list(records)
        if not rows:
            self.note(empty)
        for line in layout(rows, columns) if rows else ():
            self._line(line)

    def note(self, text: str) -> None:
        """Say something that is no result."""
        self._aside("note", text)

    def error(self, error: LiaisonError) -> None:
        """Say what went wrong, what was left as it was, and what to do."""
        self.failure(error.code, error.message, hint=error.hint, unchanged=error.unchanged)

    def failure(self, code: str, message: str, *, hint: str = "", unchanged: str = "") -> None:
        """Print an error that has no exception of its own; see `error`."""
        self._aside("error", message)
        if unchanged:
            self.note(unchanged)
        if hint:
            self._aside("hint", hint)
        if self.as_json:
            body = {"code": code, "message": message, "hint": hint}
            sys.stderr.write(json.dumps({"error": body}) + "\n")
            sys.stderr.flush()

    def _line(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _aside(self, kind: str, text: str) -> None:
        sys.stderr.write(f"liaison-auditor: {kind}: {clean_line(text)}\n")
        sys.stderr.flush()


def layout(rows: Sequence[Record], columns: Sequence[str]) -> list[str]:
    """Return the lines of a table: a heading and one line for each row."""
    cells = [[name.replace("_", " ").upper() for name in columns]]
    cells += [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(v) for v in value) or "-"
    return clean_line(str(value))


def _shown(char: str) -> str:
    if char in "\t\n":
        return " " if char == "\t" else char
    if char in _DECEIVING or unicodedata.category(char) in _UNPRINTABLE:
        return _REPLACEMENT
    return char
