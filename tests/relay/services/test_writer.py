from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Executable, Update, insert, select, update
from sqlalchemy.exc import OperationalError

from liaison.errors import ConflictError, LiaisonError, UnavailableError
from liaison.model import Precedence
from liaison.relay import log
from liaison.relay import writer as writers
from liaison.relay.work import Batch, Operation, Work
from liaison.relay.writer import Writer
from liaison.storage.engine import Database
from liaison.storage.many_rows import insert_rows
from liaison.storage.tables import key_packages, meta, parties
from tests.support.relay import quiet


@dataclass
class Note(Operation[str]):
    """Writes one row, and may fail after that."""

    name: str
    failure: Exception | None = None
    precedence: int = Precedence.ROUTINE
    is_urgent: bool = False
    size: int = 10
    log: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, work: Work) -> str:
        self.begun.set()
        await work.tx.execute(insert(meta).values(name=self.name, value=1))
        work.after_commit(lambda: self.log.append(f"woken {self.name}"))
        if self.failure is not None:
            raise self.failure
        self.log.append(f"written {self.name}")
        return self.name


@dataclass
class Many(Batch[Any, str]):
    """Writes many rows at once; a name that begins with `bad` spoils all of them."""

    sizes: list[int] = field(default_factory=list)

    async def apply_all(
        self, work: Work, operations: Sequence[BatchedNote]
    ) -> Sequence[str | LiaisonError]:
        self.sizes.append(len(operations))
        await work.tx.execute(insert(meta), [{"name": op.name, "value": 1} for op in operations])
        if any(op.name.startswith("bad") for op in operations):
            raise ZeroDivisionError
        return [ConflictError() if op.name == "refused" else op.name for op in operations]


@dataclass
class BatchedNote(Note):
    handler: Many = field(default_factory=Many)

    def batch(self) -> Many:
        return self.handler


class Late(Many):
    """Writes rows that may wait until the group's end."""

    async def apply_all(
        self, work: Work, operations: Sequence[BatchedNote]
    ) -> Sequence[str | LiaisonError]:
        await insert_rows(work.tx, (meta, [(one.name, _value(one.name)) for one in operations]))
        return [one.name for one in operations]


class LateNote(Note):
    """The same, by itself."""

    async def apply(self, work: Work) -> str:
        await insert_rows(work.tx, (meta, [(self.name, _value(self.name))]))
        return self.name


def _value(name: str) -> int:
    return 1 << 70 if name == "huge" else 1


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    writer = Writer(database, max_waiting=8, max_waiting_bytes=1000)
    await writer.start()
    yield writer
    await writer.stop()


async def names(database: Database) -> set[str]:
    async with database.read() as tx:
        return set((await tx.execute(select(meta.c.name).where(meta.c.name.like("n%")))).scalars())


async def test_what_is_submitted_is_durable_when_the_caller_hears_of_it(
    database: Database, writer: Writer
) -> None:
    assert await writer.submit(Note("n1")) == "n1"

    assert await names(database) == {"n1"}


async def test_a_refused_operation_undoes_itself_and_no_neighbour(
    database: Database, writer: Writer
) -> None:
    log: list[str] = []
    results = await asyncio.gather(
        writer.submit(Note("n1", log=log)),
        writer.submit(Note("n2", ConflictError(), log=log)),
        writer.submit(Note("n3", KeyError("a bug"), log=log)),
        writer.submit(Note("n4", log=log)),
        return_exceptions=True,
    )

    assert [type(r).__name__ for r in results] == ["str", "ConflictError", "KeyError", "str"]
    assert await names(database) == {"n1", "n4"}
    assert log == ["written n1", "written n4", "woken n1", "woken n4"]


async def test_what_is_the_relays_own_is_never_turned_away(
    database: Database, writer: Writer
) -> None:
    waiting = [asyncio.create_task(writer.submit(Note(f"n{n}"))) for n in range(8)]
    await asyncio.sleep(0)
    own = Note("n8")
    own.is_own = True

    with pytest.raises(UnavailableError):
        await writer.submit(Note("n9"))
    await writer.submit(own)
    await asyncio.gather(*waiting)

    assert await names(database) == {f"n{n}" for n in range(9)}


