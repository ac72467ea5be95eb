"""PostgreSQL that is killed and restarted, or fails over to a synchronous standby, under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.camp import pitch, quiet_port
from tests.support.cluster import STANDBY, Node, cluster
from tests.support.databases import administer
from tests.support.duty import FEW, SEED
from tests.support.tally import Tally
from tests.support.traffic import traffic
from tests.support.trouble import Wire

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


FAILOVERS = -(-FEW // 20)


@pytest.fixture
def primary() -> Iterator[Node]:
    with cluster() as node:
        yield node


async def test_a_killed_postgresql_and_then_a_failover_lose_nothing_that_was_acknowledged(
    primary: Node, tmp_path: Path, tally: Tally
) -> None:
    door = quiet_port()
    url = primary.url(port=door)
    rng = random.Random(SEED)
    room = primary.data.parent / "nodes"
    async with Wire(door, primary.port) as wire:
        camp = await pitch(tmp_path / "camp", database_url=url)
        async with camp.stage(database_url=url), traffic(camp) as both:
            for number in range(FEW):
                ends = (primary.crash, primary.kill, primary.stop)
                await both.send(rng.randrange(5, 40))
                await both.some_accepted()
                await asyncio.to_thread(rng.choice(ends) if number else primary.crash)
                await asyncio.to_thread(primary.start)
                await both.all_shown()

            for number in range(FAILOVERS):
                await both.send(rng.randrange(5, 40))
                await both.some_accepted()
                standby = await asyncio.to_thread(followed, primary, room / str(number))
                await both.send(rng.randrange(5, 40))
                await both.some_accepted()
                await asyncio.to_thread(primary.crash)
                wire.target = standby.port
                await asyncio.to_thread(standby.promote)
                await both.all_shown()
                primary = standby

            await both.count(tally)


def followed(primary: Node, folder: Path) -> Node:
    """Give a server a standby without which it commits nothing more; blocks."""
    standby = primary.standby(folder)
    setting = f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'"
    administer(primary.url("postgres"), setting)
    # Started anew, it has no process left that has not heard of it.
    primary.stop()
    primary.start()
    standby.start()
    return standby
