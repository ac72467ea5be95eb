"""Two relays on one database whose readers are woken over NATS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from liaison.fanout.nats import NatsBus, subject_of
from liaison.relay.services import Services, delivery
from liaison.relay.writer import Writer
from liaison.storage.engine import Database
from liaison.wire.frames import Deliver, ItemKind
from tests.relay.services.harness import Actor, Relay, drain, news
from tests.support import nats
from tests.support.nats import SECONDS
from tests.support.world import ED25519


@pytest.fixture(autouse=True)
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself: what arrives, a wake-up brought."""
    monkeypatch.setattr(delivery, "LOOK_AGAIN", 3_600.0)


@dataclass
class Nodes:
    """Two nodes: the one of the relay's own services, and a second."""

    relay: Relay
    second: Services


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[NatsBus]:
    told = asyncio.Event()
    bus = NatsBus((url,), subject_of("relay.example"), report=lambda *_: told.set())
    bus.start()
    await told.wait()
    assert bus.counts.connected
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def nodes(relay: Relay, database_url: str) -> AsyncIterator[Nodes]:
    database = Database.open(database_url)
    writer = Writer(database)
    await writer.start()
    async with (
        nats.running() as server,
        connected(server.url) as one,
        connected(server.url) as two,
    ):
        for sender, receiver in ((one, two), (two, one)):
            with receiver.subscribe("party.0") as subscription:
                await nats.heard(sender, subscription, "party.0")
        relay.bus = one
        relay.services = relay.build()
        second = Services.build(
            database=database,
            writer=writer,
            bus=two,
            clock=relay.clock,
            identity=relay.identity,
            senders={ED25519: relay.key},
        )
        yield Nodes(relay, second)
    await writer.stop()
    await database.close()


async def opened(nodes: Nodes) -> tuple[Actor, Actor]:
    agreement = await nodes.relay.admit("NOR", "DEU")
    nor = await nodes.relay.enrol("nor/defatt-berlin#d1")
    deu = await nodes.relay.enrol("deu/lno-j3#d1")
    await nor.open(agreement, deu)
    await nor.read_all()
    await deu.read_all()
    return nor, deu


async def until(feed: delivery.Feed, count: int) -> list[Deliver]:
    """Wait until so many messages have come."""
    found: list[Deliver] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            await news(feed)
            found += [item for item in await drain(feed) if item.kind is ItemKind.MESSAGE]
    return found


async def test_a_reader_on_one_node_gets_what_the_other_accepted(nodes: Nodes) -> None:
    nor, deu = await opened(nodes)
    feed = await nodes.second.delivery.open(deu.caller)
    await drain(feed)

    await nodes.relay.services.messages.accept(nor.caller, nor.message())

    assert len(await until(feed, 1)) == 1
    feed.close()


async def test_a_device_that_is_added_on_one_node_hears_of_it_on_the_other(nodes: Nodes) -> None:
    nor, _deu = await opened(nodes)
    third = await nodes.relay.enrol("deu/desk#d1")
    feed = await nodes.second.delivery.open(third.caller)
    assert await drain(feed) == []

    await nor.add(third)

    async with asyncio.timeout(SECONDS):
        items: list[Deliver] = []
        while not items:
            await news(feed)
            items = await drain(feed)
    assert items[0].kind is ItemKind.WELCOME
    feed.close()
