"""What a log says of one item, compared with the item that this device was given. Pure.

The item's word is its sender's, signed, and counts; the log's is the relay's. Where they differ the
relay has told others something else than this device, or keeps from auditors what was said. What
becomes of it in the store is for `log_settling`.
"""

from __future__ import annotations

from typing import Final

from liaison.errors import VerificationError
from liaison.tlog.entries import PolicyRef, size_bucket
from liaison.tlog.errors import ChannelForkError
from liaison.tlog.fields import SCHEMAS
from liaison_sdk.log_places import Place
from liaison_sdk.store.items import Told

MAX_APART: Final = 3_600_000
"""Milliseconds between an item's acceptance, as its sender or reader was told, and its entry: both
are by the relay's clock, but the log's never goes back where that one is set."""
MAX_DTG_AHEAD: Final = 86_400_000
"""Milliseconds by which a drafter's clock may be ahead of the relay's."""
_SECOND: Final = 1000


class FalseEntryError(VerificationError):
    """The log says something of an item that the item does not say of itself.

    Auditors are told the same. What the item says is signed by its sender, and was not changed.
    """

    code = "log.false_entry"


def compare(place: Place, digest: bytes) -> None:
    """Check that the log tells of an item what this device was given.

    Raises:
        ChannelForkError: it was given something else than the log's other readers are told.
    """
    if place.digest is None or place.digest == digest:
        return
    what = f"commit at the end of epoch {place.epoch}" if place.is_commit else "item"
    raise ChannelForkError(
        f"the log has another {what} at place {place.seq} of the channel than this device was given",
        hint="tell the other members by another way; the evidence is kept",
    )


def compare_told(place: Place, told: Told, policy: PolicyRef | None, *, ahead: int = 0) -> None:
    """Check that the log says of an item what the item says of itself.

    Args:
        place: what the log says.
        told: what this device derived.
        policy: the version that it was accepted under; None where that is not known here.
        ahead: seconds by which the agreement lets a message's date be ahead of its acceptance.

    Raises:
        FalseEntryError: it says something else, or keeps a part of it back.
    """
    entry, where = place.entry, f"item {place.seq} of the channel"
    shown = {
        "type": entry.type.value,
        "epoch": place.epoch,
        "size": entry.size,
        "policy": entry.policy,
    }
    wanted = {
        "type": told.type,
        "epoch": told.epoch,
        "size": size_bucket(told.size),
        "policy": policy or entry.policy,
    }
    for name, value in wanted.items():
        if shown[name] != value:
            raise FalseEntryError(f"the log gives {where} another {name} than it has")
    _check_time(place, told, ahead)
    if place.values is None:
        return
    for name in SCHEMAS[entry.type].sealed:
        if name not in place.values:
            raise FalseEntryError(f"the log keeps the {name} of {where} back")
        if name not in told.unknown and place.values[name] != told.fields.get(name):
            raise FalseEntryError(f"the log gives {where} another {name} than it has")


def _check_time(place: Place, told: Told, ahead: int) -> None:
    at, dtg = place.entry.time, told.fields.get("dtg")
    # What an entry says is compared, where it is open. One from before the retention is closed, and
    # so the relay could date an entry back to keep what it says to itself.
    closed = place.values is None
    late = closed and isinstance(dtg, int) and at < (dtg - ahead) * _SECOND - MAX_DTG_AHEAD
    if late or abs(at - told.time_ms) > MAX_APART:
        raise FalseEntryError(
            f"the log has item {place.seq} of the channel at another time than it was accepted"
        )
