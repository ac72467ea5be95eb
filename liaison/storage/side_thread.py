"""A thread that does one thing after the other while the event loop goes on.

Each group of messages is handed over some times, and comes back as often. The standard library's
executors make four futures and several locks for one hand-over; this makes one future.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar, cast

_T = TypeVar("_T")


class _Work(Generic[_T]):
    """Something that is to be done, and what came of it."""

    __slots__ = ("_do", "_loop", "_waiter", "error", "is_over", "result")

    def __init__(self, do: Callable[[], _T], loop: asyncio.AbstractEventLoop) -> None:
        self._do = do
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.is_over = False
        self.result: _T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it; in the thread."""
        try:
            self.result = self._do()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
        # Where the loop is closed by now, nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.is_over = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it is over, or the caller is cancelled."""
        if not self.is_over:
            self._waiter = self._loop.create_future()
            await self._waiter


class SideThread:
    """The thread; it begins with the first thing that there is to do.

    Args:
        name: the thread's.
    """

    __slots__ = ("__weakref__", "_name", "_queue", "_started")

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[_Work[object] | None] = SimpleQueue()
        self._started = False

    async def do(self, work: Callable[[], _T]) -> _T:
        """Have something done; return or raise what it does.

        Where the caller is cancelled meanwhile, it still waits until the thread is done with it.
        """
        if not self._started:
            self._started = True
            # A daemon: nobody is told of what was not over when the program ends.
            Thread(target=_serve, args=(self._queue,), name=self._name, daemon=True).start()
            weakref.finalize(self, self._queue.put, None)
        one = _Work(work, asyncio.get_running_loop())
        self._queue.put(cast("_Work[object]", one))
        cancelled: asyncio.CancelledError | None = None
        while not one.is_over:
            try:
                await one.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if one.error is not None:
            try:
                raise one.error
            finally:
                # The error knows this frame, and would keep itself alive by it.
                del one
        if cancelled is not None:
            raise cancelled
        return cast("_T", one.result)

    def end(self) -> None:
        """Let the thread end once it has done what it was given."""
        self._queue.put(None)


def _serve(queue: SimpleQueue[_Work[object] | None]) -> None:
    while (one := queue.get()) is not None:
        one.run()
        # Nothing of it is kept while the thread waits for the next.
        del one
