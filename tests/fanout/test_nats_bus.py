from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.fanout import Subscription
from liaison.fanout import nats as bus_module
from liaison.fanout.nats import (
    AT_ONCE,
    EVERYTHING,
    NatsBus,
    WakeFormatError,
    decode,
    encode,
    subject_of,
)
from tests.support import nats
from tests.support.nats import SECONDS, NatsServer

SUBJECT, OTHER = subject_of("relay.example"), subject_of("other.example")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "PAUSE", 0.02)


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with nats.running() as server:
        yield server


@dataclass
class Node:
    """A bus, and what it has reported."""

    bus: NatsBus
    said: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, event: str, _why: str) -> None:
        """Note it."""
        self.said.append(event)
        self.news.set()

    async def until(self, event: str, times: int = 1) -> None:
        """Wait until it was reported so many times."""
        async with asyncio.timeout(SECONDS):
            while self.said.count(event) < times:
                self.news.clear()
                await self.news.wait()


@contextlib.asynccontextmanager
async def node(url: str, subject: str = SUBJECT) -> AsyncIterator[Node]:
    made = Node(NatsBus((url,), subject))
    made.bus.report = made.report
    made.bus.start()
    try:
        yield made
    finally:
        await made.bus.close()


@contextlib.asynccontextmanager
async def two_nodes(server: NatsServer, subject: str = SUBJECT) -> AsyncIterator[tuple[Node, Node]]:
    async with node(server.url, subject) as one, node(server.url, subject) as two:
        await one.until("bus_connected")
        await two.until("bus_connected")
        yield one, two


async def woken(subscription: Subscription, wake: tuple[str, str]) -> None:
    """Wait until a wake-up has come; others may come before it."""
    async with asyncio.timeout(SECONDS):
        while wake not in await subscription.wait():
            pass


async def told(sender: Node, subscription: Subscription, topic: str) -> None:
    """Wait until all that a node has sent so far was heard by another's subscriber."""
    await nats.heard(sender.bus, subscription, topic)


async def test_a_wake_on_one_node_is_one_on_the_other(server: NatsServer) -> None:
    async with two_nodes(server) as (one, two):
        here = one.bus.subscribe("channel.7")
        there = two.bus.subscribe("channel.7", "device.3")
        await told(one, there, "channel.7")
        await told(two, here, "channel.7")

        one.bus.wake("channel.7")
        one.bus.wake("device.3", "key-packages.low")

        assert ("channel.7", "") in here.taken()
        await woken(there, ("device.3", "key-packages.low"))
        two.bus.wake("channel.7")
        await woken(here, ("channel.7", ""))


async def test_what_a_node_sends_does_not_come_back_to_it(server: NatsServer) -> None:
    async with two_nodes(server) as (one, two):
        there, here = two.bus.subscribe("channel.1"), one.bus.subscribe("channel.2")
        await told(two, here, "channel.2")
        await told(one, there, "channel.1")
        before = one.bus.counts.received

        one.bus.wake("channel.1", "x")
        await woken(there, ("channel.1", "x"))
        two.bus.wake("channel.2", "y")
        await woken(here, ("channel.2", "y"))

        assert one.bus.counts.received == before + 1


async def test_relays_that_share_a_server_do_not_hear_each_other(server: NatsServer) -> None:
    async with two_nodes(server) as (one, two), two_nodes(server, OTHER) as (other, peer):
        there = two.bus.subscribe("channel.1")
        elsewhere, own = other.bus.subscribe("channel.1"), other.bus.subscribe("channel.2")
        await told(peer, own, "channel.2")
        elsewhere.taken()

        await told(one, there, "channel.1")
        # The server hands this on after that: had it come here, it would be here by now.
        await told(peer, own, "channel.2")

        assert not elsewhere.has_news


async def test_a_node_that_was_cut_off_wakes_everybody_when_it_is_back(server: NatsServer) -> None:
    async with two_nodes(server) as (one, two):
        here, there = one.bus.subscribe("channel.1"), two.bus.subscribe("channel.1", "device.2")
        await told(one, there, "channel.1")
        await told(two, here, "channel.1")
        await server.stop()
        await one.until("bus_lost")
        await two.until("bus_lost")
        here.taken()
        there.taken()

        one.bus.wake("channel.1")
        assert here.taken() == {("channel.1", "")}
        assert one.bus.counts.lost == 1
        await server.start()

        await woken(there, ("device.2", ""))
        await woken(here, ("channel.1", ""))
        await one.until("bus_connected", 2)
        await two.until("bus_connected", 2)
        await told(one, there, "device.2")


async def test_a_node_begins_before_there_is_a_server(server: NatsServer) -> None:
    await server.stop()
    async with node(server.url) as one:
        await one.until("bus_lost")
        with one.bus.subscribe("channel.1") as here:
            one.bus.wake("channel.1")
            assert await here.wait() == {("channel.1", "")}
        await server.start()

        await one.until("bus_connected")
        assert one.bus.counts.connected


async def test_more_wakes_than_fit_into_one_message_all_come(server: NatsServer) -> None:
    topics = [f"channel.{number}" for number in range(2 * AT_ONCE + 1)]
    async with two_nodes(server) as (one, two):
        there = two.bus.subscribe(*topics)
        await told(one, there, "channel.0")
        there.taken()

        for topic in topics:
            one.bus.wake(topic)
        missing = set(topics)
        async with asyncio.timeout(SECONDS):
            while missing:
                missing -= {topic for topic, _ in await there.wait()}


async def test_a_stranger_on_the_bus_wakes_nobody_with_nonsense(server: NatsServer) -> None:
    async with two_nodes(server) as (one, two), node(server.url) as stranger:
        await stranger.until("bus_connected")
        there = two.bus.subscribe("channel.1")
        await told(one, there, "channel.1")
        await told(stranger, there, "channel.1")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bus_module, "encode", lambda _wakes: b'[["channel.1","<b>"]]')
            stranger.bus.wake("channel.1")
            await two.until("bus_unreadable")
        assert two.bus.counts.unreadable == 1
        assert not there.has_news


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.just(EVERYTHING),
                st.just("revocations"),
                st.builds(
                    "{}.{}".format,
                    st.sampled_from(["channel", "device", "party"]),
                    st.integers(0, 2**63 - 1),
                ),
            ),
            st.from_regex(r"[a-z0-9._-]{0,64}", fullmatch=True),
        ),
        max_size=20,
    )
)
def test_every_message_says_what_was_put_into_it(wakes: list[tuple[str, str]]) -> None:
    assert decode(encode(wakes)) == wakes


@given(st.binary(max_size=200))
def test_every_other_message_is_refused_by_one_error(data: bytes) -> None:
    with contextlib.suppress(WakeFormatError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'["channel.1"]',
        b'[["channel.1"]]',
        b'[["channel.1","",""]]',
        b'[["channel.x",""]]',
        b'[["channel.1","A"]]',
        b'[["elsewhere.1",""]]',
        b"[" * 100_000,
        encode([("channel.1", "")] * (AT_ONCE + 1)),
    ],
)
def test_what_is_no_list_of_topics_and_notes_is_refused(data: bytes) -> None:
    with pytest.raises(WakeFormatError):
        decode(data)
