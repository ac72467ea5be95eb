"""Logs: their rows, and appending to them.

A log's entries have no gaps: whoever appends compares the size in the log's row and swaps it
with the state, which takes the row's lock on PostgreSQL; SQLite has one writer. What is read of
logs beyond their rows is in `liaison.storage.logs_reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Update, bindparam, case, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.conflicts import insert_if_new
from liaison.storage.connections import postgres
from liaison.storage.many_rows import ForEach, insert_rows
from liaison.storage.padding import padded
from liaison.storage.quick import Quick
from liaison.storage.tables import channels, log_checkpoints, log_entries, log_openings, logs

_HOUR_MS: Final = 3_600_000


class LogRow(NamedTuple):
    """One log.

    Args:
        key: of the row.
        origin: its name for good.
        agreement: whose log it is; None for the relay's own.
        generation: 1, or more for a log that follows another.
        size: entries in it.
        state: the sequencer's, encoded.
        published_size: entries under the newest signed checkpoint; 0 for none.
        published: that checkpoint as a note.
        cosigned_size: entries under the newest checkpoint with a quorum; 0 for none.
        cosigned: that checkpoint as a note.
        created_at: Unix milliseconds.
    """

    key: int
    origin: str
    agreement: str | None
    generation: int
    size: int
    state: bytes
    published_size: int
    published: bytes | None
    cosigned_size: int
    cosigned: bytes | None
    created_at: int


class Entry(NamedTuple):
    """An entry to be stored, in the order of the table's columns; `at` is its index."""

    log: int
    at: int
    type: str
    time: int
    channel: int | None
    seq: int | None
    mark: bytes | None
    data: bytes


class Openings(NamedTuple):
    """What opens an entry, in the order of the table's columns; see `audience`."""

    log: int
    at: int
    audience: str | None
    data: bytes


_l = logs.c
_ROW = select(*(_l[name] for name in LogRow._fields))
_IN_ORDER = _ROW.order_by(_l.generation, _l.key)
_NAMED = Quick(_IN_ORDER.where(_l.agreement.in_(bindparam("names", expanding=True))))
_NAMED_LOCKED = Quick(
    _IN_ORDER.where(_l.agreement.in_(bindparam("names", expanding=True))).with_for_update()
)
_ROOT = Quick(_IN_ORDER.where(_l.agreement.is_(None)))
_ROOT_LOCKED = Quick(_IN_ORDER.where(_l.agreement.is_(None)).with_for_update())


@lru_cache(maxsize=1024)
def audience(codes: tuple[str, ...] | None) -> str | None:
    """Return parties' codes as the column has them; None is every party."""
    return None if codes is None else f",{','.join(sorted(codes))},"


async def listing(tx: AsyncConnection) -> list[LogRow]:
    """Return all logs, the relay's own first."""
    query = _ROW.order_by(_l.agreement.is_not(None), _l.agreement, _l.generation)
    return [LogRow(*row) for row in await tx.execute(query)]


async def find(tx: AsyncConnection, agreement: str | None) -> LogRow | None:
    """Return the log that an agreement's entries go into now, or the relay's own for None."""
    found = await find_all(tx, [agreement])
    return found.get(agreement)


async def find_all(
    tx: AsyncConnection, agreements: Collection[str | None], *, lock: bool = False
) -> dict[str | None, LogRow]:
    """Return the newest logs of some agreements, and the relay's own for None.

    Args:
        lock: hold the rows until the transaction ends, all in one order.
    """
    named = [a for a in agreements if a is not None and "\0" not in a]
    found: list[Any] = []
    # The relay's own always before the others, as two nodes may lock both.
    if None in agreements:
        found += await (_ROOT_LOCKED if lock else _ROOT).rows(tx)
    if named:
        found += await (_NAMED_LOCKED if lock else _NAMED).rows(tx, {"names": padded(named)})
    return {row.agreement: row for row in (LogRow(*one) for one in found)}


async def of_generation(
    tx: AsyncConnection, agreement: str | None, generation: int
) -> LogRow | None:
    """Return one log of an agreement, or of the relay's own for None."""
    if generation >= 1 << 31 or (agreement is not None and "\0" in agreement):
        return None
    whose = _l.agreement.is_(None) if agreement is None else _l.agreement == agreement
    row = (await tx.execute(_ROW.where(whose, _l.generation == generation))).first()
    return None if row is None else LogRow(*row)


async def by_keys(tx: AsyncConnection, keys: Collection[int]) -> list[LogRow]:
    """Return some logs."""
    query = _ROW.where(_l.key.in_(padded(sorted(keys)))).order_by(_l.key)
    return [LogRow(*row) for row in await tx.execute(query)]


async def create(
    tx: AsyncConnection,
    origin: str,
    agreement: str | None,
    generation: int,
    state: bytes,
    *,
    now_ms: int,
) -> int | None:
    """Make an empty log; return its key, or None where another node has just made it."""
    values = {
        "origin": origin,
        "agreement": agreement,
        "generation": generation,
        "size": 0,
        "state": state,
        "created_at": now_ms,
    }
    made = await tx.execute(insert_if_new(tx, logs, values).returning(_l.key))
    key = made.scalar_one_or_none()
    return None if key is None else int(key)


