"""A channel as its log tells it, place after place; what was told before and proven entries go in. Pure.

Every place of a channel stands in the log once and in the channel's order, so whoever follows it
notices what is left out. What the log says of one place is compared with the item itself in
`log_comparing`; every channel at once, by whoever reads all entries, is followed in `log_channels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from liaison.model import ChannelId
from liaison.tlog.channels import ChannelView, first_of
from liaison.tlog.commitment import Value
from liaison.tlog.entries import Entry, pseudonym
from liaison.tlog.errors import ChannelForkError
from liaison.tlog.fields import EntryType
from liaison.tlog.text import from_base64
from liaison.values import dataclass
from liaison_sdk.log_checks import Proven


@dataclass(frozen=True, slots=True)
class Following:
    """How far a channel was followed through the log.

    Args:
        view: what has to come next.
        last: index of the last entry that was followed; -1 before the first.
        confirmed: the highest epoch whose beginning the log has shown to be the one known here.
        start: in a successor log, the last place that had come when this device went over to it.
        generation: of the log.
    """

    view: ChannelView
    last: int = -1
    confirmed: int = -1
    start: int = 0
    generation: int = 1

    @classmethod
    def begin(cls, origin: str, channel: ChannelId, seq: int, epoch: int) -> Following:
        """Return where a stay in a channel begins.

        Args:
            origin: of the log.
            channel: which channel.
            seq: of the commit that brought this device in; 0 for whoever has opened the channel.
            epoch: the first epoch of the stay.
        """
        name = pseudonym(origin, channel)
        if seq == 0:
            return cls(ChannelView(name, 1, epoch), confirmed=epoch)
        # The commit itself has to show: it is what confirms the first epoch.
        return cls(ChannelView(name, seq, epoch - 1))

    @classmethod
    def from_here(cls, origin: str, channel: ChannelId, seq: int, epoch: int) -> Following:
        """Return where to begin in a channel whose beginning was not noted.

        Args:
            origin: of the log.
            channel: which channel.
            seq: of the last item that has come.
            epoch: of the group.
        """
        return cls(ChannelView(pseudonym(origin, channel), seq + 1), confirmed=epoch)

    @property
    def after(self) -> int:
        """The last place that needs not be asked for."""
        return max(0, self.view.next_seq - 1)


@dataclass(frozen=True, slots=True)
class Place:
    """What the log says about one item of a channel.

    Args:
        index: the entry's place in the log.
        entry: itself; it has a `seq` and an `epoch`.
        values: of its fields; None where the log shows them no more.
    """

    index: int
    entry: Entry
    values: Mapping[str, Value] | None

    @property
    def seq(self) -> int:
        """The item's place in the channel."""
        return self.entry.seq or 0

    @property
    def epoch(self) -> int:
        """Of the item; for a commit the one that it ended."""
        return self.entry.epoch or 0

    @property
    def is_commit(self) -> bool:
        """Whether the item ended an epoch."""
        return self.entry.type is EntryType.COMMIT

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the item; None where the log does not show it.

        Raises:
            ChannelForkError: the log shows something that is none.
        """
        value = None if self.values is None else self.values.get("digest")
        if not isinstance(value, str):
            return None
        try:
            return from_base64(value)
        except ValueError as error:
            raise ChannelForkError("the log tells a digest that is none") from error

    @property
    def added(self) -> tuple[str, ...] | None:
        """The devices that a commit has brought in; None where the log does not show them."""
        added = None if self.values is None else self.values.get("added")
        return added if isinstance(added, tuple) else None


def follow(known: Following, entries: Iterable[Proven]) -> tuple[Following, list[Place]]:
    """Follow a channel through entries of the log, in their order.

    Raises:
        ChannelGapError: a place of the channel is left out, or stands twice.
        ChannelForkError: the entries are not one history of a channel, or not in its order.
    """
    places = []
    for each in entries:
        entry = each.entry
        if entry.channel != known.view.channel or entry.seq is None or entry.epoch is None:
            continue
        begun = known.view
        if begun.next_seq == 0:
            # The log follows another one. What had come before need not be shown again to whoever
            # came in under it; but for that the channel begins where channels do in such a log.
            is_known = entry.seq <= known.start + 1
            first = entry.seq if is_known else first_of(entry.seq, known.generation)
            begun = replace(begun, next_seq=first)
        view = begun.follow(entry)
        if each.index <= known.last:
            raise ChannelForkError(
                f"item {entry.seq} of the channel stands before the one that it follows"
            )
        known = replace(known, view=view, last=each.index)
        place = Place(each.index, entry, each.values)
        if place.digest is None and place.is_commit:
            raise ChannelForkError(
                f"the log does not show which commit ended epoch {entry.epoch} of the channel"
            )
        places.append(place)
    return known, places


def between(entries: Iterable[Proven], name: bytes, first: int, last: int) -> tuple[Place, ...]:
    """Return what entries say about the places of a channel from one to another, both included.

    Args:
        entries: proven ones.
        name: the channel's pseudonym.
        first, last: places.
    """
    return tuple(
        Place(each.index, each.entry, each.values)
        for each in entries
        if each.entry.channel == name
        and each.entry.seq is not None
        and each.entry.epoch is not None
        and first <= each.entry.seq <= last
    )
