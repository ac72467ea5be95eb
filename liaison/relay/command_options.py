"""What the commands of `liaison-relay` have in common: their options, and the relay that they are about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liaison.relay.files import DataDir

if TYPE_CHECKING:
    from liaison.relay.settings import Settings

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The relay's data directory; else LIAISON_RELAY_DATA."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def relay_of(data: Path | None) -> DataDir:
    """Return the directory of a relay.

    Raises:
        NotInitialisedError: there is none in it.
    """
    found = DataDir.find(data)
    found.require()
    return found


def settings_of(found: DataDir, **overrides: object) -> Settings:
    """Return the settings of the relay there; options of the command line win over them."""
    from liaison.relay import settings  # noqa: PLC0415 - as `commands` does

    return settings.load(found.path, **overrides)
