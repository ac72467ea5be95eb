"""Reading documents field by field, with errors that say where.

A `Node` is one value and its place: the path from the top and, for YAML, the
line. JSON and YAML become the same nodes, so each document has one reader.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NoReturn, TypeAlias, TypeVar

from liaison.errors import LiaisonError
from liaison.policy import canonical
from liaison.policy.canonical import JSON
from liaison.policy.errors import DocumentError
from liaison.values import dataclass

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

Value: TypeAlias = "bool | int | str | list[Node] | dict[str, Node] | None"

MAX_TEXT: Final = 4000
MAX_ITEMS: Final = 1000
MAX_SECONDS: Final = 100 * 366 * 86400
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(0|[1-9][0-9]{0,9})([dhms])")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
# Surrogates among them: text with half a character in it can't be written anywhere.
_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MAX_PATH: Final = 200


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document, and where it stands."""

    value: Value
    path: str = ""
    line: int | None = None

    @classmethod
    def of(cls, value: JSON, path: str = "") -> Node:
        """Wrap a value that was read from JSON."""
        if isinstance(value, dict):
            children = {k: cls.of(v, join(path, k)) for k, v in value.items()}
            return cls(children, path)
        if isinstance(value, list):
            return cls([cls.of(v, at(path, i)) for i, v in enumerate(value)], path)
        return cls(value, path)

    def fail(self, problem: str, *, hint: str = "") -> NoReturn:
        """Raise a DocumentError that names this place."""
        line = "" if self.line is None else f"line {self.line}: "
        raise DocumentError(f"{line}{self.path or 'the document'} {problem}", hint=hint)

    def fields(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Node]:
        """Return the fields of an object: all of the required, some of the optional, no others."""
        if not isinstance(self.value, dict):
            self.fail("must be a set of fields")
        known = {*required, *optional}
        for name, node in self.value.items():
            if name not in known:
                close = difflib.get_close_matches(name[:_MAX_PATH], known, n=1)
                node.fail("is not a field here", hint=f"did you mean {close[0]}" if close else "")
        for name in required:
            if name not in self.value:
                self.fail(f"lacks the field {name}")
        return self.value

    def mapping(self, most: int = MAX_ITEMS) -> dict[str, Node]:
        """Return an object whose keys are names that the document chooses."""
        if not isinstance(self.value, dict):
            self.fail("must be a set of names")
        if len(self.value) > most:
            self.fail(f"has more than {most} names")
        return self.value

    def items(self, *, least: int = 0, most: int = MAX_ITEMS) -> list[Node]:
        """Return the members of a list."""
        if not isinstance(self.value, list):
            self.fail("must be a list")
        if not least <= len(self.value) <= most:
            self.fail(f"must have {least} to {most} members")
        return self.value

    def text(self, *, least: int = 1, most: int = MAX_TEXT) -> str:
        """Return a text without control characters."""
        if not isinstance(self.value, str):
            self.fail("must be text", hint="put it in quotes")
        if not least <= len(self.value) <= most:
            self.fail(f"must have {least} to {most} characters")
        if _CONTROL.search(self.value):
            self.fail("has control characters")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """Return a whole number in a range."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.fail("must be a whole number")
        if not low <= self.value <= high:
            self.fail(f"must be between {low} and {high}")
        return self.value

    def choice(self, kind: type[E]) -> E:
        """Return the member of an enumeration whose value this is."""
        found = [member for member in kind if member.value == self.value]
        if not found:
            self.fail(f"must be one of {', '.join(str(m.value) for m in kind)}")
        return found[0]

    def parsed(self, parse: Callable[[str], T]) -> T:
        """Return what a parser of text makes of this; its refusal gets this place."""
        text = self.text(most=canonical.MAX_DOCUMENT_BYTES)
        try:
            return parse(text)
        except LiaisonError as error:
            raise self._located(error) from error

    def octets(self) -> bytes:
        """Return bytes written as base64."""
        return b"" if self.value == "" else self.parsed(canonical.from_base64)

    def instant(self) -> int:
        """Return Unix seconds, written `2026-11-21T15:30:00Z`."""
        return self.parsed(parse_instant)

    def duration(self) -> int:
        """Return seconds, written `90s`, `30m`, `12h` or `7d`."""
        return self.parsed(parse_duration)

    @property
    def is_null(self) -> bool:
        """Whether the value was left out on purpose."""
        return self.value is None

    def _located(self, error: LiaisonError) -> DocumentError:
        line = "" if self.line is None else f"line {self.line}: "
        return DocumentError(f"{line}{self.path} is wrong: {error.message}", hint=error.hint)


def parse_instant(text: str) -> int:
    """Read a moment in UTC, to the second.

    Raises:
        DocumentError: another form, or no such moment.
    """
    if not _INSTANT.fullmatch(text):
        raise DocumentError(f"{text[:40]!r} is not a time such as 2026-11-21T15:30:00Z")
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError as error:
        raise DocumentError(f"{text!r}: there is no such time") from error


def format_instant(seconds: int) -> str:
    """Write Unix seconds as `2026-11-21T15:30:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() + "Z"


def parse_duration(text: str) -> int:
    """Read `90s`, `30m`, `12h` or `7d` as seconds.

    Raises:
        DocumentError: another form.
    """
    found = _DURATION.fullmatch(text)
    if not found or int(found[1]) * _UNITS[found[2]] > MAX_SECONDS:
        raise DocumentError(f"{text[:40]!r} is not a duration such as 90s, 30m, 12h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that keeps them whole."""
    for unit, size in _UNITS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"


def shown(name: str) -> str:
    """Return a field's name, which may be a stranger's, in a form that is safe to print."""
    cut = name[:80]
    return cut if cut.isprintable() else repr(cut)[1:-1]


def join(path: str, name: str) -> str:
    """Return the place of a field."""
    return _tail(f"{path}.{shown(name)}" if path else shown(name))


def at(path: str, index: int) -> str:
    """Return the place of a list's member."""
    return _tail(f"{path}[{index}]")


def _tail(path: str) -> str:
    # Every value below carries its path: deep and wide together must not multiply.
    return path[-_MAX_PATH:]
