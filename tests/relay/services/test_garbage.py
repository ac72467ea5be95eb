"""A message's way through the relay leaves nothing to the collector.

What refers to itself waits for the collector, which looks seldom: memory would grow meanwhile, and
a process in use for long would stop now and then to look through everything.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from liaison.storage.engine import Database
from tests.relay.services.harness import Actor


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector, which looks when it is told to and at no other time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector")
async def test_a_message_leaves_nothing_that_only_the_collector_could_free(
    nor: Actor, deu: Actor, database: Database
) -> None:
    if not database.is_sqlite:
        pytest.skip("the statements are the same")
    left = []

    for _ in range(5):
        gc.collect()
        for is_in_memory in (True, False):
            await nor.send(b"first")
            await nor.send(b"second")
            if not is_in_memory:
                nor.relay.services.delivery.tail.forget()
            feed = await deu.feed()
            while some := await feed.next(1):
                # Of what is left, the relay looks for what the device has to read next.
                await deu.acknowledge(some)
            feed.close()
        left.append(gc.collect())

    # What is made once, such as a statement's words, may leave something behind once.
    assert min(left) == 0, left
