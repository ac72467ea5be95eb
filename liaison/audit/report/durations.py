"""Many durations in little room: counts in steps of five percent, and the extremes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

_STEP: Final = math.log(1.05)


class Durations:
    """Durations in seconds. Quantiles are at most five percent too large, never too small."""

    __slots__ = ("_steps", "count", "late", "longest")

    def __init__(self) -> None:
        self._steps: Counter[int] = Counter()
        self.count = 0
        self.late = 0
        self.longest = 0.0

    def add(self, seconds: float, limit: float | None) -> None:
        """Count one; `limit` in seconds, None for none."""
        self._steps[math.ceil(math.log(max(seconds, 0.001)) / _STEP)] += 1
        self.count += 1
        self.late += limit is not None and seconds > limit
        self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float | None:
        """Return what so large a share did not exceed, seconds; None where there is none."""
        wanted, seen = share * self.count, 0
        for step in sorted(self._steps):
            seen += self._steps[step]
            if seen >= wanted and seen:
                return min(math.exp(step * _STEP), self.longest)
        return None


def words(seconds: float | None) -> str:
    """Write a duration for people: `4 min 12 s`."""
    if seconds is None:
        return "—"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, whole = divmod(whole, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
