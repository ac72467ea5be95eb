"""The program `liaison-auditor`: its command tree, and what it does with errors of usage.

One file per command or group of commands; each imports what it needs when it runs, so that help and
completion stay quick. Rules of the output are in `liaison_auditor.output`, exit codes in
`liaison_auditor.errors`.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from liaison_auditor import events, report, verifying
from liaison_auditor.context import JSONOption
from liaison_auditor.errors import Exit
from liaison_auditor.output import Output
from liaison_auditor.witness import commands as witness

_GARBAGE: Final = 50_000
"""Objects made since the last collection before there is another one; Python's own is 700."""

app = typer.Typer(
    name="liaison-auditor",
    help="Check what a relay did, from one file and without trusting it; run a party's witness.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"liaison-auditor {version('liaison-auditor')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    as_json: JSONOption = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Check what a relay did, from one file and without trusting it; run a party's witness."""
    del version  # its callback has done the work
    ctx.obj = as_json


verifying.register(app)
events.register(app)
report.register(app)
witness.register(app)

# typer carries its own copy of click in some versions; its public errors lead to the base classes
# of whichever it uses.
_Usage: Any = typer.BadParameter.__mro__[1]
_Problem: Any = _Usage.__mro__[1]


@functools.cache
def _tree() -> Any:
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    out = Output(as_json="--json" in arguments)
    try:
        result = _tree().main(
            args=list(arguments), prog_name="liaison-auditor", standalone_mode=False
        )
    except _Usage as e:
        _usage(e, out)
        return Exit.USAGE
    except _Problem as e:
        out.failure("auditor.failed", _sentence(e.format_message()))
        return Exit.FAILED
    except typer.Abort:
        return Exit.INTERRUPTED
    return result if isinstance(result, int) else Exit.DONE


def _usage(error: Any, out: Output) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return
    path = error.ctx.command_path if error.ctx is not None else "liaison-auditor"
    out.failure("auditor.usage", _sentence(error.format_message()), hint=f"see {path} --help")


def _sentence(text: str) -> str:
    """Put somebody else's sentence into the form of ours."""
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def main() -> None:
    """Run the command line of this process."""
    # Looking for garbage in what importing made takes time and finds none; nor is there a use in
    # taking the heap apart before the process ends.
    gc.set_threshold(_GARBAGE)
    atexit.register(gc.freeze)
    # A library's library would look through every installed distribution for plugins of its own,
    # and load them into a process that judges evidence.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What its encoding lacks is printed as an escape, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
