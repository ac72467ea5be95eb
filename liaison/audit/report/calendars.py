"""The days of a range as the labels of a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Final

_EPOCH: Final = date(1970, 1, 1)
_MOST_BARS: Final = 45


class Calendar:
    """Days as the labels of a plot: put together to longer units where there are too many."""

    def __init__(self, days: range) -> None:
        self.unit, self._label, step = next(
            (unit, label, step)
            for unit, label, length, step in _UNITS
            if len(days) <= _MOST_BARS * length
        )
        # No unit is shorter than its step, so none is left out.
        seen = [*days[::step], *days[-1:]]
        self.labels = list(dict.fromkeys(map(self._label, seen)))

    def sums(self, counts: Iterable[tuple[int, int]]) -> list[int]:
        """Return the sum for each label of (day, count)."""
        sums: Counter[str] = Counter()
        for day, count in counts:
            sums[self._label(day)] += count
        return [sums[label] for label in self.labels]


def _day(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def _week(day: int) -> str:
    year, week, _ = (_EPOCH + timedelta(days=day)).isocalendar()
    return f"{year}-W{week:02}"


def _month(day: int) -> str:
    return _day(day)[:7]


def _year(day: int) -> str:
    return _day(day)[:4]


def _century(day: int) -> str:
    return f"{_day(day)[:2]}00s"


_UNITS: Final[tuple[tuple[str, Callable[[int], str], int, int], ...]] = (
    ("day", _day, 1, 1),
    ("week", _week, 7, 7),
    ("month", _month, 30, 28),
    ("year", _year, 365, 365),
    ("century", _century, 1 << 40, 36_524),
)
"""Names, labels, the days that one stands for, and fewer days than the shortest has."""
