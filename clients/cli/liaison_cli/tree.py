"""The tree of commands: which module has which, each loaded when its command is asked for.

A person types one command, and making all of them ready takes longer than most
commands do. Help and completion ask for all.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import typer
from typer.core import TyperGroup

HOMES: Final = {
    "enrol": "device",
    "whoami": "device",
    "devices": "device",
    "send": "send",
    "read": "read",
    "watch": "watch",
    "ack": "ack",
    "save": "save",
    "draft": "drafts",
    "review": "drafts",
    "release": "drafts",
    "channels": "channels",
    "agreement": "agreement",
    "log": "log",
    "label": "labels",
    "party": "party",
}
"""The command or group of commands, and its module in `liaison_cli`, in the order of the help."""


class Commands(TyperGroup):
    """The commands of `HOMES`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._homes: set[str] = set()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer gives it
        """Name all commands; they are not loaded for it."""
        return list(HOMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """Load a command; where there is none of the name, all, so that a like one is suggested."""
        for home in [HOMES[cmd_name]] if cmd_name in HOMES else dict.fromkeys(HOMES.values()):
            if home not in self._homes:
                self._homes.add(home)
                self.commands.update(loaded(home))
        return self.commands.get(cmd_name)


def loaded(home: str) -> dict[str, Any]:
    """Import a module of `liaison_cli`; return its commands, or the one group that it is."""
    module = importlib.import_module(f"liaison_cli.{home}")
    part = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    module.register(part)
    return dict(typer.main.get_group(part).commands)
