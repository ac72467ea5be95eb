"""Who can read in a channel, kept in memory by epoch.

Nobody comes or goes within an epoch, so what was read for one stays true.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Final

from liaison.model import EndpointId
from liaison.relay.writer import Work
from liaison.storage import members
from liaison.storage.channels import ChannelRow

_KEPT: Final = 4096


class Audiences:
    """The endpoints of each channel's members."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], frozenset[EndpointId]] = OrderedDict()

    async def find(
        self, work: Work, rows: Iterable[ChannelRow]
    ) -> dict[int, frozenset[EndpointId]]:
        """Return the endpoints by channel.

        Args:
            work: the transaction that decides.
            rows: of the channels, locked, so that their epoch stays.
        """
        found = {}
        for row in rows:
            key = (row.key, row.epoch)
            known = self._known.get(key)
            if known is None:
                names = await members.endpoints(work.tx, row.key)
                known = frozenset(EndpointId.parse(name) for name in names)
                # The epoch may have begun in this very transaction: rolled back, it would
                # come again with other members.
                work.after_commit(partial(self._keep, key, known))
            found[row.key] = known
        return found

    def _keep(self, key: tuple[int, int], endpoints: frozenset[EndpointId]) -> None:
        self._known[key] = endpoints
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
