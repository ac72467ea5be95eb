"""PostgreSQL past SQLAlchemy: few round trips, and nobody sees a difference."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from liaison.storage import connections, questions, remembered
from liaison.storage.engine import Database
from liaison.storage.errors import OvertakenError
from liaison.storage.many_rows import ForEach, insert_rows
from liaison.storage.postgres_direct import DirectConnection
from liaison.storage.postgres_plans import FEW, Replanning
from liaison.storage.quick import ByKeys, Quick
from liaison.storage.savepoint import Savepoint
from liaison.storage.tables import holds, meta
from tests.support.databases import administer

_ADD = Quick(insert(meta).values(name=bindparam("its_name"), value=bindparam("its_value")))
_SET = ForEach(
    lambda row: update(meta).where(meta.c.name == row("its_name")).values(value=row("its_value")),
    its_name=meta.c.name,
    its_value=meta.c.value,
)
_SET_OTHER = ForEach(
    lambda row: update(holds).where(holds.c.agreement == row("name")).values(set_at=row("at")),
    name=holds.c.agreement,
    at=holds.c.set_at,
)
_OF = Quick(
    select(meta.c.name, meta.c.value)
    .where(meta.c.name.in_(bindparam("names", expanding=True)))
    .order_by(meta.c.name)
)
_LOCK = select(meta.c.value).where(meta.c.name.in_(bindparam("names", expanding=True)))
_LOCKED = Quick(_LOCK.with_for_update())
_LOCKED_NOW = Quick(_LOCK.with_for_update(nowait=True))
_LOCKED_OTHER = Quick(select(holds.c.key).with_for_update())
_BY_KEY = ByKeys((meta.c.name, meta.c.value), lambda which: select(meta.c.name).where(which))
_NAMES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def _only_postgresql(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("this driver is PostgreSQL's")


@pytest.fixture
async def kept(database: Database) -> Database:
    async with database.write() as tx:
        await insert_rows(tx, (meta, [(name, 1) for name in _NAMES]))
    return database


async def _values(database: Database) -> dict[str, int]:
    async with database.read() as tx:
        return dict(await _OF.rows(tx, {"names": [*_NAMES, "d"]}))


def _connection(tx: object) -> DirectConnection:
    found = connections.postgres(tx)  # type: ignore[arg-type]  # an AsyncConnection
    assert found is not None
    return found


async def test_what_waits_to_be_written_is_there_for_whatever_is_asked_next(
    kept: Database,
) -> None:
    async with kept.write() as tx:
        await _SET.change(tx, [("a", 2), ("b", 3)])
        assert [tuple(row) for row in await _OF.rows(tx, {"names": ["a", "b"]})] == [
            ("a", 2), ("b", 3),
        ]  # fmt: skip
        await insert_rows(tx, (meta, [("d", 4)]))
        assert await tx.scalar(select(meta.c.value).where(meta.c.name == "d")) == 4
        await _SET.change(tx, [("d", 5)])
        await _SET.change(tx, [("d", 6)])
    assert await _values(kept) == {"a": 2, "b": 3, "c": 1, "d": 6}


async def test_several_questions_and_several_writes_are_one_statement_each(
    kept: Database,
) -> None:
    asked: list[str] = []
    # The second time nothing has to be prepared.
    for name in ("d", "e"):
        async with kept.write() as tx:
            driver = _connection(tx).driver_connection
            if name == "e":
                driver.add_query_logger(lambda one: asked.append(one.query))
            await insert_rows(tx, (meta, [(name, 4)]))
            await _SET_OTHER.change(tx, [(name, 5)])
            answers = await questions.together(
                tx,
                questions.Question(_BY_KEY.parts(tx, [("a", 1), ("b", 9)]), list),
                questions.Question([(_OF, {"names": ["c"]})], list),
                questions.Question([(_OF, {"names": []})], list),
            )
    # Loggers are called a moment later.
    await asyncio.sleep(0)

    assert answers == [[("a",)], [("c", 1)], []]
    firsts = [one.removeprefix("DISCARD PLANS; ").split()[0] for one in asked]
    assert firsts == ["BEGIN", "WITH", "SELECT", "COMMIT"]


async def test_a_row_that_is_not_there_to_be_changed_undoes_everything(kept: Database) -> None:
    async def change() -> None:
        async with kept.write() as tx:
            await insert_rows(tx, (meta, [("d", 4)]))
            await _SET.change(tx, [("a", 2), ("nobody", 2)], all_of_them=True)

    with pytest.raises(OvertakenError):
        await change()
    assert await _values(kept) == dict.fromkeys(_NAMES, 1)


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
async def test_what_a_transaction_relied_on_is_no_concern_of_the_next(
    kept: Database, *, through_sqlalchemy: bool
) -> None:
    async with kept.write() as tx:
        # There is nothing to be written.
        remembered.rely(tx)
        if through_sqlalchemy:
            await tx.execute(select(meta.c.value))

    async def clash() -> None:
        async with kept.write() as tx:
            await insert_rows(tx, (meta, [("a", 2)]))

    with pytest.raises(IntegrityError):
        await clash()


async def test_what_waited_in_a_part_that_is_undone_is_not_written(kept: Database) -> None:
    async with kept.write() as tx:
        await _SET.change(tx, [("a", 2)])
        part = await Savepoint.begin(tx)
        await _SET.change(tx, [("b", 2)])
        await part.rollback()
        part = await Savepoint.begin(tx)
        await insert_rows(tx, (meta, [("a", 3)]))
        with pytest.raises(IntegrityError):
            await part.commit()
        await part.rollback()
    assert await _values(kept) == {"a": 2, "b": 1, "c": 1}


async def test_a_commit_that_postgresql_turns_into_a_rollback_is_told(kept: Database) -> None:
    async def change() -> None:
        async with kept.write() as tx:
            await _SET.change(tx, [("a", 2)])
            with pytest.raises(IntegrityError):
                await _ADD.change(tx, {"its_name": "b", "its_value": 2})

    with pytest.raises(OvertakenError, match="ROLLBACK"):
        await change()
    assert await _values(kept) == dict.fromkeys(_NAMES, 1)


async def test_connections_that_the_server_has_ended_are_replaced(kept: Database) -> None:
    async with kept.write() as tx, kept.read() as reader:
        await _OF.rows(reader, {"names": ["a"]})
        drivers = [_connection(one).driver_connection for one in (tx, reader)]
    ended = [_ended(driver) for driver in drivers]
    pids = ", ".join(str(driver.get_server_pid()) for driver in drivers)
    url = kept.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    statement = f"SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[{pids}]) AS pid"  # noqa: S608
    await asyncio.to_thread(administer, url, statement)
    await asyncio.gather(*(one.wait() for one in ended))

    async with kept.write() as again:
        await _SET.change(again, [("a", 2)])
    assert (await _values(kept))["a"] == 2


def _ended(driver: Any) -> asyncio.Event:
    event = asyncio.Event()
    driver.add_termination_listener(lambda _: event.set())
    return event


@pytest.fixture
def pooled(database_url: str) -> str:
    mark = "&" if "?" in database_url else "?"
    return f"{database_url}{mark}statement_cache_size=0"


async def test_behind_a_pooler_nothing_is_prepared_for_later(kept: Database, pooled: str) -> None:
    behind = Database.open(pooled)
    async with behind.write() as tx:
        assert await remembered.mark(tx) is None
        await _SET.change(tx, [("a", 2)])
        await tx.execute(update(meta).where(meta.c.name == "b").values(value=2))
        await _SET.change(tx, [("c", 2)])
        prepared = (await tx.execute(text("SELECT name FROM pg_prepared_statements"))).scalars()
        assert [name for name in prepared if name] == []
        assert await tx.scalar(text("SHOW enable_seqscan")) == "on"
    assert await _values(behind) == dict.fromkeys(_NAMES, 2)
    await behind.close()


async def test_a_table_that_a_migration_changes_meanwhile_is_met_anew(kept: Database) -> None:
    async def find() -> list[tuple[str, int]]:
        async with kept.write() as tx:
            return [tuple(row) for row in await _OF.rows(tx, {"names": ["a"]})]

    async def lock_and_find() -> None:
        async with kept.write() as tx:
            await _LOCKED.rows(tx, {"names": ["a"]})
            await _OF.rows(tx, {"names": ["a"]})

    async def alter(to: str) -> None:
        async with kept.write() as tx:
            await tx.execute(text(f"ALTER TABLE meta ALTER COLUMN value TYPE {to}"))

    await lock_and_find()
    await alter("numeric")
    # What a transaction has done already can't be done again by the driver.
    with pytest.raises(OvertakenError):
        await lock_and_find()
    assert await find() == [("a", 1)]
    await alter("bigint")
    assert await find() == [("a", 1)]


async def test_what_is_read_and_then_written_at_once_is_one_statement_each(
    kept: Database,
) -> None:
    asked: list[str] = []
    for value in (2, 3):
        async with kept.write() as tx:
            driver = _connection(tx).driver_connection
            if value == 3:
                driver.add_query_logger(lambda one: asked.append(one.query))
            await _OF.rows(tx, {"names": ["a"]})
            await _SET.change(tx, [("a", value)], all_of_them=True)
            await _SET_OTHER.change(tx, [("a", value)])
            assert _connection(tx).holds_nothing
    # Loggers are called a moment later.
    await asyncio.sleep(0)

    assert [one.split()[0] for one in asked if not one.startswith("DISCARD")] == ["SELECT", "WITH"]
    assert (await _values(kept))["a"] == 3


async def test_of_what_is_written_at_once_nothing_stays_where_a_row_was_not_there(
    kept: Database,
) -> None:
    async def change() -> None:
        async with kept.write() as tx:
            await _SET.change(tx, [("a", 2), ("nobody", 2)], all_of_them=True)
            await _SET_OTHER.change(tx, [("a", 2)])

    with pytest.raises(OvertakenError):
        await change()
    assert await _values(kept) == dict.fromkeys(_NAMES, 1)


async def test_what_waits_locks_its_rows_before_anything_else_is_locked(kept: Database) -> None:
    async with kept.write() as tx, kept.write() as other:
        await _SET.change(tx, [("a", 2)], all_of_them=True)
        await _LOCKED_OTHER.rows(tx)
        with pytest.raises(DBAPIError, match="could not obtain lock"):
            await _LOCKED_NOW.rows(other, {"names": ["a"]})
        await _connection(other).undo()


async def test_what_locks_rows_holds_them_until_the_transaction_ends(kept: Database) -> None:
    async with kept.write() as tx, kept.write() as other:
        await _LOCKED.rows(tx, {"names": ["a"]})
        with pytest.raises(DBAPIError, match="could not obtain lock"):
            await _LOCKED_NOW.rows(other, {"names": ["a"]})
        await _connection(other).undo()
    async with kept.write() as other:
        assert len(await _LOCKED_NOW.rows(other, {"names": ["a"]})) == 1


def test_statements_are_planned_anew_as_transactions_double_and_after_a_while_in_any_case() -> None:
    replanning = Replanning()

    assert replanning.words(0.0)
    assert [bool(replanning.words(0.9)) for _ in range(30)] == [False] * 30
    assert replanning.words(1.0)
    # 32 so far.
    again = [bool(replanning.words(3.0)) for _ in range(50)]
    assert again == [False] * (31 + FEW) + [True] + [False] * (18 - FEW)
    assert not replanning.words(12.9)
    assert replanning.words(13.0)


async def test_where_the_first_locks_fail_the_transaction_that_began_with_them_is_undone(
    kept: Database,
) -> None:
    """As on a standby that is not promoted yet: it begins transactions, and locks nothing."""
    with pytest.raises(DBAPIError):
        async with kept.write() as tx:
            await _connection(tx).lock("SELECT 1 / 0")

    async with kept.write() as tx:
        await _connection(tx).lock("SELECT 1")
        await _SET.change(tx, [("a", 2)])

    assert await _values(kept) == {"a": 2, "b": 1, "c": 1}


async def test_a_transaction_that_something_else_has_begun_does_not_outlive_its_user(
    kept: Database,
) -> None:
    async def begin_and_fail() -> None:
        async with kept.write() as tx:
            driver: Any = _connection(tx)._connection
            await driver.execute("BEGIN")
            raise LookupError

    with pytest.raises(LookupError):
        await begin_and_fail()
    async with kept.write() as tx:
        driver: Any = _connection(tx)._connection
        assert not driver.is_in_transaction()
        await _SET.change(tx, [("b", 2)])

    assert await _values(kept) == {"a": 1, "b": 2, "c": 1}
