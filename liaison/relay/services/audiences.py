"""Who can read in a channel, kept in memory by epoch.

Nobody comes or goes within an epoch, so what was read for one stays true.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from liaison.model import EndpointId
from liaison.relay.services import lives
from liaison.relay.services.lives import Life
from liaison.relay.writer import Work
from liaison.storage import members
from liaison.storage.channels import ChannelRow

_KEPT: Final = 16_384


@dataclass(frozen=True, slots=True)
class _Judged:
    """Whether somebody has to go, from one Unix second on and before another."""

    endpoints: frozenset[EndpointId]
    life: Life
    since: int
    until: int | None
    answer: bool

    def holds(self, endpoints: frozenset[EndpointId], life: Life, now: int) -> bool:
        # The very same objects: those of a transaction that was undone never come back.
        same = self.endpoints is endpoints and self.life is life
        return same and self.since <= now and (self.until is None or now < self.until)


class Audiences:
    """The endpoints of each channel's members."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], frozenset[EndpointId]] = OrderedDict()
        self._judged: OrderedDict[tuple[int, int], _Judged] = OrderedDict()

    def remembers(self, rows: Iterable[ChannelRow]) -> bool:
        """Return whether nobody has to be read to know who is in these channels."""
        return all((row.key, row.epoch) in self._known for row in rows)

    async def find(
        self, work: Work, rows: Iterable[ChannelRow]
    ) -> dict[int, frozenset[EndpointId]]:
        """Return the endpoints by channel.

        Args:
            work: the transaction that decides.
            rows: of the channels, locked, so that their epoch stays.
        """
        found: dict[int, frozenset[EndpointId]] = {}
        missing: dict[int, int] = {}
        for row in rows:
            known = self._known.get((row.key, row.epoch))
            if known is None:
                missing[row.key] = row.epoch
            else:
                found[row.key] = known
        if missing:
            names = await members.endpoints_in(work.tx, missing)
            for channel, epoch in missing.items():
                known = frozenset(map(EndpointId.parse, names.get(channel, ())))
                found[channel] = known
                # The epoch may have begun in this very transaction: rolled back, it would
                # come again with other members.
                work.after_commit(partial(self._keep, (channel, epoch), known))
        return found

    def overstay(
        self, row: ChannelRow, endpoints: frozenset[EndpointId], life: Life, now: int
    ) -> bool:
        """Return whether one of the endpoints has to leave the channel.

        Worked out once for an epoch and a life, and again when time changes something.

        Args:
            row: the channel's, locked.
            endpoints: of its members, as `find` gave them.
            life: of its agreement.
            now: Unix seconds.
        """
        key = (row.key, row.epoch)
        judged = self._judged.get(key)
        if judged is None or not judged.holds(endpoints, life, now):
            answer = lives.anyone_due(life, row.policy, endpoints, now)
            judged = _Judged(endpoints, life, now, life.next_instant(now), answer)
            self._judged[key] = judged
            if len(self._judged) > _KEPT:
                self._judged.popitem(last=False)
        return judged.answer

    def _keep(self, key: tuple[int, int], endpoints: frozenset[EndpointId]) -> None:
        self._known[key] = endpoints
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
