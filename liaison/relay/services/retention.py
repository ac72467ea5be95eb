"""Retention: what is over its time goes; the sequence keeps its numbers, and the log its tree.

Contents (messages, attachments) go when their channel's policy or their sender says. What opens
the log's entries about messages, deliveries and refusals goes when the agreement says: nobody can
tell any more what they said, and the tree still verifies. What tells who belonged to a channel,
which keys were whose and what was agreed stays. Each erasure is an entry of the log, with the
digest of a signed report. While an agreement is held, nothing of it is erased.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from typing import Final

from liaison.model import Precedence
from liaison.policy.agreement import Agreement
from liaison.relay.services.book import Book
from liaison.relay.services.fullness import Fullness
from liaison.relay.services.limits import Limits
from liaison.relay.services.reports import Erased, Reports
from liaison.relay.services.tail import Tail
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import (
    blobs,
    enrolments,
    erasures,
    holds,
    items,
    joins,
    key_packages,
    logs,
    logs_reading,
)
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.tlog.fields import EntryType
from liaison.values import dataclass

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
ERASABLE: Final = (
    EntryType.ACCEPTED,
    EntryType.RECEIPT,
    EntryType.DELIVERED,
    EntryType.REFUSED,
)
"""Entries that nobody can open any more once the agreement's retention is over."""
CONTENTS: Final = "contents"
OPENINGS: Final = "openings"


@dataclass(frozen=True, slots=True)
class Expired:
    """How much one pass has taken away; come back soon while `more`.

    Args:
        messages: whose bytes went.
        attachments: that are out of reach now; their bytes go after them.
        erased: rows of such attachments, and of uploads that were never completed.
        enrolments: invitations that are over.
        key_packages: that are over their lifetime.
        openings: entries of logs that nobody can open any more.
        more: whether there may be more to erase.
    """

    messages: int
    attachments: int
    erased: int
    enrolments: int
    key_packages: int
    openings: int
    more: bool


@dataclass
class Retention:
    """Removes what has expired, a bounded number of rows at a time."""

    database: Database
    writer: Writer
    book: Book
    tail: Tail
    fullness: Fullness
    clock: Callable[[], int]
    limits: Limits
    reports: Reports
    _quiet: dict[int, int] = field(default_factory=dict)
    """Until when, in Unix milliseconds, a log need not be looked at."""

    async def expire(self) -> Expired:
        """Make one pass."""
        done = await self.writer.submit(
            _Expire(self.tail, self.fullness, self.clock(), self.limits, self.reports)
        )
        openings = 0
        for row in await self._due():
            openings += await self._erase(row)
            if openings:
                # One log in a pass: between two the writer takes what is more urgent.
                break
        return replace(done, openings=openings, more=done.more or bool(openings))

    async def _due(self) -> list[LogRow]:
        now = self.clock()
        async with self.database.read() as tx:
            held = await holds.in_force(tx)
            rows = await logs.listing(tx)
        return [
            row
            for row in rows
            if row.agreement is not None
            and row.agreement not in held
            and self._quiet.get(row.key, 0) <= now
        ]

    async def _erase(self, row: LogRow) -> int:
        now, id_ = self.clock(), row.agreement or ""
        async with self.database.read() as tx:
            newest = (await self.book.life(tx, id_)).newest
            if newest is None:
                return 0
            kept_ms = keeps_days(newest.agreement) * _DAY_MS
            end = await logs_reading.index_at(tx, row.key, now - kept_ms + 1, below=row.size)
            limit = self.limits.expire_at_once
            due = await erasures.openable(tx, row.key, ERASABLE, below=end, limit=limit)
            following = await logs_reading.time_of(tx, row.key, end)
        if not due:
            # Nothing is due before the next entry is as old; an amendment may say otherwise.
            until = now + kept_ms if following is None else following + kept_ms
            self._quiet[row.key] = min(until, now + _HOUR_MS)
            return 0
        indexes = [one.at for one in due]
        return await self.writer.submit(_EraseOpenings(row, indexes, now, self.reports))


def keeps_days(agreement: Agreement) -> int:
    """Return for how many days entries can be opened: no shorter than any channel keeps contents."""
    return max(agreement.retention_days, *(one.retention_days for one in agreement.channels))


@dataclass
class _Expire(Operation[Expired]):
    tail: Tail
    fullness: Fullness
    now_ms: int
    limits: Limits
    reports: Reports
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> Expired:
        tx, now, limit = work.tx, self.now_ms, self.limits.expire_at_once
        begun_before = now - self.limits.unfinished_hours * _HOUR_MS
        held = erasures.channels_held(await holds.in_force(tx))
        messages = await items.expire(tx, now_ms=now, limit=limit, held=held)
        attachments = await blobs.expire(tx, now_ms=now, limit=limit, held=held)
        await self._record(work, [channel for channel, _, _ in messages], attachments)
        erased = await blobs.erase(
            tx, now_ms=now, begun_before_ms=begun_before, limit=self.limits.erase_at_once
        )
        closed = await enrolments.expire(tx, now_ms=now, limit=limit)
        ended = now - self.limits.ended_days * _DAY_MS
        closed += await enrolments.forget(tx, before_ms=ended, limit=limit)
        untaken = now - self.limits.welcome_days * _DAY_MS
        welcomes = await joins.expire(tx, before_ms=untaken, limit=limit)
        packages = await key_packages.expire(tx, now_ms=now, limit=limit)
        if messages:
            # The memory may still hold what was just erased.
            work.after_commit(self.tail.forget)
            work.after_commit(partial(self.fullness.erased, messages))
        most = max(len(messages), len(attachments), closed, packages, welcomes)
        more = most >= limit or erased >= self.limits.erase_at_once
        return Expired(len(messages), len(attachments), erased, closed, packages, 0, more=more)

    async def _record(self, work: Work, messages: list[int], attachments: list[int]) -> None:
        under = await erasures.agreements_of(work.tx, {*messages, *attachments})
        texts = Counter(under[channel] for channel in messages)
        files = Counter(under[channel] for channel in attachments)
        for id_ in sorted({*texts, *files}):
            what = Erased(CONTENTS, messages=texts[id_], attachments=files[id_])
            await self.reports.keep(work, id_, what, self.now_ms)


@dataclass
class _EraseOpenings(Operation[int]):
    row: LogRow
    indexes: list[int]
    now_ms: int
    reports: Reports
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> int:
        id_ = self.row.agreement or ""
        if id_ in await holds.in_force(work.tx):
            return 0
        count = await logs_reading.erase_openings(work.tx, self.row.key, self.indexes)
        if count:
            first, last = self.indexes[0], self.indexes[-1]
            what = Erased(OPENINGS, openings=count, first=first, last=last, origin=self.row.origin)
            await self.reports.keep(work, id_, what, self.now_ms)
        return count
