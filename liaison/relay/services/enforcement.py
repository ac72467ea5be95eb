"""Bringing what was decided about an agreement into its channels.

In the transaction that accepts a document, or as soon as time alone has changed
something, the channels of the agreement get the list of who has to go. From then
on they take no message until it is empty. Proposing the removals comes after,
and is taken up again where it failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import groupby
from typing import Final

from liaison.fanout import Bus, topics
from liaison.relay.services import lives, log_successors
from liaison.relay.services.book import Book
from liaison.relay.services.entries import agreements as entries
from liaison.relay.services.lives import Life
from liaison.relay.services.telling import tell as tell_log
from liaison.relay.work import Operation, Work
from liaison.storage import agreements, channels, members
from liaison.storage.channels import ChannelRow
from liaison.storage.members import Seat
from liaison.values import dataclass

CHANGED: Final = "agreements.changed"
"""The note that the devices of an agreement's parties get when it changes."""


async def enforce(work: Work, life: Life, agreement: str, now_ms: int) -> list[bytes]:
    """Write down who has to go in each channel of an agreement.

    Args:
        work: the transaction; it holds the agreement.
        life: as it is after what the transaction has changed.
        agreement: its id.
        now_ms: Unix milliseconds.

    Returns:
        The ids of the channels in which somebody has to go.
    """
    # Locked: a send that holds a channel now is before the change, all others after.
    rows = await channels.lock_agreement(work.tx, agreement)
    present = await members.seats_under(work.tx, agreement)
    seats = {key: list(some) for key, some in groupby(present, lambda seat: seat.channel)}
    known = await channels.removals_under(work.tx, agreement)
    closed = []
    for row in rows:
        due = _due(life, row, seats.get(row.key, ()), now_ms)
        if due != known.get(row.key, set()):
            await channels.set_removals(work.tx, row.key, due)
            # A commit that was judged before now did not know of these leaves: written as
            # judged it would take them off the list and leave them in the group.
            await channels.change(work.tx, row.key, group_version=row.group_version + 1)
        if due:
            closed.append(row.id)
    await agreements.set_enforced(work.tx, agreement, now_ms // 1000)
    return closed


def _due(life: Life, row: ChannelRow, seats: Iterable[Seat], now_ms: int) -> set[int]:
    return set(lives.due(life, row.policy, seats, now_ms // 1000))


def tell(work: Work, bus: Bus, parties: Iterable[int]) -> None:
    """After the commit, hint to the devices of these parties that an agreement has changed."""
    for party in sorted(set(parties)):
        work.after_commit(partial(bus.wake, topics.party(party), CHANGED))


@dataclass
class Enforce(Operation[list[bytes]]):
    """Enforce what time alone has changed; again changes nothing."""

    book: Book
    bus: Bus
    agreement: str
    now_ms: int
    changed: bool
    """Whether a version has come into force, which the parties are told."""

    async def apply(self, work: Work) -> list[bytes]:
        """Write down who has to go; return the channels' ids."""
        await agreements.lock(work.tx, self.agreement)
        life = await self.book.read_life(work.tx, self.agreement)
        if self.changed:
            tell(work, self.bus, await agreements.parties_ever(work.tx, self.agreement))
        await self._record(work, life)
        return await enforce(work, life, self.agreement, self.now_ms)

    async def _record(self, work: Work, life: Life) -> None:
        # Every node enforces what is due, and the first one tells it.
        since = (await agreements.enforced(work.tx))[self.agreement]
        newest = life.in_force(self.now_ms // 1000)
        if newest is None or newest == life.in_force(since):
            return
        if await log_successors.is_next(work, newest.agreement):
            await log_successors.begin(work, self.book, newest.agreement, newest.envelope)
        else:
            tell_log(work, [entries.in_force(newest.agreement)])
