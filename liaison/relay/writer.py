"""The one write path: everything that waits goes into one transaction.

An operation is applied inside a savepoint of its own, so a refusal undoes that
operation and no other. Those that are applied many at once are hardly ever undone, and
need none: where it has to be, the group begins anew, one by one. After the commit, and never before, the wake-ups go
out and the callers get their results: an acknowledgement means durable,
and a reader who is woken finds what woke it. When the database fails, the
whole group fails and nothing of it was acknowledged.

Urgent operations go first: the waiting ones are taken by precedence, so a FLASH
waits for at most the group that is being committed, which is small while such messages come. There is one writer per
process, and on SQLite one process; on PostgreSQL several nodes write, and what
two of them could both change is locked by row where it is read, or compared where it
is written. There operations of one kind are a transaction of their own. Two groups that
wait for each other's rows are told so by the database, which undoes one of them;
that one is applied again.

What operations have recorded for the log is written at the end of the group, in
its transaction: an entry and what it tells of are durable together.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError, UnavailableError
from liaison.model import Precedence
from liaison.relay import log
from liaison.relay.lanes import Lanes, Waiting, waits
from liaison.relay.metrics import Metrics
from liaison.storage import failures
from liaison.storage.engine import Database
from liaison.storage.errors import OvertakenError
from liaison.storage.savepoint import Savepoint
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.relay.recording import Draft, Recorder

_R = TypeVar("_R")

MAX_WAITING: Final = 4096
MAX_WAITING_BYTES: Final = 64 << 20
ORDINARY: Final = 0.9
"""The share of both that is for what is less urgent than FLASH."""
GROUP: Final = 512
"""Operations in one transaction; larger ones cost less for each."""
SMALL_GROUP: Final = 32
"""The same while urgent messages come: so many may a FLASH have to wait for."""
ALERT: Final = 10.0
"""Seconds after an urgent message for which groups stay small."""
_TRIES: Final = 5
"""How often a group is applied that the database undoes in favour of another node's."""


class BusyError(UnavailableError):
    """More is waiting to be written than the relay holds in memory."""

    code = "unavailable"
    retry_after = 1


