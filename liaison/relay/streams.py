"""All WebSocket connections that are open on this node.

Knows how many there are, which one of a device takes deliveries, and how to end
those whose certificate was revoked. A second node has streams of its own: a
device that is connected to both takes deliveries on both until one is
acknowledged, which costs bandwidth and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from liaison.errors import (
    AuthenticationError,
    LiaisonError,
    RefusedError,
    UnavailableError,
    UnknownError,
)
from liaison.model import DeviceId
from liaison.relay.errors import TooManyStreamsError
from liaison.relay.services.callers import DeviceCaller
from liaison.wire.frames import Close


def code_for(error: LiaisonError) -> Close:
    """Return the close code that tells a device why it may not go on."""
    if isinstance(error, AuthenticationError):
        return Close.UNAUTHENTICATED
    if isinstance(error, (RefusedError, UnknownError)):
        return Close.REVOKED
    return Close.UNAVAILABLE


class Stream(Protocol):
    """One open connection, as this module needs it."""

    @property
    def caller(self) -> DeviceCaller:
        """The device at the other end."""

    def stop(self, code: Close) -> None:
        """Begin to close the connection; returns at once, and may be called again."""

    async def stopped(self) -> None:
        """Wait until the connection is closed and what it had begun is done."""


@dataclass(slots=True)
class Streams:
    """The open connections.

    Args:
        most: connections in all.
        most_per_device: connections of one device.
    """

    most: int
    most_per_device: int
    _open: dict[DeviceId, list[Stream]] = field(default_factory=dict)
    _delivering: dict[DeviceId, Stream] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def check_room(self, device: DeviceId) -> None:
        """Check that the device may open one more connection.

        Raises:
            TooManyStreamsError: it has as many as it may, or the relay has.
        """
        if len(self._open.get(device, ())) >= self.most_per_device:
            raise TooManyStreamsError("this device has too many connections open")
        if self._count >= self.most:
            raise TooManyStreamsError("the relay has too many connections open")

    def add(self, stream: Stream) -> None:
        """Count a connection that was opened."""
        self._open.setdefault(stream.caller.id, []).append(stream)
        self._count += 1

    def remove(self, stream: Stream) -> None:
        """Forget a connection that has ended."""
        device = stream.caller.id
        left = [other for other in self._open[device] if other is not stream]
        self._count -= 1
        if left:
            self._open[device] = left
        else:
            del self._open[device]
        if self._delivering.get(device) is stream:
            del self._delivering[device]

    async def take_over(self, stream: Stream) -> None:
        """Make a connection the one that takes deliveries, and end the one that did.

        Returns when the older one has ended, so that its acknowledgements are in
        before the first delivery of the newer is chosen.
        """
        older = self._delivering.get(stream.caller.id)
        self._delivering[stream.caller.id] = stream
        if older is not None:
            older.stop(Close.SUPERSEDED)
            await older.stopped()

    async def end_invalid(self, check: Callable[[DeviceCaller], Awaitable[None]]) -> int:
        """End every connection whose certificate does not hold any more.

        Args:
            check: raises a LiaisonError for a caller that is revoked or unknown.

        Returns:
            How many were ended.

        Raises:
            UnavailableError: the database could not be asked.
        """
        ended = 0
        callers = {s.caller.certificate: s.caller for found in self._open.values() for s in found}
        for caller in callers.values():
            try:
                await check(caller)
            except UnavailableError:
                # Not an answer. Messages are still checked one by one.
                raise
            except LiaisonError as error:
                for stream in self._open.get(caller.id, ()):
                    if stream.caller.certificate == caller.certificate:
                        stream.stop(code_for(error))
                        ended += 1
        return ended

    async def end_all(self, code: Close) -> None:
        """End every connection, and wait until they have."""
        streams = [stream for found in self._open.values() for stream in found]
        for stream in streams:
            stream.stop(code)
        await asyncio.gather(*(stream.stopped() for stream in streams))
