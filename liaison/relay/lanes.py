"""What waits for the writer: a lane for each precedence, the most urgent first."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Final, NamedTuple

from liaison.model import Precedence
from liaison.relay.work import Operation

_RANK: Final = itemgetter(0)


class Waiting(NamedTuple):
    """An operation that waits.

    Args:
        operation: to be written.
        done: told what came of it.
        since: when it was handed in, in monotonic seconds.
    """

    operation: Operation[Any]
    done: Callable[[Any], object]
    since: float


class Lanes:
    """Operations that wait, in the order in which they will be taken."""

    __slots__ = ("_count", "_lanes", "_urgent", "bytes")

    def __init__(self) -> None:
        self._lanes: dict[int, deque[Waiting]] = {}
        self._count = 0
        self._urgent = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def counts(self) -> Counter[int]:
        """Return how many wait, by precedence."""
        return Counter({precedence: len(lane) for precedence, lane in self._lanes.items()})

    def add(self, one: Waiting) -> None:
        """Have one wait behind those that are as urgent."""
        precedence = one.operation.precedence
        lane = self._lanes.get(precedence)
        if lane is None:
            lane = self._lanes[precedence] = deque()
        lane.append(one)
        self._count += 1
        self._urgent += one.operation.is_urgent
        self.bytes += one.operation.size

    def take(self, most: int) -> list[Waiting]:
        """Take the most urgent; what is equally urgent and written together comes side by side.

        Where somebody waits for something urgent, nothing is taken that is less than FLASH.
        """
        taken: list[Waiting] = []
        kinds: dict[int, int] = {}
        least = Precedence.FLASH if self._urgent else min(Precedence)
        for precedence in sorted(self._lanes, reverse=True):
            if precedence < least:
                break
            lane = self._lanes[precedence]
            some = [lane.popleft() for _ in range(min(most - len(taken), len(lane)))]
            # Numbered as they are met, and sorting leaves those of one kind in their order.
            ranks = [kinds.setdefault(id(one.operation.batch()), len(kinds)) for one in some]
            if len(kinds) > 1:
                some = [one for _, one in sorted(zip(ranks, some, strict=True), key=_RANK)]
            taken += some
        self._count -= len(taken)
        if self._urgent:
            self._urgent -= sum([one.operation.is_urgent for one in taken])
        self.bytes -= sum([one.operation.size for one in taken])
        return taken


def waits(group: Iterable[Waiting], now: float) -> list[tuple[int, int, float]]:
    """Return precedences, how many operations of each there are, and how long the first waited."""
    found: dict[int, tuple[int, float]] = {}
    for operation, _, since in group:
        number, first = found.get(operation.precedence, (0, since))
        found[operation.precedence] = number + 1, min(first, since)
    return [(precedence, number, now - first) for precedence, (number, first) in found.items()]
