"""What the relay does without being asked: ending revoked streams, erasing what expired.

Each worker is a loop over one small step. A step that fails is logged and tried
again at its next turn: none of them may take the relay down, and none of them is
what keeps a revoked device from sending, for that is checked at every send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from liaison.fanout import Bus, topics
from liaison.relay import log
from liaison.relay.services import Services
from liaison.relay.streams import Streams
from liaison.wire.handshake import TOKEN_LIFETIME

Sleep = Callable[[float], Awaitable[None]]


async def watch_revocations(
    services: Services, bus: Bus, streams: Streams, logger: log.Log, *, poll: float
) -> None:
    """End streams whose certificate was revoked: at once here, after `poll` for other nodes.

    The bus tells of revocations that this node accepted; the database, looked at
    every `poll` seconds, of all others.
    """

    async def end() -> None:
        ended = await streams.end_invalid(services.registry.check_valid)
        if ended:
            logger.info("streams_revoked", count=ended)

    with bus.subscribe(topics.REVOCATIONS) as woken:
        mark = await _attempt(services.registry.revocation_mark, logger, "revocations")
        while True:
            told = await _wait(woken.wait(), poll)
            latest = await _attempt(services.registry.revocation_mark, logger, "revocations")
            if not told and latest == mark:
                continue
            mark = latest
            await _attempt(end, logger, "revocations")


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
        await _attempt(lambda: streams.end_invalid(services.registry.check_valid), logger, "expiry")


async def erase_expired(
    services: Services, logger: log.Log, *, interval: float, sleep: Sleep = asyncio.sleep
) -> None:
    """Erase what has expired, each `interval` seconds, in bounded passes until nothing is left.

    Between two passes the writer takes what is more urgent.
    """

    async def erase() -> None:
        while (await services.retention.expire()).more:
            pass

    while True:
        await sleep(interval)
        await _attempt(erase, logger, "retention")


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
