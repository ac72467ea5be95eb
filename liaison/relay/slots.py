"""How many messages of one connection may be under way: the relay takes no more from it until one has ended."""

from __future__ import annotations

from liaison.fanout.flag import Flag


class Slots:
    """Room for so many messages that wait for their acknowledgement.

    Args:
        most: of them.
    """

    __slots__ = ("_changed", "_most", "_taken")

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = Flag()

    @property
    def has_room(self) -> bool:
        """Whether one more may be taken."""
        return self._taken < self._most

    def take(self) -> None:
        """Begin one."""
        self._taken += 1

    def leave(self) -> None:
        """End one."""
        self._taken -= 1
        self._changed.set()

    async def room(self) -> None:
        """Wait until one more may be taken."""
        while self._taken >= self._most:
            self._changed.clear()
            await self._changed.wait()

    async def empty(self) -> None:
        """Wait until all have ended."""
        while self._taken:
            self._changed.clear()
            await self._changed.wait()
