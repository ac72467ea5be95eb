from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from liaison.storage.engine import Database
from tests.relay.services.forum import CODES, Forum
from tests.relay.services.harness import Actor, Relay
from tests.support.databases import database, database_url, migrated  # noqa: F401 - fixtures


@pytest.fixture
async def relay(database: Database) -> AsyncIterator[Relay]:  # noqa: F811 - the fixture is meant
    """A relay whose writer runs, on each of the two databases."""
    made = Relay(database)
    await made.writer.start()
    yield made
    await made.writer.stop()


@pytest.fixture
async def forum(relay: Relay) -> Forum:
    """Three parties and their agreement."""
    return await Forum.open(relay, *CODES)


@pytest.fixture
async def members(forum: Forum) -> tuple[Actor, Actor, Actor]:
    """A device of each of the three, in one channel."""
    return await forum.meet()
