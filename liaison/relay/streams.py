"""All WebSocket connections that are open on this node.

Knows how many there are, which one of a device takes deliveries, and how to end
those whose certificate was revoked. A second node has streams of its own: a
device that is connected to both takes deliveries on both until one is
acknowledged, which costs bandwidth and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from liaison.errors import (
    AuthenticationError,
    LiaisonError,
    RefusedError,
    UnknownError,
)
from liaison.fanout.turn import Turn
from liaison.model import DeviceId
from liaison.relay.errors import TooManyStreamsError
from liaison.relay.heartbeats import Heartbeats
from liaison.relay.metrics import Metrics
from liaison.relay.services.callers import DeviceCaller
from liaison.values import dataclass
from liaison.wire.frames import Close


def code_for(error: LiaisonError) -> Close:
    """Return the close code that tells a device why it may not go on."""
    if isinstance(error, AuthenticationError):
        return Close.UNAUTHENTICATED
    if isinstance(error, (RefusedError, UnknownError)):
        return Close.REVOKED
    return Close.UNAVAILABLE


Check = Callable[[Sequence[DeviceCaller]], Awaitable[Mapping[int, LiaisonError]]]
"""Returns by certificate why a session does not hold any more."""


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
        metrics: where they count.
        heartbeats: which pings those that are silent.
        turn: when those who keep up are handed what is new.
    """

    most: int
    most_per_device: int
    metrics: Metrics = field(default_factory=Metrics)
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    turn: Turn = field(default_factory=Turn)
    _open: dict[DeviceId, list[Stream]] = field(default_factory=dict)
    _delivering: dict[DeviceId, Stream] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    @property
    def delivering(self) -> int:
        """How many of them take deliveries."""
        return len(self._delivering)

    def check_room(self, device: DeviceId) -> None:
        """Check that the device may open one more connection.

        Raises:
            TooManyStreamsError: it has as many as it may, or the relay has.
        """
        if len(self._open.get(device, ())) >= self.most_per_device:
            raise TooManyStreamsError(
                "this device has too many connections open", hint="close one of them"
            )
        if self._count >= self.most:
            raise TooManyStreamsError(
                "the relay has too many connections open", hint="try again in a while"
            )

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

    async def end_invalid(self, check: Check) -> int:
        """End every connection whose certificate does not hold any more; return how many.

        Args:
            check: says of many callers at once who may not go on.

        Raises:
            Exception: whatever `check` raises; nobody knows then, and nothing is ended.
        """
        callers = {s.caller.certificate: s.caller for s in self._all()}
        reasons = await check(list(callers.values()))
        ended = 0
        for stream in self._all():
            reason = reasons.get(stream.caller.certificate)
            if reason is not None:
                stream.stop(code_for(reason))
                ended += 1
        return ended

    def stop_all(self, code: Close) -> int:
        """Begin to end every connection; return how many there are."""
        streams = self._all()
        for stream in streams:
            stream.stop(code)
        return len(streams)

    async def end_all(self, code: Close) -> None:
        """End every connection, and wait until they have."""
        streams = self._all()
        self.stop_all(code)
        await asyncio.gather(*(stream.stopped() for stream in streams))

    def _all(self) -> list[Stream]:
        return [stream for found in self._open.values() for stream in found]
