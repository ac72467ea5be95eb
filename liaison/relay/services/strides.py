"""How far a stay gets by an acknowledgement, found out in memory where other nodes write too: on PostgreSQL.

Nearly all acknowledgements name what comes next, without a hole. Then nothing has to be asked: which stay a
device has in a channel is remembered, the newest items say what it need not acknowledge, and whether
the stay lasts and stands where that begins is compared by the statement that moves it (`progress.stride`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from liaison.relay.services.tail import Tail
from liaison.storage.progress import Reading, Stride
from liaison.storage.unread import Reader

_KEPT: Final = 1 << 14
_UNTOLD: Final = 1 << 10
"""How many numbers that need no acknowledgement are looked at before the last that has one, and before the first."""

Pair: TypeAlias = tuple[bytes, int]
"""A channel's id and a device."""


class Known(NamedTuple):
    """A stay.

    Args:
        reader: what of it never changes.
        cursor: it has read up to there, or further.
    """

    reader: Reader
    cursor: int


class Strides:
    """Remembers which stay a device has in a channel, and how far it has read at least.

    Args:
        tail: the newest items.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._stays: dict[Pair, Known] = {}

    def take(
        self, told: Mapping[Pair, Collection[int]]
    ) -> tuple[list[Stride], dict[Pair, Known]] | None:
        """Return how far stays get, if all of it is found out in memory, and the stays as they are after that.

        They are forgotten, to be kept again once it is durable: what turns out to be wrong is
        not remembered when the transaction is tried again.

        Args:
            told: what each of them has acknowledged.
        """
        strides, stays = [], {}
        for pair, seqs in told.items():
            known = self._stays.get(pair)
            stride = self._stride(known, seqs) if known is not None and seqs else None
            # Where there is a hole it is not even tried.
            if known is None or stride is None or stride.after > known.cursor:
                return None
            strides.append(stride)
            stays[pair] = known._replace(cursor=max(known.cursor, stride.reached))
        for pair in stays:
            del self._stays[pair]
        return strides, stays

    def keep(self, stays: Mapping[Pair, Known], read: Iterable[Pair] = ()) -> None:
        """Remember stays.

        Args:
            stays: to be remembered.
            read: those that were just read; what is not among the stays is remembered no more.
        """
        for pair in read:
            self._stays.pop(pair, None)
        if len(self._stays) + len(stays) > _KEPT:
            self._stays.clear()
        self._stays |= stays

    def _stride(self, known: Known, seqs: Collection[int]) -> Stride | None:
        reader = known.reader
        first, last = min(seqs), max(seqs)
        untold = last - first + 1 - len(seqs)
        if untold:
            if untold > _UNTOLD:
                return None
            between = (seq for seq in range(first, last) if seq not in seqs)
            if not all(self._is_not_for(reader, seq) for seq in between):
                return None
        after, reached = first - 1, last
        least = max(known.cursor, after - _UNTOLD)
        while after > least and self._is_not_for(reader, after):
            after -= 1
        while self._is_not_for(reader, reached + 1):
            reached += 1
        return Stride(reader.member, after, reached)

    def _is_not_for(self, reader: Reader, seq: int) -> bool:
        """Whether an item is in memory, and nothing that the device acknowledges."""
        item = self._tail.payload(reader.channel, seq)
        return item is not None and not reader.is_meant(item)


def lasting(
    found: Iterable[Reading], cursors: Mapping[int, int], beyond: Collection[int]
) -> dict[Pair, Known]:
    """Return the stays that may be remembered.

    Args:
        found: all stays of some pairs, as they were read.
        cursors: to where some have got since, by the stays' keys.
        beyond: keys of stays of which something beyond the cursor is acknowledged.
    """
    kept: dict[Pair, Known] = {}
    ending: set[Pair] = set()
    for stay, channel, _, has_beyond, _ in found:
        pair = (channel, stay.device)
        if stay.left_seq is None:
            if not has_beyond and stay.key not in beyond:
                reader = Reader(stay.channel, stay.device, stay.key, stay.joined_epoch)
                kept[pair] = Known(reader, cursors.get(stay.key, stay.cursor))
        elif stay.cursor < stay.left_seq:
            # An earlier stay that is not read to its end is acknowledged by the same numbers.
            ending.add(pair)
    return {pair: known for pair, known in kept.items() if pair not in ending}
