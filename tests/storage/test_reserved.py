"""A crowd that has taken every connection keeps nobody from what must not be late."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from sqlalchemy import select

from liaison.storage import tables
from liaison.storage.engine import Database

CROWD = 16


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
