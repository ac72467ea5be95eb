from __future__ import annotations

import asyncio

from liaison.fanout import LocalBus, topics


async def test_a_subscriber_is_woken_for_its_topics_and_no_others() -> None:
    bus = LocalBus()
    subscription = bus.subscribe(topics.channel(1), topics.device(1))

    bus.wake(topics.channel(2))
    bus.wake(topics.channel(1))
    bus.wake(topics.device(1), "key-packages.low")

    assert await subscription.wait() == {("channel.1", ""), ("device.1", "key-packages.low")}


async def test_a_wake_that_came_before_the_wait_is_not_lost() -> None:
    bus = LocalBus()
    subscription = bus.subscribe("channel.1")
    waiter = asyncio.create_task(subscription.wait())
    await asyncio.sleep(0)
    waiter.cancel()

    bus.wake("channel.1")
    bus.wake("channel.1")

    assert await subscription.wait() == {("channel.1", "")}


async def test_a_closed_subscription_leaves_nothing_behind() -> None:
    bus = LocalBus()
    with bus.subscribe("channel.1") as subscription:
        subscription.add("channel.2")
        subscription.discard("channel.1")

    assert bus._listeners == {}
