"""Whether the times of a log's entries and those of its witnesses agree.

The relay dates entries by its own clock, a witness its cosignatures by another. Who cosigned a
checkpoint has seen all entries that it covers, so none of them can be dated later; and has seen no
more of the log, so none after them should be dated earlier. Both hold but for clocks that differ,
and the second but for a relay that could not show at once what it had: after a crash, or while its
witnesses were away. So this is no reason to reject a bundle, whose bytes are what log and witnesses
have signed; it is told, and the reader asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from liaison import words
from liaison.audit.events import iso
from liaison.tlog.entries import MAX_TIME
from liaison.tlog.policy import Cosigned
from liaison.values import dataclass

TOLERANCE: Final = 300
"""Seconds by which two clocks may differ, and a cosignature may take, without a word."""


@dataclass(frozen=True, slots=True)
class Misdated:
    """Where the log's times and one witness's differ, at the worst of the checkpoints.

    Args:
        witness: by the policy's name.
        is_late: whether an entry is dated after the cosignature that covers it; else one is dated
            before a cosignature that does not.
        checkpoints: how many show it.
        size: of the worst one, in entries.
        cosigned_at: when the witness has cosigned that one, POSIX seconds.
        entry: its number.
        time: of the entry, Unix milliseconds.
    """

    witness: str
    is_late: bool
    checkpoints: int
    size: int
    cosigned_at: int
    entry: int
    time: int

    @property
    def seconds(self) -> int:
        """By how many seconds they differ."""
        return abs(self.time - 1000 * self.cosigned_at) // 1000

    def told(self) -> str:
        """Say it to people, without a full stop."""
        entry = f"entry {self.entry} is dated {iso(self.time)}, {self.seconds} s"
        seen = f"had cosigned {words.entries(self.size)} at {moment(self.cosigned_at)}"
        if not self.is_late:
            seen = f"saw no more than {words.entries(self.size)} at {moment(self.cosigned_at)}"
        order = "after" if self.is_late else "before"
        more = f"; so with {self.checkpoints} checkpoints" if self.checkpoints > 1 else ""
        return f"{entry} {order} {self.witness} {seen}{more}"


def moment(seconds: int) -> str:
    """Write the time of a cosignature: of the witness's choice, and not always in a calendar."""
    known = 1000 * seconds <= MAX_TIME
    return iso(1000 * seconds) if known else f"second {seconds}, after the year 9999"


def places(sizes: Iterable[int]) -> frozenset[int]:
    """Return the entries whose times say it for all: the last that a checkpoint covers, and the next.

    Times never go back within a log, which is checked elsewhere.
    """
    return frozenset(index for size in sizes for index in (size - 1, size))


def compare(checkpoints: Iterable[Cosigned], times: Mapping[int, int]) -> tuple[Misdated, ...]:
    """Compare entries and cosignatures.

    Args:
        checkpoints: whose signatures were verified.
        times: of the entries at their `places`, as far as they are in the range.

    Returns:
        At most two for each witness, sorted by witness, later entries first.
    """
    worst: dict[tuple[str, bool], Misdated] = {}
    for found in _each(checkpoints, times):
        key = (found.witness, not found.is_late)
        known = worst.get(key)
        if known is None:
            worst[key] = found
            continue
        worse = found if found.seconds > known.seconds else known
        worst[key] = replace(worse, checkpoints=known.checkpoints + 1)
    return tuple(worst[key] for key in sorted(worst))


def _each(checkpoints: Iterable[Cosigned], times: Mapping[int, int]) -> Iterator[Misdated]:
    for one in checkpoints:
        size = one.checkpoint.size
        last, following = times.get(size - 1), times.get(size)
        for witness, at in one.witnesses.items():
            found = partial(Misdated, witness, checkpoints=1, size=size, cosigned_at=at)
            if last is not None and last > 1000 * (at + TOLERANCE):
                yield found(is_late=True, entry=size - 1, time=last)
            if following is not None and following < 1000 * (at - TOLERANCE):
                yield found(is_late=False, entry=size, time=following)
