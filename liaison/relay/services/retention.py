"""Retention: what is over its time goes; the sequence keeps its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from liaison.model import Precedence
from liaison.relay.services.limits import Limits
from liaison.relay.services.tail import Tail
from liaison.relay.writer import Operation, Work, Writer
from liaison.storage import blobs, enrolments, items, key_packages

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Expired:
    """How much one pass has taken away; come back soon while `more`.

    Args:
        attachments: that are out of reach now; their bytes go after them.
        erased: rows of such attachments, and of uploads that were never completed.
    """

    messages: int
    attachments: int
    erased: int
    enrolments: int
    key_packages: int
    more: bool


@dataclass(frozen=True)
class Retention:
    """Removes what has expired, a bounded number of rows at a time."""

    writer: Writer
    tail: Tail
    clock: Callable[[], int]
    limits: Limits

    async def expire(self) -> Expired:
        """Make one pass."""
        return await self.writer.submit(_Expire(self.tail, self.clock(), self.limits))


@dataclass
class _Expire(Operation[Expired]):
    tail: Tail
    now_ms: int
    limits: Limits
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> Expired:
        tx, now, limit = work.tx, self.now_ms, self.limits.expire_at_once
        begun_before = now - self.limits.unfinished_hours * _HOUR_MS
        messages = await items.expire(tx, now_ms=now, limit=limit)
        attachments = await blobs.expire(tx, now_ms=now, limit=limit)
        erased = await blobs.erase(
            tx, now_ms=now, begun_before_ms=begun_before, limit=self.limits.erase_at_once
        )
        closed = await enrolments.expire(tx, now_ms=now, limit=limit)
        packages = await key_packages.expire(tx, now_ms=now, limit=limit)
        if messages:
            # The memory may still hold what was just erased.
            work.after_commit(self.tail.forget)
        most = max(messages, attachments, closed, packages)
        more = most >= limit or erased >= self.limits.erase_at_once
        return Expired(messages, attachments, erased, closed, packages, more=more)
