"""Settings for people: the operating guide's table, and the file that `init` writes.

Apart from `settings`, because nothing of it is needed to serve. `docs/operating/settings.md` has the table,
and a test compares them.
"""

from __future__ import annotations

import textwrap

from liaison.relay.settings import Settings


def table() -> str:
    """Return the settings as the Markdown table of the operating guide."""
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for name, info in Settings.model_fields.items():
        default = info.default
        shown = "" if default in (None, "", (), {}) else f"`{default}`"
        rows.append(f"| `{name}` | {shown} | {info.description} |")
    return "\n".join(rows) + "\n"


def template(listen: str) -> str:
    """Return the settings file that `init` writes: every setting, all but one commented out."""
    lines = ["# Settings of this relay; a line that is commented out shows its default.", ""]
    for name, info in Settings.model_fields.items():
        lines += [f"# {line}" for line in textwrap.wrap(str(info.description), 90)]
        shown = f'{name} = "{listen}"' if name == "listen" else f"# {name} = {_toml(info.default)}"
        lines += [shown, ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, tuple):
        return "[]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value or ""}"'
