from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, update

import liaison
from liaison.storage import agreements, migrate, parties, tables
from liaison.storage.engine import Database
from liaison.storage.errors import DatabaseError, SchemaError


def test_the_migrations_make_exactly_the_tables(database_url: str) -> None:
    migrate.compare(database_url)

    assert migrate.current(database_url) == migrate.head()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)

    assert migrate.current(database_url) == migrate.head()


async def test_agreements_of_the_first_release_are_known_to_the_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    await asyncio.to_thread(migrate.upgrade, url, "0001")
    database = Database.open(url)
    with pytest.raises(SchemaError, match="older"):
        await database.check()
    async with database.write() as tx:
        party = await parties.save(tx, "NOR", b"{}", now_ms=0)
        for version in (1, 2):
            digest = bytes([version]) * 32
            await agreements.add(tx, "old", version, digest, b"{}", [party], now_ms=0)
    await database.close()

    await asyncio.to_thread(migrate.upgrade, url)

    database = Database.open(url)
    await database.check()
    async with database.read() as tx:
        assert await agreements.changes(tx, ["old"]) == {"old": 2}
        assert await agreements.enforced(tx) == {"old": 0}
    await database.close()


async def test_a_migrated_database_passes_the_check(database: Database) -> None:
    await database.check()


async def test_a_database_without_tables_is_refused_with_a_hint(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE other (name TEXT)")
    database = Database.open(f"sqlite:///{tmp_path}/other.db")

    with pytest.raises(SchemaError) as caught:
        await database.check()

    assert caught.value.hint == "liaison-relay migrate"
    await database.close()


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_database_that_is_lost_is_not_made_anew_by_looking(
    tmp_path: Path, *, is_there: bool
) -> None:
    path = tmp_path / "relay.db"
    if is_there:
        path.touch()
    database = Database.open(f"sqlite:///{path}")

    with pytest.raises(SchemaError, match="there is no database in") as caught:
        await database.check()

    assert "restore its newest backup" in (caught.value.hint or "")
    assert path.exists() is is_there
    await database.close()


@pytest.mark.parametrize(
    ("name", "value"), [("schema_version", 0), ("schema_compat", tables.SCHEMA_VERSION + 1)]
)
async def test_a_schema_of_another_time_is_refused(
    database: Database, name: str, value: int
) -> None:
    async with database.write() as tx:
        await tx.execute(update(tables.meta).where(tables.meta.c.name == name).values(value=value))

    with pytest.raises(SchemaError):
        await database.check()


async def test_a_sqlite_reader_cannot_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    await asyncio.to_thread(migrate.upgrade, url)
    database = Database.open(url)

    with pytest.raises(DatabaseError, match="SQLITE_READONLY"):
        async with database.read() as tx:
            await tx.execute(delete(tables.meta))

    await database.close()


async def test_weak_durability_is_reported(database: Database) -> None:
    found = await database.durability()
    assert re.fullmatch(r"(SQLite|PostgreSQL) [\d.]+", await database.version())

    # The test server runs without fsync and without a standby; SQLite is set by us.
    assert len(found) == (0 if database.is_sqlite else 2)


async def test_the_pools_tell_which_connections_are_busy(database: Database) -> None:
    async with database.read():
        found = dict(database.connections())

    assert found["read", "busy"] == 1
    assert sum(found.values()) == 1


def test_an_unknown_kind_of_database_is_refused() -> None:
    with pytest.raises(SchemaError):
        Database.open("mysql://localhost/relay")


def test_the_wheel_brings_its_migrations(tmp_path: Path) -> None:
    root = Path(liaison.__file__).parent.parent
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = (
        "from liaison.storage import migrate as m; import liaison, sys;"
        " assert liaison.__file__.startswith(sys.argv[1]), liaison.__file__;"
        " url = 'sqlite:///' + sys.argv[1] + '/x.db'; m.upgrade(url);"
        " print(m.current(url) == m.head())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "installed")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "True\n"
