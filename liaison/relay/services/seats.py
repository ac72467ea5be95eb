"""What is known of a device in a channel: found out once for a group of messages, or for many groups.

Nearly all that a writer writes are messages and what follows from them, which changes nothing that messages are
judged by. So what was read for one group is kept for the next until something else was written (`remembered.mark`).
Numbers that messages themselves change, a channel's last one and a device's cursor, are not among it.

There is one writer of SQLite, and the mark tells of everything that it or another process writes. On PostgreSQL it
tells of this writer only: there the statement that writes compares what was relied on (`services.heads`).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import field, fields
from operator import attrgetter
from typing import Final, TypeAlias

from liaison.envelope.header import Header
from liaison.model import DeviceId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.relay.services.entries.channel import Place, form_of
from liaison.relay.services.lives import Life
from liaison.storage.channels import ChannelRow
from liaison.storage.devices import Standing
from liaison.storage.members import MemberRow
from liaison.tlog.sealing import Form
from liaison.values import dataclass

_KEPT: Final = 4_096
_FORMS: Final = 8
"""Shapes of headers for each."""

Key: TypeAlias = tuple[int, bytes]
"""A certificate and a channel's id."""

_BASIS: Final = attrgetter(
    *(one.name for one in fields(ChannelRow) if one.name not in {"head", "version"})
)


@dataclass(slots=True)
class Seat:
    """A device in a channel.

    Args:
        row: of the channel; its head is of the time when it was read.
        agreement: that the channel is bound to.
        life: of the agreement.
        audience: the endpoints of the channel's members.
        place: where the messages stand in the log.
        member: the device's stay; None where it has none. Its cursor is of the time when it was read.
        standing: of the certificate.
        oldest_epoch: that the device may send in.
        keep_ms: for how long the channel's messages are kept; -1 before the first is accepted.
        forms: of what the log is told of messages, by the likeness of their headers; None after the first.
        second: for which the next two hold.
        is_open: whether neither a newer agreement nor a removal has to come first.
        allowed: of which messages the judge has said so: the likeness of their headers, their
            time and their size.
    """

    row: ChannelRow
    agreement: Agreement
    life: Life
    audience: frozenset[EndpointId]
    place: Place
    member: MemberRow | None
    standing: Standing
    oldest_epoch: int
    keep_ms: int = -1
    forms: dict[object, Form | None] = field(default_factory=dict)
    second: int = -1
    is_open: bool = False
    allowed: set[tuple[object, int, int]] = field(default_factory=set)

    @property
    def basis(self) -> Hashable:
        """What it has in common with the other seats in the channel, and only a change of the channel's row changes."""
        return _BASIS(self.row), self.life.changes

    def form(self, sender: DeviceId, header: Header) -> Form | None:
        """Return what the log is told of all messages with headers like this one, if there were any before."""
        alike = header.alike
        if alike is None:
            return None
        found = self.forms.get(alike)
        if found is None:
            # With the second of them: to make one ready takes longer than to do without it once.
            is_second = alike in self.forms
            if len(self.forms) >= _FORMS:
                self.forms.clear()
            found = self.forms[alike] = form_of(sender, header) if is_second else None
        return found


class Seats:
    """Keeps seats until something was written that they may have been made of."""

    def __init__(self) -> None:
        self._known: dict[Key, Seat] = {}
        # By channel: of all seats there.
        self._bases: dict[int, Hashable] = {}
        self._mark: Hashable = None

    def recall(self, mark: Hashable, keys: Collection[Key]) -> dict[Key, Seat] | None:
        """Return the seats, if all of them are known.

        Args:
            mark: `remembered.mark` in this transaction; None where nothing may be relied on.
            keys: theirs, each once.
        """
        if mark is None or mark != self._mark:
            return None
        known = self._known
        found = {key: known[key] for key in keys if key in known}
        return found if len(found) == len(keys) else None

    def keep(self, mark: Hashable, seats: Mapping[Key, Seat]) -> None:
        """Keep seats, once the transaction in which they were read is durable.

        Args:
            mark: from before they were read: what the same transaction wrote later changes it.
            seats: by key.
        """
        if mark is None:
            return
        if mark != self._mark or len(self._known) + len(seats) > _KEPT:
            self._known, self._bases = {}, {}
            self._mark = mark
        read = {seat.row.key: seat.basis for seat in seats.values()}
        changed = {key for key, basis in read.items() if self._bases.get(key, basis) != basis}
        if changed:
            # By another node. From now on it is known where the channel ends, so nothing would tell that what
            # others there are judged by is older than that.
            self._known = {k: one for k, one in self._known.items() if one.row.key not in changed}
        self._bases |= read
        self._known |= seats
