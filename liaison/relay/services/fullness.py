"""How many messages each channel holds, as far as the limits need to know.

A channel's numbers are counted once, by a worker, when it has become so long
that it could be over a limit, and kept up from then on by what is accepted and
erased; no message waits for a count. Another node's share is known by the
channel's last number, and counted anew now and then where a channel is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Final

from liaison import words
from liaison.model import Precedence
from liaison.relay.services.errors import QueueFullError
from liaison.relay.services.limits import Limits
from liaison.storage import usage
from liaison.storage.engine import Database
from liaison.storage.items import Item
from liaison.values import dataclass
from liaison.wire.frames import MAX_FRAME

URGENT: Final = Precedence.FLASH
RESERVE: Final = 1.1
"""How much more of each limit there is for what is urgent."""
_AGAIN_MS: Final = 3_600_000
"""A full channel is counted anew when it was counted so long ago."""


@dataclass(slots=True)
class _Counted:
    """What was counted, less what was erased since; `size` also with what was accepted since."""

    count: int
    size: int
    head: int
    at: int


@dataclass
class Fullness:
    """Keeps channels from growing without end."""

    database: Database
    limits: Limits
    clock: Callable[[], int]
    _counted: dict[int, _Counted] = field(default_factory=dict)
    _wanted: set[int] = field(default_factory=set)

    def check(self, channel: int, head: int, precedence: int, size: int) -> None:
        """Check that a channel may take one more message.

        Args:
            channel: its key.
            head: its last number, what is accepted with this message included.
            precedence: of the message.
            size: of the message.

        Raises:
            QueueFullError: it holds too many, or too much, already.
        """
        limits = self.limits
        counted = self._counted.get(channel)
        if counted is None:
            # Nobody has counted: no more messages than numbers, none larger than a frame.
            if head >= limits.messages or head * MAX_FRAME >= limits.message_bytes:
                self._wanted.add(channel)
            return
        share = RESERVE if precedence >= URGENT else 1.0
        count = counted.count + head - counted.head
        if count < limits.messages * share and counted.size + size <= limits.message_bytes * share:
            return
        if self.clock() - counted.at > _AGAIN_MS:
            self._wanted.add(channel)
        raise QueueFullError(
            f"the channel holds {words.count(count, 'message')} of {counted.size} bytes, which is as much as the"
            " relay keeps",
            hint="it takes messages again as old ones expire; a new channel takes them now",
        )

    def accepted(self, new: Iterable[Item]) -> None:
        """Count messages that are durable."""
        if not self._counted:
            return
        for item in new:
            counted = self._counted.get(item.channel)
            if counted is not None and item.seq > counted.head:
                counted.size += item.size

    def erased(self, gone: Iterable[tuple[int, int, int]]) -> None:
        """Count messages no more: channel, number and size of each."""
        for channel, _, size in gone:
            counted = self._counted.get(channel)
            if counted is not None:
                counted.count -= 1
                counted.size -= size

    async def count(self) -> None:
        """Count the channels that have become long."""
        while self._wanted:
            channel = self._wanted.pop()
            async with self.database.read() as tx:
                found = await usage.messages(tx, channel)
            self._counted[channel] = _Counted(*found, self.clock())
