"""Problem documents: how an error of Liaison travels.

A problem is RFC 9457's `application/problem+json` with three members of our own:
`hint`, `unchanged` and `rule` (the policy rule that decided). Its `type` is
`urn:liaison:` and the error's code; codes are API. The status follows from the
error's family, so that a new error needs no entry here.

Source: RFC 9457 §3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from liaison.errors import (
    AuthenticationError,
    ConflictError,
    LiaisonError,
    LimitError,
    MalformedError,
    RefusedError,
    UnavailableError,
    UnknownError,
    VerificationError,
)
from liaison.values import dataclass

CONTENT_TYPE: Final = "application/problem+json"
URN: Final = "urn:liaison:"
_MAX_TEXT: Final = 4000
_MAX_RETRY: Final = 86_400

_STATUS: Final[tuple[tuple[type[LiaisonError], int], ...]] = (
    (MalformedError, 400),
    (VerificationError, 422),
    (AuthenticationError, 401),
    (RefusedError, 403),
    (UnknownError, 404),
    (ConflictError, 409),
    (LimitError, 429),
    (UnavailableError, 503),
)


class OversizeError(LimitError):
    """The body or frame is larger than the relay takes."""

    code = "oversize"


class UnsupportedVersionError(MalformedError):
    """The peer speaks another version of the protocol."""

    code = "version.unsupported"


class RemoteError(LiaisonError):
    """The relay refused; `code` is its code.

    Made from a problem document by the client. The relay's words are kept, so
    that what the officer reads is what the relay decided.
    """

    code = "remote"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, hint=problem.hint, unchanged=problem.unchanged)
        self.problem = problem

    @property
    def remote_code(self) -> str:
        """The stable code that the relay gave, such as `channel.epoch_stale`."""
        return self.problem.code

    @property
    def is_rate(self) -> bool:
        """Whether it only came too soon after others: it was not looked at."""
        return self.problem.code.startswith("rate.")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it stands on the wire."""

    code: str
    status: int
    detail: str
    hint: str = ""
    unchanged: str = ""
    rule: str = ""
    retry_after: int | None = None
    """Seconds after which the same request may succeed."""

    @classmethod
    def of(cls, error: LiaisonError) -> Problem:
        """Turn an error into its document; nothing but its public text is taken."""
        return cls(
            code=error.code,
            status=413 if isinstance(error, OversizeError) else _status(error),
            detail=error.message,
            hint=error.hint,
            unchanged=error.unchanged,
            rule=getattr(error, "rule", ""),
            retry_after=getattr(error, "retry_after", None),
        )

    def encode(self) -> bytes:
        """Return the JSON document, empty members left out."""
        members: dict[str, Any] = {
            "type": URN + self.code,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "unchanged": self.unchanged,
            "rule": self.rule,
            "retry_after": self.retry_after,
        }
        kept = {k: v for k, v in members.items() if v not in ("", None)}
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
        # Half a character, quoted from someone's bad input, becomes JSON's escape of it.
        return text.encode(errors="backslashreplace")

    @classmethod
    def decode(cls, data: bytes, status: int = 0) -> Problem:
        """Read a document; text that is no problem document becomes one.

        A proxy between us and the relay may answer in its own words, so this
        never raises: what can't be read becomes `remote.unreadable`.
        """
        try:
            members = json.loads(data)
        except (ValueError, RecursionError):
            members = None
        kind = _text(members.get("type")) if isinstance(members, Mapping) else ""
        if not isinstance(members, Mapping) or not kind.startswith(URN):
            return cls("remote.unreadable", status, f"the relay answered {status} without a reason")
        retry = members.get("retry_after")
        return cls(
            code=kind[len(URN) :],
            status=status or _int(members.get("status"), 599),
            detail=_text(members.get("detail")),
            hint=_text(members.get("hint")),
            unchanged=_text(members.get("unchanged")),
            rule=_text(members.get("rule")),
            retry_after=_int(retry, _MAX_RETRY) if retry is not None else None,
        )


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return text[:_MAX_TEXT].encode(errors="replace").decode()


def _int(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(value, 0), most)


def _status(error: LiaisonError) -> int:
    return next((status for family, status in _STATUS if isinstance(error, family)), 500)
