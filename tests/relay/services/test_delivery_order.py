"""The order of delivery against a model that sees everything at once and is slow."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.fanout import LocalBus, topics
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.delivery import Delivery, Feed
from liaison.relay.services.looking import Opening
from liaison.relay.services.tail import Tail
from liaison.relay.writer import Writer
from liaison.storage import items, members, progress, tables
from liaison.storage.engine import Database
from liaison.storage.items import Item
from liaison.wire.frames import Deliver, ItemKind, decode_relay
from liaison.wire.stream import Delivered
from tests.relay.services.harness import fresh_id, news
from tests.support.rows import Row, add_channel, add_device, add_items, add_member

MESSAGE, COMMIT, PROPOSAL = 0, 1, 2


@dataclass
class Model:
    """What waits in one channel, as a plain list."""

    past_epochs: int
    waiting: list[Item] = field(default_factory=list)

    @property
    def urgency(self) -> int:
        return max(item.precedence for item in self.waiting)

    def next(self) -> Item:
        messages = [i for i in self.waiting if i.kind == MESSAGE]
        handshakes = [i for i in self.waiting if i.kind != MESSAGE]
        first = min(handshakes, key=lambda i: i.seq) if handshakes else None
        ready = [i for i in messages if first is None or i.seq < first.seq]
        if not ready:
            assert first is not None
            return first
        best = min(ready, key=lambda i: (-i.precedence, i.seq))
        urgent = max(i.precedence for i in messages)
        if first is None or best.precedence == urgent or self.blocks(first, ready):
            return best
        return first

    def blocks(self, first: Item, ready: list[Item]) -> bool:
        oldest_kept = first.epoch + 1 - self.past_epochs
        return first.kind == COMMIT and any(i.epoch < oldest_kept for i in ready)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int, bool]]]:
    """(kind, precedence, epoch, own) in sequence, with a bound on past epochs."""
    past = draw(st.integers(0, 3))
    epoch, rows = 0, []
    for _ in range(draw(st.integers(0, 25))):
        kind = draw(st.sampled_from([MESSAGE] * 5 + [COMMIT, PROPOSAL]))
        of = draw(st.integers(max(0, epoch - past), epoch)) if kind == MESSAGE else epoch
        rows.append((kind, draw(st.integers(0, 5)), of, draw(st.integers(0, 4)) == 0))
        epoch += kind == COMMIT
    return past, rows


@dataclass
class Bench:
    """A delivery service with two devices and nothing else."""

    database: Database
    delivery: Delivery
    reader: DeviceCaller
    other: DeviceCaller
    models: dict[bytes, Model] = field(default_factory=dict)
    keys: dict[bytes, int] = field(default_factory=dict)
    members: dict[bytes, int] = field(default_factory=dict)

    async def add(
        self, past_epochs: int, history: list[tuple[int, int, int, bool]], remembered: int = 0
    ) -> bytes:
        id_ = fresh_id()
        async with self.database.write() as tx:
            key = await add_channel(tx, id_, past_epochs=past_epochs)
            self.members[id_] = await add_member(tx, key, self.reader.key, 0)
            self.keys[id_] = key
            new = await add_items(tx, key, [self.row(*entry) for entry in history])
        self.delivery.tail.append(new[len(new) - min(remembered, len(new)) :])
        self.models[id_] = Model(past_epochs, [i for i in new if self.is_delivered(i)])
        return id_

    def row(self, kind: int, precedence: int, epoch: int, own: bool) -> Row:
        sender = self.reader.key if own else self.other.key
        return Row(kind, precedence, epoch, sender, bytes([kind, precedence]))

    def is_delivered(self, item: Item) -> bool:
        return item.kind != MESSAGE or item.sender != self.reader.key

    def check(self, item: Deliver) -> None:
        """The item is what the model would deliver, from a channel as urgent as any."""
        model = self.models[item.channel.value]
        expected = model.next()
        assert item.seq == expected.seq
        assert model.urgency == max(m.urgency for m in self.models.values() if m.waiting)
        assert item.payload == expected.payload
        model.waiting.remove(expected)

    async def acknowledge(self, got: list[Deliver]) -> None:
        done = [Delivered(i.channel, i.seq, i.kind) for i in got]
        await self.delivery.acknowledge(self.reader, done)

    def is_done(self) -> bool:
        return not any(model.waiting for model in self.models.values())


@pytest.fixture
def template(migrated: str) -> Path:
    if not migrated.startswith("sqlite"):
        pytest.skip("the order is decided outside the database; one is enough for many examples")
    return Path(migrated.removeprefix("sqlite:///"))


async def bench(template: Path, folder: Path) -> tuple[Bench, Writer]:
    path = folder / f"{fresh_id().hex()}.db"
    shutil.copy(template, path)
    return await bench_on(Database.open(f"sqlite:///{path}"))


async def bench_on(database: Database) -> tuple[Bench, Writer]:
    writer = Writer(database)
    await writer.start()
    async with database.write() as tx:
        reader = await add_device(tx, "nor/defatt-berlin#d1")
        other = await add_device(tx, "deu/lno-j3#d1")
    delivery = Delivery(database, writer, LocalBus(), Tail(1 << 20), lambda: 0)
    return Bench(database, delivery, reader, other), writer


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    channels=st.lists(histories(), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    per_lane=st.sampled_from([1, 2, 64]),
    remembered=st.sampled_from([0, 5, 25]),
)
async def test_every_backlog_is_delivered_in_the_models_order(
    template: Path,
    tmp_path: Path,
    channels: list[tuple[int, list[tuple[int, int, int, bool]]]],
    sizes: list[int],
    per_lane: int,
    remembered: int,
) -> None:
    made, writer = await bench(template, tmp_path)
    for past, history in channels:
        await made.add(past, history, remembered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liaison.relay.services.delivery.PER_LANE", per_lane)
        feed = await made.delivery.open(made.reader)
        turn = 0
        while batch := await taken(feed, sizes[turn % len(sizes)]):
            turn += 1
            for item in batch:
                made.check(item)
    feed.close()
    await writer.stop()
    await made.database.close()

    assert made.is_done()


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    history=histories(),
    cuts=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=6),
)
async def test_what_was_not_acknowledged_comes_again_and_nothing_else_does(
    template: Path,
    tmp_path: Path,
    history: tuple[int, list[tuple[int, int, int, bool]]],
    cuts: list[tuple[int, int]],
) -> None:
    made, writer = await bench(template, tmp_path)
    id_ = await made.add(*history)
    model = made.models[id_]
    open_ = list(model.waiting)
    for take, keep in cuts:
        model.waiting = list(open_)
        feed = await made.delivery.open(made.reader)
        got = await feed.next(take)
        feed.close()
        for item in got:
            made.check(item)
        kept = got[:keep]
        await made.acknowledge(kept)
        open_ = [i for i in open_ if i.seq not in {k.seq for k in kept}]
    model.waiting = open_
    rest = await all_of(await made.delivery.open(made.reader))
    await made.acknowledge(rest)
    async with made.database.read() as tx:
        stay = await members.find(tx, made.keys[id_], made.reader.key)
        assert stay is not None
        beyond = await progress.acknowledged_beyond(tx, [stay.key])
    await writer.stop()
    await made.database.close()

    assert sorted(i.seq for i in rest) == [i.seq for i in open_]
    # Whoever has acknowledged anything is at the head: own messages count as acknowledged.
    if model.waiting or stay.cursor:
        assert stay.cursor == len(history[1])
    assert beyond == {}


async def all_of(feed: Feed) -> list[Deliver]:
    found = await rest_of(feed)
    feed.close()
    return found


# --- on both databases --------------------------------------------------------------------


async def test_a_flash_overtakes_a_queue_and_acknowledging_it_acknowledges_nothing_else(
    database: Database,
) -> None:
    made, writer = await bench_on(database)
    id_ = await made.add(8, [(MESSAGE, 1, 0, False)] * 50 + [(MESSAGE, 4, 0, False)])
    feed = await made.delivery.open(made.reader)

    (flash,) = await feed.next(1)
    await made.acknowledge([flash])
    feed.close()
    rest = await all_of(await made.delivery.open(made.reader))

    assert flash.seq == 51
    assert [i.seq for i in rest] == list(range(1, 51))
    assert [i.channel.value for i in rest] == [id_] * 50
    await writer.stop()


async def test_a_flash_does_not_overtake_the_commit_before_it(database: Database) -> None:
    made, writer = await bench_on(database)
    routine, flash = (MESSAGE, 1, 0, False), (MESSAGE, 4, 1, False)
    await made.add(8, [routine, routine, (COMMIT, 1, 0, False), flash])
    got = await all_of(await made.delivery.open(made.reader))

    assert [i.seq for i in got] == [3, 4, 1, 2]
    await writer.stop()


async def test_no_commit_overtakes_a_message_whose_keys_it_would_end(database: Database) -> None:
    made, writer = await bench_on(database)
    history = [(MESSAGE, 1, 0, False), (COMMIT, 1, 0, False), (COMMIT, 1, 1, False)]
    await made.add(1, [*history, (MESSAGE, 4, 2, False)])
    got = await all_of(await made.delivery.open(made.reader))

    # The first commit leaves epoch 0 readable, the second would not.
    assert [i.seq for i in got] == [2, 1, 3, 4]
    await writer.stop()


async def test_what_comes_while_reading_is_delivered_from_memory_or_the_database(
    database: Database,
) -> None:
    made, writer = await bench_on(database)
    id_ = await made.add(8, [(MESSAGE, 1, 0, False)])
    key, seen = made.keys[id_], []
    feed = await made.delivery.open(made.reader)
    for turn in range(2, 8):
        seen += [i.seq for i in await feed.next(10)]
        async with database.write() as tx:
            new = await add_items(tx, key, [made.row(MESSAGE, 1, 0, False)], first=turn)
        if turn % 2:
            made.delivery.tail.append(new)
        made.delivery.bus.wake(topics.channel(key))
        assert await news(feed) == set()
    seen += [i.seq for i in await feed.next(10)]

    assert seen == list(range(1, 8))
    feed.close()
    await writer.stop()


async def test_a_reader_that_keeps_up_reads_no_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, writer = await bench_on(database)
    id_ = await made.add(8, [])
    feed = await made.delivery.open(made.reader)
    assert await feed.next(10) == []
    async with database.write() as tx:
        rows = [made.row(MESSAGE, 1, 0, False), made.row(MESSAGE, 4, 0, False)]
        made.delivery.tail.append(await add_items(tx, made.keys[id_], rows))
    made.delivery.bus.wake(topics.channel(made.keys[id_]))
    await news(feed)
    monkeypatch.setattr(Database, "read", None)

    got = await feed.next(10)

    assert [i.seq for i in got] == [2, 1]
    feed.close()
    monkeypatch.undo()
    await writer.stop()


@pytest.mark.parametrize("remembered", [0, 60])
async def test_a_flash_overtakes_what_is_not_yet_read_of_a_backlog(
    database: Database, remembered: int
) -> None:
    made, writer = await bench_on(database)
    id_ = await made.add(8, [(MESSAGE, 1, 0, False)] * 60, remembered)
    feed = await made.delivery.open(made.reader)
    before = [item.seq for _ in range(3) for item in await taken(feed, 10)]
    async with database.write() as tx:
        rows = [made.row(MESSAGE, 1, 0, False), made.row(MESSAGE, 4, 0, False)]
        new = await add_items(tx, made.keys[id_], rows, first=61)
    made.delivery.tail.append(new if remembered else [])
    made.delivery.bus.wake(topics.channel(made.keys[id_]))

    after = [seq for seq, _ in await pumped(feed, 10)]

    assert before == list(range(1, 31))
    assert after == [62, *range(31, 62)]
    feed.close()
    await writer.stop()


async def test_a_backlog_in_memory_is_read_without_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, writer = await bench_on(database)
    rows = [(MESSAGE, 4 if n == 70 else 1, 0, n % 7 == 0) for n in range(90)]
    id_ = await made.add(8, rows, remembered=90)
    feed = await made.delivery.open(made.reader)
    monkeypatch.setattr(Database, "read", None)

    got = [seq for seq, _ in await pumped(feed, 10)]

    assert got == [i.seq for i in sorted(made.models[id_].waiting, key=lambda i: -i.precedence)]
    feed.close()
    monkeypatch.undo()
    await writer.stop()


@pytest.mark.parametrize("is_known", [False, True])
async def test_what_comes_while_a_stream_is_opened_is_delivered(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    made, writer = await bench_on(database)
    ids = [await made.add(8, [(MESSAGE, 1, 0, False)]) for _ in range(2)]

    async def add(seq: int) -> None:
        for id_ in ids:
            async with database.write() as tx:
                await add_items(tx, made.keys[id_], [made.row(MESSAGE, 1, 0, False)], first=seq)
            made.delivery.bus.wake(topics.channel(made.keys[id_]))

    looks = made.delivery.looks
    find, look = looks.channels, looks.opening

    async def channels(caller: DeviceCaller) -> Sequence[int]:
        found = await find(caller)
        await add(2)
        # Of what a device was added to since, it does not know yet that it is to listen to it.
        return found if is_known else found[:1]

    async def opening(caller: DeviceCaller) -> Opening:
        await add(3)
        found = await look(caller)
        await add(4)
        return found

    monkeypatch.setattr(looks, "channels", channels)
    monkeypatch.setattr(looks, "opening", opening)
    feed = await made.delivery.open(made.reader)
    got = await rest_of(feed)

    by_channel = [[item.seq for item in got if item.channel.value == id_] for id_ in ids]
    assert by_channel == [[1, 2, 3, 4]] * 2
    feed.close()
    await writer.stop()


async def test_a_crowd_is_opened_in_few_looks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, writer = await bench_on(database)
    await made.add(8, [(MESSAGE, 1, 0, False)])
    looks: list[object] = []
    read = Database.read

    def counted(self: Database) -> object:
        looks.append(self)
        return read(self)

    monkeypatch.setattr(Database, "read", counted)
    feeds = await asyncio.gather(
        *(made.delivery.open(caller) for caller in [made.reader, made.other] * 50)
    )

    # For each of the two questions, one for whoever comes first and one for all who come meanwhile.
    assert len(looks) <= 4
    for feed in feeds:
        feed.close()
    await writer.stop()


async def test_a_batch_is_bounded_by_bytes_but_never_empty(database: Database) -> None:
    made, writer = await bench_on(database)
    await made.add(8, [(MESSAGE, 1, 0, False)] * 6)
    feed = await made.delivery.open(made.reader)

    sizes = [len(await feed.next(10, max_bytes)) for max_bytes in (1, 1, 4, 1000)]

    assert sizes == [1, 1, 2, 2]
    feed.close()
    await writer.stop()


async def test_a_gap_is_delivered_as_one(database: Database) -> None:
    made, writer = await bench_on(database)
    id_ = await made.add(8, [(MESSAGE, 1, 0, False)] * 2)
    async with database.write() as tx:
        await erase(tx, made.keys[id_], 1)
    got = await all_of(await made.delivery.open(made.reader))

    assert [(i.kind, i.payload) for i in got] == [
        (ItemKind.GAP, b""),
        (ItemKind.MESSAGE, bytes([0, 1])),
    ]
    await writer.stop()


async def erase(tx: AsyncConnection, channel: int, seq: int) -> None:
    here = (tables.items.c.channel == channel) & (tables.items.c.seq == seq)
    await tx.execute(update(tables.items).where(here).values(expires_at=1))
    await items.expire(tx, now_ms=1, limit=10)


def test_the_kinds_of_storage_are_those_of_the_wire() -> None:
    assert (tables.MESSAGE, tables.GAP) == (ItemKind.MESSAGE, ItemKind.GAP)


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kinds=st.lists(st.sampled_from([MESSAGE] * 9 + [PROPOSAL]), min_size=12, max_size=25),
    precedences=st.lists(st.integers(0, 5), min_size=3, max_size=9),
    forgotten=st.sets(st.integers(0, 7), max_size=3),
    limit=st.integers(2, 8),
)
async def test_what_is_taken_from_memory_at_once_is_what_would_be_chosen(
    template: Path,
    tmp_path: Path,
    kinds: list[int],
    precedences: list[int],
    forgotten: set[int],
    limit: int,
) -> None:
    rows = [
        (kind, precedences[n % len(precedences)], 0, n % 5 == 0) for n, kind in enumerate(kinds)
    ]
    made, writer = await bench(template, tmp_path)
    id_ = await made.add(8, [])
    key = made.keys[id_]
    quick, careful = [await made.delivery.open(made.reader) for _ in range(2)]
    for turn, done in enumerate(range(0, len(rows), 3)):
        some = [made.row(*row) for row in rows[done : done + 3]]
        async with made.database.write() as tx:
            new = await add_items(tx, key, some, first=done + 1)
        if turn not in forgotten:
            made.delivery.tail.append(new)
        made.delivery.bus.wake(topics.channel(key))
        expected = [(i.seq, i.payload) for i in await rest_of(careful)]
        assert await pumped(quick, limit) == expected
    quick.close()
    careful.close()
    await writer.stop()
    await made.database.close()


async def rest_of(feed: Feed) -> list[Deliver]:
    found: list[Deliver] = []
    while batch := await feed.next(5):
        found += batch
    return found


async def pumped(feed: Feed, limit: int) -> list[tuple[int, bytes]]:
    """Number and payload of all that comes, taken as a connection takes it."""
    found: list[tuple[int, bytes]] = []
    while batch := await taken(feed, limit):
        found += [(item.seq, item.payload) for item in batch]
    return found


async def taken(feed: Feed, limit: int) -> list[Deliver]:
    """Return what comes next, as a connection takes it."""
    ready = feed.ready(limit, 1 << 20)
    if ready is None:
        return await feed.next(limit)
    found: list[Deliver] = []
    for one in ready[1]:
        one.make(ready[0], lambda _size: b"")
        item = decode_relay(one.begin + bytes(8) + one.fields + one.item.payload)
        assert isinstance(item, Deliver)
        assert one.delivered == Delivered(item.channel, item.seq, item.kind)
        found.append(item)
    return found
