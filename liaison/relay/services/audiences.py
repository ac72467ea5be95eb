"""Who can read in a channel, kept in memory by epoch.

Nobody comes or goes within an epoch, so what was read for one stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Final

from liaison.model import EndpointId
from liaison.relay.services import lives
from liaison.relay.services.kept import Kept
from liaison.relay.services.lives import Life
from liaison.relay.work import Work
from liaison.storage import members
from liaison.storage.channels import ChannelRow
from liaison.values import dataclass

MOST: Final = 1 << 18
"""Endpoints in all audiences that are kept, of some 80 bytes each."""
_BESIDE: Final = 6
"""What an audience takes beside them, in terms of these."""
_endpoint = lru_cache(maxsize=1 << 14)(EndpointId.parse)
"""The same ones are in many channels, and are kept once; each takes half a kibibyte."""


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
    """The endpoints of each channel's members: of the newest epoch of channels in use.

    Args:
        most: endpoints in all that are kept, and what each channel takes beside them.
    """

    def __init__(self, most: int = MOST) -> None:
        # By channel; the epoch with each.
        self._known: Kept[int, tuple[int, frozenset[EndpointId]]] = Kept(most)
        self._judged: Kept[int, _Judged] = Kept(most)

    def remembers(self, rows: Iterable[ChannelRow]) -> bool:
        """Return whether nobody has to be read to know who is in these channels."""
        return all(self._find(row) is not None for row in rows)

    def _find(self, row: ChannelRow) -> frozenset[EndpointId] | None:
        found = self._known.get(row.key)
        return found[1] if found is not None and found[0] == row.epoch else None

    async def find(
        self,
        work: Work,
        rows: Iterable[ChannelRow],
        names: Mapping[int, Sequence[str]] = MappingProxyType({}),
    ) -> dict[int, frozenset[EndpointId]]:
        """Return the endpoints by channel.

        Args:
            work: the transaction that decides.
            rows: of the channels, locked, so that their epoch stays, where not all of them are remembered or named.
            names: of endpoints of channels, read in one statement with their rows.
        """
        found: dict[int, frozenset[EndpointId]] = {}
        missing: dict[int, int] = {}
        for row in rows:
            known = self._find(row)
            if known is None:
                missing[row.key] = row.epoch
            else:
                found[row.key] = known
        if missing:
            if not missing.keys() <= names.keys():
                names = await members.endpoints_in(work.tx, missing)
            for channel, epoch in missing.items():
                known = frozenset(map(_endpoint, names.get(channel, ())))
                found[channel] = known
                # The epoch may have begun in this very transaction: rolled back, it would
                # come again with other members.
                work.after_commit(partial(self._keep, channel, epoch, known))
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
        judged = self._judged.get(row.key)
        if judged is None or not judged.holds(endpoints, life, now):
            answer = lives.anyone_due(life, row.policy, endpoints, now)
            judged = _Judged(endpoints, life, now, life.next_instant(now), answer)
            self._judged.put(row.key, judged, len(endpoints) + _BESIDE)
        return judged.answer

    def _keep(self, channel: int, epoch: int, endpoints: frozenset[EndpointId]) -> None:
        self._known.put(channel, (epoch, endpoints), len(endpoints) + _BESIDE)
