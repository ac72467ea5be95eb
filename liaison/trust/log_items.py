"""What an item of a channel has to say in the agreement's log.

The relay enters it, and every member derives the same from what it was given: so no other sender,
addressee, label or member can stand in the log than those that the members know.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.model import DeviceId, Precedence
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64

if TYPE_CHECKING:
    from liaison.tlog.commitment import Value

    Fields: TypeAlias = dict[str, Value]
    """By name, as `liaison.tlog.fields` has them; what is not there says nothing."""

PROPOSAL: Final = "proposal"
"""The kind of an accepted item that is no message: it takes a place in the channel as they do."""

# A log has an entry for each message: what stands in all of them is written once.
_KINDS: Final = {kind: str(kind) for kind in Kind}
_LEVELS: Final = {level: level.name for level in Precedence}
_NONE: Final[tuple[str, ...]] = ()


def type_of(header: Header) -> EntryType:
    """Return what an entry about a message records."""
    return EntryType.RECEIPT if header.kind is Kind.RECEIPT else EntryType.ACCEPTED


def message(sender: DeviceId | None, header: Header, digest: bytes) -> Fields:
    """Return the fields of a message, or of one that is a receipt.

    Args:
        sender: the device; None where it is not known.
        header: of the message.
        digest: SHA-256 of its ciphertext.
    """
    reply = header.in_reply_to
    party, name = (None, None) if sender is None else _names(sender)
    return {
        "party": party,
        "sender": name,
        "kind": _KINDS[header.kind],
        "action": _LEVELS[header.action],
        "info": _LEVELS[header.info],
        "to": tuple(map(str, header.to)) if header.to else _NONE,
        "copy": tuple(map(str, header.copy)) if header.copy else _NONE,
        "label": compact(header.label),
        "reply": None if reply is None else str(reply),
        **own(header, digest),
    }


OWN: Final = ("message", "digest", "dtg")
"""Fields in which messages of one sender differ whose headers are `alike`."""


def own(header: Header, digest: bytes) -> Fields:
    """Return those fields of a message that are `OWN`."""
    return {"message": str(header.message_id), "digest": to_base64(digest), "dtg": header.dtg}


def commit(
    sender: DeviceId, digest: bytes, *, added: Iterable[DeviceId], removed: Iterable[DeviceId]
) -> Fields:
    """Return the fields of a commit.

    Args:
        sender: who committed.
        digest: SHA-256 of the commit.
        added: the devices that came in; one that came back by itself is added and removed.
        removed: the devices whose leaves went.
    """
    party, name = _names(sender)
    return {
        "party": party,
        "sender": name,
        "digest": to_base64(digest),
        "added": tuple(sorted(map(str, added))),
        "removed": tuple(sorted(map(str, removed))),
    }


def proposal(sender: DeviceId | None, digest: bytes) -> Fields:
    """Return the fields of a proposal; the relay's own has no sender."""
    party, name = (None, None) if sender is None else _names(sender)
    return {"party": party, "sender": name, "digest": to_base64(digest), "kind": PROPOSAL}


def compact(label: HeaderLabel) -> str:
    """Write a label in one line: `NATO/RESTRICTED; Releasable to=NOR; Releasable to=DEU`."""
    if not label.categories:
        return f"{label.policy}/{label.classification}"
    categories = "".join(f"; {tag}={value}" for tag, value in label.categories)
    return f"{label.policy}/{label.classification}{categories}"


@lru_cache(maxsize=4096)
def _names(device: DeviceId) -> tuple[str, str]:
    return str(device.party), str(device)
