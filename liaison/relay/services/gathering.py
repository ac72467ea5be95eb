"""Questions of one kind that come at once, asked of the database together.

A crowd that comes back after an outage asks the same three things thousands of times in a second.
Each with a transaction of its own would wait for a connection behind all others, longer than its
client does; so whatever came while the last look was under way is the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 512
"""Questions in one look."""

K = TypeVar("K")
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """Asks for many.

    Args:
        look: answers questions; what it leaves out has no answer. What it reads, it reads after it
            was called: nobody is answered with what was so before they asked.
        at_once: questions in one look.
    """

    def __init__(
        self, look: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], at_once: int = AT_ONCE
    ) -> None:
        self._look = look
        self._at_once = at_once
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V | None:
        """Return the answer; None where there is none.

        Raises:
            Exception: what `look` raises, for all who were asking.
        """
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all())
        # Others may wait for it, too: whoever goes away takes it from nobody.
        return await asyncio.shield(answer)

    async def _look_for_all(self) -> None:
        try:
            while self._waiting:
                some = list(islice(self._waiting, self._at_once))
                asked = {key: self._waiting.pop(key) for key in some}
                try:
                    found = await self._look(list(asked))
                except Exception as error:  # noqa: BLE001 - handed to all who asked
                    for answer in asked.values():
                        answer.set_exception(error)
                else:
                    for key, answer in asked.items():
                        answer.set_result(found.get(key))
        finally:
            self._looking = None
