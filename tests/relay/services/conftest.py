from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from liaison.relay.services.facts import FactFinder
from liaison.storage.engine import Database
from tests.relay.services.forum import CODES, Forum
from tests.relay.services.harness import Actor, Relay
from tests.support.databases import copied, database, migrated  # noqa: F401 - fixtures

Members = tuple[Actor, Actor, Actor]


@dataclass(frozen=True)
class Scene:
    """A database with something in it already, and what its tests hold of that.

    Making one takes much longer than most tests, and is what many of them begin with; each gets a
    copy of its own, of the database and of what the devices hold.

    Args:
        url: the database, which nobody uses.
        relay: as it was when the scene was made.
        actors: devices.
        forum: three parties and their agreement, where there is one.
    """

    url: str
    relay: Relay
    actors: tuple[Actor, ...] = ()
    forum: Forum | None = None


Play = Callable[[Relay], Awaitable[tuple[tuple[Actor, ...], Forum | None]]]


async def _performed(url: str, play: Play) -> Scene:
    base = Database.open(url)
    relay = Relay(base)
    await relay.writer.start()
    actors, forum = await play(relay)
    await relay.writer.stop()
    await base.close()
    return Scene(url, relay, actors, forum)


def _scene(play: Play) -> Any:
    """Return the fixture of a scene, made once on each of the two databases."""

    def make(migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Scene:  # noqa: F811 - the fixture is meant
        return asyncio.run(_performed(copied(migrated, tmp_path_factory.mktemp("scene")), play))

    return pytest.fixture(scope="session")(make)


async def _open(relay: Relay) -> tuple[tuple[Actor, ...], Forum]:
    return (), await Forum.open(relay, *CODES)


async def _meet(relay: Relay) -> tuple[tuple[Actor, ...], Forum]:
    forum = await Forum.open(relay, *CODES)
    return await forum.meet(), forum


async def _admit(relay: Relay) -> tuple[tuple[Actor, ...], None]:
    agreement = await relay.admit("NOR", "DEU")
    nor = await relay.enrol("nor/defatt-berlin#d1")
    nor.agreement = agreement
    return (nor,), None


async def _pair(relay: Relay) -> tuple[tuple[Actor, ...], None]:
    (nor,), _ = await _admit(relay)
    deu = await relay.enrol("deu/lno-j3#d1")
    assert nor.agreement is not None
    await nor.open(nor.agreement, deu)
    return (nor, deu), None


opened = _scene(_open)
met = _scene(_meet)
admitted = _scene(_admit)
paired = _scene(_pair)
_RICHEST_FIRST = ("met", "opened", "paired", "admitted")


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    """The scene that the test begins with, by what it asks for; None for an empty relay."""
    name = next((name for name in _RICHEST_FIRST if name in request.fixturenames), None)
    return None if name is None else request.getfixturevalue(name)


@pytest.fixture
def database_url(migrated: str, scene: Scene | None, tmp_path: Path) -> str:  # noqa: F811 - the fixture is meant
    """A database of the test's own."""
    return copied(migrated if scene is None else scene.url, tmp_path)


@pytest.fixture
async def relay(database: Database, scene: Scene | None) -> AsyncIterator[Relay]:  # noqa: F811 - as above
    """A relay whose writer runs, on each of the two databases."""
    made = Relay(database, like=None if scene is None else scene.relay)
    await made.writer.start()
    yield made
    await made.writer.stop()


@pytest.fixture
def forum(relay: Relay, scene: Scene, opened: Scene) -> Forum:
    """Three parties and their agreement."""
    assert scene.forum is not None
    return scene.forum.on(relay)


@pytest.fixture
def members(forum: Forum, met: Scene) -> Members:
    """A device of each of the three, in one channel."""
    nor, deu, ocha = (actor.on(forum.relay) for actor in met.actors)
    return nor, deu, ocha


@pytest.fixture
def nor(relay: Relay, scene: Scene, admitted: Scene) -> Actor:
    """A device under an agreement of two parties."""
    return scene.actors[0].on(relay)


@pytest.fixture
def deu(relay: Relay, paired: Scene) -> Actor:
    """A device of the other party, in a channel with the first."""
    return paired.actors[1].on(relay)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[FactFinder]:
    """Who has read what messages are judged by."""
    found: list[FactFinder] = []
    reading = FactFinder.read

    async def told(self: FactFinder, *args: Any) -> Any:
        found.append(self)
        return await reading(self, *args)

    monkeypatch.setattr(FactFinder, "read", told)
    return found
