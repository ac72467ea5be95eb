"""PostgreSQL: acknowledgements of what comes next are one statement, which compares where the stay stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.relay.services.strides import lasting
from liaison.storage import connections, progress, remembered
from liaison.storage.members import MemberRow
from liaison.storage.progress import Reading, Stride
from liaison.wire.frames import ItemKind
from liaison.wire.stream import Delivered
from tests.relay.services.harness import Actor


@pytest.fixture(autouse=True)
def _only_postgresql(migrated: str) -> None:
    if migrated.startswith("sqlite"):
        pytest.skip("there a question is no round trip")


async def _acknowledge(actor: Actor, *seqs: int) -> list[str]:
    """Acknowledge messages; return the first words of the statements that it took."""
    asked: list[str] = []
    async with actor.relay.database.write() as tx:
        found = connections.postgres(tx)
        assert found is not None
        driver: Any = found.driver_connection

    def log(one: Any) -> None:
        asked.append(one.query.removeprefix("DISCARD PLANS; ").split()[0])

    driver.add_query_logger(log)
    told = [Delivered(actor.channel, seq, ItemKind.MESSAGE) for seq in seqs]  # type: ignore[arg-type]  # numbers
    await actor.relay.services.delivery.acknowledge(actor.caller, told)
    # Loggers are called a moment later.
    await asyncio.sleep(0)
    driver.remove_query_logger(log)
    return asked


async def _stays(actor: Actor) -> list[MemberRow]:
    """All stays of a device in its channel, the first one first."""
    async with actor.relay.database.read() as tx:
        _, found = await progress.reading(
            tx, [(actor.channel.value, actor.caller.key)], firmly=True
        )
    return [one.stay for one in found]


async def _cursor(actor: Actor) -> int:
    return (await _stays(actor))[-1].cursor


async def _sent(actor: Actor, count: int) -> list[int]:
    return [(await actor.send()).seq for _ in range(count)]


@pytest.fixture
async def reader(nor: Actor, deu: Actor) -> Actor:
    """Deu, who has acknowledged a message of Nor's."""
    await nor.read_all()
    await deu.read_all()
    await _acknowledge(deu, *await _sent(nor, 1))
    return deu


async def test_what_comes_next_is_one_statement(nor: Actor, reader: Actor) -> None:
    seqs = await _sent(nor, 5)

    first = await _acknowledge(reader, *seqs[:3])
    again = await _acknowledge(reader, *seqs[1:3])
    rest = await _acknowledge(reader, *seqs[3:])

    assert [first, again, rest] == [["WITH"]] * 3
    assert await _cursor(reader) == seqs[-1]


async def test_own_messages_are_passed_between_before_and_after(nor: Actor, reader: Actor) -> None:
    before = await _sent(nor, 1)
    await _sent(reader, 2)
    between = await _sent(nor, 1)
    own = await _sent(reader, 2)

    assert await _acknowledge(reader, *before, *between) == ["WITH"]
    assert await _cursor(reader) == own[-1]


async def test_what_leaves_a_hole_is_read_and_remembered_until_it_is_filled(
    nor: Actor, reader: Actor
) -> None:
    seqs = await _sent(nor, 4)
    begin = await _cursor(reader)

    assert len(await _acknowledge(reader, seqs[2])) > 2
    assert await _cursor(reader) == begin
    assert len(await _acknowledge(reader, *seqs[:2])) > 2
    assert await _cursor(reader) == seqs[2]
    await _acknowledge(reader, seqs[3])
    assert await _acknowledge(reader, *await _sent(nor, 1)) == ["WITH"]


async def test_a_hole_that_another_node_has_made_is_noticed(nor: Actor, reader: Actor) -> None:
    seqs = await _sent(nor, 3)
    (stay,) = await _stays(reader)
    async with reader.relay.database.write() as tx:
        await progress.add_beyond(tx, [(stay.key, seqs[1])])

    words = await _acknowledge(reader, seqs[0])

    assert len(words) > 2
    assert await _cursor(reader) == seqs[1]


async def test_nothing_is_tried_in_vain_after_a_hole(
    nor: Actor, reader: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one device would have all acknowledgements of its group stored twice, as often as it likes."""
    tried: list[object] = []
    stride = progress.stride

    async def told(tx: AsyncConnection, strides: Iterable[Stride]) -> None:
        tried.append(strides)
        await stride(tx, strides)

    monkeypatch.setattr(progress, "stride", told)
    seqs = await _sent(nor, 2)
    await _acknowledge(reader, seqs[1])

    await _acknowledge(reader, seqs[0])

    assert tried == []
    assert await _cursor(reader) == seqs[1]


async def test_nobody_gets_beyond_the_last_number(nor: Actor, reader: Actor) -> None:
    (last,) = await _sent(nor, 1)

    await _acknowledge(reader, *range(last, last + 3))

    assert await _cursor(reader) == last


async def test_a_great_number_is_not_counted_up_to(nor: Actor, reader: Actor) -> None:
    (last,) = await _sent(nor, 1)

    await _acknowledge(reader, last, 1 << 62)

    assert await _cursor(reader) == last


async def test_a_stay_that_has_ended_is_read_to_its_end(nor: Actor, reader: Actor) -> None:
    seqs = await _sent(nor, 2)
    removed = await nor.remove(reader)

    await _acknowledge(reader, *seqs)
    await _acknowledge(reader, removed.seq)

    (stay,) = await _stays(reader)
    assert (stay.left_seq, stay.cursor) == (removed.seq, removed.seq)


async def test_a_cursor_that_another_node_has_moved_is_moved_on(nor: Actor, reader: Actor) -> None:
    seqs = await _sent(nor, 2)
    (stay,) = await _stays(reader)
    async with reader.relay.database.write() as tx:
        await progress.set_cursors(tx, {stay.key: seqs[0]})

    assert await _acknowledge(reader, *seqs) == ["WITH"]
    assert await _cursor(reader) == seqs[-1]


def test_a_stay_is_remembered_when_it_is_the_only_one_to_be_acknowledged() -> None:
    def stay(key: int, left: int | None, cursor: int) -> Reading:
        row = MemberRow(key, 1, 2, 0, "", 0, 0, left, cursor)
        return Reading(row, b"channel", 9, has_beyond=False, version=0)

    now = stay(2, None, 5)
    assert set(lasting([stay(1, 4, 4), now], {}, ())) == {(b"channel", 2)}
    assert lasting([stay(1, 4, 3), now], {}, ()) == {}
    assert lasting([now], {}, [2]) == {}
    assert lasting([now._replace(has_beyond=True)], {}, ()) == {}
    assert lasting([now], {2: 7}, ())[b"channel", 2].cursor == 7
    assert lasting([stay(1, 4, 4)], {}, ()) == {}


async def test_acknowledgements_change_nothing_that_is_remembered_of_messages(
    nor: Actor, reader: Actor
) -> None:
    async def mark() -> object:
        async with nor.relay.database.write() as tx:
            return await remembered.mark(tx)

    seqs = await _sent(nor, 3)
    before = await mark()

    await _acknowledge(reader, seqs[2])
    await _acknowledge(reader, *seqs[:2])

    assert await mark() == before
