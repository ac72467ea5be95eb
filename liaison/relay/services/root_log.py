"""The root log's periods: in each, where every partnership's log stands, whether it grew or not.

An entry shows its period and a commitment, nothing else. So the root log, which all of the relay's
users can read, ties the partnerships' logs to one history without showing who writes how much; and
whoever is later shown an entry's opening can tell what a log's size was in that minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from liaison.model import Precedence
from liaison.relay.services.entries import administration as entries
from liaison.relay.services.telling import tell
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import logs, periods
from liaison.tlog.sequencer import State
from liaison.values import dataclass

PERIOD_MS: Final = 60_000
_NAME: Final = "log_period"


@dataclass
class RootLog:
    """Tells of the partnerships' logs, once in each period over all nodes."""

    writer: Writer
    clock: Callable[[], int]
    _begun: int = -1

    async def keep(self) -> None:
        """Tell of the current period, if that was not done.

        Raises:
            UnavailableError: the writer takes nothing; the next turn tells of it.
        """
        period = self.clock() // PERIOD_MS
        if period > self._begun:
            await self.writer.submit(_Keep(period))
            self._begun = period


@dataclass
class _Keep(Operation[None]):
    period: int
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> None:
        if not await periods.begin(work.tx, _NAME, self.period):
            return
        # Of logs that another has followed nothing more is to be told.
        newest = {row.agreement: row for row in await logs.listing(work.tx)}
        for row in newest.values():
            if row.agreement is not None:
                root = State.decode(row.state).tree.root
                tell(work, [entries.checkpoint(row.origin, row.size, root, self.period)])