@dataclass(slots=True)
class Work:
    """What an operation may use: the transaction, the log, and a place for what follows."""

    tx: AsyncConnection
    _recorder: Recorder | None = None
    _drafts: list[Draft] = field(default_factory=list)
    _callbacks: list[Callable[[], object]] = field(default_factory=list)
    _successors: dict[str | None, int] = field(default_factory=dict)

    def succeed(self, log_: str | None, generation: int) -> None:
        """Begin the log that follows one: what is recorded from here on goes into that.

        Args:
            log_: id of the agreement; None for the relay's root log.
            generation: of the new one; again changes nothing.
        """
        self._successors[log_] = generation

    def takes(self, log_: str | None) -> bool:
        """Whether a log takes entries: none that is damaged does."""
        return self._recorder is None or log_ not in self._recorder.refused

    def record(self, *drafts: Draft) -> None:
        """Have the log tell of what this operation does, in the same transaction.

        The entries get their places in the order of the calls. They are dropped where the
        operation is undone.

        Raises:
            LogRefusedError: the log is damaged and takes nothing more.
        """
        if self._recorder is None:
            return
        for log_ in {draft.log for draft in drafts} - self._successors.keys():
            self._recorder.check(log_)
        self._drafts += drafts

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Call it once the transaction is durable; never when the operation was undone.

        It must not block. It updates a cache or wakes a reader, who finds the news later
        where this fails.
        """
        self._callbacks.append(callback)


class Operation(Generic[_R]):
    """One change of the database; subclasses say how.

    It may be applied more than once, each time on what the database then has.

    Attributes:
        precedence: what is higher is written first.
        size: bytes that it keeps in memory while it waits.
        is_own: whether it is the relay's own, of which there are few: it is never turned away.
        is_urgent: whether it is a message of FLASH or above: nothing of less shares its transaction.
        goes_first: whether it is applied before the others of its group. It asks something; and what others
            write can only go to the database at the end, with the commit, as long as nothing is asked.
    """

    is_urgent: bool = False
    goes_first: bool = False
    precedence: int = Precedence.OVERRIDE
    size: int = 0
    is_own: bool = False

    async def apply(self, work: Work) -> _R:
        """Make the change.

        Raises:
            LiaisonError: refused; what was written is undone, its caller gets the error.
        """
        raise NotImplementedError

    def batch(self) -> Batch[Any, _R] | None:
        """Return who applies many of these at once, if anyone does: always the same object."""
        return None


_O_contra = TypeVar("_O_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)


class Batch(Protocol[_O_contra, _R_co]):
    """Applies neighbouring operations of one kind in few statements."""

    async def apply_all(
        self, work: Work, operations: Sequence[_O_contra]
    ) -> Sequence[_R_co | LiaisonError]:
        """Return a result or a refusal for each, in order.

        A refused operation has written nothing. Raising undoes them all; the
        writer then tries them one by one, so that one bad one harms only itself.
        """
        ...


@dataclass(slots=True)
class _Applied:
    """A group that was applied: the results, what follows its commit, what the log has to tell."""

    outcomes: list[tuple[Waiting, Any]] = field(default_factory=list)
    callbacks: list[Callable[[], object]] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    successors: dict[str | None, int] = field(default_factory=dict)

    def take(self, work: Work) -> None:
        """Keep what an operation that was not undone has left."""
        self.callbacks += work._callbacks  # noqa: SLF001 - Work belongs to this module
        self.drafts += work._drafts  # noqa: SLF001 - as above
        self.successors |= work._successors  # noqa: SLF001 - as above


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
        left = [taken] if self._database.is_sqlite else [[*run] for _, run in groupby(taken, _kind)]
        try:
            while left:
                await self._write(left.pop(0))
        finally:
            for group in left:
                _fail(group, None)

    async def _write(self, group: list[Waiting]) -> None:
        began = self._clock()
        try:
            applied = await self._commit(group)
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

    async def _commit(self, group: list[Waiting]) -> _Applied:
        try:
            return await self._try(group, many=True)
        except _SpoiledError:
            return await self._try(group, many=False)
        except _RefusedError as e:
            return _Applied([(group[0], e.why)])

    async def _try(self, group: list[Waiting], *, many: bool) -> _Applied:
        for left in reversed(range(_TRIES)):
            try:
                async with self._database.write() as tx:
                    applied = await _apply(tx, self._recorder, group, many=many)
                    if self._recorder is not None and applied.drafts:
                        recorded = await self._recorder.write(
                            tx, applied.drafts, applied.successors
                        )
                        applied.callbacks.insert(0, recorded)
            except (DBAPIError, OvertakenError, OverflowError) as e:
                # Undone whole: nothing was written and nobody was told.
                if many and not failures.is_failure(e):
                    raise _SpoiledError from e
                if not left or not failures.is_overtaken(e):
                    raise
            else:
                return applied
        raise AssertionError("the last try returns or raises")


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception as e:  # noqa: BLE001 - what was committed is committed; the next ones go on
        _told_nobody(e)


def _told_nobody(error: Exception) -> None:
    log.logger().error("wake_failed", **log.failure(error))


class _SpoiledError(Exception):
    """One of many operations that were applied at once has spoiled it for all."""


class _RefusedError(Exception):
    """The only operation of a transaction was refused: nothing else has to be kept."""

    def __init__(self, why: Exception) -> None:
        super().__init__(why)
        self.why = why


def _kind(waiting: Waiting) -> int:
    return id(waiting.operation.batch())


def _place(run: list[Waiting]) -> bool:
    return not run[0].operation.goes_first


async def _apply(
    tx: AsyncConnection, recorder: Recorder | None, group: list[Waiting], *, many: bool
) -> _Applied:
    """Apply a group; where `many` is false, each operation by itself."""
    applied = _Applied()
    runs = [list(run) for _, run in groupby(group, _kind)]
    runs.sort(key=_place)
    for waiting in runs:
        handler = waiting[0].operation.batch() if many else None
        if handler is not None:
            await _together(Work(tx, recorder), handler, waiting, applied)
            continue
        if many and len(group) == 1:
            await _only(Work(tx, recorder), waiting[0], applied)
            continue
        for one in waiting:
            outcome = await _alone(Work(tx, recorder), one.operation, applied)
            applied.outcomes.append((one, outcome))
    return applied


async def _together(
    work: Work, handler: Batch[Any, Any], waiting: list[Waiting], applied: _Applied
) -> None:
    """Apply a run of operations at once.

    Raises:
        _SpoiledError: one of them spoils it for all.
    """
    try:
        results = await handler.apply_all(work, [w.operation for w in waiting])
    except Exception as e:
        if failures.is_failure(e):
            raise
        raise _SpoiledError from e
    applied.take(work)
    applied.outcomes += zip(waiting, results, strict=True)


async def _only(work: Work, waiting: Waiting, applied: _Applied) -> None:
    """Apply the one operation that there is.

    Raises:
        _RefusedError: it refuses, and the transaction is to be undone.
    """
    try:
        result = await waiting.operation.apply(work)
    except Exception as e:
        if failures.is_failure(e):
            raise
        raise _RefusedError(e) from e
    applied.take(work)
    applied.outcomes.append((waiting, result))


async def _alone(work: Work, operation: Operation[Any], applied: _Applied) -> Any:
    """Apply one operation; return its result, or the exception for its caller."""
    savepoint = await Savepoint.begin(work.tx)
    try:
        handler = operation.batch()
        if handler is None:
            result = await operation.apply(work)
        else:
            (result,) = await handler.apply_all(work, [operation])
        await savepoint.commit()
    except Exception as e:
        if failures.is_failure(e):
            raise
        await savepoint.rollback()
        return e
    applied.take(work)
    return result


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
