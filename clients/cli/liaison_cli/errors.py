"""The command line's own errors, and the exit code of every error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed: refused, unreachable, unknown, a file that can't be read |
| 2 | usage: the command was not understood |
| 3 | verification failed: a signature, certificate or digest does not hold |
"""

from __future__ import annotations

from enum import IntEnum

from liaison.errors import (
    AuthenticationError,
    ConflictError,
    LiaisonError,
    UnknownError,
    VerificationError,
)


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    VERIFICATION = 3
    INTERRUPTED = 130


class UsageProblemError(LiaisonError):
    """The command was not understood."""

    code = "cli.usage"


class NoPassphraseError(LiaisonError):
    """There is nobody to ask for the passphrase."""

    code = "cli.no_passphrase"


class FileProblemError(LiaisonError):
    """A file can't be read or written."""

    code = "cli.file"


class AmbiguousError(ConflictError):
    """The name fits more than one thing."""

    code = "cli.ambiguous"


class NotFoundError(UnknownError):
    """Nothing of this name is here."""

    code = "cli.not_found"


class NotAdmittedError(AuthenticationError):
    """The relay does not know this registrar."""

    code = "cli.not_admitted"


def exit_code(error: BaseException) -> Exit:
    """Return the code that a command ends with when `error` stopped it."""
    if isinstance(error, UsageProblemError):
        return Exit.USAGE
    if isinstance(error, VerificationError):
        return Exit.VERIFICATION
    return Exit.FAILED
