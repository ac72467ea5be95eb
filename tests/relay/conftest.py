from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.people import People, people_of
from tests.support.relay import RunningRelay, relay  # noqa: F401 - a fixture
from tests.support.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def people(relay: RunningRelay, world: World) -> AsyncIterator[People]:  # noqa: F811
    async with people_of(relay, world) as found:
        yield found
