from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from liaison.storage.engine import Database
from tests.relay.services.harness import Relay
from tests.support.databases import database, database_url, migrated  # noqa: F401 - fixtures


@pytest.fixture
async def relay(database: Database) -> AsyncIterator[Relay]:  # noqa: F811 - the fixture is meant
    """A relay whose writer runs, on each of the two databases."""
    made = Relay(database)
    await made.writer.start()
    yield made
    await made.writer.stop()