class Step(NamedTuple):
    """A log's size and state, to be swapped for what comes next."""

    log: int
    old: int
    new: int
    state: bytes


def swap_with_channels(tx: AsyncConnection) -> bool:
    """Whether `advance` goes out together with `channels.set_heads`, and nothing is locked yet (PostgreSQL)."""
    database = postgres(tx)
    return database is not None and database.holds_nothing and database.writes(channels.name)


def _swap(row: Callable[[str], Any]) -> Update:
    return (
        update(logs)
        .where(_l.key == row("log"), _l.size == row("old"))
        .values(size=row("new"), state=row("next"))
    )


_STEP = {"log": _l.key, "old": _l.size, "new": _l.size, "next": _l.state}
_ADVANCE = ForEach(_swap, **_STEP)
_later = logs.alias("later")
_IS_LATER: Final = _later.c.generation > _l.generation
# A node that waited for the row's lock does not see the successor that was made meanwhile. Two questions, because
# each of them finds its rows by the index, and one for both would look through all logs.
_ADVANCE_NEWEST = ForEach(
    lambda row: _swap(row).where(
        ~exists().where(_later.c.agreement == _l.agreement, _IS_LATER),
        ~exists().where(_later.c.agreement.is_(None), _l.agreement.is_(None), _IS_LATER),
    ),
    **_STEP,
)


async def advance(tx: AsyncConnection, steps: Sequence[Step]) -> None:
    """Swap the sizes and states of logs, each for the first and only time in a transaction.

    Raises:
        OvertakenError: one has another size than it was read with, or a successor; said when it is
            written, at the latest before the commit.
    """
    query = _ADVANCE if tx.dialect.name == "sqlite" else _ADVANCE_NEWEST
    await query.change(tx, steps, all_of_them=True)


async def append(
    tx: AsyncConnection, entries: Sequence[Entry], openings: Sequence[Openings]
) -> None:
    """Store entries at the places that `advance` has taken, and what opens them."""
    await insert_rows(tx, (log_entries, entries), (log_openings, openings))


# --- checkpoints ------------------------------------------------------------------------


class Signed(NamedTuple):
    """A checkpoint as a note, of a log and a size."""

    log: int
    size: int
    note: bytes


_NONE: Final = -1
"""The size of a checkpoint that is not there."""


def _sign(row: Callable[[str], Any]) -> Update:
    newer = _l.published_size < row("at")
    # One of the same size is replaced: the new one has more cosignatures.
    better = _l.cosigned_size <= row("cosigned_at")
    return (
        update(logs)
        .where(_l.key == row("log"), or_(newer, better))
        .values(
            published_size=case((newer, row("at")), else_=_l.published_size),
            published=case((newer, row("note")), else_=_l.published),
            cosigned_size=case((better, row("cosigned_at")), else_=_l.cosigned_size),
            cosigned=case((better, row("cosigned_note")), else_=_l.cosigned),
        )
    )


_SIGN: Final = ForEach(
    _sign, log=_l.key, at=_l.size, note=_l.state, cosigned_at=_l.size, cosigned_note=_l.state
)
_kept = log_checkpoints.c
_KEEP: Final = ForEach(
    lambda row: insert(log_checkpoints).from_select(
        ["log", "size", "time", "note"],
        select(row("log"), row("at"), row("now"), row("note")).where(
            ~exists().where(
                _kept.log == row("log"),
                or_(_kept.time >= row("hour"), _kept.size >= row("at")),
            )
        ),
    ),
    log=_kept.log,
    at=_kept.size,
    now=_kept.time,
    note=_kept.note,
    hour=_kept.time,
)


async def sign(
    tx: AsyncConnection, published: Sequence[Signed], cosigned: Sequence[Signed], *, now_ms: int
) -> None:
    """Store signed checkpoints, where the ones that are there are smaller, all at once.

    Args:
        tx: the transaction.
        published: signed by the relay.
        cosigned: with a quorum, and so published too. Of those of a log, the first of each hour is kept
            for good.
        now_ms: Unix milliseconds.
    """
    newest: dict[int, Signed] = {}
    for one in (*published, *cosigned):
        if one.log not in newest or one.size > newest[one.log].size:
            newest[one.log] = one
    best: dict[int, Signed] = {}
    for one in cosigned:
        if one.log not in best or one.size >= best[one.log].size:
            best[one.log] = one
    none = Signed(0, _NONE, b"")
    rows = []
    for log, one in sorted(newest.items()):
        cosigned_one = best.get(log, none)
        rows.append((log, one.size, one.note, cosigned_one.size, cosigned_one.note))
    await _SIGN.change(tx, rows)
    hour = now_ms - now_ms % _HOUR_MS
    firsts = {one.log: one for one in reversed(cosigned)}
    # None where there is one of this hour, or this one from an hour after which nothing was logged.
    kept = [(one.log, one.size, now_ms, one.note, hour) for _, one in sorted(firsts.items())]
    await _KEEP.change(tx, kept)
