"""What a database that fails, or is not there, is reported as; nothing sent shows in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from liaison.storage import agreements, migrate
from liaison.storage.engine import Database
from liaison.storage.errors import DatabaseError, SchemaError
from liaison.storage.tables import meta

# Without TLS, for which the driver would look at files in the home folder.
NOWHERE = "postgresql://nobody:a-password@127.0.0.1:1/none?ssl=disable"


@pytest.mark.parametrize("url", [NOWHERE, "sqlite:////nowhere/relay.db"])
async def test_a_database_that_cannot_be_reached_is_called_so(url: str) -> None:
    database = Database.open(url)

    for use in (database.check, lambda: _read(database)):
        with pytest.raises(DatabaseError) as caught:
            await use()
        assert caught.value.hint
        assert "a-password" not in str(caught.value)
    await database.close()


async def _read(database: Database) -> None:
    async with database.read() as tx:
        await tx.execute(select(meta.c.name))


def test_migrating_what_cannot_be_reached_says_that_nothing_was_changed() -> None:
    with pytest.raises(DatabaseError) as caught:
        migrate.upgrade(NOWHERE)

    assert caught.value.unchanged


async def test_an_empty_database_wants_to_be_migrated(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'relay.db'}")
    async with database.write():
        pass

    with pytest.raises(SchemaError) as caught:
        await database.check()
    assert caught.value.hint == "liaison-relay migrate"
    await database.close()


def test_an_address_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(SchemaError) as caught:
        Database.open("postgresql:/a-password")

    assert "a-password" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_an_exception_does_not_show_what_was_to_be_written(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        async with database.write() as tx:
            await tx.execute(insert(meta), [{"name": "the-secret", "value": 1}] * 2)

    assert "parameters" in str(caught.value)
    assert "'the-secret'" not in str(caught.value)


async def test_a_text_that_no_database_holds_is_not_found(database: Database) -> None:
    async with database.read() as tx:
        assert await agreements.find(tx, "an\0id") is None
