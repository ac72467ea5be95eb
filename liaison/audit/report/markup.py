"""HTML that can't be broken out of: elements are built, and every text is escaped on its way in."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_TEXT: Final = 200
"""Characters of one text of the log that the page shows."""
_LONG: Final = 24
"""Characters from which on a text may be broken anywhere."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_EMPTY: Final = frozenset({"meta", "col"})


class Markup(str):
    """Text that is HTML already; made by this module and by `plots`, of nothing from outside."""

    __slots__ = ()


Content = str | Iterable[str] | None
"""Markup is taken as it is, any other text is escaped."""


def clean(text: str, most: int = MAX_TEXT) -> str:
    """Return text of strangers without what can't be seen or turns the text around it.

    Args:
        text: anything.
        most: characters; a longer text ends in an ellipsis.
    """
    shown = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(_REPLACEMENT if unicodedata.category(c) in _HIDDEN else c for c in shown)


def escape(text: str) -> Markup:
    """Return text as HTML, also within quotes; markup as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(text, quote=True))


def join(parts: Content) -> Markup:
    """Return one piece of HTML of many."""
    if parts is None:
        return Markup()
    return escape(parts) if isinstance(parts, str) else Markup("".join(map(escape, parts)))


def element(name: str, content: Content = None, /, **attributes: str | int | None) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        content: what is in it.
        attributes: by name, `class_` and `for_` with the underscore, others with one for each
            hyphen; one that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def said(text: str | None) -> Markup:
    """Return a text of the log: cleaned, and kept from turning what stands around it."""
    if not text:
        return element("span", "—", class_="none")
    return element("bdi", clean(text), class_="long" if len(text) > _LONG else None)


def table(
    caption: str,
    heads: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    numbers: int = 0,
    empty: str = "Nothing.",
) -> Markup:
    """Return a table that scrolls by keyboard where it is long.

    Args:
        caption: what it shows.
        heads: of the columns.
        rows: of cells; the first of each is the row's heading.
        numbers: how many of the last columns hold numbers.
        empty: stands in place of a table without rows.
    """
    columns = list(heads)
    first = len(columns) - numbers

    def cell(place: int, content: str, name: str = "td") -> Markup:
        scope = {"th": "col"}.get(name)
        kind = "number" if place >= first else None
        if name == "td" and place == 0:
            return element("th", content, scope="row", class_=kind)
        return element(name, content, scope=scope, class_=kind)

    lines = [element("tr", [cell(i, c) for i, c in enumerate(row)]) for row in rows]
    if not lines:
        return element("p", [element("strong", f"{caption}: "), empty], class_="empty")
    head = element("tr", [cell(i, c, "th") for i, c in enumerate(columns)])
    inner = [
        element("caption", caption),
        element("thead", head),
        element("tbody", lines),
    ]
    return element(
        "div",
        element("table", inner),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
