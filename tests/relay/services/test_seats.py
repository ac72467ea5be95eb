"""What is remembered between groups of messages is true for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Executable, delete, insert, update

from liaison.errors import LiaisonError
from liaison.relay.services.errors import (
    DeviceRevokedError,
    NotMemberError,
    RemovalPendingError,
    UnauthenticatedError,
)
from liaison.relay.services.seats import Seat, Seats
from liaison.storage import channels, members, quick, remembered
from liaison.storage.engine import Database
from liaison.storage.tables import certificates
from liaison.storage.tables import channels as channels_table
from liaison.storage.tables import members as members_table
from tests.relay.services.harness import Actor


@pytest.fixture
async def other(nor: Actor) -> AsyncIterator[Database]:
    """The same database as another process has it."""
    opened = Database.open(nor.relay.database.url.render_as_string(hide_password=False))
    yield opened
    await opened.close()


async def refusal(actor: Actor) -> type[LiaisonError]:
    with pytest.raises(LiaisonError) as caught:
        await actor.send()
    return caught.type


async def cursor(actor: Actor) -> int:
    async with actor.relay.database.read() as tx:
        row = await channels.find(tx, actor.channel.value)
        assert row is not None
        found = await members.find(tx, row.key, actor.caller.key)
    assert found is not None
    return found.cursor


async def test_what_another_process_writes_counts_for_the_next_message(
    nor: Actor, deu: Actor, other: Database
) -> None:
    for actor in (nor, deu, nor, deu):
        await actor.send()

    async with other.write() as tx:
        which = certificates.c.key == nor.caller.certificate
        await tx.execute(update(certificates).where(which).values(revoked_at=1))
        await channels.change(tx, await _key(nor), removals_pending=1)

    assert await refusal(nor) is DeviceRevokedError
    assert await refusal(deu) is RemovalPendingError


async def _key(actor: Actor) -> int:
    async with actor.relay.database.read() as tx:
        row = await channels.find(tx, actor.channel.value)
    assert row is not None
    return row.key


async def test_what_this_process_writes_counts_for_the_next_message(nor: Actor, deu: Actor) -> None:
    for actor in (nor, deu, nor, deu):
        await actor.send()

    await nor.relay.revoke(deu.device)

    assert await refusal(deu) is DeviceRevokedError
    assert await refusal(nor) is RemovalPendingError


async def test_time_passes_for_what_is_remembered(nor: Actor, deu: Actor) -> None:
    await nor.send()
    await nor.send()

    nor.relay.clock.ms += 365 * 24 * 3_600_000

    assert await refusal(nor) is UnauthenticatedError


async def test_who_has_read_all_has_still_read_all_after_each_message_and_nobody_else_has(
    nor: Actor, deu: Actor
) -> None:
    await nor.read_all()
    await deu.read_all()

    first = await nor.send()
    second = await nor.send()
    third = await deu.send()
    fourth = await nor.send()

    assert second.seq == first.seq + 1
    assert (third.seq, fourth.seq) == (second.seq + 1, second.seq + 2)
    assert await cursor(nor) == second.seq
    assert await cursor(deu) == first.seq - 1
    await deu.read_all()
    await nor.read_all()
    fifth = await deu.send()
    assert await cursor(deu) == fifth.seq
    assert await cursor(nor) == fourth.seq


def test_nothing_is_recalled_once_the_mark_is_another_one() -> None:
    seats = Seats()
    key = (1, bytes(16))
    seats.keep(("a", 1), {key: _seat(1)})

    assert seats.recall(("a", 2), [key]) is None
    assert seats.recall(None, [key]) is None
    assert seats.recall(("a", 1), [key, (2, bytes(16))]) is None
    assert seats.recall(("a", 1), [key]) is not None
    seats.keep(("a", 2), {})
    assert seats.recall(("a", 1), [key]) is None


def test_seats_in_a_channel_are_kept_as_long_as_it_is_read_as_they_have_it() -> None:
    seats, mark = Seats(), ("a", 1)
    first, second, third, elsewhere = ((certificate, bytes(16)) for certificate in range(4))
    seats.keep(mark, {first: _seat(1, "as it was"), elsewhere: _seat(2, "as it was")})

    seats.keep(mark, {second: _seat(1, "as it was")})
    assert seats.recall(mark, [first, second, elsewhere]) is not None
    seats.keep(mark, {third: _seat(1, "changed")})

    assert seats.recall(mark, [first]) is None
    assert seats.recall(mark, [second]) is None
    assert seats.recall(mark, [third, elsewhere]) is not None


def _seat(channel: int, basis: str = "") -> Seat:
    row = SimpleNamespace(key=channel)
    return cast("Seat", SimpleNamespace(row=row, basis=basis))


async def test_the_mark_tells_of_all_but_messages(nor: Actor, deu: Actor, other: Database) -> None:
    database = nor.relay.database

    async def now() -> object:
        async with database.write() as tx:
            return await remembered.mark(tx)

    await nor.read_all()
    await deu.read_all()
    before = await now()
    await nor.send()
    await deu.read_all()
    await nor.send()
    assert await now() == before

    async with database.write() as tx:
        await channels.change(tx, await _key(nor), created_at=1)
    after = await now()
    assert after != before

    async with other.write() as tx:
        await channels.change(tx, await _key(nor), created_at=2)
    # On PostgreSQL what others write is found out as this one writes: test_heads.py.
    assert (await now() != after) == database.is_sqlite


@pytest.mark.parametrize(
    "statement",
    [
        update(channels_table).values(head=1, epoch=2),
        update(certificates).values(revoked_at=1),
        delete(members_table),
        insert(members_table).values(cursor=1),
    ],
    ids=lambda one: str(one).split(maxsplit=2)[1],
)
async def test_what_is_not_counted_can_not_change_what_is_remembered(
    nor: Actor, statement: Executable
) -> None:
    if not nor.relay.database.is_sqlite:
        return
    async with nor.relay.database.write() as tx:
        with pytest.raises(LookupError, match="has to be counted"):
            await quick.Quick(statement).change(tx, {})


async def test_who_is_removed_sends_nothing_more(nor: Actor, deu: Actor) -> None:
    await deu.send()
    late = [deu.message() for _ in range(2)]
    accept = deu.relay.services.messages.accept
    await accept(deu.caller, late[0])
    await nor.remove(deu)

    for _ in range(2):
        with pytest.raises(NotMemberError):
            await accept(deu.caller, late[1])
