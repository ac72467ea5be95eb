"""What is remembered of earlier transactions and relied on: PostgreSQL compares it as it writes.

Nothing is asked before. The statement that writes finds out whether what is remembered is still so, as of the
moment at which it begins; where it is not, nothing of it stays (`liaison.storage.postgres_writes`). What such a
comparison can't see, because it is written after that moment, comes with a change of the channels' rows, which
the same statement swaps (`channels.set_heads`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, ColumnClause, Integer, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage import remembered
from liaison.storage.connections import rehearses, require_postgres
from liaison.storage.members import LASTS
from liaison.storage.postgres_words import ForRow, Words
from liaison.storage.tables import agreement_changes, certificates, members


class Still:
    """Something that has to be so of many rows when what waits is written.

    Args:
        make: makes the question that finds a row where it is so.
        columns: by the names of the values, columns whose types they have.
    """

    def __init__(self, make: ForRow, **columns: Column[Any]) -> None:
        self._make = make
        self._columns = columns
        self._words: Words | None = None

    async def check(self, tx: AsyncConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Have it compared, before anything is written.

        Args:
            tx: nothing was written in it.
            rows: values, each row once, in the order of the names.

        Raises:
            OvertakenError: it is not so of one of them; said when it is written.
        """
        if not rows and not rehearses(tx):
            return
        if self._words is None:
            self._words = Words.for_rows(self._make, self._columns, tx)
        # Of no table: what is written by the same statement is no concern of what it reads.
        write = self._words.write(rows, len(rows))._replace(tables=frozenset())
        await require_postgres(tx).later(write)


_c, _m, _a = certificates.c, members.c, agreement_changes.c
_IT_IS: ColumnClause[int] = literal_column("1", Integer())

_UNREVOKED = Still(
    lambda row: select(_IT_IS).where(_c.key == row("certificate"), _c.revoked_at.is_(None)),
    certificate=_c.key,
)
_PRESENT = Still(lambda row: select(_IT_IS).where(_m.key == row("stay"), LASTS), stay=_m.key)
_UNCHANGED = Still(
    lambda row: select(_IT_IS).where(_a.id == row("agreement"), _a.changes == row("times")),
    agreement=_a.id,
    times=_a.changes,
)


async def rely(
    tx: AsyncConnection,
    *,
    unrevoked: Collection[int],
    present: Collection[int],
    changes: Collection[tuple[str, int]],
) -> None:
    """Have it compared that nothing has changed, before anything that was judged by it is written.

    Args:
        tx: nothing was written in it, and something will be.
        unrevoked: keys of certificates that no list has revoked.
        present: keys of stays that last.
        changes: agreements, and how often each has changed.

    Raises:
        OvertakenError: something has changed; said when it is written.
    """
    remembered.rely(tx, doubting=True)
    await _UNREVOKED.check(tx, [(key,) for key in unrevoked])
    await _PRESENT.check(tx, [(key,) for key in present])
    await _UNCHANGED.check(tx, list(changes))
