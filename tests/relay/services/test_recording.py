from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from liaison.errors import ConflictError, LiaisonError
from liaison.model import ChannelId
from liaison.relay import recording
from liaison.relay.errors import LogRefusedError
from liaison.relay.recording import Draft, Growth, Recorder
from liaison.relay.work import Batch, Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs_reading import EntryRow
from liaison.storage.tables import meta
from liaison.tlog import merkle
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry, PolicyRef, pseudonym
from liaison.tlog.errors import EntryError, ForkError
from liaison.tlog.fields import EntryType
from liaison.tlog.sequencer import State

CHANNEL = ChannelId(bytes(range(16)))
POLICY = PolicyRef(1, bytes(32))


def admin(act: str, log: str | None = "alliance") -> Draft:
    return Draft(log, EntryType.ADMIN, {"act": act})


def accepted(seq: int, channel_key: int = 7) -> Draft:
    return Draft(
        "alliance",
        EntryType.ACCEPTED,
        {"sender": "nor/desk#1"},
        channel=CHANNEL,
        channel_key=channel_key,
        seq=seq,
        epoch=3,
        policy=POLICY,
        size=1000,
        audience=("NOR", "DEU"),
    )


@dataclass
class Act(Operation[str]):
    """Writes one row and records some drafts."""

    name: str
    drafts: Sequence[Draft]
    failure: Exception | None = None

    async def apply(self, work: Work) -> str:
        await work.tx.execute(insert(meta).values(name=self.name, value=1))
        work.record(*self.drafts)
        if self.failure is not None:
            raise self.failure
        return self.name


@dataclass
class Together(Batch[Any, str]):
    sizes: list[int] = field(default_factory=list)

    async def apply_all(
        self, work: Work, operations: Sequence[Any]
    ) -> Sequence[str | LiaisonError]:
        self.sizes.append(len(operations))
        for operation in operations:
            await operation.apply(work)
        return [operation.name for operation in operations]


@dataclass
class ActTogether(Act):
    together: Together = field(default_factory=Together)

    def batch(self) -> Together:
        return self.together


@dataclass
class Clock:
    ms: int = 1_790_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder("relay.example", clock, os.urandom)


@pytest.fixture
async def writer(database: Database, recorder: Recorder) -> AsyncIterator[Writer]:
    writer = Writer(database, recorder=recorder)
    await writer.start()
    yield writer
    await writer.stop()


async def entries_of(database: Database, agreement: str | None = "alliance") -> list[EntryRow]:
    """Return a log's entries, after checking that its state is that of exactly these."""
    async with database.read() as tx:
        row = await logs.find(tx, agreement)
        assert row is not None
        found = await logs_reading.by_index(tx, row.key, 0, row.size + 1)
    assert [one.at for one in found] == list(range(row.size))
    state = State.decode(row.state)
    assert state.tree.root == merkle.root_of(merkle.hash_leaves(one.data for one in found))
    return found


def acts(found: Sequence[EntryRow]) -> list[object]:
    return [
        Entry.decode(one.data).open(Sealed.decode(EntryType(one.type), one.openings or b""))["act"]
        for one in found
    ]


async def test_what_was_recorded_is_in_the_log_in_the_order_of_the_operations(
    database: Database, writer: Writer
) -> None:
    await asyncio.gather(
        *(writer.submit(Act(f"n{n}", [admin(f"{n}a"), admin(f"{n}b")])) for n in range(3))
    )

    assert acts(await entries_of(database)) == ["0a", "0b", "1a", "1b", "2a", "2b"]


async def test_an_operation_that_is_undone_leaves_no_entry(
    database: Database, writer: Writer
) -> None:
    together = Together()
    await asyncio.gather(
        writer.submit(Act("n1", [admin("one")])),
        writer.submit(Act("n2", [admin("two")], ConflictError())),
        writer.submit(ActTogether("n3", [admin("three")], together=together)),
        writer.submit(ActTogether("n4", [admin("four")], KeyError(), together=together)),
        return_exceptions=True,
    )

    assert together.sizes == [2, 1, 1]
    assert acts(await entries_of(database)) == ["one", "three"]


