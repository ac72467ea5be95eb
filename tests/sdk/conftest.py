from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from liaison.policy.agreement import Agreement
from tests.sdk.life import EVERYONE, Life
from tests.sdk.support import Stage
from tests.support.camp import Camp, pitch, played
from tests.support.relay import RunningRelay, relay  # noqa: F401 - a fixture
from tests.support.world import World


@pytest.fixture
async def stage(relay: RunningRelay, tmp_path: Path) -> Stage:  # noqa: F811 - the fixture's name
    found = Stage(relay, World(), tmp_path / "devices")
    await found.open()
    return found


# Enrolling two devices and opening a channel takes longer than most tests do after that: each
# gets a copy of where it begins, the relay's files and the devices'.


@pytest.fixture(scope="session")
def after_enrolling(tmp_path_factory: pytest.TempPathFactory) -> Camp:
    return asyncio.run(pitch(tmp_path_factory.mktemp("enrolled"), channel=False))


@pytest.fixture(scope="session")
def after_opening(tmp_path_factory: pytest.TempPathFactory) -> Camp:
    return asyncio.run(pitch(tmp_path_factory.mktemp("paired"), joined=False))


@pytest.fixture
async def enrolled(after_enrolling: Camp, tmp_path: Path) -> AsyncIterator[Stage]:
    """Two devices, enrolled."""
    async with after_enrolling.copy(tmp_path / "camp").stage() as found:
        yield found


@pytest.fixture
async def pair(after_opening: Camp, tmp_path: Path) -> AsyncIterator[Stage]:
    """The same; the first has opened a channel, `duty`, that the second has not joined yet."""
    async with after_opening.copy(tmp_path / "camp").stage() as found:
        yield found


@pytest.fixture(scope="session")
def after_agreeing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Camp, Sequence[Agreement]]:
    versions: list[Agreement] = []

    async def play(stage: Stage) -> None:
        await stage.open()
        made = Life(stage)
        await made.open()
        for name in EVERYONE:
            await stage.enrol(name)
        versions.extend(made.versions)

    return asyncio.run(played(tmp_path_factory.mktemp("agreed"), play)), versions


@pytest.fixture
async def life(
    after_agreeing: tuple[Camp, Sequence[Agreement]], tmp_path: Path
) -> AsyncIterator[Life]:
    """An agreement of three parties, with a device of each."""
    camp, versions = after_agreeing
    async with camp.copy(tmp_path / "camp").stage() as stage:
        made = Life(stage)
        made.versions.extend(versions)
        yield made
