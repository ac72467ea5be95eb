"""The program `liaison`: its command tree, and what it does with errors of usage.

One file per group of commands, which `liaison_cli.tree` loads; each imports what
it needs when it runs, so that help and completion stay quick. Rules of the
output are in `liaison_cli.output`, exit codes in `liaison_cli.errors`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from liaison_cli import startup
from liaison_cli.context import (
    CAOption,
    HomeOption,
    JSONOption,
    PassphraseOption,
    common,
)
from liaison_cli.errors import Exit
from liaison_cli.output import Output
from liaison_cli.tree import Commands

app = typer.Typer(
    name="liaison",
    cls=Commands,
    help="Secure messages between nations, under an agreement that they signed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"liaison {version('liaison-cli')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    ca: CAOption = None,
    as_json: JSONOption = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Secure messages between nations, under an agreement that they signed."""
    del version  # its callback has done the work
    common(ctx, home, passphrase_file, ca, as_json)


# typer carries its own copy of click in some versions; its public errors lead to the base classes
# of whichever it uses.
_Usage: Any = typer.BadParameter.__mro__[1]
_Problem: Any = _Usage.__mro__[1]


@functools.cache
def _tree() -> Any:
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        result = _tree().main(args=list(arguments), prog_name="liaison", standalone_mode=False)
    except _Usage as e:
        _usage(e, as_json=as_json)
        return Exit.USAGE
    except _Problem as e:
        Output(as_json=as_json).failure("cli.failed", _sentence(e.format_message()))
        return Exit.FAILED
    except typer.Abort:
        return Exit.INTERRUPTED
    return result if isinstance(result, int) else Exit.DONE


def _usage(error: Any, *, as_json: bool) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return
    command = error.ctx.command_path if error.ctx is not None else "liaison"
    Output(as_json=as_json).failure(
        "cli.usage", _sentence(error.format_message()), hint=f"see {command} --help"
    )


def _sentence(text: str) -> str:
    """Put somebody else's sentence into the form of ours."""
    line = " ".join(text.split()).rstrip(".").replace("Value error, ", "")
    return line[:1].lower() + line[1:]


def main() -> None:
    """Run the command line of this process."""
    startup.hasten()
    startup.speak()
    sys.exit(run(sys.argv[1:]))
