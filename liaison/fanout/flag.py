"""A flag to wait for, which takes next to nothing while nobody does.

Each connection has several, and most connections are idle: an `asyncio.Event` keeps a
queue of a kibibyte for waiters that are not there.
"""

from __future__ import annotations

import asyncio


class Flag:
    """Is set or not; whoever waits goes on as soon as it is set, like with `asyncio.Event`."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Set it, and let those who wait go on, even where it is cleared before they do."""
        self._set = True
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            if not one.done():
                one.set_result(None)

    def clear(self) -> None:
        """Have those wait who come from now on."""
        self._set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if self._set:
            return
        one = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(one)
        await one
