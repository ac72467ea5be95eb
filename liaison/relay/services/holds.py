"""Legal holds: while an agreement is held, the retention erases nothing of it."""

from __future__ import annotations

from collections.abc import Callable

from liaison.errors import ConflictError, MalformedError, UnknownError
from liaison.relay.services.book import Book
from liaison.relay.services.entries import administration as entries
from liaison.relay.services.errors import UnknownAgreementError
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import holds
from liaison.storage.engine import Database
from liaison.storage.holds import HoldRow
from liaison.values import dataclass

MAX_REASON = 1000


class HoldExistsError(ConflictError):
    """The agreement is held already."""

    code = "hold.exists"


class NoHoldError(UnknownError):
    """The agreement is not held."""

    code = "hold.none"


@dataclass(frozen=True)
class Holds:
    """Sets and releases holds, for the operator; each is told to the agreement's parties."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]

    async def set(self, agreement: str, reason: str) -> None:
        """Hold an agreement.

        Raises:
            UnknownAgreementError: the relay has no such agreement.
            HoldExistsError: it is held; nothing was changed.
            MalformedError: there is no reason, or too long a one.
        """
        if not 0 < len(reason) <= MAX_REASON or "\0" in reason:
            raise MalformedError(f"a hold has a reason, of at most {MAX_REASON} characters")
        async with self.database.read() as tx:
            if (await self.book.life(tx, agreement)).newest is None:
                raise UnknownAgreementError(f"the relay has no agreement {agreement[:80]!r}")
        await self.writer.submit(_Set(agreement, reason, self.clock()))

    async def release(self, agreement: str) -> None:
        """Release an agreement; what is over its time goes with the next pass.

        Raises:
            NoHoldError: it is not held.
        """
        await self.writer.submit(_Release(agreement, self.clock()))

    async def listing(self) -> list[HoldRow]:
        """Return all holds, those released too, the oldest first."""
        async with self.database.read() as tx:
            return await holds.listing(tx)


@dataclass
class _Set(Operation[None]):
    agreement: str
    reason: str
    now_ms: int

    async def apply(self, work: Work) -> None:
        if self.agreement in await holds.in_force(work.tx):
            raise HoldExistsError(f"{self.agreement} is held", unchanged="nothing was changed")
        await holds.add(work.tx, self.agreement, self.reason, now_ms=self.now_ms)
        logs = [self.agreement]
        # The reason is the operator's: the parties are told that there is a hold.
        work.record(*entries.done("hold.set", self.agreement, logs=logs))


@dataclass
class _Release(Operation[None]):
    agreement: str
    now_ms: int

    async def apply(self, work: Work) -> None:
        if not await holds.release(work.tx, self.agreement, now_ms=self.now_ms):
            raise NoHoldError(f"{self.agreement[:80]!r} is not held")
        work.record(*entries.done("hold.released", self.agreement, logs=[self.agreement]))
