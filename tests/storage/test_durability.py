"""Acknowledged means durable: what the database has committed is on the disk."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from liaison.storage.engine import Database

FULL = 2


async def test_what_was_committed_is_synced(database: Database) -> None:
    async with database.write() as tx:
        if database.is_sqlite:
            settings = [
                await tx.scalar(text(f"PRAGMA {n}")) for n in ("journal_mode", "synchronous")
            ]
        else:
            settings = [await tx.scalar(text("SHOW synchronous_commit"))]

    assert settings == (["wal", FULL] if database.is_sqlite else ["on"])


@pytest.mark.parametrize(
    ("setting", "what"),
    [("off", "an acknowledged message"), ("local", "a failover can lose acknowledged messages")],
)
async def test_settings_that_weaken_it_are_told(
    database: Database, database_url: str, setting: str, what: str
) -> None:
    usual = await database.durability()
    if database.is_sqlite:
        assert usual == []
        return
    name = database_url.partition("?")[0].rpartition("/")[2]
    async with database.write() as tx:
        await tx.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = {setting}"))
    again = Database.open(database_url)
    weakened = await again.durability()
    await again.close()

    # The tests' own server syncs nothing, and nobody follows it.
    assert [line.partition(" ")[0] for line in usual] == ["fsync", "synchronous_standby_names"]
    (news,) = set(weakened) - set(usual)
    assert news.startswith(f"synchronous_commit is {setting}: {what}")
