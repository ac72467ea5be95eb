"""Waiting for the connection and for what comes over it, with an end in any case."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from liaison.errors import LiaisonError
from liaison.model import ChannelId
from liaison_sdk.connection import Connection
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ConnectionLostError
from liaison_sdk.store import Transaction, items, outbox

T = TypeVar("T")
_A_LITTLE: Final = 5.0


class Waiter:
    """Waits on behalf of a program.

    Without a limit each wait gives up at the first attempt to connect that fails
    after it began; with one, when so many seconds are over.

    Args:
        environment: the client's surroundings.
        connection: to the relay.
        owed: whether own keys are due that nobody has looked after yet.
    """

    def __init__(
        self,
        environment: Environment,
        connection: Connection,
        owed: Callable[[], Awaitable[bool]],
    ) -> None:
        self._env: Final = environment
        self._connection: Final = connection
        self._owed: Final = owed

    async def connected(self, limit: float | None) -> None:
        """See `Client.wait_connected`."""
        await self._wait(lambda: self._connection.is_up, limit)

    async def synced(self, limit: float | None, *, receives: bool) -> None:
        """See `Client.sync`."""
        await self.connected(limit)
        connection, env = self._connection, self._env
        if connection.is_receiving:
            await self._wait(lambda: connection.caught_up, limit)
        elif receives:
            heads = {c.channel: c.head for c in await env.api.channels()}
            await self._until(lambda tx: _has_heads(tx, heads) or None, limit)
        await self._until(lambda tx: outbox.count(tx) == 0 or None, limit)
        await self._renewed(limit)

    async def _renewed(self, limit: float | None) -> None:
        """Wait a little while own keys are due: an open moment may be all that there is for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_A_LITTLE if limit is None else min(limit, _A_LITTLE)):
                while self._connection.is_up:
                    change = self._env.changes.next()
                    if not await self._owed():
                        return
                    await change.wait()

    async def _wait(self, done: Callable[[], bool], limit: float | None) -> None:
        env, connection = self._env, self._connection
        attempts = connection.attempts
        try:
            async with asyncio.timeout(limit):
                while True:
                    change = env.changes.next()
                    env.check()
                    if done():
                        return
                    if limit is None and connection.attempts > attempts and connection.failure:
                        raise connection.failure
                    await change.wait()
        except TimeoutError as e:
            raise self._not_in_time() from e

    async def _until(self, work: Callable[[Transaction], T | None], limit: float | None) -> T:
        env, connection = self._env, self._connection
        attempts = connection.attempts

        def look(tx: Transaction) -> T | None:
            found = work(tx)
            if found is None and limit is None and connection.attempts > attempts:
                raise connection.failure or ConnectionLostError()
            return found

        try:
            async with asyncio.timeout(limit):
                return await env.until(look)
        except TimeoutError as e:
            raise self._not_in_time() from e

    def _not_in_time(self) -> LiaisonError:
        failure = self._connection.failure
        return failure or ConnectionLostError("the relay did not get everything done in time")


def _has_heads(tx: Transaction, heads: dict[str, int]) -> bool:
    """Tell whether the last item of each channel is here."""
    return all(
        head == 0 or items.is_taken(tx, ChannelId.parse(channel), head)
        for channel, head in heads.items()
    )
