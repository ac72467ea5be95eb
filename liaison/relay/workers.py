"""What the relay does without being asked.

Ending revoked streams, proposing removals that are due, erasing what expired.

Each worker is a loop over one small step. A step that fails is logged and tried
again at its next turn: none of them may take the relay down, and none of them is
what keeps a revoked device from sending, for that is checked at every send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from liaison.fanout import Bus, topics
from liaison.relay import log
from liaison.relay.services import Services
from liaison.relay.streams import Streams
from liaison.wire.frames import Close
from liaison.wire.handshake import TOKEN_LIFETIME

Sleep = Callable[[float], Awaitable[None]]
_SHORTEST: Final = 0.1
"""Seconds between two looks, where the clock is a little behind."""
BLIND: Final = 5.0
"""Seconds without a look at revocations after which a node serves no stream any more."""


async def watch_revocations(
    services: Services, bus: Bus, streams: Streams, logger: log.Log, *, poll: float
) -> None:
    """End streams whose certificate was revoked: at once here, after `poll` for other nodes.

    The bus tells of revocations that this node accepted; the database, looked at
    every `poll` seconds, of all others. A node that can't look for `BLIND` seconds
    ends all its streams: their devices come back, here or to a node that can.
    """
    # The mark up to which streams were ended; it moves only when they were.
    done: int | None = None
    blind = 0

    async def look() -> bool:
        nonlocal done
        async with asyncio.timeout(BLIND):
            latest = await services.registry.revocation_mark()
            if latest != done:
                ended = await streams.end_invalid(services.registry.invalid)
                if ended:
                    logger.info("streams_revoked", count=ended)
        done = latest
        return True

    with bus.subscribe(topics.REVOCATIONS) as woken:
        while True:
            if await _attempt(look, logger, "revocations"):
                blind = 0
            else:
                blind += 1
            if blind * poll >= BLIND:
                logger.error("streams_ended_blind", count=streams.stop_all(Close.UNAVAILABLE))
                blind = 0
            await _wait(woken.wait(), poll)


async def propose_removals(
    services: Services,
    now_ms: Callable[[], int],
    logger: log.Log,
    *,
    interval: float = 30.0,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Enforce what time has made due, and propose the removals that are.

    At start, when the next thing is due, and every `interval` seconds, because a
    proposal may have failed, its node ended, or another node accepted a document.
    """
    following: int | None = None

    async def look() -> None:
        nonlocal following
        following = None
        following = await services.resume()

    while True:
        await _attempt(look, logger, "removals")
        until = interval if following is None else following - now_ms() / 1000
        await sleep(min(interval, max(until, _SHORTEST)))


async def recheck_streams(
    services: Services,
    streams: Streams,
    logger: log.Log,
    *,
    interval: float = TOKEN_LIFETIME,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """End streams whose certificate has expired; one is open no longer than a token would be."""
    while True:
        await sleep(interval)
        await _attempt(lambda: streams.end_invalid(services.registry.invalid), logger, "expiry")


async def erase_expired(
    services: Services, logger: log.Log, *, interval: float, sleep: Sleep = asyncio.sleep
) -> None:
    """Erase what has expired, each `interval` seconds, in bounded passes until nothing is left.

    Between two passes the writer takes what is more urgent.
    """

    async def erase() -> None:
        while (await services.retention.expire()).more:
            pass
        await services.fullness.count()

    while True:
        await sleep(interval)
        await _attempt(erase, logger, "retention")


async def tell_deliveries(
    services: Services, logger: log.Log, *, interval: float = 10.0, sleep: Sleep = asyncio.sleep
) -> None:
    """Tell the log what was delivered, each `interval` seconds."""
    while True:
        await sleep(interval)
        await _attempt(services.deliveries.tell, logger, "deliveries")


async def tell_counts(
    services: Services, logger: log.Log, *, interval: float = 60.0, sleep: Sleep = asyncio.sleep
) -> None:
    """Tell the log each `interval` seconds what was counted, and where all logs stand."""
    while True:
        await _attempt(services.root_log.keep, logger, "counts")
        await sleep(interval)
        await _attempt(services.refusals.flush, logger, "counts")


async def tell_rest(services: Services, logger: log.Log) -> None:
    """Tell the log what would be told at the next turn: the relay stops."""
    await _attempt(services.deliveries.tell, logger, "deliveries")
    await _attempt(services.refusals.flush, logger, "counts")


async def _wait(waiting: Awaitable[object], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


async def _attempt(step: Callable[[], Awaitable[object]], logger: log.Log, worker: str) -> object:
    try:
        return await step()
    except Exception as error:  # noqa: BLE001 - logged; the next turn tries again
        logger.error("worker_failed", worker=worker, **log.failure(error))  # noqa: TRY400 - see log.failure
        return None