async def test_a_draft_that_no_entry_can_be_made_of_harms_its_own_operation_only(
    database: Database, writer: Writer
) -> None:
    bad = Draft("alliance", EntryType.ADMIN, {"nonsense": 1})
    results = await asyncio.gather(
        writer.submit(Act("n1", [admin("one")])),
        writer.submit(Act("n2", [bad])),
        writer.submit(Act("n3", [admin("three")])),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [str, EntryError, str]
    assert acts(await entries_of(database)) == ["one", "three"]


async def test_a_group_that_fails_leaves_nothing_and_the_log_goes_on(
    database: Database, writer: Writer, recorder: Recorder
) -> None:
    await writer.submit(Act("n1", [admin("one")]))

    def fail(_name: str) -> None:
        raise OperationalError("insert", {}, Exception("disk I/O error"))

    recorder.step = fail
    with pytest.raises(LiaisonError):
        await writer.submit(Act("n2", [admin("two")]))
    recorder.step = lambda _name: None
    await writer.submit(Act("n3", [admin("three")]))

    assert acts(await entries_of(database)) == ["one", "three"]


async def test_each_log_has_its_own_entries(database: Database, writer: Writer) -> None:
    await writer.submit(Act("n1", [admin("one"), admin("root", None), admin("other", "pact")]))

    assert acts(await entries_of(database)) == ["one"]
    assert acts(await entries_of(database, None)) == ["root"]
    assert acts(await entries_of(database, "pact")) == ["other"]
    async with database.read() as tx:
        origins = [row.origin for row in await logs.listing(tx)]
    assert origins == [
        "relay.example/root-log",
        "relay.example/log/alliance",
        "relay.example/log/pact",
    ]


async def test_logs_are_written_in_one_order_whatever_was_done_first(
    writer: Writer, recorder: Recorder
) -> None:
    heard: list[Sequence[Growth]] = []
    recorder.listeners.append(heard.append)
    done = [admin("root", None), admin("one"), admin("other", "pact")]
    await writer.submit(Act("n1", done))
    await writer.submit(Act("n2", done[::-1]))

    # Or two nodes would wait for each other's logs in a circle.
    first, second = ([grown.log for grown in some] for some in heard)
    assert first == second


async def test_a_clock_that_is_set_back_does_not_show(
    database: Database, writer: Writer, clock: Clock
) -> None:
    await writer.submit(Act("n1", [admin("one")]))
    clock.ms -= 5000
    await writer.submit(Act("n2", [admin("two")]))

    times = [one.time for one in await entries_of(database)]

    assert times == [clock.ms + 5000] * 2


async def test_two_nodes_append_to_one_log_without_gaps(
    database: Database, database_url: str, writer: Writer, clock: Clock
) -> None:
    second = Database.open(database_url)
    other = Writer(second, recorder=Recorder("relay.example", clock, os.urandom), group=3)
    await other.start()

    await asyncio.gather(
        *(
            (writer if n % 2 else other).submit(Act(f"n{n}", [admin(str(n)), admin("x", None)]))
            for n in range(40)
        )
    )

    await other.stop()
    await second.close()
    assert sorted(map(str, acts(await entries_of(database)))) == sorted(map(str, range(40)))
    assert len(await entries_of(database, None)) == 40


async def test_listeners_hear_of_a_log_once_its_entries_are_durable(
    database: Database, writer: Writer, recorder: Recorder
) -> None:
    heard: list[Sequence[Growth]] = []
    recorder.listeners.append(heard.append)
    await writer.submit(Act("n1", [admin("one"), admin("two")]))
    await writer.submit(Act("n2", []))

    async with database.read() as tx:
        row = await logs.find(tx, "alliance")
    assert row is not None
    stored = tuple(one.data for one in await entries_of(database))
    assert heard == [[Growth(row.key, 0, stored, State.decode(row.state))]]


async def test_a_refused_log_refuses_what_would_have_to_stand_in_it(
    database: Database, writer: Writer, recorder: Recorder
) -> None:
    await writer.submit(Act("n1", [admin("one")]))
    recorder.refuse("alliance", ForkError("two histories", hint="ask the parties"))

    with pytest.raises(LogRefusedError, match="two histories") as refused:
        await writer.submit(Act("n2", [admin("two")]))
    await writer.submit(Act("n3", [admin("three", "pact")]))

    assert refused.value.hint == "ask the parties"
    assert acts(await entries_of(database)) == ["one"]


async def test_a_channels_entries_are_found_by_their_numbers(
    database: Database, writer: Writer
) -> None:
    await writer.submit(Act("n1", [accepted(1), admin("between"), accepted(2), accepted(1, 8)]))

    async with database.read() as tx:
        row = await logs.find(tx, "alliance")
        assert row is not None
        found = await logs_reading.by_place(
            tx, row.key, 7, after=0, upto=9, below=row.size, limit=5
        )
        covered = await logs_reading.by_place(tx, row.key, 7, after=0, upto=9, below=2, limit=5)

    assert [(one.at, one.seq) for one in found] == [(0, 1), (2, 2)]
    assert [one.at for one in covered] == [0]
    entry = Entry.decode(found[1].data)
    assert entry.channel == pseudonym("relay.example/log/alliance", CHANNEL)
    assert (entry.seq, entry.epoch, entry.policy, entry.size) == (2, 3, POLICY, 1024)
    assert found[1].may_open("NOR")
    assert not found[1].may_open("DE")


async def test_entries_are_found_by_type_party_mark_and_time(
    database: Database, writer: Writer, clock: Clock
) -> None:
    key = Draft("alliance", EntryType.KEY, {"act": "certificate"}, mark=bytes(32))
    await writer.submit(Act("n1", [admin("one"), key, key._replace(audience=("NOR",), mark=None)]))
    clock.ms += 1000
    await writer.submit(Act("n2", [admin("two")]))

    async with database.read() as tx:
        row = await logs.find(tx, "alliance")
        assert row is not None

        async def typed(party: str | None) -> list[int]:
            found = await logs_reading.by_type(
                tx, row.key, [EntryType.KEY], first=0, below=4, party=party, limit=9
            )
            return [one.at for one in found]

        assert await typed("NOR") == [1, 2]
        assert await typed("DEU") == [1]
        assert await typed(None) == [1, 2]
        marked = await logs_reading.by_mark(tx, row.key, [bytes(32), bytes(31) + b"1"], below=4)
        assert {mark: one.at for mark, one in marked.items()} == {bytes(32): 1}
        assert await logs_reading.index_at(tx, row.key, clock.ms, below=4) == 3
        assert await logs_reading.index_at(tx, row.key, clock.ms + 1, below=4) == 4
        assert await logs_reading.index_at(tx, row.key, 0, below=4) == 0


async def test_erasing_openings_leaves_the_entries(database: Database, writer: Writer) -> None:
    await writer.submit(Act("n1", [admin("one"), admin("two")]))
    async with database.read() as tx:
        row = await logs.find(tx, "alliance")
    assert row is not None

    async with database.write() as tx:
        erased = await logs_reading.erase_openings(tx, row.key, [0, 5])

    assert erased == 1
    assert [one.openings is None for one in await entries_of(database)] == [True, False]


async def test_the_relays_own_log_is_made_once(
    database: Database, writer: Writer, recorder: Recorder
) -> None:
    await recording.begin(database, writer, recorder)
    await recording.begin(database, writer, recorder)

    assert await entries_of(database, None) == []
