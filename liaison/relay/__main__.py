"""The operator's program, `liaison-relay`.

Results go to stdout, everything else to stderr as `liaison-relay: error: ...`
and `liaison-relay: hint: ...`. Exit status: 0 done, 1 failed, 2 usage, 3 a
signature or certificate does not hold. Only what a command needs is imported.
"""

from __future__ import annotations

import atexit
import gc
import sys

from liaison.errors import LiaisonError, VerificationError
from liaison.wire.problems import RemoteError

_FAILED = 1
_UNVERIFIED = 3
_UNPROCESSABLE = 422


def main() -> None:
    """Run the command line; exits with its status."""
    # A process that ends need not take its heap apart first, which takes it up to half a second:
    # what has to be closed or written has been by then.
    atexit.register(gc.freeze)
    try:
        # typer is of no use to `import liaison`, and may not be there.
        from liaison.relay.commands import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"liaison-relay: error: the relay needs {error.name}, which is not installed\n"
            "liaison-relay: hint: install it with its dependencies: liaison-messaging[relay]\n"
        )
        sys.exit(_FAILED)
    try:
        app(prog_name="liaison-relay")
    except LiaisonError as error:
        sys.stderr.write(f"liaison-relay: error: {error.message}\n")
        for line in (error.unchanged, error.hint):
            if line:
                sys.stderr.write(f"liaison-relay: hint: {line}\n")
        sys.exit(_status(error))


def _status(error: LiaisonError) -> int:
    # What the running relay found is as much a verdict as what we found ourselves.
    remote = isinstance(error, RemoteError) and error.problem.status == _UNPROCESSABLE
    return _UNVERIFIED if remote or isinstance(error, VerificationError) else _FAILED


if __name__ == "__main__":
    main()
