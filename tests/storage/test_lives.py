"""What is stored of the lives of agreements: changes, statements, proposals, who has to go."""

from __future__ import annotations

import asyncio

from liaison.storage import agreements, channels, devices, members, parties, proposals, statements
from liaison.storage.engine import Database
from liaison.storage.proposals import ProposalRow
from tests.support.rows import add_channel, add_device

ID = "rows"
CHANNEL = bytes(16)


async def test_of_many_that_change_an_agreement_for_the_first_time_none_is_lost(
    database: Database,
) -> None:
    async def change() -> None:
        async with database.write() as tx:
            await agreements.lock(tx, ID)
            await agreements.touch(tx, ID)

    await asyncio.gather(*(change() for _ in range(20)))

    async with database.read() as tx:
        assert await agreements.changes(tx, [ID, "another", "no\0such"]) == {ID: 20}


async def test_an_agreement_is_enforced_forwards_only(database: Database) -> None:
    async with database.write() as tx:
        await agreements.lock(tx, ID)
        before = await agreements.enforced(tx)
        for now in (7, 5):
            await agreements.set_enforced(tx, ID, now)
        after = await agreements.enforced(tx)

    assert (before, after) == ({ID: 0}, {ID: 7})


async def test_the_newest_statements_of_each_party_are_read_and_every_exclusion(
    database: Database,
) -> None:
    async with database.write() as tx:
        for code in ("NOR", "DEU"):
            key = await parties.save(tx, code, b"{}", now_ms=0)
            for number in range(1, 13):
                await statements.add(tx, ID, key, number, code.encode(), now_ms=number)
        await statements.add(tx, ID, key, statements.EXCLUSION, b"out", now_ms=99)
        await statements.add(tx, "another", key, 1, b"other", now_ms=1)

        found = await statements.of_agreement(tx, ID)

    numbers = {code: [row.number for row in found if row.code == code] for code in ("NOR", "DEU")}
    assert numbers == {"NOR": list(range(5, 13)), "DEU": [0, *range(5, 13)]}
    assert [row.code for row in found] == sorted(row.code for row in found)


async def test_proposals_go_with_the_version_that_overtakes_them(database: Database) -> None:
    async with database.write() as tx:
        nor = await parties.save(tx, "NOR", b"{}", now_ms=0)
        deu = await parties.save(tx, "DEU", b"{}", now_ms=0)
        for number, version in enumerate((2, 2, 3)):
            row = ProposalRow(0, ID, version, bytes([number]) * 32, b"{}")
            await proposals.add(tx, row, nor, [nor, deu, deu], now_ms=0)
        counted = await proposals.count(tx, ID, nor)
        seen = len(await proposals.listing(tx, deu))

        await proposals.drop_up_to(tx, ID, 2)

        left = await proposals.listing(tx, deu)
    assert (counted.agreement, counted.all, seen) == (3, 3, 3)
    assert [row.version for row in left] == [3]


async def test_a_seat_says_whether_its_certificate_was_revoked(database: Database) -> None:
    async with database.write() as tx:
        key = await add_channel(tx, CHANNEL)
        for leaf, name in enumerate(("nor/desk#d1", "deu/desk#d1")):
            caller = await add_device(tx, name)
            await members.join(tx, key, caller.key, leaf, name, seq=0, epoch=0)
        await devices.revoke(tx, caller.party_key, ["deu/desk#d1"], now_ms=1)

        under, of_one = await members.seats_under(tx, ID), await members.seats(tx, key)
        nothing = await members.seats_under(tx, "another")

    assert under == of_one
    assert nothing == []
    assert [(seat.name, seat.revoked) for seat in under] == [
        ("nor/desk#d1", False),
        ("deu/desk#d1", True),
    ]


async def test_who_has_to_go_is_read_by_agreement(database: Database) -> None:
    async with database.write() as tx:
        key = await add_channel(tx, CHANNEL)
        await channels.set_removals(tx, key, [3, 1])

        found = await channels.removals_under(tx, ID)
        nothing = await channels.removals_under(tx, "another")
        locked = await channels.lock_agreement(tx, ID)

    assert (found, nothing) == ({key: {1, 3}}, {})
    assert [(row.id, row.removals_pending) for row in locked] == [(CHANNEL, 2)]
