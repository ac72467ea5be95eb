"""PostgreSQL that is killed and restarted, or fails over to a synchronous standby, under load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.camp import pitch, quiet_port
from tests.support.cluster import STANDBY, Node, cluster
from tests.support.databases import administer
from tests.support.duty import FEW
from tests.support.tally import Tally
from tests.support.traffic import traffic
from tests.support.trouble import Wire

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


@pytest.fixture
def primary() -> Iterator[Node]:
    with cluster() as node:
        yield node


async def test_a_killed_postgresql_and_then_a_failover_lose_nothing_that_was_acknowledged(
    primary: Node, tmp_path: Path, tally: Tally
) -> None:
    door = quiet_port()
    url = primary.url(port=door)
    async with Wire(door, primary.port) as wire:
        camp = await pitch(tmp_path / "camp", database_url=url)
        async with camp.stage(database_url=url), traffic(camp) as both:
            for _ in range(FEW):
                await both.send(20)
                await both.some_accepted()
                await asyncio.to_thread(primary.kill)
                await asyncio.to_thread(primary.start)
                await both.all_shown()

            standby = await asyncio.to_thread(followed, primary)
            await both.send(20)
            await both.some_accepted()
            await asyncio.to_thread(primary.kill)
            wire.target = standby.port
            await asyncio.to_thread(standby.promote)

            await both.count(tally)


def followed(primary: Node) -> Node:
    """Give a server a standby without which it commits nothing more; blocks."""
    standby = primary.standby(primary.data.parent / "nodes" / "standby")
    setting = f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'"
    administer(primary.url("postgres"), setting)
    # Started anew, it has no process left that has not heard of it.
    primary.kill()
    primary.start()
    standby.start()
    return standby
