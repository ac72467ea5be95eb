"""What waits for devices is added up in steps of bounded work."""

from __future__ import annotations

import pytest

from liaison.storage import backlog, channels, members, progress
from liaison.storage.backlog import BEGIN, Backlog
from liaison.storage.engine import Database
from tests.support.rows import add_channel, add_device, add_member

CHANNELS = 5


async def fill(database: Database) -> None:
    """Five channels of two, with heads 0 to 4; one device has left the last, and read the third."""
    async with database.write() as tx:
        devices = [await add_device(tx, name) for name in ("nor/a#d1", "deu/b#d1")]
        for head in range(CHANNELS):
            channel = await add_channel(tx, bytes([head]) * 16)
            stays = [
                await add_member(tx, channel, one.key, leaf) for leaf, one in enumerate(devices)
            ]
            await channels.change(tx, channel, head=head)
            if head == 2:
                await progress.set_cursors(tx, {stays[0]: 2})
        await members.leave(tx, channel, 1, seq=4)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_the_sums_are_the_same_in_steps_of_any_size(database: Database, limit: int) -> None:
    await fill(database)
    walk, steps = BEGIN, 0

    async with database.read() as tx:
        while not walk.is_over:
            walk = await backlog.measure(tx, walk, limit=limit)
            steps += 1

    assert walk.found == Backlog(items=1 + 1 + 2 + 3 + 3 + 4, longest=4, behind=6)
    assert steps == 2 * CHANNELS // limit + 1


async def test_a_step_reads_no_more_than_its_part_of_the_stays(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL reads small tables whole, and rightly; the statements are the same")
    asked: list[str] = []

    async with database.read() as tx:
        connection = (await tx.get_raw_connection()).driver_connection
        assert connection is not None
        connection.set_trace_callback(asked.append)
        await backlog.measure(tx, limit=3)
        connection.set_trace_callback(None)
        (statement,) = [one for one in asked if one.startswith("SELECT")]
        plan = (await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")).all()

    steps = [str(row.detail) for row in plan]
    tables = [step for step in steps if "members" in step or "channels" in step]
    assert len(tables) == 2
    assert all("USING INTEGER PRIMARY KEY" in step for step in tables)
    assert not [step for step in steps if "TEMP B-TREE" in step]
