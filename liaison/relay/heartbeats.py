"""One timer for all connections on which nothing comes.

A timer of its own for each would take more memory than all else that an idle connection keeps for
it, and at ten thousand connections there would always be one that is due.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

PARTS: Final = 4
"""Looks at a socket within the time after which it is pinged."""


class Watched(Protocol):
    """A connection, as this module needs it."""

    def pass_time(self) -> None:
        """One of `PARTS` of the time has passed: ping or give up, when nothing came in them."""


class Heartbeats:
    """Pings whoever is silent, with one timer for all."""

    __slots__ = ("_every", "_sockets", "_timer")

    def __init__(self) -> None:
        self._sockets: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._every = 0.0

    def add(self, socket: Watched, silence: float) -> None:
        """Look after a socket.

        Args:
            socket: open.
            silence: seconds after which it is pinged, and half of them later given up; the same
                for all.
        """
        self._sockets.add(socket)
        self._every = silence / PARTS
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def discard(self, socket: Watched) -> None:
        """Look after it no more."""
        self._sockets.discard(socket)

    def _look(self) -> None:
        self._timer = None
        for socket in tuple(self._sockets):
            socket.pass_time()
        if self._sockets:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)
