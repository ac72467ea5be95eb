"""The agreement's word on its log: whose cosignatures count, and for how long they may be missing.

While a log's newest entries lack their quorum, messages flow and show as accepted, not logged. Who
comes into a channel is another matter: members would have to believe in a newcomer that no witness
has seen. So after the grace that the agreement gives, nobody is added until the quorum is back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import UnavailableError
from liaison.policy.agreement import Agreement
from liaison.relay.services.book import Book
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.tlog.policy import Policy
from liaison.trust import log as trust_log
from liaison.values import dataclass


class LogGraceOverError(UnavailableError):
    """The log has lacked its witnesses for longer than the agreement bears.

    Nobody is added to a channel until a quorum has cosigned again. Messages go on.
    """

    code = "log.grace_over"


async def oldest_uncosigned(tx: AsyncConnection, agreement: str) -> int | None:
    """Return the time of the first entry that no quorum has cosigned, Unix milliseconds.

    None where there is none: all is cosigned, or there is no log.
    """
    row = await logs.find(tx, agreement)
    if row is None or row.cosigned_size >= row.size:
        return None
    return await logs_reading.time_of(tx, row.key, row.cosigned_size)


def check(agreement: Agreement, oldest_ms: int | None, now_ms: int) -> None:
    """Check that members may still be added.

    Args:
        agreement: the version in force.
        oldest_ms: from `oldest_uncosigned`.
        now_ms: Unix milliseconds.

    Raises:
        LogGraceOverError: the log has waited for its witnesses for too long.
    """
    if oldest_ms is None or not agreement.witnesses:
        return
    if now_ms - oldest_ms > agreement.log.grace * 1000:
        raise LogGraceOverError(
            f"the log of {agreement.agreement_id} has had no quorum of its witnesses for"
            f" {(now_ms - oldest_ms) // 1000} seconds",
            hint="bring the witnesses back, then add them again; messages go on",
            unchanged="nobody was added",
        )


@dataclass
class LogPolicies:
    """Finds the trust policies of agreements' logs.

    Args:
        database: read only.
        clock: Unix milliseconds.
    """

    database: Database
    clock: Callable[[], int]
    _book: Book = field(default_factory=Book)

    async def find(self, agreement: str, generation: int) -> Policy | None:
        """Return the policy of the version in force, or of the newest; None where none is here."""
        async with self.database.read() as tx:
            life = await self._book.life(tx, agreement)
        version = life.in_force(self.clock() // 1000) or life.newest
        return None if version is None else trust_log.policy(version.agreement, generation)
