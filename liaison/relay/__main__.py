"""The operator's program, `liaison-relay`.

Results go to stdout, everything else to stderr as `liaison-relay: error: ...`
and `liaison-relay: hint: ...`. Exit status: 0 done, 1 failed, 2 usage, 3 a
signature or certificate does not hold. Only what a command needs is imported.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Any

from liaison.errors import LiaisonError, VerificationError

_FAILED = 1
_USAGE = 2
_UNVERIFIED = 3
_INTERRUPTED = 130
_UNPROCESSABLE = 422


def main() -> None:
    """Run the command line; exits with its status."""
    # What importing makes stays until the end: looking through it for garbage takes a tenth of the
    # start and finds none. `serve` begins to look when it is ready.
    gc.disable()
    # A process that ends need not take its heap apart first, which takes it up to half a second:
    # what has to be closed or written has been by then.
    atexit.register(gc.freeze)
    # pydantic would look through every installed distribution for plugins, and load them into the
    # process that holds the relay's keys.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    try:
        # typer is of no use to `import liaison`, and may not be there.
        from liaison.relay.commands import Interrupted, UsageProblem, run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _tell(
            f"the relay needs {error.name}, which is not installed",
            "install it with its dependencies: liaison-messaging[relay]",
        )
        sys.exit(_FAILED)
    try:
        sys.exit(run(sys.argv[1:]))
    except Interrupted:
        sys.exit(_INTERRUPTED)
    except UsageProblem as error:
        _usage(error)
        sys.exit(_USAGE)
    except LiaisonError as error:
        _tell(error.message, error.unchanged, error.hint)
        sys.exit(_status(error))
    except OSError as error:
        what = (error.strerror or type(error).__name__).lower()
        _tell(
            f"{error.filename}: {what}" if error.filename else what,
            "run it as the user whose relay it is" if isinstance(error, PermissionError) else "",
        )
        sys.exit(_FAILED)


def _tell(error: str, *hints: str) -> None:
    sys.stderr.write(f"liaison-relay: error: {error}\n")
    sys.stderr.writelines(f"liaison-relay: hint: {hint}\n" for hint in hints if hint)


def _usage(error: Any) -> None:
    """Say what was not understood, in our form instead of the library's."""
    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{text}\n")
        return
    command = error.ctx.command_path if error.ctx is not None else "liaison-relay"
    line = " ".join(text.split()).rstrip(".")
    _tell(line[:1].lower() + line[1:], f"see {command} --help")


def _status(error: LiaisonError) -> int:
    # Here: with it most of what everything else imports would be loaded before `main` has begun.
    from liaison.wire.problems import RemoteError  # noqa: PLC0415

    # What the running relay found is as much a verdict as what we found ourselves.
    remote = isinstance(error, RemoteError) and error.problem.status == _UNPROCESSABLE
    return _UNVERIFIED if remote or isinstance(error, VerificationError) else _FAILED


if __name__ == "__main__":
    main()
