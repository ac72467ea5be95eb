"""Disks that are full or slow, at the relay's end and at the client's."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from liaison.relay import tilestore
from liaison.storage.sqlite_direct import DirectConnection
from liaison_sdk import EventKind, MessageState
from liaison_sdk.store import SQLiteStore
from tests.support.camp import Camp
from tests.support.duty import FEW, ROUNDS, SEED
from tests.support.relay import RelayProcess
from tests.support.tally import Tally
from tests.support.traffic import PATIENCE, PATIENT, told, traffic, transport
from tests.support.trouble import Mangler

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

NOTHING = (0, resource.RLIM_INFINITY)
"""Bytes that a file may have: what a process writes fails, as on a full disk."""
EVERYTHING = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
ALMOST_NOTHING = 64 << 10
PAGES = 8
"""Of 4 KiB, that there still are at most in a database that is almost full."""


async def test_a_relay_whose_disk_is_full_acknowledges_nothing_and_goes_on_when_it_is_not(
    camp: Camp, tally: Tally
) -> None:
    relay = RelayProcess(camp.relay, camp.port)
    await asyncio.to_thread(relay.start)
    try:
        rng = random.Random(SEED)
        way = Mangler(transport(camp), rng)
        async with traffic(camp, sender=way) as both:
            await both.send(5)
            await both.all_shown()
            for number in range(FEW):
                # All at once in the first round, in the middle of some write in the others.
                left = rng.randrange(ALMOST_NOTHING) if number else 0
                resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (left, resource.RLIM_INFINITY))
                before = await both.accepted()
                await both.until(way.told("unavailable"))
                assert left or await both.accepted() == before
                resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, EVERYTHING)
                await both.all_shown()
            # What is on the disk was not harmed either.
            resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, NOTHING)
            await both.send(5)
            await way.told("unavailable")
            await asyncio.to_thread(relay.kill)
            await asyncio.to_thread(relay.start)
            await both.count(tally)
    finally:
        if relay.is_running:
            relay.kill()


async def test_a_relay_whose_database_is_full_acknowledges_nothing_and_goes_on_when_it_is_not(
    camp: Camp, tally: Tally
) -> None:
    rng = random.Random(SEED)
    way = Mangler(transport(camp), rng)
    async with camp.stage() as stage, traffic(camp, sender=way) as both:
        await both.send(5)
        await both.all_shown()
        database = stage.relay.app.database
        for _ in range(FEW):
            async with database.write() as tx:
                pages = await tx.scalar(text("PRAGMA page_count")) + rng.randrange(PAGES)
                await tx.execute(text(f"PRAGMA max_page_count = {pages}"))
            await both.send(40)
            await both.until(way.told("unavailable"))
            # Room that was left, or came free, may have let some of it in. What was not, waits.
            ruled = await both.nor.history(limit=50)
            accepted = {m.id.value for m in ruled if m.state is MessageState.ACCEPTED}
            async with database.read() as tx:
                assert accepted <= set(await tx.scalars(text("SELECT message_id FROM items")))
            async with database.write() as tx:
                await tx.execute(text("PRAGMA max_page_count = 1000000"))
            await both.all_shown()

        await both.count(tally)


async def test_a_reader_whose_disk_is_full_acknowledges_nothing_and_goes_on_when_it_is_not(
    camp: Camp, tally: Tally
) -> None:
    rng = random.Random(SEED)
    async with camp.stage(), traffic(camp) as both:
        await both.send(5)
        await both.all_shown()
        store = both.deu._env.store
        assert isinstance(store, SQLiteStore)
        for _ in range(FEW):
            (pages,) = await store._run(lambda: store._db.execute("PRAGMA page_count").fetchone())
            await limit(store, pages + rng.randrange(PAGES))
            gave_up = told(both.deu, EventKind.DISCONNECTED)
            # What was deleted before has left room in it.
            await both.until(wait_for(gave_up))
            assert len(both.shown) < len(both.sent)
            await limit(store, 1_000_000)
            await both.all_shown()

        await both.count(tally)


async def wait_for(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def limit(store: SQLiteStore, pages: int) -> None:
    await store._run(lambda: store._db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_a_slow_disk_makes_nobody_lose_or_repeat_anything(
    camp: Camp, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(SEED)
    plain_commit, plain_sync = DirectConnection.commit, tilestore._sync

    def waiting(work: Callable[..., None]) -> Callable[..., None]:
        def slow(*values: object) -> None:
            time.sleep(rng.choice((0, 0, 0.3)))
            work(*values)

        return slow

    def commit(self: DirectConnection) -> None:
        self.in_thread(waiting(lambda: None))
        plain_commit(self)

    monkeypatch.setattr(DirectConnection, "commit", commit)
    monkeypatch.setattr(tilestore, "_sync", waiting(plain_sync))
    # The sender gives up before some of the answers come, and has to find out.
    options = replace(PATIENT, request_timeout=0.2)
    async with camp.stage(), traffic(camp, options, reader_options=PATIENT) as both:
        for _ in range(ROUNDS):
            await both.send(10)
            await both.all_shown()

        await both.count(tally)
