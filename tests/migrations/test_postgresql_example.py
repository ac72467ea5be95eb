"""The files in deploy/postgresql: a real server understands them, and they are enough for a relay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from liaison.storage import migrate
from liaison.storage.engine import Database
from tests.support.databases import administer, database_of

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "postgresql"
_SETTING = re.compile(r"^#?(\w+) = (.+)$", re.MULTILINE)


@pytest.fixture
def server(migrated: str) -> str:
    if migrated.startswith("sqlite"):
        pytest.skip("about PostgreSQL alone")
    return migrated


async def test_the_server_knows_every_setting_of_the_example(server: str) -> None:
    named = dict(_SETTING.findall((FOLDER / "liaison.conf").read_text()))
    database = Database.open(server)
    async with database.read() as tx:
        known = set(await tx.scalars(text("SELECT name FROM pg_settings")))
    await database.close()

    assert {"synchronous_commit", "synchronous_standby_names"} <= named.keys()
    assert named.keys() <= known


def test_a_role_that_owns_its_database_and_nothing_else_is_enough(server: str) -> None:
    lines = (FOLDER / "database.sql").read_text().splitlines()
    script = "\n".join(line for line in lines if not line.startswith("--"))
    statements = [one.strip() for one in script.split(";") if one.strip()]
    administer(
        database_of(server, "postgres"), *(s.replace(":'password'", "'unused'") for s in statements)
    )

    mine = re.sub(r"//[^@]+@", "//liaison:unused@", database_of(server, "liaison"))
    migrate.upgrade(mine)

    assert migrate.current(mine) == migrate.head()
