"""The newest items of each channel, in memory: a reader that keeps up reads no database.

Filled after each commit, by the writer's callbacks, so in the order of the
numbers. With several nodes there are holes (other nodes' items): a stretch that
is not whole is not used, and the reader asks the database.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from liaison.model import ChannelId, Seq
from liaison.storage.items import Item
from liaison.wire import frames
from liaison.wire.frames import ItemKind
from liaison.wire.stream import Delivered

_OVERHEAD: Final = 500
"""Bytes that an item costs beside its payload, roughly."""


class Ready:
    """An item in memory, with what all its readers are sent alike.

    Args:
        item: durable.
    """

    __slots__ = ("_begin", "_delivered", "_fields", "item")

    def __init__(self, item: Item) -> None:
        self.item = item
        self._begin = self._fields = b""
        self._delivered: Delivered | None = None

    def delivered(self, channel: bytes) -> Delivered:
        """Return what the item's delivery number will stand for; made once.

        Args:
            channel: the channel's id, 16 bytes; an item knows it by the database's key.
        """
        if self._delivered is None:
            item = self.item
            self._delivered = Delivered(ChannelId(channel), Seq(item.seq), ItemKind(item.kind))
        return self._delivered

    def head(self, channel: bytes, number: int, frame: Callable[[int], bytes]) -> bytes:
        """Return all of a Deliver frame that stands before its payload.

        Args:
            channel: the channel's id, 16 bytes.
            number: the delivery's; the rest is the same for all readers, and made once.
            frame: makes the header of the transport's frame of a size.
        """
        if not self._begin:
            item = self.item
            self._fields = frames.deliver_fields(
                item.kind, item.precedence, channel, item.seq, item.epoch, item.accepted_at
            )
            size = frames.DELIVER_BYTES + len(item.payload)
            self._begin = frame(size) + frames.DELIVER_TYPE
        return self._begin + number.to_bytes(8) + self._fields


class Tail:
    """A bounded stretch of the newest items of each channel that was active lately."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._channels: OrderedDict[int, deque[Ready]] = OrderedDict()

    def append(self, items: Sequence[Item]) -> None:
        """Take items that are durable now."""
        for item in items:
            stretch = self._channels.setdefault(item.channel, deque())
            if stretch and stretch[-1].item.seq + 1 != item.seq:
                self._bytes -= sum(_cost(old.item) for old in stretch)
                stretch.clear()
            stretch.append(Ready(item))
            self._bytes += _cost(item)
            self._channels.move_to_end(item.channel)
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    def since(self, channel: int, seq: int) -> list[Ready] | None:
        """Return everything after `seq` that is in memory, or None if that is not all of it."""
        stretch = self._channels.get(channel)
        if not stretch or stretch[0].item.seq > seq + 1 or stretch[-1].item.seq <= seq:
            return None
        # From the end: what is asked for is mostly the newest, and a deque's middle is far away.
        new = list(islice(reversed(stretch), stretch[-1].item.seq - seq))
        new.reverse()
        return new

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
        self._bytes = 0

    def _drop_oldest(self) -> None:
        channel, stretch = next(iter(self._channels.items()))
        self._bytes -= _cost(stretch.popleft().item)
        if not stretch:
            del self._channels[channel]


def _cost(item: Item) -> int:
    return len(item.payload) + _OVERHEAD
