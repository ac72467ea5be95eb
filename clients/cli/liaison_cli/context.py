"""What every command is given: where the state is, the passphrase, the output.

`command` turns a function into a command: it adds the common options to its own,
runs it (also when it is a coroutine), and turns errors into lines on stderr and
an exit code. The common options may stand before the command or after it; one
that stands after it counts, then one before it, then the environment.
"""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from liaison.errors import LiaisonError
from liaison.values import dataclass
from liaison_cli.errors import (
    Exit,
    FileProblemError,
    NoPassphraseError,
    UsageProblemError,
    exit_code,
)
from liaison_cli.output import Output
from liaison_cli.terminal import is_terminal

_PANEL: Final = "Common options"
_TRACEBACK: Final = "LIAISON_TRACEBACK"
_MAX_PASSPHRASE_FILE: Final = 64 << 10

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Folder of the state. [env: LIAISON_HOME; default: the user's data folder]",
        file_okay=False,
        rich_help_panel=_PANEL,
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File whose first line is the passphrase. [env: LIAISON_PASSPHRASE_FILE]",
        dir_okay=False,
        rich_help_panel=_PANEL,
    ),
]
CAOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="CA certificates for the relay's TLS, PEM. [env: LIAISON_CA]",
        dir_okay=False,
        rich_help_panel=_PANEL,
    ),
]
JSONOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per line.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class Options:
    """The common options as they were given; None where they were not."""

    home: Path | None = None
    passphrase_file: Path | None = None
    ca: Path | None = None
    json: bool = False

    def over(self, other: Options) -> Options:
        """Return these, completed by `other`."""
        return Options(
            home=self.home or other.home,
            passphrase_file=self.passphrase_file or other.passphrase_file,
            ca=self.ca or other.ca,
            json=self.json or other.json,
        )

    @classmethod
    def of_environment(cls) -> Options:
        """Return what the environment sets."""

        def path(name: str) -> Path | None:
            value = os.environ.get(name)
            return Path(value).expanduser() if value else None

        return cls(path("LIAISON_HOME"), path("LIAISON_PASSPHRASE_FILE"), path("LIAISON_CA"))


@dataclass(frozen=True, slots=True)
class Context:
    """One run of one command."""

    options: Options
    out: Output = field(default_factory=Output)

    @property
    def home(self) -> Path:
        """The folder of the state; it need not exist yet."""
        if self.options.home is not None:
            return self.options.home
        import platformdirs

        return platformdirs.user_data_path("liaison", appauthor=False)

    @property
    def ca(self) -> Path | None:
        """The CA file for the relay's TLS, or None for the system's."""
        return self.options.ca

    def passphrase(self, *, new: bool = False) -> str:
        """Return the passphrase from its file, or ask the person at the terminal.

        Args:
            new: a key is about to be made under it, so it is asked for twice.

        Raises:
            FileProblemError: the file can't be read.
            NoPassphraseError: there is no file and nobody to ask, or it is empty.
        """
        file = self.options.passphrase_file
        phrase = _first_line(file) if file is not None else _asked(new=new)
        if not phrase:
            raise NoPassphraseError("the passphrase is empty")
        return phrase


KeyringOption = Annotated[
    bool,
    typer.Option("--keyring", help="Keep the key in the system's keyring, without a passphrase."),
]


def common(
    ctx: typer.Context,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
    ca: CAOption = None,
    as_json: JSONOption = False,
) -> None:
    """Keep the common options that stand before the command."""
    given = Options(home, passphrase_file, ca, as_json)
    ctx.obj = given.over(ctx.obj) if isinstance(ctx.obj, Options) else given


def command(app: typer.Typer, name: str | None = None) -> Callable[[Verb], Verb]:
    """Make a command of a function whose first argument is its `Context`."""

    def register(verb: Verb) -> Verb:
        app.command(name)(_with_common_options(verb))
        return verb

    return register


Verb = Callable[..., Any]
_COMMON: Final = (
    ("home", HomeOption, None),
    ("passphrase_file", PassphraseOption, None),
    ("ca", CAOption, None),
    ("as_json", JSONOption, False),
)


def _with_common_options(verb: Verb) -> Verb:
    @functools.wraps(verb)
    def run(typer_context: typer.Context, **arguments: Any) -> None:
        after = Options(*(arguments.pop(name) for name, _, _ in _COMMON))
        before = typer_context.obj if isinstance(typer_context.obj, Options) else Options()
        options = after.over(before).over(Options.of_environment())
        context = Context(options, Output(as_json=options.json))
        code = guarded(context.out, lambda: verb(context, **arguments))
        if code:
            raise typer.Exit(code)

    hints = typing.get_type_hints(verb, include_extras=True)
    own = [
        p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for p in list(inspect.signature(verb).parameters.values())[1:]
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, annotation, default in _COMMON
    ]
    first = inspect.Parameter("typer_context", keyword, annotation=typer.Context)
    # typer reads the options from the signature; `functools.wraps` would show it the verb's.
    run.__signature__ = inspect.Signature([first, *own, *added])  # type: ignore[attr-defined]  # reason: functions may carry one, typeshed does not say so
    run.__annotations__ = {p.name: p.annotation for p in (first, *own, *added)}
    del run.__wrapped__
    return run


def guarded(out: Output, work: Callable[[], Any]) -> int:
    """Run `work`, say what went wrong if it fails, and return the exit code."""
    try:
        result = work()
        if inspect.iscoroutine(result):
            import asyncio

            asyncio.run(result)
    except LiaisonError as e:
        out.error(e)
        return exit_code(e)
    except BrokenPipeError:
        # The reader of our output has gone (`liaison read | head`): nobody is left to tell.
        _silence_stdout()
        return 1
    except TimeoutError:
        out.failure("cli.timeout", "the relay did not answer in time")
        return 1
    except OSError as e:
        what = (e.strerror or str(e) or type(e).__name__).lower()
        out.failure("cli.file", f"{e.filename}: {what}" if e.filename else what)
        return 1
    except EOFError:
        # Ctrl-D at the question for the passphrase.
        return Exit.INTERRUPTED
    except Exception as e:
        if os.environ.get(_TRACEBACK):
            raise
        # Only its kind: the text of an unforeseen error may quote anything.
        out.failure(
            "cli.internal",
            f"a fault of this program: {type(e).__name__}",
            hint=f"to report it, run it again with {_TRACEBACK}=1",
        )
        return 1
    return 0


def _silence_stdout() -> None:
    import sys

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(_MAX_PASSPHRASE_FILE)
    except (OSError, UnicodeDecodeError) as e:
        raise FileProblemError(f"the passphrase file {file} can't be read") from e
    return text.split("\n", 1)[0].rstrip("\r")


def _asked(*, new: bool) -> str:
    if not is_terminal():
        raise NoPassphraseError(
            "no passphrase was given and there is no terminal to ask at",
            hint="use --passphrase-file FILE or set LIAISON_PASSPHRASE_FILE",
        )
    import getpass

    phrase = getpass.getpass("New passphrase: " if new else "Passphrase: ")
    if new and getpass.getpass("Again: ") != phrase:
        raise UsageProblemError("the two passphrases differ", unchanged="nothing was made")
    return phrase
