from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.life import EVERYONE, Life
from tests.sdk.support import Stage
from tests.support.relay import RunningRelay, relay  # noqa: F401 - a fixture
from tests.support.world import World


@pytest.fixture
async def stage(relay: RunningRelay, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture's name
    found = Stage(relay, World(), tmp_path / "devices")
    await found.open()
    return found


@pytest.fixture
async def life(stage: Stage) -> Life:
    """An agreement of three parties, with a device of each."""
    made = Life(stage)
    await made.open()
    for name in EVERYONE:
        await stage.enrol(name)
    return made
