"""What every command is given, and how its errors become lines and an exit code.

`command` turns a function into a command: it adds `--json`, runs the function (also when it is a
coroutine), and ends with the code of `liaison_auditor.errors`. A function that returns an `Exit`
ends with that one, so that a check which found something is not an error of the program.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import typing
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from liaison.errors import LiaisonError
from liaison.values import dataclass
from liaison_auditor.errors import Exit, exit_code
from liaison_auditor.output import Output

_TRACEBACK: Final = "LIAISON_TRACEBACK"

JSONOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Verb = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Context:
    """One run of one command."""

    out: Output


def command(app: typer.Typer, name: str | None = None) -> Callable[[Verb], Verb]:
    """Make a command of a function whose first argument is its `Context`."""

    def register(verb: Verb) -> Verb:
        app.command(name)(_with_json(verb))
        return verb

    return register


def _with_json(verb: Verb) -> Verb:
    @functools.wraps(verb)
    def run(typer_context: typer.Context, *, as_json: bool = False, **arguments: Any) -> None:
        # It may also stand before the command.
        out = Output(as_json=as_json or typer_context.obj is True)
        code = guarded(out, lambda: verb(Context(out), **arguments))
        if code:
            raise typer.Exit(code)

    hints = typing.get_type_hints(verb, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        p.replace(annotation=hints[p.name], kind=keyword)
        for p in list(inspect.signature(verb).parameters.values())[1:]
    ]
    added = inspect.Parameter("as_json", keyword, annotation=JSONOption, default=False)
    first = inspect.Parameter("typer_context", keyword, annotation=typer.Context)
    # typer reads the options from the signature; `functools.wraps` would show it the verb's.
    run.__signature__ = inspect.Signature([first, *own, added])  # type: ignore[attr-defined]  # reason: functions may carry one, typeshed does not say so
    run.__annotations__ = {p.name: p.annotation for p in (first, *own, added)}
    del run.__wrapped__
    return run


def guarded(out: Output, work: Callable[[], Any]) -> int:
    """Run `work`, say what went wrong if it fails, and return the exit code."""
    try:
        result = work()
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
    except LiaisonError as e:
        out.error(e)
        return exit_code(e)
    except BrokenPipeError:
        # The reader of our output has gone: nobody is left to tell.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        return Exit.FAILED
    except OSError as e:
        what = (e.strerror or str(e) or type(e).__name__).lower()
        out.failure("auditor.file", f"{e.filename}: {what}" if e.filename else what)
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as e:
        if os.environ.get(_TRACEBACK):
            raise
        # Only its kind: the text of an unforeseen error may quote anything.
        out.failure(
            "auditor.internal",
            f"a fault of this program: {type(e).__name__}",
            hint=f"to report it, run it again with {_TRACEBACK}=1",
        )
        return Exit.FAILED
    return result if isinstance(result, Exit) else Exit.DONE
