"""The newest items of each channel, in memory: a reader that keeps up reads no database.

Filled after each commit, by the writer's callbacks, so in the order of the
numbers. With several nodes there are holes (other nodes' items): a stretch that
is not whole is not used, and the reader asks the database.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from liaison.storage.items import Item

_OVERHEAD: Final = 300
"""Bytes that an item costs beside its payload, roughly."""


class Tail:
    """A bounded stretch of the newest items of each channel that was active lately."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._channels: OrderedDict[int, deque[Item]] = OrderedDict()

    def append(self, items: Sequence[Item]) -> None:
        """Take items that are durable now."""
        for item in items:
            stretch = self._channels.setdefault(item.channel, deque())
            if stretch and stretch[-1].seq + 1 != item.seq:
                self._bytes -= sum(_cost(old) for old in stretch)
                stretch.clear()
            stretch.append(item)
            self._bytes += _cost(item)
            self._channels.move_to_end(item.channel)
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    def since(self, channel: int, seq: int) -> list[Item] | None:
        """Return everything after `seq` that is in memory, or None if that is not all of it."""
        stretch = self._channels.get(channel)
        if not stretch or stretch[0].seq > seq + 1 or stretch[-1].seq <= seq:
            return None
        return [stretch[i] for i in range(seq + 1 - stretch[0].seq, len(stretch))]

    def payload(self, channel: int, seq: int) -> Item | None:
        """Return one item if it is in memory."""
        stretch = self._channels.get(channel)
        if not stretch or not stretch[0].seq <= seq <= stretch[-1].seq:
            return None
        return stretch[seq - stretch[0].seq]

    def forget(self) -> None:
        """Drop everything: items were erased in the database."""
        self._channels.clear()
        self._bytes = 0

    def _drop_oldest(self) -> None:
        channel, stretch = next(iter(self._channels.items()))
        self._bytes -= _cost(stretch.popleft())
        if not stretch:
            del self._channels[channel]


def _cost(item: Item) -> int:
    return len(item.payload) + _OVERHEAD
