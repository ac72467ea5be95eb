"""Connections that break anywhere, fall silent, or whose frames come twice, swapped or cut."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from liaison.relay.streams import Stream, Streams
from liaison_sdk import transport as transports
from tests.support.camp import Camp, quiet_port
from tests.support.duty import FEW, ROUNDS, SEED, SOME
from tests.support.tally import Tally
from tests.support.traffic import PATIENCE, PATIENT, traffic, transport
from tests.support.trouble import Mangler, Wire

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

LONGEST = 60_000
"""Bytes of a connection that is cut: some TLS handshakes, or a few dozen messages."""
MANY: dict[str, Any] = {"rate_address": 1e6, "burst_address": 1e6}
"""Of reconnecting there is no end here, from one address."""


async def test_connections_cut_at_any_byte_lose_nothing_and_show_nothing_twice(
    camp: Camp, tally: Tally
) -> None:
    rng = random.Random(SEED)
    there = quiet_port()
    async with (
        camp.stage(port=there, **MANY),
        Wire(camp.port, there) as wire,
        traffic(camp) as both,
    ):
        wire.next_cut = lambda: rng.randrange(1, LONGEST)
        wire.break_all()
        for _ in range(2 * ROUNDS):
            await both.send(10)
            await both.all_shown()

        assert wire.cuts
        wire.next_cut = lambda: None
        await both.count(tally)


async def test_a_half_open_connection_is_noticed_by_both_sides_and_loses_nothing(
    camp: Camp, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = counted(monkeypatch)
    # A request over a connection that has fallen silent is given up after this, too.
    monkeypatch.setattr(transports, "_READ_TIMEOUT", 3)
    monkeypatch.setattr(transports, "_HEARTBEAT", 0.5)
    rng = random.Random(SEED)
    there = quiet_port()
    async with (
        camp.stage(port=there, heartbeat=0.5, **MANY) as stage,
        Wire(camp.port, there) as wire,
        traffic(camp) as both,
    ):
        for _ in range(SOME):
            # In the midst of it, or with nothing under way.
            await both.send(rng.randrange(1, 12))
            if rng.random() < 0.5:
                await both.all_shown()
            opened = wire.opened
            wire.fall_silent()
            await both.send(20)
            await both.all_shown()

            assert wire.opened > opened
            async with asyncio.timeout(PATIENCE):
                while len(stage.relay.app.streams) != 2:
                    heard.clear()
                    await heard.wait()
        await both.count(tally)


def counted(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return what is set whenever the relay forgets a connection."""
    heard = asyncio.Event()
    plain = Streams.remove

    def remove(self: Streams, stream: Stream) -> None:
        plain(self, stream)
        heard.set()

    monkeypatch.setattr(Streams, "remove", remove)
    return heard


async def test_frames_of_the_sender_that_come_twice_swapped_or_cut_are_stored_once(
    camp: Camp, tally: Tally
) -> None:
    mangler = Mangler(transport(camp), random.Random(SEED))
    # What was swapped with nothing is lost without a word, such as that nothing waits at the relay:
    # it is sent again soon, and not waited for long.
    options = replace(PATIENT, request_timeout=1, catch_up_limit=1)
    async with camp.stage(**MANY), traffic(camp, options, sender=mangler) as both:
        mangler.chance = 0.2
        for _ in range(ROUNDS):
            await both.send(10)
            await both.all_shown()

        assert all(mangler.done.values())
        mangler.chance = 0
        await both.count(tally)


async def test_frames_to_the_reader_that_come_twice_swapped_or_cut_are_shown_once(
    camp: Camp, tally: Tally
) -> None:
    mangler = Mangler(transport(camp), random.Random(SEED))
    options = replace(PATIENT, request_timeout=1)
    async with (
        camp.stage(**MANY),
        traffic(camp, reader=mangler, reader_options=options) as both,
    ):
        mangler.chance = 0.2
        for _ in range(ROUNDS):
            await both.send(10)
            await both.all_shown()

        assert all(mangler.done.values())
        mangler.chance = 0
        await both.count(tally)


async def test_a_client_that_stops_reading_gets_everything_when_it_goes_on(
    camp: Camp, tally: Tally
) -> None:
    hears = asyncio.Event()
    hears.set()
    rng = random.Random(SEED)
    mangler = Mangler(transport(camp), rng, deaf=hears)
    options = replace(PATIENT, window=16)
    async with (
        camp.stage(**MANY) as stage,
        traffic(camp, PATIENT, reader=mangler, reader_options=options) as both,
    ):
        for _ in range(FEW):
            await both.send(rng.randrange(1, 8))
            await both.all_shown()
            before = len(both.shown)
            hears.clear()
            await both.send(rng.randrange(30, 80))
            await both.nor.sync(PATIENCE)

            assert len(await both.accepted()) == len(both.sent)
            # No more than it had granted, and what it was reading.
            assert len(both.shown) < before + 20
            assert len(stage.relay.app.streams) == 2
            hears.set()
            await both.all_shown()
        await both.count(tally)
