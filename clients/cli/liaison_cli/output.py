"""What a command prints, and where.

Results go to stdout: text for people, or with `--json` one JSON object per line.
Everything else goes to stderr as `liaison: error: ...`, `liaison: hint: ...` or
`liaison: note: ...`, lower case and without a full stop. Whatever came from
another device passes `terminal.clean_line` where it has to stay on its line, and
everything passes `terminal.clean` before it is printed as text; JSON is printed in ASCII, so that it can't carry an escape sequence either.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from liaison.errors import LiaisonError
from liaison_cli.terminal import clean, clean_line

Record = Mapping[str, Any]


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
        rows = list(records)
        if self.as_json:
            for row in rows:
                self._line(json.dumps(row))
        elif rows:
            for line in layout(rows, columns):
                self._line(line)
        else:
            self.note(empty)

    def page(self, records: Iterable[Record], lines: Iterable[str], empty: str) -> None:
        """Print a list: one JSON object per line, or a page that people read.

        Args:
            records: the elements.
            lines: the page, each of its lines cleaned to stay one.
            empty: what people read when there is nothing.
        """
        rows = list(records)
        if self.as_json:
            for row in rows:
                self._line(json.dumps(row))
        elif rows:
            for line in lines:
                self._line(clean_line(line))
        else:
            self.note(empty)

    def note(self, text: str) -> None:
        """Say something that is no result."""
        self._aside("note", text)

    def hint(self, text: str) -> None:
        """Say what to do next."""
        self._aside("hint", text)

    def error(self, error: LiaisonError) -> None:
        """Say what went wrong, what was left as it was, and what to do."""
        code = getattr(error, "remote_code", error.code)
        # Whatever the agreement refuses, it says by which of its rules.
        rule = getattr(error, "rule", "")
        message = f"{error.message} (rule {rule})" if rule else error.message
        self.failure(code, message, hint=error.hint, unchanged=error.unchanged)

    def failure(self, code: str, message: str, *, hint: str = "", unchanged: str = "") -> None:
        """Print an error that has no exception of its own; see `error`."""
        self._aside("error", message)
        if unchanged:
            self.note(unchanged)
        if hint:
            self.hint(hint)
        if self.as_json:
            body = {"code": code, "message": message, "hint": hint}
            sys.stderr.write(json.dumps({"error": body}) + "\n")
            sys.stderr.flush()

    def _line(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _aside(self, kind: str, text: str) -> None:
        sys.stderr.write(f"liaison: {kind}: {clean_line(text)}\n")
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
