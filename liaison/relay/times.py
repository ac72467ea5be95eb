"""Times as an operator types and reads them: ISO 8601, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from liaison.relay.errors import ParameterError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso(time_ms: int) -> str:
    """Write Unix milliseconds: `2026-11-22T06:40:00.000Z`."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> int:
    """Read a date, or a date and a time; without an offset it is UTC. Returns Unix milliseconds.

    Raises:
        ParameterError: it is none, or before 1970.
    """
    at = _read(text)
    if at is None or at < _EPOCH:
        raise ParameterError(
            f"{text[:40]!r} is not a time", hint="such as 2026-11-01 or 2026-11-01T12:00:00Z"
        )
    return int(at.timestamp() * 1000)


def _read(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
