"""SQLite's write-ahead log is moved into the database beside the writer, which does not wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from queue import SimpleQueue

import pytest

from liaison.storage import checkpoints
from liaison.storage.checkpoints import DUE, ROW, Checkpoints
from liaison.storage.sqlite_driver import _Module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a.db"
    connection = sqlite3.connect(found)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a INTEGER, b BLOB)")
    connection.commit()
    connection.close()
    return found


def test_it_waits_for_no_writer_and_no_writer_for_it(path: Path) -> None:
    writer, beside = sqlite3.connect(path, isolation_level=None), sqlite3.connect(path, timeout=0)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.executemany("INSERT INTO t VALUES (?, zeroblob(3000))", [(n,) for n in range(50)])
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (50, NULL)")

    pages, moved = checkpoints.move(beside)

    assert 0 < moved == pages
    writer.execute("COMMIT")
    assert beside.execute("SELECT count(*) FROM t").fetchone() == (51,)
    writer.close()
    beside.close()


def test_what_a_reader_still_sees_stays(path: Path) -> None:
    writer, reader, beside = (sqlite3.connect(path, isolation_level=None) for _ in range(3))
    writer.execute("INSERT INTO t VALUES (1, NULL)")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    writer.execute("DELETE FROM t")

    pages, moved = checkpoints.move(beside)

    assert moved < pages
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    for one in (writer, reader, beside):
        one.close()


def test_one_is_made_when_much_was_written_and_not_before(path: Path) -> None:
    opened = []

    def connect() -> sqlite3.Connection:
        opened.append(sqlite3.connect(path))
        return opened[-1]

    beside = Checkpoints(connect)

    beside.committed(DUE - 1)
    beside.committed(DUE)
    beside.committed(DUE + 1)
    beside.end()
    beside.wait()

    assert len(opened) == 1


def test_less_than_that_begins_no_thread(path: Path) -> None:
    beside = Checkpoints(lambda: pytest.fail("it was opened"))

    beside.committed(DUE - 1)

    assert beside._thread is None


def test_a_disk_that_fails_ends_nothing(path: Path, tmp_path: Path) -> None:
    tries: SimpleQueue[Path] = SimpleQueue()
    paths = iter((tmp_path, path))

    def connect() -> sqlite3.Connection:
        one = next(paths)
        tries.put(one)
        return sqlite3.connect(one)

    beside = Checkpoints(connect)
    beside.committed(DUE)
    assert tries.get() == tmp_path
    beside.committed(2 * DUE)
    assert tries.get() == path
    beside.end()
    beside.wait()


@pytest.mark.parametrize(("count", "size"), [(DUE, 10), (DUE * ROW // 200_000 + 1, 200_000)])
async def test_the_writers_commits_are_followed_by_one(path: Path, count: int, size: int) -> None:
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)
    writer = _Module().connect(str(path), isolation_level=None)
    await writer.begin()
    for n in range(count):
        await writer.run("INSERT INTO t VALUES (?, ?)", (n, bytes(size)))
    await writer.end()

    writer.close()
    assert writer._checkpoints is not None
    await asyncio.to_thread(writer._checkpoints.wait)

    # Closing the last connection would do it too, but this one is still open.
    assert (await asyncio.to_thread(path.stat)).st_size > count * size
    other.close()
