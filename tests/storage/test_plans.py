"""What every message asks of the database costs the same however much is stored."""

from __future__ import annotations

import pytest

from liaison.storage import (
    agreements,
    channels,
    devices,
    enrolments,
    items,
    joins,
    members,
    progress,
    questions,
    tables,
    unread,
)
from liaison.storage.engine import Database


async def test_no_statement_of_the_hot_path_reads_a_whole_table(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL reads small tables whole, and rightly; the statements are the same")
    asked: list[str] = []

    async with database.write() as tx:
        connection = (await tx.get_raw_connection()).driver_connection
        assert connection is not None
        connection.set_trace_callback(asked.append)
        await channels.lock(tx, [bytes(16), b"1" * 16])
        await questions.ask(tx, channels.with_ids(tx, [bytes(16), b"1" * 16]))
        await questions.ask(tx, agreements.changes_under([bytes(16), b"1" * 16]))
        await questions.ask(tx, members.stays_in(tx, [(bytes(16), 2), (bytes(16), 3)]))
        await progress.reading(tx, [(bytes(16), 2), (bytes(16), 3)], firmly=True)
        await progress.acknowledged_beyond(tx, [1, 2])
        await members.endpoints_in(tx, [1, 2])
        await devices.standing(tx, [1, 2])
        await devices.still_good(tx, [(1, "a"), (2, "b")])
        some = [(bytes(16), 2, bytes(16)), (bytes(16), 3, bytes(16))]
        await questions.ask(tx, items.stored_as(tx, some))
        await items.payloads(tx, 1, [1, 2, 3])
        stretch = unread.LaneStretch(1, 5, 9)
        await unread.run(tx, unread.Reader(1, 2, 3, 0), stretch, limit=3, max_bytes=9)
        await questions.ask(tx, progress.stays_of([1, 2]))
        await progress.channels_to_read(tx, [1, 2])
        await joins.welcome(tx, 1)
        await items.expire(tx, now_ms=1, limit=10)
        connection.set_trace_callback(None)
        plans = [
            (await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")).all()
            for statement in asked
        ]

    steps = [str(row.detail) for plan in plans for row in plan]
    assert len(plans) == 16
    assert [step for step in steps if step.startswith("SCAN")] == []


async def test_no_page_of_a_list_reads_a_whole_table(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("as above")
    asked: list[str] = []

    async with database.write() as tx:
        connection = (await tx.get_raw_connection()).driver_connection
        assert connection is not None
        connection.set_trace_callback(asked.append)
        await members.channels_of(tx, 1, after=5, limit=3)
        await members.ever_in(tx, 1, bytes(16))
        await members.counts(tx, [1, 2])
        await members.present_in(tx, [1, 2])
        await channels.removals_in(tx, [1, 2])
        await devices.listed(tx, [1, 2], after="nor/a#d1", limit=3)
        await devices.of_devices(tx, [1, 2])
        await enrolments.listed(tx, 1, limit=3)
        await enrolments.by_lookups(tx, [bytes(16)])
        await agreements.summaries(tx, 1, after="a", limit=3)
        connection.set_trace_callback(None)
        plans = [
            (await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")).all()
            for statement in asked
        ]

    steps = [str(row.detail) for plan in plans for row in plan]
    known = [table.name for table in tables.metadata.sorted_tables]
    assert len(plans) == 10
    assert [s for s in steps if s.startswith("SCAN") and s.split()[1] in known] == []
