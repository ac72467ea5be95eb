"""Numbers without gaps, whoever appends and whatever fails; two writers where two are possible."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage import channels, connections, members, progress, questions
from liaison.storage.channels import ChannelRow
from liaison.storage.engine import Database
from liaison.storage.errors import OvertakenError
from liaison.storage.tables import items
from tests.support.rows import Row, add_channel, add_device, add_items, add_member

CHANNEL = bytes(16)


async def append(database: Database, *, fail: bool) -> None:
    with suppress(ZeroDivisionError):
        async with database.write() as tx:
            row = (await channels.lock(tx, [CHANNEL]))[CHANNEL]
            await add_items(tx, row.key, [Row()], first=row.head + 1)
            _ = 1 // (not fail)


async def test_300_concurrent_appends_with_aborts_leave_no_gap(database: Database) -> None:
    chance = random.Random(7)
    async with database.write() as tx:
        await add_channel(tx, CHANNEL)
    fails = [chance.random() < 0.15 for _ in range(300)]

    for at in range(0, 300, 25):
        await asyncio.gather(*(append(database, fail=f) for f in fails[at : at + 25]))

    async with database.read() as tx:
        found = list((await tx.execute(select(items.c.seq).order_by(items.c.seq))).scalars())
        row = await channels.find(tx, CHANNEL)
    assert found == list(range(1, fails.count(False) + 1))
    assert row is not None
    assert row.head == len(found)


async def test_the_cursor_passes_own_messages_and_what_was_sent_before_joining(
    database: Database,
) -> None:
    async with database.write() as tx:
        own = await add_device(tx, "nor/desk#d1")
        other = await add_device(tx, "nor/desk#d2")
        channel = await add_channel(tx, CHANNEL)
        await add_member(tx, channel, own.key, 0, epoch=1)
        rows = [
            Row(sender=own.key, epoch=1),
            Row(sender=other.key, epoch=0),
            Row(sender=own.key, epoch=1),
            Row(kind=1, sender=own.key, epoch=1),
        ]
        await add_items(tx, channel, rows)
        stay = await members.find(tx, channel, own.key)
        assert stay is not None
        first = await progress.first_unread(tx, stay, 0)
        nothing = await progress.first_unread(tx, stay, 4)

    assert first == 4
    assert nothing is None


async def _read(tx: AsyncConnection) -> ChannelRow:
    """What accepting messages reads where it locks nothing."""
    assert await channels.hold(tx, [CHANNEL], firmly=False) == (connections.postgres(tx) is None)
    return (await questions.ask(tx, channels.with_ids(tx, [CHANNEL])))[CHANNEL]


async def _lock(database: Database) -> None:
    async with database.write() as tx:
        await channels.lock(tx, [CHANNEL])


async def _lock_all(database: Database) -> None:
    async with database.write() as tx:
        await channels.lock_agreement(tx, "rows")


async def _append(database: Database) -> None:
    await append(database, fail=False)


@pytest.mark.parametrize("change", [_lock, _lock_all, _append])
async def test_who_has_not_locked_a_channel_is_overtaken_by_whoever_locks_it(
    database: Database, change: Callable[[Database], Awaitable[None]]
) -> None:
    if database.is_sqlite:
        pytest.skip("there the whole database is locked")
    async with database.write() as tx:
        await add_channel(tx, CHANNEL)

    async def overtaken() -> None:
        async with database.write() as tx:
            row = await _read(tx)
            await change(database)
            await channels.set_heads(tx, {row.key: row.head + 1}, {row.key: row.version})

    with pytest.raises(OvertakenError):
        await overtaken()

    async with database.read() as tx:
        row = await channels.find(tx, CHANNEL)
    assert row is not None
    assert row.head == (change is _append)


async def _somebody_waits(database: Database) -> None:
    async with database.read() as tx:
        while not await tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            pass


@pytest.mark.parametrize("undone", [False, True])
async def test_who_waits_for_a_locked_channel_is_overtaken_unless_the_lock_is_undone(
    database: Database, *, undone: bool
) -> None:
    if database.is_sqlite:
        pytest.skip("there the whole database is locked")
    async with database.write() as tx:
        await add_channel(tx, CHANNEL)

    async def swap() -> None:
        async with database.write() as tx:
            row = await _read(tx)
            await channels.set_heads(tx, {row.key: 7}, {row.key: row.version})

    with suppress(ZeroDivisionError):
        async with database.write() as tx:
            await channels.lock(tx, [CHANNEL])
            swapping = asyncio.create_task(swap())
            # It has read the row as it was, and its one statement comes while that is locked.
            await _somebody_waits(database)
            _ = 1 // (not undone)
    (outcome,) = await asyncio.gather(swapping, return_exceptions=True)

    async with database.read() as tx:
        row = await channels.find(tx, CHANNEL)
    assert row is not None
    assert (type(outcome), row.head) == ((type(None), 7) if undone else (OvertakenError, 0))


async def test_who_was_overtaken_locks_first_for_a_while(database: Database) -> None:
    async with database.write() as tx:
        await add_channel(tx, CHANNEL)
    for _ in range(2):
        # Nobody has come between.
        async with database.write() as tx:
            row = await _read(tx)
            await channels.set_heads(tx, {row.key: row.head + 1}, {row.key: row.version})

    with suppress(OvertakenError):
        async with database.write() as tx:
            await channels.set_heads(tx, {row.key: 9}, {row.key: row.version})

    async with database.write() as tx:
        assert await channels.hold(tx, [CHANNEL], firmly=False)


async def _acknowledge(database: Database, device: int, upto: int) -> None:
    async with database.write() as tx:
        held, (one,) = await progress.reading(tx, [(CHANNEL, device)], firmly=False)
        versions = None if held else {one.stay.key: one.version}
        await progress.set_cursors(tx, {one.stay.key: upto}, versions)


async def test_who_has_not_locked_a_stay_is_overtaken_by_whoever_acknowledges_for_it(
    database: Database,
) -> None:
    if database.is_sqlite:
        pytest.skip("there the whole database is locked")
    async with database.write() as tx:
        device = await add_device(tx, "nor/desk#d1")
        channel = await add_channel(tx, CHANNEL)
        stay = await add_member(tx, channel, device.key, 0)
        await add_items(tx, channel, [Row(), Row(), Row()])
    await _acknowledge(database, device.key, 1)

    async def overtaken() -> None:
        async with database.write() as tx:
            held, (one,) = await progress.reading(tx, [(CHANNEL, device.key)], firmly=False)
            assert (held, one.stay.cursor) == (False, 1)
            await _acknowledge(database, device.key, 3)
            await progress.set_cursors(tx, {stay: 2}, {stay: one.version})

    with pytest.raises(OvertakenError):
        await overtaken()

    async with database.write() as tx:
        held, (one,) = await progress.reading(tx, [(CHANNEL, device.key)], firmly=False)
    # And for a while the next one locks first.
    assert (held, one.stay.cursor) == (True, 3)


async def test_channels_are_locked_before_stays_whose_cursors_wait_to_be_written(
    database: Database,
) -> None:
    async with database.write() as tx:
        device = await add_device(tx, "nor/desk#d1")
        channel = await add_channel(tx, CHANNEL)
        stay = await add_member(tx, channel, device.key, 0)
        await add_items(tx, channel, [Row()])

    async with database.write() as tx:
        held, (one,) = await progress.reading(tx, [(CHANNEL, device.key)], firmly=False)
        await progress.set_cursors(tx, {stay: 1}, None if held else {stay: one.version})
        # Unlocked, these would be swapped after the stay: another node that sends does it before.
        assert await channels.hold(tx, [CHANNEL], firmly=False)

    async with database.read() as tx:
        found = await members.find(tx, channel, device.key)
    assert found is not None
    assert found.cursor == 1
