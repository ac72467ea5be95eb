"""What is to be done once after all that goes on now, however often it is asked for.

One message wakes all readers of its channel, and a group of messages those of many channels. A task
for each reader would be a turn of the loop and a future for each; here they are called one after the
other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 64
"""How many are called before the loop looks at its sockets again."""


class Turn:
    """Calls what it was given, in the order of coming, as soon as the loop has done what it does."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def add(self, work: Callable[[], object]) -> None:
        """Have something called.

        Args:
            work: ought not to raise; if it does, the loop tells.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(work)

    def _run(self) -> None:
        waiting = self._waiting
        try:
            for _ in range(min(AT_ONCE, len(waiting))):
                waiting.popleft()()
        finally:
            # Whatever one of them does, nobody else waits for ever.
            if waiting:
                asyncio.get_running_loop().call_soon(self._run)
