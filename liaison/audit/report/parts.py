"""What the sections of the page are put together from: times, counts, names, lists of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from liaison.audit.events import Event
from liaison.audit.report.durations import words
from liaison.audit.report.markup import Content, Markup, clean, element, join, said, table
from liaison.audit.report.summary import MAX_ROWS, OTHERS, UNKNOWN, Rows, Summary
from liaison.tlog.entries import MAX_TIME
from liaison.words import noun

UNKNOWN_WORDS: Final = "not told"


def when(milliseconds: int | None) -> Markup:
    """Return a time of the log, in UTC to the second."""
    if milliseconds is None:
        return element("span", "—", class_="none")
    if milliseconds > MAX_TIME:
        return element("span", "after the year 9999", class_="bad")
    time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return element("time", f"{time:%Y-%m-%d %H:%M:%S}", datetime=f"{time:%Y-%m-%dT%H:%M:%SZ}")


def number(count: int) -> str:
    """Write a count."""
    return f"{count:,}"


def counted(count: int, one: str, many: str) -> str:
    """Write a count and what there is so much of."""
    return f"{number(count)} {noun(count, one, many)}"


def bad(count: int) -> str:
    """Write a count that should be nothing."""
    return element("span", number(count), class_="bad") if count else "0"


def section(name: str, title: str, *content: Content) -> Markup:
    """Return a part of the page; `name` is its anchor."""
    head = element("h2", title, id=name)
    return element("section", [head, *map(join, content)], aria_labelledby=name)


def text(*content: str) -> Markup:
    """Return a paragraph."""
    return element("p", content)


class Parties:
    """Names of parties for people."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def plain(self, code: str) -> str:
        """Return the code, or words for what is not told."""
        return UNKNOWN_WORDS if code in {UNKNOWN, ""} else clean(code)

    def full(self, code: str) -> Markup:
        """Return code and name."""
        name = self._names.get(code)
        if code in {UNKNOWN, "", OTHERS}:
            return element("span", self.plain(code), class_="none")
        return said(f"{code} · {name}" if name else code)


def listed(
    rows: Rows, caption: str, heads: Sequence[str], cells: Callable[[Event], Sequence[str]]
) -> Markup:
    """Return a table of the events that were kept, and how many more there are."""
    shown = table(caption, heads, map(cells, rows.kept), empty="none in this range.")
    return join([shown, left_out(rows.count)])


def left_out(count: int) -> Markup:
    """Say how many of so many rows are not shown."""
    rest = count - MAX_ROWS
    return text(f"And {number(rest)} more, in events.csv.") if rest > 0 else Markup()


def number_of(event: Event, name: str) -> str:
    """Return what a field of numbers says."""
    value = event.number(name)
    return "—" if value is None else number(value)


def texts_of(event: Event, name: str) -> Markup:
    """Return what a field of lists says."""
    return said("; ".join(event.texts(name)))


def level_of(precedence: str) -> str:
    """Name a precedence."""
    return UNKNOWN_WORDS if precedence == UNKNOWN else precedence


def limit_of(summary: Summary, precedence: str) -> str:
    """Return the agreement's limit for a precedence."""
    limit = summary.limit(precedence)
    return "none" if limit is None else words(limit)
