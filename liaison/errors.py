"""The errors of Liaison: typed, with a stable code, and saying whose fault it is.

`code` is API: programs compare it, people search for it, and it never changes
its meaning. The first docstring line of each class is the sentence a person
reads when no better one was given. Classes for one subject live beside that
subject (`liaison.mls.errors`, `liaison.crypto.errors`, ...) and derive from one
of the families here; the family decides the HTTP status and the exit code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Who has to act before the same call can succeed."""

    CALLER = "caller"
    PEER = "peer"
    POLICY = "policy"
    STATE = "state"
    SYSTEM = "system"


class LiaisonError(Exception):
    """Something in Liaison went wrong.

    Args:
        message: one sentence, lower case, without a full stop: what happened.
        hint: what to do next, in the same form; empty where nothing helps.
        unchanged: what was left as it was; empty where that is obvious.
    """

    code: ClassVar[str] = "error"
    fault: ClassVar[Fault] = Fault.SYSTEM

    def __init__(self, message: str = "", *, hint: str = "", unchanged: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0].rstrip(".").lower()
        self.hint = hint
        self.unchanged = unchanged
        super().__init__(self.message)


class MalformedError(LiaisonError):
    """The bytes are not what they should be.

    Raised while decoding; nothing was acted upon. Retrying the same bytes
    cannot help.
    """

    code = "malformed"
    fault = Fault.PEER


class VerificationError(LiaisonError):
    """A signature, tag, proof or certificate does not hold.

    Never retry and never swallow it: the bytes may be evidence.
    """

    code = "verification.failed"
    fault = Fault.PEER


class AuthenticationError(LiaisonError):
    """The peer did not show who it is."""

    code = "unauthenticated"
    fault = Fault.CALLER


class RefusedError(LiaisonError):
    """The agreement or the peer's rights do not allow this."""

    code = "refused"
    fault = Fault.POLICY


class UnknownError(LiaisonError):
    """There is no such thing here."""

    code = "unknown"
    fault = Fault.CALLER


class ConflictError(LiaisonError):
    """The state is not (or no longer) the one this was made for."""

    code = "conflict"
    fault = Fault.STATE


class LimitError(LiaisonError):
    """A limit is exceeded."""

    code = "limit"
    fault = Fault.CALLER


class UnavailableError(LiaisonError):
    """The service can't do this now.

    Nothing was decided; the same call may succeed later.
    """

    code = "unavailable"
    fault = Fault.SYSTEM
