"""What devices have acknowledged, told to the log as ranges: one entry for many items.

A stay's row says how far its device has got and how much of that the log knows. The worker that
calls `tell` looks every few seconds, and once more when the relay stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from liaison.model import ChannelId, DeviceId, Precedence
from liaison.relay.services import log_successors
from liaison.relay.services.book import Book
from liaison.relay.services.entries import channel as entries
from liaison.relay.services.entries.channel import Place
from liaison.relay.services.telling import tell
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import channels, deliveries
from liaison.storage.engine import Database
from liaison.values import dataclass

_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Deliveries:
    """Tells the log what was delivered."""

    database: Database
    writer: Writer
    book: Book

    async def tell(self) -> None:
        """Tell of all that was acknowledged and is not in the log yet.

        Raises:
            UnavailableError: the writer takes nothing; the next turn tells it.
        """
        while True:
            async with self.database.read() as tx:
                stays = await deliveries.untold(tx, _AT_ONCE)
            if stays:
                await self.writer.submit(_Tell(self.book, stays))
            if len(stays) < _AT_ONCE:
                return


@dataclass
class _Tell(Operation[None]):
    book: Book
    stays: Sequence[int]
    precedence: int = Precedence.DEFERRED

    async def apply(self, work: Work) -> None:
        # Another node may have told some of them since they were looked for.
        told = await deliveries.take(work.tx, self.stays)
        rows = await channels.by_keys(work.tx, {one.channel for one in told})
        texts = await self.book.agreements(work.tx, {row.agreement for row in rows.values()})
        present = await deliveries.parties_in(work.tx, rows)
        for one in told:
            row, device = rows[one.channel], DeviceId.parse(one.device)
            # Who has left the channel may still see what it has fetched of it.
            audience = tuple(sorted({*present.get(row.key, ()), str(device.party)}))
            place = Place(texts[row.agreement], ChannelId(row.id), row.key, audience)
            # Between the rooms of two logs no number was given out.
            first = max(one.first, log_successors.before_room(one.last) + 1)
            if first <= one.last:
                tell(work, [entries.delivered(place, device, first, one.last)])
