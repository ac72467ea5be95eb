"""Signed checkpoints of logs: the newest counts, and the first of each hour stays."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from liaison.storage import logs
from liaison.storage.engine import Database
from liaison.storage.logs import Signed
from liaison.storage.tables import log_checkpoints

HOUR = 3_600_000


async def _make(database: Database, name: str) -> int:
    async with database.write() as tx:
        key = await logs.create(tx, name, name, 1, b"state", now_ms=0)
    assert key is not None
    return key


async def _sign(
    database: Database, published: Sequence[Signed], cosigned: Sequence[Signed], now_ms: int = 0
) -> None:
    async with database.write() as tx:
        await logs.sign(tx, published, cosigned, now_ms=now_ms)


async def _signed(database: Database, key: int) -> tuple[object, ...]:
    async with database.read() as tx:
        (row,) = await logs.by_keys(tx, [key])
    return row.published_size, row.published, row.cosigned_size, row.cosigned


async def test_of_checkpoints_the_newest_counts_and_of_one_size_the_last_that_was_cosigned(
    database: Database,
) -> None:
    one, other = await _make(database, "one"), await _make(database, "other")

    await _sign(
        database,
        [Signed(one, 5, b"p5"), Signed(one, 3, b"p3"), Signed(other, 1, b"o1")],
        [Signed(one, 2, b"c2")],
    )
    assert await _signed(database, one) == (5, b"p5", 2, b"c2")
    assert await _signed(database, other) == (1, b"o1", 0, None)

    await _sign(database, [Signed(one, 4, b"p4")], [Signed(one, 2, b"c2 and more")])
    assert await _signed(database, one) == (5, b"p5", 2, b"c2 and more")

    await _sign(database, [Signed(one, 9, b"p9")], [Signed(one, 1, b"c1")])
    assert await _signed(database, one) == (9, b"p9", 2, b"c2 and more")


async def test_the_first_cosigned_checkpoint_of_each_hour_is_kept(database: Database) -> None:
    key = await _make(database, "one")
    for now, *sizes in ((0, 1, 2), (HOUR - 1, 3), (HOUR, 4), (HOUR * 2, 4), (HOUR * 3, 5)):
        await _sign(database, [], [Signed(key, size, bytes([size])) for size in sizes], now)

    async with database.read() as tx:
        kept = (await tx.execute(select(log_checkpoints).order_by(log_checkpoints.c.time))).all()
    found = [(row.time, row.size) for row in kept]
    assert found == [(0, 1), (HOUR, 4), (HOUR * 3, 5)]
