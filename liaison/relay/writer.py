"""The one write path: everything that waits goes into one transaction.

What operations are stands in `work`. Here they wait and are taken by groups, each of which
`group_commit` makes durable. After that, and never before, the wake-ups go
out and the callers get their results: an acknowledgement means durable,
and a reader who is woken finds what woke it. When the database fails, the
whole group fails and nothing of it was acknowledged.

Urgent operations go first: the waiting ones are taken by precedence, so a FLASH
waits for at most the group that is being committed, which is small while such messages come. There is one writer per
process, and on SQLite one process; on PostgreSQL several nodes write, and what
two of them could both change is locked by row where it is read, or compared where it
is written. There operations of one kind are a transaction of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liaison.errors import LiaisonError, UnavailableError
from liaison.model import Precedence
from liaison.relay import group_commit, log
from liaison.relay.lanes import Lanes, Waiting, waits
from liaison.relay.metrics import Metrics
from liaison.relay.work import Operation
from liaison.storage import failures
from liaison.storage.engine import Database

if TYPE_CHECKING:
    from liaison.relay.recording import Recorder

_R = TypeVar("_R")

MAX_WAITING: Final = 4096
MAX_WAITING_BYTES: Final = 64 << 20
ORDINARY: Final = 0.9
"""The share of both that is for what is less urgent than FLASH."""
GROUP: Final = 512
"""Operations in one transaction; larger ones cost less for each."""
SMALL_GROUP: Final = 8
"""The same while urgent messages come: so many may a FLASH have to wait for."""
ALERT: Final = 10.0
"""Seconds after an urgent message for which groups stay small."""


class BusyError(UnavailableError):
    """More is waiting to be written than the relay holds in memory."""

    code = "unavailable"
    retry_after = 1


class Writer:
    """The writer task and its queue."""

    def __init__(
        self,
        database: Database,
        *,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        group: int = GROUP,
        recorder: Recorder | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is written before `start`.

        Args:
            database: which.
            max_waiting: operations that may wait.
            max_waiting_bytes: what these may keep in memory.
            group: operations in one transaction.
            recorder: writes the log; without one, as in some tests, nothing is recorded.
            metrics: where it counts.
            clock: seconds that never go back.
        """
        self._clock = clock
        self._database = database
        self._recorder = recorder
        self._metrics = metrics or Metrics()
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._group = group
        self._lanes = Lanes()
        self._alert = -ALERT
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        """Whether operations are being taken."""
        return self._task is not None and not self._task.done() and not self._stopping

    def waiting(self) -> Counter[int]:
        """Return how many operations wait, by precedence."""
        return self._lanes.counts()

    @property
    def waiting_bytes(self) -> int:
        """What those that wait keep in memory."""
        return self._lanes.bytes

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Take nothing more, write what waits, and end."""
        self._stopping = True
        self._news.set()
        if self._task is not None:
            await self._task

    async def submit(self, operation: Operation[_R]) -> _R:
        """Write it; when this returns it is durable.

        Cancelling the caller does not take the operation back.

        Raises:
            UnavailableError: the queue is full, the writer is stopping, or the
                database failed; it is not known to be written, and may be sent again.
            LiaisonError: the operation's own refusal.
        """
        result: asyncio.Future[_R] = asyncio.get_running_loop().create_future()
        self.put(operation, partial(_settle, result))
        return await result

    def put(self, operation: Operation[_R], done: Callable[[_R | Exception], object]) -> None:
        """Have it written; what comes of it is told to a callback instead of being waited for.

        Args:
            operation: to be written.
            done: called once, with the result when it is durable, or with the error that `submit`
                would raise. It must not block or raise.

        Raises:
            UnavailableError: nothing was taken, and `done` is not called.
        """
        if not self.alive:
            raise UnavailableError("the relay is stopping and takes nothing more")
        # A flood of what is less urgent leaves room for what is more.
        share = 1.0 if operation.precedence >= Precedence.FLASH else ORDINARY
        lanes = self._lanes
        too_much = lanes.bytes + operation.size > self._max_waiting_bytes * share
        full = len(lanes) >= self._max_waiting * share or (too_much and lanes)
        if full and not operation.is_own:
            raise BusyError(hint="wait a second and send it again")
        now = self._clock()
        lanes.add(Waiting(operation, done, now))
        if operation.is_urgent:
            self._alert = now
        self._news.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._lanes:
                    await self._write_all(self._lanes.take(self._size()))
                if self._stopping:
                    return
        finally:
            # Nobody waits for ever for a writer that was cancelled or has failed.
            while self._lanes:
                _fail(self._lanes.take(self._group), None)

    def _size(self) -> int:
        """Return how many operations a group may have now."""
        # Whoever sends one FLASH sends another, and then waits for a few of the others only.
        is_calm = self._clock() - self._alert >= ALERT
        return self._group if is_calm else min(self._group, SMALL_GROUP)

    async def _write_all(self, taken: list[Waiting]) -> None:
        """Write what was taken: on SQLite in one transaction, for it is the commit that takes time.

        On PostgreSQL in one for each kind, for these have few round trips: two kinds in one have more than both.
        """
        left = (
            [taken]
            if self._database.is_sqlite
            else [[*run] for _, run in groupby(taken, group_commit.kind)]
        )
        try:
            while left:
                await self._write(left.pop(0))
        finally:
            for group in left:
                _fail(group, None)

    async def _write(self, group: list[Waiting]) -> None:
        began = self._clock()
        try:
            applied = await group_commit.commit(self._database, self._recorder, group)
        except LiaisonError as e:
            # Something in it can't be recorded. One by one, it harms only its own operation.
            if len(group) == 1:
                _resolve(group[0], e)
            for one in group if len(group) > 1 else ():
                await self._write([one])
            return
        except BaseException as e:
            # Whatever it was, every caller must hear of it; a cancelled writer ends after that.
            _fail(group, e)
            self._metrics.failed_groups += 1
            if not isinstance(e, Exception):
                raise
            log.logger().error(
                "write_failed", count=len(group), code=failures.code_of(e), **log.failure(e)
            )
            return
        # Durable from here on. Who is woken is served after this, and gets an answer of its own
        # together with what woke it.
        for callback in applied.callbacks:
            _call(callback)
        for waiting, outcome in applied.outcomes:
            try:
                waiting.done(outcome)
            except Exception as e:  # noqa: BLE001 - told as below; the others still get theirs
                _told_nobody(e)
        done = self._clock()
        self._metrics.group(done - began, waits(group, done))


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception as e:  # noqa: BLE001 - what was committed is committed; the next ones go on
        _told_nobody(e)


def _told_nobody(error: Exception) -> None:
    log.logger().error("wake_failed", **log.failure(error))


def _fail(group: list[Waiting], error: BaseException | None) -> None:
    for waiting in group:
        unavailable = UnavailableError(
            "the database could not write this", hint="send it again; doing so is safe"
        )
        unavailable.__cause__ = error
        _resolve(waiting, unavailable)


def _resolve(waiting: Waiting, outcome: Any) -> None:
    _call(partial(waiting.done, outcome))


def _settle(result: asyncio.Future[Any], outcome: Any) -> None:
    if result.done():
        return  # the caller was cancelled
    if isinstance(outcome, BaseException):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
