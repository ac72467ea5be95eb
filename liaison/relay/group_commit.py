"""Group commit: operations that have waited are one transaction, and durable together.

An operation is applied inside a savepoint of its own, so a refusal undoes that
operation and no other. Those that are applied many at once are hardly ever undone, and
need none: where it has to be, the group begins anew, one by one. Two groups, of two nodes, that
wait for each other's rows are told so by the database, which undoes one of them;
that one is applied again.

What operations have recorded for the log is written at the end of the group, in
its transaction: an entry and what it tells of are durable together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.relay.lanes import Waiting
from liaison.relay.work import Batch, Operation, Work
from liaison.storage import failures
from liaison.storage.engine import Database
from liaison.storage.errors import OvertakenError
from liaison.storage.savepoint import Savepoint
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.relay.recording import Draft, Recorder

_TRIES: Final = 5
"""How often a group is applied that the database undoes in favour of another node's."""


@dataclass(slots=True)
class Applied:
    """A group that was applied: the results, what follows its commit, what the log has to tell."""

    outcomes: list[tuple[Waiting, Any]] = field(default_factory=list)
    callbacks: list[Callable[[], object]] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    successors: dict[str | None, int] = field(default_factory=dict)

    def take(self, work: Work) -> None:
        """Keep what an operation that was not undone has left."""
        self.callbacks += work.callbacks
        self.drafts += work.drafts
        self.successors |= work.successors


def kind(waiting: Waiting) -> int:
    """Return the number of what is applied together with it."""
    return id(waiting.operation.batch())


async def commit(database: Database, recorder: Recorder | None, group: list[Waiting]) -> Applied:
    """Apply a group and make it durable, with what it has recorded for the log.

    Raises:
        LiaisonError: something that it does can't be recorded; nothing was written.
        Exception: the database has failed; nothing is known to be written.
    """
    try:
        return await _try(database, recorder, group, many=True)
    except _SpoiledError:
        return await _try(database, recorder, group, many=False)
    except _RefusedError as e:
        return Applied([(group[0], e.why)])


async def _try(
    database: Database, recorder: Recorder | None, group: list[Waiting], *, many: bool
) -> Applied:
    for left in reversed(range(_TRIES)):
        try:
            async with database.write() as tx:
                applied = await _apply(tx, recorder, group, many=many)
                if recorder is not None and applied.drafts:
                    recorded = await recorder.write(tx, applied.drafts, applied.successors)
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


class _SpoiledError(Exception):
    """One of many operations that were applied at once has spoiled it for all."""


class _RefusedError(Exception):
    """The only operation of a transaction was refused: nothing else has to be kept."""

    def __init__(self, why: Exception) -> None:
        super().__init__(why)
        self.why = why


def _place(run: list[Waiting]) -> bool:
    return not run[0].operation.goes_first


async def _apply(
    tx: AsyncConnection, recorder: Recorder | None, group: list[Waiting], *, many: bool
) -> Applied:
    """Apply a group; where `many` is false, each operation by itself."""
    applied = Applied()
    runs = [list(run) for _, run in groupby(group, kind)]
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
    work: Work, handler: Batch[Any, Any], waiting: list[Waiting], applied: Applied
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


async def _only(work: Work, waiting: Waiting, applied: Applied) -> None:
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


async def _alone(work: Work, operation: Operation[Any], applied: Applied) -> Any:
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