async def test_a_row_that_clashes_is_its_own_failure(database: Database, writer: Writer) -> None:
    results = await asyncio.gather(
        *(writer.submit(Note(name)) for name in ("n1", "n1", "n2")), return_exceptions=True
    )

    assert [r for r in results if isinstance(r, str)] == ["n1", "n2"]
    assert await names(database) == {"n1", "n2"}


@pytest.mark.parametrize("batched", [False, True])
async def test_a_row_that_clashes_only_when_the_group_is_written_is_its_own_failure(
    database: Database, writer: Writer, *, batched: bool
) -> None:
    late = Late()
    notes = [
        BatchedNote(name, handler=late) if batched else LateNote(name)
        for name in ("n1", "n1", "n2")
    ]
    results = await asyncio.gather(*map(writer.submit, notes), return_exceptions=True)

    assert [r for r in results if isinstance(r, str)] == ["n1", "n2"]
    assert await names(database) == {"n1", "n2"}


@pytest.mark.parametrize("batched", [False, True])
async def test_a_value_that_turns_out_too_large_when_the_group_is_written_is_its_own_failure(
    database: Database, writer: Writer, *, batched: bool
) -> None:
    late = Late()
    notes = [
        BatchedNote(name, handler=late) if batched else LateNote(name)
        for name in ("n1", "huge", "n2")
    ]
    results = await asyncio.gather(*map(writer.submit, notes), return_exceptions=True)

    assert [r for r in results if isinstance(r, str)] == ["n1", "n2"]
    assert not isinstance(results[1], UnavailableError)
    assert await names(database) == {"n1", "n2"}


async def test_when_the_database_fails_the_whole_group_fails_and_nobody_is_woken(
    database: Database, writer: Writer
) -> None:
    log: list[str] = []
    disk_full = OperationalError("INSERT", {}, Exception("disk full"))
    results = await asyncio.gather(
        writer.submit(Note("n1", log=log)),
        writer.submit(Note("n2", disk_full, log=log)),
        return_exceptions=True,
    )

    assert [type(r) for r in results] == [UnavailableError, UnavailableError]
    assert await names(database) == set()
    assert log == ["written n1"]
    assert await writer.submit(Note("n3")) == "n3"


@dataclass
class Statement(Operation[None]):
    """Executes one statement."""

    statement: Executable

    async def apply(self, work: Work) -> None:
        await work.tx.execute(self.statement)


@pytest.mark.parametrize(
    "statement",
    [
        # PostgreSQL's driver refuses the first itself, its server the second.
        select(key_packages.c.key).where(key_packages.c.suite == 1 << 70),
        select(parties.c.key).where(parties.c.code == "NO\0R").with_for_update(),
        insert(meta).values(name=None, value=1),
    ],
)
async def test_a_value_that_the_database_cannot_hold_is_the_failure_of_its_operation_alone(
    database: Database, writer: Writer, statement: Executable
) -> None:
    results = await asyncio.gather(
        writer.submit(Note("n1")),
        writer.submit(Statement(statement)),
        writer.submit(Note("n2")),
        return_exceptions=True,
    )

    assert not isinstance(results[1], UnavailableError)
    assert (results[0], results[2]) == ("n1", "n2")
    assert await names(database) == {"n1", "n2"}


async def test_a_failed_group_is_told_to_the_operator_without_what_it_would_have_written(
    writer: Writer,
) -> None:
    lines = io.StringIO()
    error = sqlite3.OperationalError("the secret")
    error.sqlite_errorname = "SQLITE_FULL"
    with quiet():
        log.configure("info", lines)
        with pytest.raises(UnavailableError):
            await writer.submit(Note("n1", OperationalError("INSERT", {"x": "secret"}, error)))

    (line,) = [json.loads(one) for one in lines.getvalue().splitlines()]
    assert (line["event"], line["error"], line["code"]) == (
        "write_failed", "OperationalError", "SQLITE_FULL",
    )  # fmt: skip
    assert "secret" not in lines.getvalue()


