"""Who can read in which channel is kept, for so many in all, as long as it is true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from liaison.relay.services.audiences import _BESIDE, Audiences
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import channels
from liaison.storage.channels import ChannelRow
from liaison.storage.engine import Database
from tests.support.rows import add_channel, add_device, add_member

NAMES = ("nor/a", "nor/b", "nor/c")
EACH = len(NAMES) + _BESIDE


@dataclass
class Look(Operation[list[int]]):
    """Finds the audiences of channels, and says how many they are; in vain where it is told so."""

    audiences: Audiences
    rows: tuple[ChannelRow, ...]
    in_vain: bool = False

    async def apply(self, work: Work) -> list[int]:
        found = await self.audiences.find(work, self.rows)
        if self.in_vain:
            raise ZeroDivisionError
        return [len(found[row.key]) for row in self.rows]


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    made = Writer(database)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def rows(database: Database) -> tuple[ChannelRow, ...]:
    """Three channels of three endpoints."""
    ids = [bytes([n]) * 16 for n in range(3)]
    async with database.write() as tx:
        devices = [await add_device(tx, f"{name}#d1") for name in NAMES]
        for id_ in ids:
            channel = await add_channel(tx, id_)
            for leaf, device in enumerate(devices):
                await add_member(tx, channel, device.key, leaf)
        found = await channels.lock(tx, ids)
    return tuple(found[id_] for id_ in ids)


def kept(audiences: Audiences, rows: tuple[ChannelRow, ...]) -> list[bool]:
    return [audiences.remembers([row]) for row in rows]


async def test_so_many_endpoints_are_kept_and_those_used_longest_ago_go(
    writer: Writer, rows: tuple[ChannelRow, ...]
) -> None:
    audiences = Audiences(most=2 * EACH)

    assert await writer.submit(Look(audiences, rows[:2])) == [3, 3]
    assert await writer.submit(Look(audiences, rows[:1])) == [3]
    assert await writer.submit(Look(audiences, rows[2:])) == [3]

    assert kept(audiences, rows) == [True, False, True]


async def test_of_a_channel_one_epoch_is_kept(writer: Writer, rows: tuple[ChannelRow, ...]) -> None:
    audiences = Audiences(most=EACH)
    old, new = rows[0], replace(rows[0], epoch=rows[0].epoch + 1)

    await writer.submit(Look(audiences, (old,)))
    await writer.submit(Look(audiences, (new,)))

    assert kept(audiences, (old, new)) == [False, True]


async def test_what_was_found_in_a_transaction_that_is_undone_is_not_kept(
    writer: Writer, rows: tuple[ChannelRow, ...]
) -> None:
    audiences = Audiences()

    with pytest.raises(ZeroDivisionError):
        await writer.submit(Look(audiences, rows, in_vain=True))

    assert kept(audiences, rows) == [False, False, False]
