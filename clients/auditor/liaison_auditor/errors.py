"""The program's own errors, and the exit code of every error.

| exit code | meaning |
|---|---|
| 0 | done; for a check: nothing is wrong |
| 1 | failed: a file that can't be read, an address that is taken, no such thing |
| 2 | usage: the command was not understood |
| 3 | verification failed: something was changed, forked, cut off or never signed |
"""

from __future__ import annotations

from enum import IntEnum

from liaison.errors import ConflictError, LiaisonError, MalformedError, VerificationError


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    VERIFICATION = 3
    INTERRUPTED = 130


class UsageProblemError(LiaisonError):
    """The command was not understood."""

    code = "auditor.usage"


class FileProblemError(LiaisonError):
    """A file can't be read or written."""

    code = "auditor.file"


class MissingExtraError(LiaisonError):
    """A library that this command needs is not installed."""

    code = "auditor.missing_extra"


class ConfigurationError(MalformedError):
    """The witness's configuration is not one."""

    code = "auditor.configuration"


class KeyFileError(MalformedError):
    """The file does not hold a witness's private key, or others can read it."""

    code = "auditor.key_file"


class WitnessStateError(ConflictError):
    """The witness's state is not what its configuration or its disk says."""

    code = "auditor.witness_state"


class MisbehaviourError(VerificationError):
    """A log that this witness follows has shown two histories or become shorter."""

    code = "auditor.misbehaviour"


def exit_code(error: BaseException) -> Exit:
    """Return the code that a command ends with when `error` stopped it."""
    if isinstance(error, UsageProblemError):
        return Exit.USAGE
    if isinstance(error, VerificationError):
        return Exit.VERIFICATION
    return Exit.FAILED