async def test_two_writers_that_wait_for_each_other_both_get_done(
    database: Database, database_url: str, writer: Writer
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time: nobody waits in a circle")
    second = Database.open(database_url)
    other = Writer(second)
    await other.start()
    await writer.submit(Note("n1"))
    await writer.submit(Note("n2"))
    first, then = Both("n1", "n2"), Both("n2", "n1")
    first.partner, then.partner = then, first

    await asyncio.gather(writer.submit(first), other.submit(then))

    await other.stop()
    async with second.read() as tx:
        values = (await tx.execute(select(meta.c.value).where(meta.c.name.like("n%")))).scalars()
        assert list(values) == [3, 3]
    await second.close()


@dataclass
class Both(Operation[None]):
    """Locks two rows, the second when its partner has locked that one."""

    one: str
    two: str
    partner: Both | None = None
    holds: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, work: Work) -> None:
        assert self.partner is not None
        await work.tx.execute(_more(self.one))
        self.holds.set()
        await self.partner.holds.wait()
        await work.tx.execute(_more(self.two))


def _more(name: str) -> Update:
    return update(meta).where(meta.c.name == name).values(value=meta.c.value + 1)


@dataclass
class Deaf(Operation[None]):
    """Wakes somebody and fails at it."""

    async def apply(self, work: Work) -> None:
        def wake() -> None:
            raise ZeroDivisionError("the secret")

        work.after_commit(wake)


async def test_a_wake_up_that_fails_is_logged_and_harms_neither_the_others_nor_the_writer(
    writer: Writer,
) -> None:
    lines, heard = io.StringIO(), list[str]()
    with quiet():
        log.configure("info", lines)
        await asyncio.gather(writer.submit(Deaf()), writer.submit(Note("n1", log=heard)))
        assert await writer.submit(Note("n2")) == "n2"

    (line,) = [json.loads(one) for one in lines.getvalue().splitlines()]
    assert (line["event"], line["error"]) == ("wake_failed", "ZeroDivisionError")
    assert "woken n1" in heard
    assert writer.alive


async def test_what_is_urgent_is_written_first(writer: Writer) -> None:
    log: list[str] = []
    await asyncio.gather(
        writer.submit(Note("n1", precedence=Precedence.ROUTINE, log=log)),
        writer.submit(Note("n2", precedence=Precedence.ROUTINE, log=log)),
        writer.submit(Note("n3", precedence=Precedence.FLASH, log=log)),
    )

    assert log[:3] == ["written n3", "written n1", "written n2"]


async def test_a_flash_waits_for_one_group_at_most(database: Database) -> None:
    writer = Writer(database, group=2)
    await writer.start()
    log: list[str] = []
    begun = asyncio.Event()
    routine = [
        asyncio.create_task(writer.submit(Note(f"n{i}", log=log, begun=begun))) for i in range(6)
    ]
    await begun.wait()
    await writer.submit(Note("nz", precedence=Precedence.FLASH, log=log))
    await asyncio.gather(*routine)
    await writer.stop()

    written = [line for line in log if line.startswith("written")]
    assert written[:3] == ["written n0", "written n1", "written nz"]


async def test_nothing_of_less_shares_the_transaction_of_an_urgent_message(
    database: Database,
) -> None:
    writer = Writer(database)
    handler = Many()
    await writer.start()

    await asyncio.gather(
        *(writer.submit(BatchedNote(f"n{i}", handler=handler)) for i in range(3)),
        writer.submit(BatchedNote("own", precedence=Precedence.OVERRIDE, handler=handler)),
        writer.submit(
            BatchedNote("flash", precedence=Precedence.FLASH, is_urgent=True, handler=handler)
        ),
    )
    await writer.stop()

    # The relay's own is as urgent; the others wait for no more than these.
    assert handler.sizes == [2, 3]


async def test_groups_are_small_for_a_while_after_an_urgent_message(
    database: Database,
) -> None:
    now = 1_000.0
    writer = Writer(database, clock=lambda: now)
    handler = Many()
    await writer.start()

    async def flood(name: str) -> None:
        many = range(writers.SMALL_GROUP + 1)
        await asyncio.gather(
            *(writer.submit(BatchedNote(f"{name}{i}", handler=handler)) for i in many)
        )

    await flood("before")
    await writer.submit(Note("flash", precedence=Precedence.FLASH, is_urgent=True))
    await flood("meanwhile")
    now += writers.ALERT
    await flood("after")
    await writer.stop()

    small = writers.SMALL_GROUP
    assert handler.sizes == [small + 1, small, 1, small + 1]


