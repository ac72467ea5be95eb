"""The writer's own SQLite driver: quick where nothing waits, patient where something does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, column, insert, select, table, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from liaison.storage import connections, engine, sqlite_direct
from liaison.storage.engine import Database
from liaison.storage.errors import OvertakenError
from liaison.storage.many_rows import ForEach, insert_rows
from liaison.storage.quick import Quick
from liaison.storage.savepoint import Savepoint
from liaison.storage.tables import meta

_INSERT = text("INSERT INTO words (number, word) VALUES (:number, :word)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "words.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = Database.open(f"sqlite:///{path}")
    async with opened.write() as tx:
        await tx.execute(text("CREATE TABLE words (number INTEGER PRIMARY KEY, word BLOB)"))
    yield opened
    await opened.close()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection, as far as SQLite can tell."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


async def _write(database: Database, *rows: tuple[int, bytes]) -> None:
    async with database.write() as tx:
        await tx.execute(_INSERT, [{"number": n, "word": word} for n, word in rows])


async def _words(database: Database) -> dict[int, bytes]:
    async with database.read() as tx:
        rows = await tx.execute(text("SELECT number, word FROM words"))
        return {row.number: row.word for row in rows}


async def test_what_is_written_is_read_whatever_its_size_and_number(database: Database) -> None:
    large = bytes(sqlite_direct.MANY_BYTES)
    await _write(database, (1, b"small"))
    await _write(database, (2, large))
    many = [(n, b"one of many") for n in range(3, 3 + sqlite_direct.MANY_ROWS)]
    await _write(database, *many)
    assert await _words(database) == {1: b"small", 2: large, **dict(many)}


async def test_a_reader_stops_where_it_has_enough(database: Database) -> None:
    await _write(database, *((n, b"word") for n in range(9)))
    select_ = Quick(select(column("number")).select_from(table("words")))
    asked: list[int] = []

    def enough(row: tuple[int, ...]) -> bool:
        asked.append(row[0])
        return row[0] == 3

    async with database.read() as tx:
        connection = connections.sqlite(tx)
        assert connection is not None
        rows = await select_.first_rows(connection, tx, {}, enough)
        rest = await select_.rows(tx)

    assert [number for (number,) in rows] == [0, 1, 2]
    assert asked == [0, 1, 2, 3]
    assert len(rest) == 9


async def test_what_fails_is_undone(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await _write(database, (1, b"once"), (1, b"and again"))
    assert await _words(database) == {}


async def test_a_lock_of_another_process_is_waited_for_while_the_loop_goes_on(
    database: Database, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(_write(database, (1, b"after the other")))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not writing.done()
    other.execute("COMMIT")
    await writing
    assert await _words(database) == {1: b"after the other"}


async def test_a_lock_that_is_never_given_up_is_told(
    path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 10)
    database = Database.open(f"sqlite:///{path}")
    other.execute("CREATE TABLE words (number INTEGER PRIMARY KEY, word BLOB)")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"):
        await _write(database, (1, b"never"))
    other.execute("ROLLBACK")
    # The connection is as good as before.
    await _write(database, (2, b"now"))
    assert await _words(database) == {2: b"now"}
    await database.close()


async def test_a_writer_that_is_cancelled_leaves_the_connection_usable(
    database: Database, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(_write(database, (1, b"cancelled")))
    for _ in range(100):
        await asyncio.sleep(0)
    writing.cancel()
    other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await writing
    await _write(database, (2, b"the next"))
    assert await _words(database) == {2: b"the next"}


_ADD = Quick(insert(meta).values(name=bindparam("its_name"), value=bindparam("its_value")))
_SET = ForEach(
    lambda row: update(meta).where(meta.c.name == row("its_name")).values(value=row("its_value")),
    its_name=meta.c.name,
    its_value=meta.c.value,
)
_VALUES = Quick(
    select(meta.c.name, meta.c.value).where(meta.c.name.in_(bindparam("names", expanding=True)))
)


async def test_what_is_written_past_sqlalchemy_is_in_the_same_transaction(
    database: Database,
) -> None:
    async with database.write() as tx:
        await tx.run_sync(meta.create)

    async def fail(*more: str) -> None:
        async with database.write() as tx:
            await _ADD.change(tx, {"its_name": "past", "its_value": 1})
            await tx.execute(_INSERT, {"number": 1, "word": b"through"})
            for name in more:
                await _ADD.change(tx, {"its_name": name, "its_value": 2})
            raise LookupError

    with pytest.raises(IntegrityError):
        await fail("past")
    with pytest.raises(LookupError):
        await fail()
    assert await _words(database) == {}

    async with database.write() as tx:
        await tx.execute(_INSERT, {"number": 1, "word": b"through"})
        for name in "abc":
            await _ADD.change(tx, {"its_name": name, "its_value": 1})
        await _SET.change(tx, [(name, 3) for name in "abc"], all_of_them=True)
        part = await Savepoint.begin(tx)
        await _ADD.change(tx, {"its_name": "undone", "its_value": 4})
        await part.rollback()
    assert await _words(database) == {1: b"through"}
    for names in (["a", "c", "undone"], ["b"], []):
        async with database.write() as writing:
            found = await _VALUES.rows(writing, {"names": names})
        async with database.read() as reading:
            assert sorted(found) == sorted(await _VALUES.rows(reading, {"names": names}))
        assert dict(found) == {name: 3 for name in names if name != "undone"}


async def test_what_is_left_of_a_transaction_that_sqlite_has_undone_is_not_written(
    database: Database,
) -> None:
    """As it does when the disk is full; whoever hears of that may not tell."""
    async with database.write() as tx:
        await tx.run_sync(meta.create)

    async def write() -> None:
        async with database.write() as tx:
            await insert_rows(tx, (meta, [("a", 1)]))
            connection = connections.sqlite(tx)
            assert connection is not None
            connection.driver_connection.execute("ROLLBACK")
            await insert_rows(tx, (meta, [("b", 1)]))

    with pytest.raises(OvertakenError):
        await write()

    async with database.read() as tx:
        assert await _VALUES.rows(tx, {"names": ["a", "b"]}) == []
