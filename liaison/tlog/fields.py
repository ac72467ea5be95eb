"""What an entry of each type says: in the open, and as commitments.

In the open is what lets everyone who may read the log check it: when, in which channel (by
pseudonym) and as which number of it, under which version of the agreement, at which epoch, how
large. Everything else is committed to. Every field of a type is committed to in each entry, an
absent one as nothing, so that an entry does not show which fields it has.

docs/protocol/log.md tells what each field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from liaison.values import dataclass


class EntryType(StrEnum):
    """What an entry records."""

    ACCEPTED = "accepted"
    COMMIT = "commit"
    DELIVERED = "delivered"
    RECEIPT = "receipt"
    REFUSED = "refused"
    POLICY = "policy"
    ADMIN = "admin"
    MEMBER = "member"
    KEY = "key"
    EXPORT = "export"
    ERASURE = "erasure"
    CHECKPOINT = "checkpoint"


class Kind(StrEnum):
    """What a committed field can hold, besides nothing."""

    TEXT = "text"
    NUMBER = "number"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of one type.

    Args:
        required: in the open, always there.
        shown: in the open: the required ones, and those that are there where they apply.
        sealed: committed to.
    """

    required: frozenset[str]
    shown: frozenset[str]
    sealed: Mapping[str, Kind]


OPEN: Final = frozenset({"channel", "epoch", "period", "policy", "seq", "size"})
"""All fields that stand in the open, beside type and time."""


def _schema(required: str, sealed: str, optional: str = "") -> Schema:
    kinds = {"#": Kind.NUMBER, "*": Kind.TEXTS}
    named = {word.rstrip("#*"): kinds.get(word[-1], Kind.TEXT) for word in sealed.split()}
    return Schema(
        frozenset(required.split()),
        frozenset(f"{required} {optional}".split()),
        MappingProxyType(dict(sorted(named.items()))),
    )


_SEQUENCED = "channel seq epoch policy size"
_MESSAGE = "party sender message digest kind action info dtg# to* copy* label reply"

# `name` is a text, `name#` a number, `name*` a list of texts.
SCHEMAS: Final[Mapping[EntryType, Schema]] = MappingProxyType(
    {
        EntryType.ACCEPTED: _schema(_SEQUENCED, _MESSAGE),
        EntryType.RECEIPT: _schema(_SEQUENCED, _MESSAGE),
        EntryType.COMMIT: _schema(_SEQUENCED, "party sender digest added* removed*"),
        EntryType.DELIVERED: _schema("channel", "party device first# last#"),
        EntryType.REFUSED: _schema("", "party device action code rule count#", "channel policy"),
        EntryType.POLICY: _schema("", "party agreement step document digest", "policy"),
        EntryType.ADMIN: _schema("", "party act subject digest"),
        EntryType.MEMBER: _schema("", "party device change reason", "channel epoch"),
        EntryType.KEY: _schema("", "party subject act digest serial suite not_after#"),
        EntryType.EXPORT: _schema("", "party first# last# filters* count# digest"),
        EntryType.ERASURE: _schema("", "party first# last# rule contents# openings# digest"),
        EntryType.CHECKPOINT: _schema("", "origin size# root", "period policy"),
    }
)
"""Which fields each type has."""

SEQUENCED: Final = frozenset({EntryType.ACCEPTED, EntryType.RECEIPT, EntryType.COMMIT})
"""Types that take a place in their channel: there the sequence numbers are dense."""
