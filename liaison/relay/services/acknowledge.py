"""Acknowledgements: the cursor moves over what is whole, the rest is remembered beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from liaison.errors import LiaisonError
from liaison.model import Precedence
from liaison.relay.services.strides import Pair, Strides, lasting
from liaison.relay.services.tail import Tail
from liaison.relay.work import Batch, Operation, Work
from liaison.storage import joins, progress, remembered
from liaison.storage.items import Item
from liaison.storage.members import MemberRow
from liaison.storage.progress import Reading
from liaison.storage.tables import HANDSHAKE_LANE
from liaison.values import dataclass
from liaison.wire.frames import ItemKind
from liaison.wire.stream import Delivered

Numbers = dict[bytes, list[int]]
"""By channel id."""
_CHANNEL: Final = attrgetter("channel")


@dataclass
class Acknowledge(Operation[None]):
    """One device has stored these deliveries.

    Args:
        together: who stores them.
        device: its key.
        done: numbers of items.
        welcomes: the numbers that Welcomes came with.
    """

    together: Acknowledgements
    device: int
    done: Numbers
    welcomes: Numbers
    precedence: int = Precedence.ROUTINE
    goes_first: bool = True

    @classmethod
    def of(
        cls, together: Acknowledgements, device: int, delivered: Iterable[Delivered]
    ) -> Acknowledge:
        """Sort what a device has acknowledged."""
        done: Numbers = {}
        welcomes: Numbers = {}
        for channel, run in groupby(delivered, _CHANNEL):
            some = list(run)
            seqs = [one.seq for one in some if one.kind is not ItemKind.WELCOME]
            if seqs:
                done.setdefault(channel.value, []).extend(seqs)
            if len(seqs) < len(some):
                joined = [one.seq for one in some if one.kind is ItemKind.WELCOME]
                welcomes.setdefault(channel.value, []).extend(joined)
        return cls(together, device, done, welcomes)

    def batch(self) -> Acknowledgements:
        """Acknowledgements of many devices are stored together."""
        return self.together


class Acknowledgements(Batch[Acknowledge, None]):
    """Stores acknowledgements of many devices in a few statements.

    Args:
        tail: the newest items, which mostly say what a device has to read next.
    """

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.strides = Strides(tail)

    async def apply_all(
        self, work: Work, operations: Sequence[Acknowledge]
    ) -> Sequence[LiaisonError | None]:
        """Move cursors; what is acknowledged twice, or no longer concerns a stay, is ignored."""
        told: dict[Pair, _Told] = {}
        for operation in operations:
            for id_ in operation.done.keys() | operation.welcomes.keys():
                what = told.setdefault((id_, operation.device), _Told())
                what.seqs.update(operation.done.get(id_, ()))
                what.welcomes.update(operation.welcomes.get(id_, ()))
        if not await self._stride(work, told):
            await _store(work, told, self.tail, self.strides)
        return [None] * len(operations)

    async def _stride(self, work: Work, told: Mapping[Pair, _Told]) -> bool:
        """Move cursors without a question, if all of them can be; return whether they were."""
        if not remembered.compares(work.tx) or await remembered.mark(work.tx) is None:
            return False
        if any(what.welcomes for what in told.values()):
            return False
        taken = self.strides.take({pair: what.seqs for pair, what in told.items()})
        if taken is None:
            return False
        strides, stays = taken
        await progress.stride(work.tx, strides)
        work.after_commit(partial(self.strides.keep, stays))
        return True


class _Told:
    """What one device acknowledges in one channel."""

    def __init__(self) -> None:
        self.seqs: set[int] = set()
        self.welcomes: set[int] = set()


async def _store(work: Work, told: dict[Pair, _Told], tail: Tail, strides: Strides) -> None:
    welcomed = any(what.welcomes for what in told.values())
    held, found = await progress.reading(work.tx, told, firmly=welcomed)
    moves = await _moves(work, told, found)
    beyond = any(one.has_beyond for one in found) or any(move.has_beyond for move in moves)
    if beyond and not held:
        # More than the rows of the stays counts.
        held, found = await progress.reading(work.tx, told, firmly=True)
        moves = await _moves(work, told, found)
    received = [
        one.stay.key
        for one in found
        if one.stay.joined_seq in told[one.channel, one.stay.device].welcomes
    ]
    await joins.drop(work.tx, received)
    await progress.add_beyond(
        work.tx, ((move.stay.key, seq) for move in moves for seq in move.new_beyond)
    )
    cursors = {move.stay.key: await _reached(work, move, tail) for move in moves}
    versions = None if held else {one.stay.key: one.version for one in found}
    await progress.set_cursors(work.tx, cursors, versions)
    passed = {move.stay.key: cursors[move.stay.key] for move in moves if move.has_beyond}
    await progress.forget_passed(work.tx, passed)
    if remembered.compares(work.tx):
        work.after_commit(partial(strides.keep, lasting(found, cursors, passed), told))


async def _moves(work: Work, told: Mapping[Pair, _Told], found: Sequence[Reading]) -> list[_Move]:
    skipping = [one.stay.key for one in found if one.has_beyond]
    beyond = await progress.acknowledged_beyond(work.tx, skipping) if skipping else {}
    moves = (
        _Move.of(
            one.stay, told[one.channel, one.stay.device], one.head, beyond.get(one.stay.key, set())
        )
        for one in found
    )
    return [move for move in moves if move is not None]


@dataclass(frozen=True, slots=True)
class _Move:
    """How far one stay gets."""

    stay: MemberRow
    cursor: int
    end: int
    new_beyond: frozenset[int]
    has_beyond: bool

    @classmethod
    def of(cls, stay: MemberRow, told: _Told, head: int, known: set[int]) -> _Move | None:
        end = head if stay.left_seq is None else stay.left_seq
        if told.seqs and not known:
            first, last = min(told.seqs), max(told.seqs)
            if stay.cursor + 1 == first and last - first + 1 == len(told.seqs) and last <= end:
                # What comes next, without a hole, as nearly all does.
                return cls(stay, last, end, frozenset(), has_beyond=False)
        seqs = {seq for seq in told.seqs if stay.cursor < seq <= end}
        if not seqs - known:
            return None
        whole = seqs | known
        cursor = stay.cursor
        while cursor + 1 in whole:
            cursor += 1
        new = frozenset(seq for seq in seqs - known if seq > cursor)
        return cls(stay, cursor, end, new, has_beyond=bool(new or known))


async def _reached(work: Work, move: _Move, tail: Tail) -> int:
    """Move on over what the device need not acknowledge: its own messages, for instance."""
    if move.cursor >= move.end:
        return move.end
    if not move.has_beyond and (newest := tail.newest(move.stay.channel)) is not None:
        cursor = move.cursor
        while cursor < move.end:
            following = tail.payload(move.stay.channel, cursor + 1)
            if following is None or _is_for(move.stay, following):
                break
            cursor += 1
        # Beyond the newest comes only what is written in this very transaction. Some of it may be
        # the device's own: its next acknowledgement moves on over that.
        if cursor >= min(newest, move.end) or following is not None:
            return cursor
    unread = await progress.first_unread(work.tx, move.stay, move.cursor)
    return move.end if unread is None else min(unread - 1, move.end)


def _is_for(stay: MemberRow, item: Item) -> bool:
    if item.lane == HANDSHAKE_LANE:
        return True
    return item.sender != stay.device and item.epoch >= stay.joined_epoch
