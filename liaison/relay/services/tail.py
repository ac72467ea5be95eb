"""The newest items of each channel, in memory: a reader that keeps up reads no database.

Filled after each commit, by the writer's callbacks, so in the order of the
numbers. With several nodes there are holes (other nodes' items): a stretch that
is not whole is not used, and the reader asks the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from liaison.model import ChannelId, Seq
from liaison.storage.items import Item
from liaison.storage.unread import LaneStretch, Reader, Waiting, waiting_of
from liaison.wire import frames
from liaison.wire.frames import ItemKind
from liaison.wire.stream import Delivered

_OVERHEAD: Final = 650
"""Bytes that an item takes beside its payload: its columns, and what its readers share."""


class Ready:
    """An item in memory, with what all its readers are sent alike.

    Args:
        item: durable.

    Attributes:
        begin: of a Deliver frame, up to its number; empty before `make` was called.
        fields: what stands between its number and its payload.
        delivered: what the delivery's number stands for.
    """

    __slots__ = ("begin", "delivered", "fields", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.begin = self.fields = b""
        self.delivered: Delivered

    def make(self, channel: ChannelId, frame: Callable[[int], bytes]) -> None:
        """Make what its readers have in common: all of a frame but the number of the delivery.

        Args:
            channel: the channel's id; an item knows it by the database's key.
            frame: makes the header of the transport's frame of a size.
        """
        item = self.item
        self.delivered = Delivered(channel, Seq(item.seq), ItemKind(item.kind))
        self.fields = frames.deliver_fields(
            item.kind, item.precedence, channel.value, item.seq, item.epoch, item.accepted_at
        )
        size = frames.DELIVER_BYTES + len(item.payload)
        self.begin = frame(size) + frames.DELIVER_TYPE


class Run(NamedTuple):
    """Items of one lane, in the order of their numbers.

    Args:
        items: no other of this lane stand between them.
        upto: none is left up to this number.
    """

    items: list[Ready]
    upto: int


class Stretch:
    """Neighbouring items of a channel, the newest ones, as their readers ask for them.

    Args:
        channel: its key.
        after: the number before the first of them.
        items: in the order of their numbers.
    """

    __slots__ = (
        "_oldest_epoch",
        "_senders",
        "after",
        "channel",
        "last",
        "ranked",
        "size",
        "topmost",
    )

    def __init__(self, channel: int, after: int, items: list[Ready]) -> None:
        self.channel = channel
        self.after = after
        self.last = items[-1].item.seq
        self.size = sum([one.item.size for one in items])
        lanes = {one.item.lane for one in items}
        self.topmost = max(lanes)
        # Stable: within a precedence in the order of their numbers.
        self.ranked = sorted(items, key=_urgency) if len(lanes) > 1 else items
        self._senders = {one.item.sender for one in items}
        self._oldest_epoch = min([one.item.epoch for one in items])

    def for_reader(self, device: int, joined_epoch: int) -> list[Ready]:
        """Return what is meant for a reader, the most urgent first.

        Args:
            device: its key; it knows what it has sent.
            joined_epoch: what was encrypted before it was never meant for it.
        """
        if device not in self._senders and joined_epoch <= self._oldest_epoch:
            return self.ranked
        return [
            one
            for one in self.ranked
            if one.item.sender != device and one.item.epoch >= joined_epoch
        ]


def _urgency(one: Ready) -> int:
    return -one.item.lane


class Tail:
    """The newest items of all channels, and of each of them a stretch without holes.

    Whatever is the oldest goes first, of whichever channel it is: so of all that were written
    alike, as much is there, and who reads any of them may be as far behind.

    Args:
        max_bytes: that they take, with what is kept beside their payloads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._channels: dict[int, deque[Ready]] = {}
        # All that is kept, in the order in which it came.
        self._order: deque[Ready] = deque()
        # What was asked for last: all readers of a channel ask for the same, one after the other.
        self._asked: Stretch | None = None

    def append(self, items: Sequence[Item]) -> None:
        """Take items that are durable now."""
        for item in items:
            one = Ready(item)
            stretch = self._channels.get(item.channel)
            if stretch is None or stretch[-1].item.seq + 1 != item.seq:
                # What was before a hole is of no use; it goes when it is the oldest.
                stretch = self._channels[item.channel] = deque()
                self._asked = None
            stretch.append(one)
            self._order.append(one)
            self._bytes += _cost(item)
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    def since(self, channel: int, seq: int) -> Stretch | None:
        """Return everything after `seq` that is in memory, or None if that is not all of it."""
        stretch = self._channels.get(channel)
        if not stretch or stretch[0].item.seq > seq + 1 or stretch[-1].item.seq <= seq:
            return None
        newest, asked = stretch[-1].item.seq, self._asked
        if asked is None or asked.channel != channel or asked.after != seq or asked.last != newest:
            # From the end: what is asked for is mostly the newest, and a deque's middle is far away.
            new = list(islice(reversed(stretch), newest - seq))
            new.reverse()
            asked = self._asked = Stretch(channel, seq, new)
        return asked

    def waiting(
        self, reader: Reader, after: Mapping[int, int], *, upto: int, per_lane: int
    ) -> list[Waiting] | None:
        """Return what `storage.unread.waiting` would, or None if not all of it is in memory."""
        found: list[Waiting] = []
        # Lanes that begin at the same number are found in one pass.
        for begin in set(after.values()):
            between = self._between(reader.channel, begin, upto)
            if between is None:
                return None
            rooms = dict.fromkeys((lane for lane in after if after[lane] == begin), per_lane)
            for one in between:
                item = one.item
                room = rooms.get(item.lane)
                if room and reader.is_meant(item):
                    found.append(waiting_of(item))
                    rooms[item.lane] = room - 1
                    if room == 1 and len(rooms) == 1:
                        break
        return found

    def run(self, reader: Reader, stretch: LaneStretch, limit: int, max_bytes: int) -> Run | None:
        """Return what comes next of one lane; None if it is not in memory.

        Args:
            reader: for whom.
            stretch: what waits for it.
            limit: how many at most.
            max_bytes: of payload; one item that is larger comes alone.
        """
        between = self._between(reader.channel, stretch.after, stretch.upto)
        if between is None:
            return None
        found: list[Ready] = []
        lane, left = stretch.lane, max_bytes
        for one in between:
            item = one.item
            if item.lane == lane and reader.is_meant(item):
                left -= item.size
                if len(found) == limit or (left < 0 and found):
                    return Run(found, found[-1].item.seq)
                found.append(one)
        return Run(found, stretch.upto)

    def has(self, channel: int, after: int) -> bool:
        """Whether the item after a number is in memory."""
        stretch = self._channels.get(channel)
        return stretch is not None and stretch[0].item.seq <= after + 1 <= stretch[-1].item.seq

    def _between(self, channel: int, after: int, upto: int) -> Iterator[Ready] | None:
        """Give the items of a channel after a number, up to another; None if one is not in memory."""
        stretch = self._channels.get(channel)
        if not stretch:
            return None
        oldest = stretch[0].item.seq
        if after + 1 < oldest or stretch[-1].item.seq < upto:
            return None
        return islice(stretch, after + 1 - oldest, upto + 1 - oldest)

    def newest(self, channel: int) -> int | None:
        """Return the number of the newest item of a channel in memory; None where none is."""
        stretch = self._channels.get(channel)
        return stretch[-1].item.seq if stretch else None

    def payload(self, channel: int, seq: int) -> Item | None:
        """Return one item if it is in memory."""
        stretch = self._channels.get(channel)
        if not stretch or not stretch[0].item.seq <= seq <= stretch[-1].item.seq:
            return None
        return stretch[seq - stretch[0].item.seq].item

    def forget(self) -> None:
        """Drop everything: items were erased in the database."""
        self._channels.clear()
        self._order.clear()
        self._asked = None
        self._bytes = 0

    def _drop_oldest(self) -> None:
        self._asked = None
        oldest = self._order.popleft()
        self._bytes -= _cost(oldest.item)
        channel = oldest.item.channel
        stretch = self._channels.get(channel)
        if stretch is None or stretch[0] is not oldest:
            return
        stretch.popleft()
        if not stretch:
            del self._channels[channel]


def _cost(item: Item) -> int:
    return len(item.payload) + _OVERHEAD
