"""How readers look at the database: few at once, and at first many of them together.

A crowd that comes back after an outage waits here, where waiting has no end, and leaves the
database's connections to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, NamedTuple, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.gathering import Gathered
from liaison.relay.services.queue import end_of
from liaison.storage import devices, progress
from liaison.storage.devices import Standing
from liaison.storage.engine import Database
from liaison.storage.progress import Stay
from liaison.storage.questions import together

_AT_ONCE: Final = 2
"""Looks at the same time."""
_OPENINGS: Final = 64
"""Devices whose stays are read together; each may have hundreds."""


class Look:
    """One look, from the first question on; whoever asks nothing takes no connection.

    Args:
        database: where it looks.
        free: taken while it lasts.
    """

    def __init__(self, database: Database, free: asyncio.Semaphore) -> None:
        self._database = database
        self._free = free
        self._stack: AsyncExitStack | None = None
        self._tx: AsyncConnection | None = None

    async def tx(self) -> AsyncConnection:
        """Return the connection.

        Raises:
            DatabaseError: the database can't be reached.
        """
        if self._tx is None:
            self._stack = self._stack or AsyncExitStack()
            await self._stack.enter_async_context(self._free)
            self._tx = await self._stack.enter_async_context(self._database.read())
        return self._tx

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._stack is None:
            return None
        return await self._stack.__aexit__(kind, error, trace)


class Opening(NamedTuple):
    """What a stream begins with.

    Args:
        standing: of certificates, the device's among them.
        stays: that are not read to their end, oldest first.
        beyond: by stay, the numbers that are acknowledged beyond its cursor.
    """

    standing: Mapping[int, Standing]
    stays: Sequence[Stay]
    beyond: Mapping[int, set[int]]


class Looks:
    """Makes looks, and has the first two of each reader done for many at once.

    Args:
        database: where they look.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._channels = Gathered(self._look_for_channels)
        self._openings = Gathered(self._look_for_openings, _OPENINGS)

    def begin(self) -> Look:
        """Begin one, in a `with` statement."""
        return Look(self._database, self._free)

    async def channels(self, caller: DeviceCaller) -> Sequence[int]:
        """Return the channels in which a device has something to read, or may have at any time."""
        return await self._channels.ask(caller.key) or ()

    async def opening(self, caller: DeviceCaller) -> Opening:
        """Return what a stream begins with; it is as new as the call of this."""
        found = await self._openings.ask((caller.key, caller.certificate))
        if found is None:
            raise LookupError(f"nothing was found out about {caller.id}")
        return found

    async def _look_for_channels(self, keys: Sequence[int]) -> Mapping[int, Sequence[int]]:
        async with self.begin() as look:
            return await progress.channels_to_read(await look.tx(), keys)

    async def _look_for_openings(
        self, asked: Sequence[tuple[int, int]]
    ) -> Mapping[tuple[int, int], Opening]:
        async with self.begin() as look:
            tx = await look.tx()
            standing, stays = await together(
                tx,
                devices.standing_of([certificate for _, certificate in asked]),
                progress.stays_of([device for device, _ in asked]),
            )
            beyond = await acknowledged_beyond(tx, (one for some in stays.values() for one in some))
        return {one: Opening(standing, stays.get(one[0], ()), beyond) for one in asked}


async def acknowledged_beyond(tx: AsyncConnection, stays: Iterable[Stay]) -> dict[int, set[int]]:
    """Return, by stay, the numbers that are acknowledged beyond its cursor."""
    behind = [stay.member for stay in stays if stay.cursor < end_of(stay)]
    return await progress.acknowledged_beyond(tx, behind) if behind else {}
