"""Identifiers and value objects that every layer speaks of.

All of them are frozen, hashable and checked when parsed, so a function that is
given one need not check again. Text forms are canonical: `str(X.parse(s)) == s`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Final, NewType, Self

from liaison.errors import MalformedError
from liaison.values import dataclass

Epoch = NewType("Epoch", int)
"""MLS epoch of a group, from zero, 64 bits."""
Seq = NewType("Seq", int)
"""Position of an item in its channel, from 1, without gaps."""

_PARTY = re.compile(r"[A-Z][A-Z0-9]{1,15}(-[A-Z0-9]{1,15}){0,3}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
URI_SCHEME: Final = "liaison://"


class IdentifierError(MalformedError):
    """An identifier is not well formed."""

    code = "identifier.malformed"


def _full(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise IdentifierError(f"{text[:80]!r} is not {what}")
    return text


@dataclass(frozen=True, slots=True, order=True)
class PartyCode:
    """The short code of a party: `NOR`, `UN-OCHA`; 2 to 67 capitals, digits and hyphens."""

    code: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept `NOR`.

        Raises:
            IdentifierError: another spelling.
        """
        return cls(_full(_PARTY, text, "a party code (capitals, such as NOR or UN-OCHA)"))

    @property
    def path(self) -> str:
        """The lower-case form that stands in endpoint names."""
        return self.code.lower()

    # By hand, here and below: each message is counted by these names, and a hash of nested values
    # takes three times as long as one of their texts.
    def __hash__(self) -> int:
        return hash(self.code)

    def __str__(self) -> str:
        return self.code


@dataclass(frozen=True, slots=True, order=True)
class EndpointId:
    """An appointment of a party: `nor/defatt-berlin`. It outlives whoever holds the post."""

    party: PartyCode
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept `nor/defatt-berlin`.

        Raises:
            IdentifierError: another spelling.
        """
        return cls(*_endpoint_parts(text))

    def __hash__(self) -> int:
        return hash((self.party.code, self.name))

    def __str__(self) -> str:
        return f"{self.party.path}/{self.name}"


# Every message names a few of the same ones.
@lru_cache(maxsize=4096)
def _endpoint_parts(text: str) -> tuple[PartyCode, str]:
    party, slash, name = text.partition("/")
    # Some letters beyond ASCII have capitals within it: a second spelling.
    if not slash or not party.isascii() or party != party.lower():
        raise IdentifierError(f"{text[:80]!r} is not an endpoint (such as nor/defatt-berlin)")
    return (
        PartyCode.parse(party.upper()),
        _full(_NAME, name, "an endpoint name (small letters, digits, hyphens)"),
    )


@dataclass(frozen=True, slots=True, order=True)
class DeviceId:
    """One installation of an endpoint: `nor/defatt-berlin#d1`."""

    endpoint: EndpointId
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept `nor/defatt-berlin#d1`, with or without `liaison://` before it.

        Raises:
            IdentifierError: another spelling.
        """
        endpoint, mark, name = text.removeprefix(URI_SCHEME).partition("#")
        if not mark:
            raise IdentifierError(f"{text[:80]!r} is not a device (such as nor/defatt-berlin#d1)")
        return cls(
            EndpointId.parse(endpoint),
            _full(_NAME, name, "a device name (small letters, digits, hyphens)"),
        )

    @property
    def party(self) -> PartyCode:
        """The party that the device's endpoint belongs to."""
        return self.endpoint.party

    @property
    def uri(self) -> str:
        """The name as it stands in the certificate's subjectAltName."""
        return f"{URI_SCHEME}{self}"

    def __hash__(self) -> int:
        endpoint = self.endpoint
        return hash((endpoint.party.code, endpoint.name, self.name))

    def __str__(self) -> str:
        return f"{self.endpoint}#{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class _Id16:
    """Sixteen random bytes, written as 32 lower-case hex digits."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != 16:
            raise IdentifierError(f"an id has 16 bytes, this has {len(self.value)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(r"[0-9a-f]{32}", text):
            raise IdentifierError(f"{text[:80]!r} is not an id (32 lower-case hex digits)")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.value.hex()


class ChannelId(_Id16):
    """Names a channel for its whole life, over re-creations of its MLS group."""

    __slots__ = ()


class MessageId(_Id16):
    """Names a message; unique per (channel, sending device)."""

    __slots__ = ()


class BlobId(_Id16):
    """Names the ciphertext of one attachment."""

    __slots__ = ()


class Precedence(IntEnum):
    """How fast, never how important.

    Source: STANAG 4406 MMHSPrecedence (values 0 to 5).
    """

    DEFERRED = 0
    ROUTINE = 1
    PRIORITY = 2
    IMMEDIATE = 3
    FLASH = 4
    OVERRIDE = 5

    @classmethod
    def parse(cls, text: str) -> Precedence:
        """Accept a name in any case.

        Raises:
            IdentifierError: no such precedence.
        """
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(p.name for p in cls)
            raise IdentifierError(f"{text[:40]!r} is not a precedence ({known})") from None


_MONTHS: Final = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)


def format_dtg(at: datetime) -> str:
    """Write a moment as a date-time group in UTC, `211530Z NOV 26`.

    Args:
        at: an aware datetime; seconds are cut.
    """
    utc = at.astimezone(UTC)
    return f"{utc:%d%H%M}Z {_MONTHS[utc.month - 1]} {utc:%y}"
