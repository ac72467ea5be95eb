"""Structured logs: one JSON object a line, on stderr, with known fields only.

An event has a constant name; its fields are identifiers and numbers. Nothing
here takes an object, a body, a text that a peer chose freely, or a key: `FIELDS`
is the whole list, a field outside it is dropped from the line and counted, and a
test reads the sources and fails on one.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO, cast

import structlog

FIELDS: Final = frozenset({
    "address",  # of the peer: a network address
    "agreement",
    "at",  # where in our sources
    "backup",  # when it was made
    "bytes",
    "channel",
    "close",  # WebSocket close code
    "code",  # of a problem
    "count",
    "device",
    "endpoint",
    "epoch",
    "error",  # an exception's class name
    "frames",  # file:line function, of our own sources
    "library",  # the logger of a dependency
    "listen",
    "lookup",  # of an enrolment, never its secret
    "method",
    "ms",
    "origin",
    "party",
    "pid",
    "principal",
    "request",  # our id of a request
    "route",  # the pattern, never the address with its parameters
    "seq",
    "signal",
    "status",
    "stream",  # our id of a WebSocket connection
    "version",
    "witness",
    "worker",
})  # fmt: skip
"""Every field that a log line may have, besides `event`, `level` and `time`."""

_OWN: Final = ("event", "level", "time", "dropped")
_MAX_TEXT: Final = 200
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Log = structlog.typing.FilteringBoundLogger

counts: Final[Counter[tuple[str, str]]] = Counter()
"""Warnings and errors of this process, by event and level."""
_COUNTED: Final = ("warning", "error", "critical")


def counted(
    _logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Count the lines that tell of something wrong; an event's name is constant."""
    if method in _COUNTED:
        counts[str(event.get("event")), method] += 1
    return event


def only_known_fields(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop every field that is not in `FIELDS`, and say how many were."""
    kept = {k: _plain(v) for k, v in event.items() if k in FIELDS or k in _OWN}
    if len(kept) < len(event):
        kept["dropped"] = len(event) - len(kept)
    return kept


def _plain(value: Any) -> Any:
    """Text and numbers as they are, lists of them too; of anything else only its type."""
    if isinstance(value, (int, float)) or value is None:
        return value
    if isinstance(value, str):
        return value[:_MAX_TEXT]
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return f"<{type(value).__name__}>"


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send our lines, and those of the libraries, to `stream` (stderr) as JSON."""
    out = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            only_known_fields,
            counted,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lines(out))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


class _Lines:
    """A stream whose failures end nothing: a full disk takes no lines, and the relay goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        # Nobody is left who could be told.
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def logger() -> Log:
    """Return the relay's logger."""
    log: Log = structlog.get_logger()
    return log


class _LibraryHandler(logging.Handler):
    """Says that a library logged something and where, never what: it may quote its input."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        logger().warning(
            "library",
            library=record.name,
            at=f"{record.module}:{record.lineno}",
            **(failure(error) if error is not None else {}),
        )


def failure(error: BaseException) -> dict[str, Any]:
    """Return the fields that describe an unexpected exception without its values.

    The class name, and of the traceback the frames in our own sources: an
    exception's text, or a local variable, may hold what a peer sent.
    """
    return {"error": type(error).__name__, "frames": _frames(error)}


def _frames(error: BaseException) -> list[str]:
    found = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            found.append(f"{path.relative_to(_PACKAGE)}:{frame.lineno} {frame.name}")
    return found
