"""Refusals that the log tells of: what an authenticated caller asked for and the agreement forbids.

The first of a device within a second is told at once, and durably, before the caller hears of it.
What comes more often is counted, and told each minute with its count: nobody fills the log by
asking again and again. Other bad input is no business of the parties and is not told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import Final, TypeVar

from liaison.errors import LiaisonError, UnavailableError
from liaison.model import ChannelId, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller, DeviceCaller
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.entries.channel import Refusal
from liaison.relay.services.errors import (
    AgreementNotActiveError,
    AgreementSupersededError,
    AmendmentPendingError,
    DeviceRevokedError,
    NotMemberError,
    RemovalLapsedError,
    RemovalPendingError,
)
from liaison.relay.services.telling import tell
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import channels
from liaison.values import dataclass

_R = TypeVar("_R")

TOLD: Final = (
    PolicyRefusedError,
    AgreementNotActiveError,
    AgreementSupersededError,
    AmendmentPendingError,
    DeviceRevokedError,
    NotMemberError,
    RemovalLapsedError,
    RemovalPendingError,
)
"""What the agreement, or what was decided under it, does not allow."""
_PAUSE_MS: Final = 1000
"""Between two refusals of one caller that are told singly."""
_KINDS: Final = 4096
"""Counted apart; beyond that a party's refusals are counted together."""
_CALLERS: Final = 16384


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    Args:
        caller: who.
        action: `send`, `commit`, `propose`, `create` or `attach`.
        channel: in which channel, or:
        agreement: under which agreement.
    """

    caller: Caller
    action: str
    channel: ChannelId | None = None
    agreement: str | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    refusal: Refusal
    channel: ChannelId | None
    agreement: str | None


@dataclass
class Refusals:
    """Tells of refusals, or counts them."""

    writer: Writer
    book: Book
    clock: Callable[[], int]
    _last: OrderedDict[object, int] = field(default_factory=OrderedDict)
    _counts: dict[_Kind, int] = field(default_factory=dict)

    async def watch(self, asked: Asked, work: Awaitable[_R]) -> _R:
        """Wait for the work; a refusal is told before it is raised.

        Raises:
            LiaisonError: as the work.
        """
        try:
            return await work
        except TOLD as refusal:
            await self.tell(asked, refusal)
            raise

    async def tell(self, asked: Asked, refusal: LiaisonError) -> None:
        """Tell of a refusal that is one of `TOLD`; what is told singly is durable after that."""
        await self._tell(_kind(asked, refusal))

    async def flush(self) -> None:
        """Tell what was counted.

        Raises:
            UnavailableError: the writer takes nothing; it stays counted.
        """
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            await self.writer.submit(_Tell(self.book, list(counts.items())))
        except UnavailableError:
            for kind, count in counts.items():
                self._count(kind, count)
            raise

    async def _tell(self, kind: _Kind) -> None:
        who, now = (kind.refusal.party, kind.refusal.device), self.clock()
        last = self._last.get(who)
        if last is not None and 0 <= now - last < _PAUSE_MS:
            self._count(kind)
            return
        self._last[who] = now
        self._last.move_to_end(who)
        if len(self._last) > _CALLERS:
            self._last.popitem(last=False)
        try:
            await self.writer.submit(_Tell(self.book, [(kind, None)]))
        except UnavailableError:
            # Too busy, or stopping: the caller's answer does not wait for that.
            self._count(kind)

    def _count(self, kind: _Kind, count: int = 1) -> None:
        if kind not in self._counts and len(self._counts) >= _KINDS:
            one = kind.refusal
            kind = _Kind(Refusal(one.party, None, one.action, one.code, None), None, kind.agreement)
        self._counts[kind] = self._counts.get(kind, 0) + count


def _kind(asked: Asked, refusal: LiaisonError) -> _Kind:
    caller = asked.caller
    device = str(caller.id) if isinstance(caller, DeviceCaller) else None
    rule = refusal.rule if isinstance(refusal, PolicyRefusedError) else None
    told = Refusal(str(caller.party), device, asked.action, refusal.code, rule or None)
    return _Kind(told, asked.channel, asked.agreement)


@dataclass
class _Tell(Operation[None]):
    book: Book
    kinds: Sequence[tuple[_Kind, int | None]]
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> None:
        for kind, count in self.kinds:
            found = await self._place(work, kind)
            if found is None:
                continue
            agreement, channel = found
            # Only parties to an agreement are in its log: not even that another asked.
            if kind.refusal.party in map(str, agreement.codes):
                tell(work, [entries.refused(agreement, kind.refusal, count, channel)])

    async def _place(
        self, work: Work, kind: _Kind
    ) -> tuple[Agreement, tuple[ChannelId, int] | None] | None:
        if kind.channel is not None:
            row = await channels.find(work.tx, kind.channel.value)
            if row is None:
                return None
            agreement = (await self.book.agreements(work.tx, [row.agreement]))[row.agreement]
            return agreement, (kind.channel, row.key)
        if kind.agreement is None:
            return None
        lives = await self.book.lives(work.tx, [kind.agreement], work.after_commit)
        newest = lives[kind.agreement].newest
        return None if newest is None else (newest.agreement, None)