async def test_a_full_queue_is_unavailable_and_says_when_to_come_back(writer: Writer) -> None:
    tasks = [asyncio.create_task(writer.submit(Note(f"n{i}"))) for i in range(8)]
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError) as caught:
        await writer.submit(Note("n9"))

    assert getattr(caught.value, "retry_after", None) == 1
    await asyncio.gather(*tasks)


async def test_a_flood_of_routine_leaves_room_for_flash(database: Database) -> None:
    writer = Writer(database, max_waiting=10, max_waiting_bytes=10_000)
    await writer.start()
    routine = [
        asyncio.create_task(writer.submit(Note(f"n{i}", precedence=Precedence.ROUTINE)))
        for i in range(9)
    ]
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError):
        await writer.submit(Note("n9", precedence=Precedence.ROUTINE))
    await writer.submit(Note("nz", precedence=Precedence.FLASH))
    await asyncio.gather(*routine)
    await writer.stop()


async def test_bytes_that_wait_are_bounded_too(writer: Writer) -> None:
    first = asyncio.create_task(writer.submit(Note("n1", size=900)))
    await asyncio.sleep(0)

    with pytest.raises(UnavailableError):
        await writer.submit(Note("n2", size=200))

    await first


async def test_stopping_writes_what_waits_and_takes_nothing_more(
    database: Database, writer: Writer
) -> None:
    tasks = [asyncio.create_task(writer.submit(Note(f"n{i}"))) for i in range(5)]
    await asyncio.sleep(0)
    await writer.stop()

    assert await asyncio.gather(*tasks) == [f"n{i}" for i in range(5)]
    assert not writer.alive
    with pytest.raises(UnavailableError):
        await writer.submit(Note("n9"))


async def test_a_cancelled_caller_does_not_stop_the_writer(
    database: Database, writer: Writer
) -> None:
    task = asyncio.create_task(writer.submit(Note("n1")))
    await asyncio.sleep(0)
    task.cancel()

    await writer.submit(Note("n2"))

    assert await names(database) == {"n1", "n2"}


async def test_neighbours_of_one_kind_are_written_at_once(
    database: Database, writer: Writer
) -> None:
    many = Many()
    results = await asyncio.gather(
        *(writer.submit(BatchedNote(n, handler=many)) for n in ("n1", "refused", "n2")),
        return_exceptions=True,
    )

    assert many.sizes == [3]
    assert [type(r) for r in results] == [str, ConflictError, str]


async def test_two_kinds_that_come_in_turn_are_still_written_together(writer: Writer) -> None:
    one, other = Many(), Many()
    await asyncio.gather(
        *(writer.submit(BatchedNote(f"n{i}", handler=one if i % 2 else other)) for i in range(6))
    )

    assert (one.sizes, other.sizes) == ([3], [3])


@dataclass
class Stuck(Operation[None]):
    """Is under way until it is cancelled."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, _work: Work) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def test_nobody_waits_for_a_writer_that_was_cancelled(writer: Writer) -> None:
    stuck = Stuck()
    written = asyncio.create_task(writer.submit(stuck))
    await stuck.begun.wait()
    waiting = asyncio.create_task(writer.submit(Note("n1")))
    await asyncio.sleep(0)
    assert writer._task is not None
    writer._task.cancel()

    async with asyncio.timeout(10):
        for task in (written, waiting):
            with pytest.raises(UnavailableError):
                await task
    assert not writer.alive
    writer._task = None


async def test_one_that_spoils_a_batch_harms_only_itself(
    database: Database, writer: Writer
) -> None:
    many = Many()
    results = await asyncio.gather(
        *(writer.submit(BatchedNote(n, handler=many)) for n in ("n1", "bad", "n2")),
        return_exceptions=True,
    )

    assert many.sizes == [3, 1, 1, 1]
    assert [type(r) for r in results] == [str, ZeroDivisionError, str]
    assert await names(database) == {"n1", "n2"}


async def test_a_crash_before_the_commit_loses_only_what_nobody_was_told(
    database: Database, writer: Writer
) -> None:
    acknowledged = await writer.submit(Note("n1"))
    torn = database.write()
    tx = await torn.__aenter__()
    await tx.execute(insert(meta).values(name="n2", value=1))
    await torn.__aexit__(RuntimeError, RuntimeError("killed"), None)

    assert acknowledged == "n1"
    assert await names(database) == {"n1"}
