"""Which part of an agreement's log is for a party: all of it, or what there was until it left.

A party that has withdrawn or was excluded reads on for an hour, which shows it that its word and
the removal of its devices were logged. From then on it keeps what it could read, to verify its own
past: the tree up to the first kept checkpoint that has all of that hour, and the openings that were
for it. What came later would tell it, without names but exactly, the traffic of channels that it
was put out of.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.model import PartyCode
from liaison.relay.services.lives import Life
from liaison.storage import logs_reading
from liaison.storage.logs import LogRow
from liaison.storage.logs_reading import EntryRow
from liaison.values import dataclass

AFTERWARDS_MS: Final = 3_600_000
"""Until so long after it left a party reads on."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads.

    Args:
        party: code of the party.
        until_ms: what is of a later time is not for it, Unix milliseconds; None while it has a
            part.
    """

    party: str
    until_ms: int | None = None

    def may_open(self, row: EntryRow) -> bool:
        """Whether what opens an entry is for the party.

        What is for every party is for those that have a part; one that has left keeps what was for
        it.
        """
        return row.may_open(self.party) and (row.audience is not None or self.is_in_time(row))

    def is_in_time(self, row: EntryRow) -> bool:
        """Whether the party had a part when the entry was logged, or had just left."""
        return self.until_ms is None or row.time <= self.until_ms


def reader(life: Life, party: PartyCode, now: int) -> Reader | None:
    """Return a party as a reader of an agreement's log; None where no version ever named it.

    Args:
        life: of the agreement.
        party: whose view.
        now: Unix seconds.
    """
    if life.naming(party) is None:
        return None
    if life.has_part(party, now):
        return Reader(str(party))
    return Reader(str(party), life.left.get(party, 0) + AFTERWARDS_MS)


class View(NamedTuple):
    """How far a log is for a reader.

    Args:
        size: entries under the checkpoint; 0 for none.
        cosigned: the newest checkpoint with a quorum that is for the reader, as a note.
        newest: the newest that was signed, where that is for the reader.
        is_bound: whether nothing beyond the checkpoint is for the reader, not even files.
    """

    size: int
    cosigned: bytes | None
    newest: bytes | None
    is_bound: bool = False


async def view(tx: AsyncConnection, row: LogRow, reader: Reader) -> View:
    """Return how far a log is for a reader; it never becomes less."""
    if reader.until_ms is None:
        return View(row.cosigned_size, row.cosigned, row.published)
    end = await logs_reading.index_at(tx, row.key, reader.until_ms, below=row.cosigned_size)
    if end == 0:
        # Nothing is cosigned yet, or the log follows one that ended before.
        return View(0, None, None, is_bound=True)
    kept = await logs_reading.checkpoint_from(tx, row.key, end)
    if kept is None:
        return View(row.cosigned_size, row.cosigned, None, is_bound=True)
    return View(kept.size, kept.note, None, is_bound=True)
