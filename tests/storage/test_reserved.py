"""Which connections readers get: a crowd keeps nobody from what must not be late, and few are kept busy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage import tables
from liaison.storage.engine import Database

CROWD = 16


async def _driver(tx: AsyncConnection) -> object:
    return (await tx.get_raw_connection()).driver_connection


async def test_what_must_not_be_late_waits_for_no_crowd_of_readers(database: Database) -> None:
    async with AsyncExitStack() as stack:
        crowd = [
            asyncio.create_task(stack.enter_async_context(database.read())) for _ in range(CROWD)
        ]
        done, waiting = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        assert done
        assert waiting

        async with database.read(reserved=True) as tx:
            found = await tx.scalar(select(tables.meta.c.value).limit(1))

        assert found is not None
        assert any(not one.done() for one in crowd)
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def test_readers_that_come_one_after_the_other_fill_the_memory_of_one_connection(
    database: Database,
) -> None:
    async with database.read() as one, database.read() as other:
        assert await _driver(one) is not await _driver(other)

    used = set()
    for _ in range(4):
        async with database.read() as tx:
            used.add(await _driver(tx))

    assert len(used) == 1
