"""Plots as inline SVG: drawn by pygal, and stripped to shapes and texts.

The library's styles, scripts and tooltips go; the page's own style gives the colours, so that they
follow light and dark. Every value stands in the page's tables too: a plot is one picture with a
name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

from liaison.audit.report.markup import Markup, clean, element

SERIES: Final = 8
"""Colours that can be told apart; what is beyond is drawn as the last."""
_WIDTH: Final = 760
_BARS_HEIGHT: Final = 260
_ROW_HEIGHT: Final = 34
_KEPT: Final = frozenset({"svg", "g", "rect", "path", "text", "circle", "line", "title"})
_ATTRIBUTES: Final = frozenset(
    {"class", "cx", "cy", "d", "height", "points", "r", "transform", "viewBox", "width"}
    | {"x", "y"}
)
_DRAWN: Final = frozenset({"background", "tooltip-overlay", "text-overlay"})

Series = Mapping[str, Sequence[float | None]]


def bars(name: str, labels: Sequence[str], series: Series) -> Markup:
    """Draw one stacked bar for each label."""
    return _drawn("StackedBar", name, labels, series, _BARS_HEIGHT)


def rows(name: str, labels: Sequence[str], series: Series) -> Markup:
    """Draw one stacked bar for each label, lying, the first on top."""
    # The library draws from below.
    turned = {key: list(reversed(values)) for key, values in series.items()}
    height = 60 + _ROW_HEIGHT * len(labels)
    return _drawn("HorizontalStackedBar", name, list(reversed(labels)), turned, height)


def steps(name: str, labels: Sequence[str], series: Series) -> Markup:
    """Draw one line for each series, or bars where there is a single point of each."""
    kind = "Line" if len(labels) > 1 else "Bar"
    return _drawn(kind, name, labels, series, _BARS_HEIGHT)


def legend(names: Sequence[str]) -> Markup:
    """Return the names of the series beside their colours."""
    items = [
        element("li", [element("span", None, class_=f"swatch s{_colour(i)}"), clean(name)])
        for i, name in enumerate(names)
    ]
    return element("ul", items, class_="legend", aria_hidden="true")


def figure(name: str, drawing: Markup, names: Sequence[str]) -> Markup:
    """Return a plot with its name and the names of its series."""
    parts = [element("figcaption", name), drawing]
    # One colour needs no telling apart.
    return element("figure", parts if len(names) == 1 else [*parts, legend(names)])


def _drawn(kind: str, name: str, labels: Sequence[str], series: Series, height: int) -> Markup:
    chart: Any = getattr(_library(), kind)(
        css=(), js=(), width=_WIDTH, height=height, margin=8, show_legend=False,
        x_label_rotation=0, print_values=False, min_scale=2, max_scale=6, truncate_label=18,
        dots_size=2, x_labels_major_count=8, show_minor_x_labels=len(labels) <= 14,
        formatter=lambda value: "" if value is None else f"{value:,.0f}",
    )  # fmt: skip
    if kind == "HorizontalStackedBar":
        chart.config(show_minor_x_labels=True, truncate_label=30)
    chart.x_labels = [clean(label, 40) for label in labels]
    for key, values in series.items():
        chart.add(clean(key, 40), list(values))
    root = ET.fromstring(chart.render(disable_xml_declaration=True, force_uri_protocol=""))  # noqa: S314 - the library has just made it
    stripped = _stripped(root)
    stripped.set("role", "img")
    stripped.set("aria-label", f"{name}; the table has the values")
    return Markup(ET.tostring(stripped, encoding="unicode", short_empty_elements=False))


def _library() -> Any:
    import pygal  # noqa: PLC0415 - an extra, and slow to load

    # It leaves a finder of plugins behind, of a form that later imports warn about.
    sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__module__.startswith("pygal")]
    return pygal


def _stripped(source: ET.Element) -> ET.Element:
    """Return shapes, texts and their places, and nothing that styles, runs or links."""
    name = source.tag.rpartition("}")[2]
    made = ET.Element(name)
    for key, value in source.attrib.items():
        if key in _ATTRIBUTES:
            made.set(key, _classes(value) if key == "class" else _rounded(key, value))
    if name == "svg":
        for key in ("width", "height"):
            made.attrib.pop(key, None)
    if name == "text":
        made.text = source.text
    for child in source:
        kind = str(child.tag).rpartition("}")[2]  # a comment's is a function
        hidden = _DRAWN & set(child.get("class", "").split())
        # A title within the drawing would be read as a second name of it.
        if kind in _KEPT and kind != "title" and not hidden:
            made.append(_stripped(child))
    return made


def _classes(value: str) -> str:
    words = [word for word in value.split() if word not in {"reactive", "tooltip-trigger"}]
    return " ".join(
        f"color-{_colour(int(word.removeprefix('color-')))}" if word.startswith("color-") else word
        for word in words
    )


def _colour(place: int) -> int:
    return min(place, SERIES - 1)


def _rounded(key: str, value: str) -> str:
    # Half a megabyte of decimals says nothing.
    if key in {"d", "transform", "class", "viewBox", "points"}:
        return value
    try:
        return f"{float(value):.1f}".removesuffix(".0")
    except ValueError:
        return value
