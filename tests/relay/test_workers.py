from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from liaison.fanout import LocalBus, topics
from liaison.relay import log, workers
from liaison.relay.services.retention import Expired
from liaison.wire.frames import Close
from tests.support.relay import quiet

NEVER = 3600.0
AT_ONCE = 0.001


class Registry:
    def __init__(self) -> None:
        self.mark = 1
        self.broken = False
        self.looks = asyncio.Queue[int]()

    async def revocation_mark(self) -> int:
        self.looks.put_nowait(self.mark)
        if self.broken:
            raise ConnectionError("postgres://user:secret@host")
        return self.mark

    async def invalid(self, _callers: object) -> dict[int, Any]:
        raise AssertionError("the streams of this test ask for nothing")


class Streams:
    def __init__(self) -> None:
        self.checks = asyncio.Queue[Callable[[Any], Awaitable[Any]]]()
        self.stops = asyncio.Queue[Close]()
        self.error: Exception | None = None

    async def end_invalid(self, check: Callable[[Any], Awaitable[Any]]) -> int:
        self.checks.put_nowait(check)
        if self.error is not None:
            raise self.error
        return 1

    def stop_all(self, code: Close) -> int:
        self.stops.put_nowait(code)
        return 1


@asynccontextmanager
async def watching(
    registry: Registry, streams: Streams, bus: LocalBus, poll: float
) -> AsyncIterator[None]:
    services = SimpleNamespace(registry=registry)
    task = asyncio.create_task(
        workers.watch_revocations(
            cast("Any", services), bus, cast("Any", streams), log.logger(), poll=poll
        )
    )
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_revocation_on_this_node_ends_streams_without_waiting_for_the_poll() -> None:
    registry, streams, bus = Registry(), Streams(), LocalBus()
    async with watching(registry, streams, bus, NEVER):
        await streams.checks.get()
        registry.mark = 2
        bus.wake(topics.REVOCATIONS)

        assert await streams.checks.get() == registry.invalid


async def test_a_revocation_on_another_node_is_found_by_looking() -> None:
    registry, streams = Registry(), Streams()
    async with watching(registry, streams, LocalBus(), AT_ONCE):
        await streams.checks.get()
        for _ in range(3):
            await registry.looks.get()
        assert streams.checks.empty()
        registry.mark = 2

        await streams.checks.get()


async def test_streams_that_could_not_be_ended_are_tried_again_though_nothing_new_was_revoked() -> (
    None
):
    registry, streams = Registry(), Streams()
    with quiet():
        log.configure("error", io.StringIO())
        async with watching(registry, streams, LocalBus(), AT_ONCE):
            await streams.checks.get()
            streams.error = ConnectionError()
            registry.mark = 2
            await streams.checks.get()
            await streams.checks.get()
            streams.error = None
            await streams.checks.get()
            for _ in range(3):
                await registry.looks.get()


async def test_a_node_that_cannot_look_for_revocations_serves_no_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, streams = Registry(), Streams()
    registry.broken = True
    monkeypatch.setattr(workers, "BLIND", 3 * AT_ONCE)
    with quiet():
        log.configure("error", io.StringIO())
        async with watching(registry, streams, LocalBus(), AT_ONCE):
            assert await streams.stops.get() == Close.UNAVAILABLE

    assert registry.looks.qsize() >= 3


async def test_removals_are_proposed_at_the_start_and_again_after_a_failure() -> None:
    turns: list[float] = []
    passes = 0

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) > 2:
            raise asyncio.CancelledError

    async def resume() -> None:
        nonlocal passes
        passes += 1
        raise ConnectionError

    with quiet():
        log.configure("error", io.StringIO())
        task = asyncio.create_task(
            workers.propose_removals(
                cast("Any", SimpleNamespace(resume=resume)),
                lambda: 0,
                log.logger(),
                interval=9,
                sleep=sleep,
            )
        )
        await asyncio.gather(task, return_exceptions=True)

    assert turns == [9] * 3
    assert passes == 3


async def test_a_database_that_fails_is_logged_without_its_words_and_asked_again() -> None:
    lines = io.StringIO()
    registry, streams, bus = Registry(), Streams(), LocalBus()
    with quiet():
        log.configure("info", lines)
        async with watching(registry, streams, bus, AT_ONCE):
            await registry.looks.get()
            registry.broken = True
            streams.error = ConnectionError("secret")
            for _ in range(3):
                await registry.looks.get()
            registry.broken = False
            streams.error = None
            registry.mark = 3
            while not streams.checks.empty():
                streams.checks.get_nowait()
            await streams.checks.get()

    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {line["error"] for line in found if line["event"] == "worker_failed"} == {
        "ConnectionError"
    }
    assert "secret" not in lines.getvalue()


async def test_all_that_expired_is_erased_each_interval_and_a_failure_stops_nothing() -> None:
    turns: list[float] = []
    passes = 0

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) > 3:
            raise asyncio.CancelledError

    async def expire() -> Expired:
        nonlocal passes
        passes += 1
        if passes == 1:
            raise ConnectionError
        # At the second turn there is more than two passes can take.
        return Expired(0, 0, 0, 0, 0, 0, more=passes in (2, 3))

    services = SimpleNamespace(retention=SimpleNamespace(expire=expire))
    with quiet():
        log.configure("error", io.StringIO())
        task = asyncio.create_task(
            workers.erase_expired(cast("Any", services), log.logger(), interval=60, sleep=sleep)
        )
        await asyncio.gather(task, return_exceptions=True)

    assert turns == [60] * 4
    assert passes == 5


async def test_streams_are_looked_at_again_after_a_tokens_life() -> None:
    registry, streams, turns = Registry(), Streams(), []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) > 1:
            raise asyncio.CancelledError

    services = SimpleNamespace(registry=registry)
    task = asyncio.create_task(
        workers.recheck_streams(
            cast("Any", services), cast("Any", streams), log.logger(), sleep=sleep
        )
    )
    await asyncio.gather(task, return_exceptions=True)

    assert turns == [600, 600]
    assert streams.checks.get_nowait() == registry.invalid


async def test_the_log_is_told_at_each_turn_and_once_more_at_the_end() -> None:
    done: list[str] = []

    def step(name: str) -> Any:
        async def run() -> None:
            done.append(name)
            if done.count(name) == 1:
                raise ConnectionError

        return run

    services = SimpleNamespace(
        deliveries=SimpleNamespace(tell=step("deliveries")),
        refusals=SimpleNamespace(flush=step("refusals")),
        root_log=SimpleNamespace(keep=step("root")),
    )

    def sleep() -> Any:
        turns: list[float] = []

        async def wait(seconds: float) -> None:
            turns.append(seconds)
            if len(turns) > 2:
                raise asyncio.CancelledError

        return wait

    with quiet():
        log.configure("error", io.StringIO())
        for worker in (workers.tell_deliveries, workers.tell_counts):
            task = asyncio.create_task(
                worker(cast("Any", services), log.logger(), interval=1, sleep=sleep())
            )
            await asyncio.gather(task, return_exceptions=True)
        before = list(done)
        await workers.tell_rest(cast("Any", services), log.logger())

    # A failure at one turn does not keep the next from its own.
    assert before == ["deliveries"] * 2 + ["root", "refusals", "root", "refusals", "root"]
    assert done[len(before) :] == ["deliveries", "refusals"]
