"""When PostgreSQL plans the statements of a connection that writes, and how.

They are prepared once and planned for any values, or planning would cost as much as they do. A plan has to
suit tables that are full, though, also where it was made for empty ones.
"""

from __future__ import annotations

import math
from typing import Final

PLANS: Final = {
    # Few rows of large tables, each by an index, in the order in which they are named: that order
    # is the one in which rows are locked.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Settings of the writer's connections: statements are planned once in a while, not each time."""
REPLAN: Final = 1.0
"""Seconds after which a writer may have its statements planned anew. What was planned for an empty table
reads all of a channel for each message as soon as it is full, until PostgreSQL looks at the table."""
REPLAN_AT_LATEST: Final = 10.0
"""Seconds after which it has, however few transactions there were: whoever writes little waits seldom."""
FEW: Final = 16
"""Transactions that fill no table."""


class Replanning:
    """When a connection's statements are planned anew.

    As soon as as many transactions have begun since the last time as before it, and a few, for then its tables
    may have twice as many rows, and after a while in any case, for others write them too. Transactions that are
    one statement do not count: they look for nothing.
    """

    def __init__(self) -> None:
        self._at = -math.inf
        self._begun = 0
        self._due = 0

    def words(self, now: float) -> str:
        """Return what a transaction begins with, or nothing; it counts as begun.

        Args:
            now: seconds of a clock that never goes back.
        """
        self._begun += 1
        age = now - self._at
        if age < REPLAN or (age < REPLAN_AT_LATEST and self._begun < self._due):
            return ""
        self._at = now
        self._due = 2 * self._begun + FEW
        return "DISCARD PLANS; "
