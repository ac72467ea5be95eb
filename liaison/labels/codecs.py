"""The kinds of text that stand in labels and policies: tokens, times, numbers, OIDs.

Parsers raise ValueError with the rest of a sentence; `liaison.labels.shape` puts
the place before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from liaison.labels.shape import Codec

MAX_NAME: Final = 256
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_INSTANT: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r":(?P<second>[0-9]{2})(\.[0-9]{1,12})?(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_URN: Final = "urn:oid:"


def _string(text: str) -> str:
    return text


def _name(text: str) -> str:
    if len(text) > MAX_NAME:
        raise ValueError(f"it has {len(text)} characters, allowed are {MAX_NAME}")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    return _name(text)


def _token(text: str) -> str:
    # xs:token: white space around it does not count, and within it counts as one space.
    return _filled(" ".join(text.split()))


def _oid(text: str) -> str:
    if not _OID.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not an object identifier, such as 1.3.26.1.3.1")
    return text


def _urn(text: str) -> str:
    if not text.startswith(_URN):
        raise ValueError(f"{text[:60]!r} is not an object identifier, such as urn:oid:1.3.26.1.3.1")
    return _oid(text.removeprefix(_URN))


def _integer(text: str) -> int:
    # xs:integer collapses white space around it.
    if not _INTEGER.fullmatch(text.strip(" \t\r\n")):
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _boolean(text: str) -> bool:
    match text.strip(" \t\r\n"):
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case other:
            raise ValueError(f"{other[:40]!r} is neither true nor false")


def parse_instant(text: str) -> int:
    """Return an `xs:dateTime` as Unix seconds.

    Fractions of a second are dropped, and a time without a zone is taken as UTC.

    Raises:
        ValueError: it is not a time between the years 1 and 9999.
    """
    found = _INSTANT.fullmatch(text.strip(" \t\r\n"))
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a time, such as 2026-09-26T12:00:00Z")
    try:
        day = datetime.fromisoformat(f"{found['date']}T00:00:00+00:00")
        seconds = _seconds_of_day(int(found["hour"]), int(found["minute"]), int(found["second"]))
        moment = day + timedelta(seconds=seconds) - _offset(found["zone"] or "Z")
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time, such as 2026-09-26T12:00:00Z") from None
    return (moment - _EPOCH) // timedelta(seconds=1)


def _seconds_of_day(hour: int, minute: int, second: int) -> int:
    # 24:00:00 is the first moment of the next day.
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second)):
        raise ValueError
    return hour * 3600 + minute * 60 + second


def _offset(zone: str) -> timedelta:
    if zone == "Z":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 14 or minutes > 59 or (hours == 14 and minutes):
        raise ValueError
    size = timedelta(hours=hours, minutes=minutes)
    return -size if zone[0] == "-" else size


def write_instant(value: int) -> str:
    """Return Unix seconds as an `xs:dateTime` in UTC; see `parse_instant`."""
    moment = _EPOCH + timedelta(seconds=value)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def one_of(kind: type[StrEnum]) -> Codec:
    """Return the codec of an enumeration whose values are its texts."""

    def parse(text: str) -> StrEnum:
        try:
            return kind(text)
        except ValueError:
            known = ", ".join(kind)
            raise ValueError(f"{text[:40]!r} is none of {known}") from None

    return Codec(parse, str)


STRING: Final = Codec(_string, str)
"""Any text."""
NAME: Final = Codec(_name, str)
"""A text of at most 256 characters."""
FILLED: Final = Codec(_filled, str)
"""A name that is not blank."""
TOKEN: Final = Codec(_token, str)
"""A name whose outer white space does not count."""
OID: Final = Codec(_oid, str)
"""A dotted object identifier."""
URN: Final = Codec(_urn, lambda oid: _URN + oid)
"""An object identifier as a URN; the value is the dotted form."""
INTEGER: Final = Codec(_integer, str)
"""A whole number of at most 18 digits."""
BOOLEAN: Final = Codec(_boolean, lambda value: "true" if value else "false")
"""`true` or `false`."""
INSTANT: Final = Codec(parse_instant, write_instant)
"""A time as Unix seconds."""
