"""What time alone changes: a version comes into force, a guest's time is over.

Messages and commits are judged by the clock anyway. What is done here is to close
the channels and to propose the removals though nobody does anything.
"""

from __future__ import annotations

from collections.abc import Callable

from liaison.fanout import Bus
from liaison.relay.services.book import Book
from liaison.relay.services.enforcement import Enforce
from liaison.relay.services.lives import Life
from liaison.relay.services.removals import Removals
from liaison.relay.writer import Writer
from liaison.storage import agreements
from liaison.storage.engine import Database
from liaison.values import dataclass


@dataclass(frozen=True)
class Calendar:
    """Enforces what has become due; every node does, and twice does no harm."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    removals: Removals
    clock: Callable[[], int]

    async def keep(self) -> int | None:
        """Enforce what has become due since any node did.

        Returns:
            The next Unix second at which something will be due, if that is known.

        Raises:
            Exception: the first that an agreement met; all the others had their turn.
        """
        now_ms = self.clock()
        now = now_ms // 1000
        async with self.database.read() as tx:
            enforced = await agreements.enforced(tx)
            lives = await self.book.lives(tx, enforced)
        failed: list[Exception] = []
        for id_, life in lives.items():
            try:
                await self._keep(id_, life, enforced[id_], now_ms)
            except Exception as error:  # noqa: BLE001 - one agreement must not keep the next from its turn
                failed.append(error)
        if failed:
            raise failed[0]
        following = (life.next_instant(now) for life in lives.values())
        return min((at for at in following if at is not None), default=None)

    async def _keep(self, id_: str, life: Life, enforced: int, now_ms: int) -> None:
        now, due = now_ms // 1000, life.next_instant(enforced)
        if due is None or due > now:
            return
        changed = life.in_force(enforced) != life.in_force(now)
        closed = await self.writer.submit(
            Enforce(self.book, self.bus, id_, now_ms, changed=changed)
        )
        await self.removals.propose_all(closed)
