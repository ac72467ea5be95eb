"""Taking up a new TLS certificate without a restart: every so often, and when asked by SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from liaison.errors import LiaisonError
from liaison.relay import log
from liaison.relay.metrics import Metrics
from liaison.relay.tls import Served

LOOK: Final = 30.0
"""Seconds between two looks at the files."""


async def keep(
    served: Served | None, metrics: Metrics, asked: asyncio.Event, look: float = LOOK
) -> None:
    """Serve what the certificate's files have, until cancelled; nothing to do behind a proxy.

    Args:
        served: the certificate.
        metrics: told when it ends.
        asked: set by whoever wants the files looked at now.
        look: seconds between two looks.
    """
    if served is None:
        return
    metrics.certificate_ends = served.ends
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(look):
                await asked.wait()
        asked.clear()
        await _look(served)
        metrics.certificate_ends = served.ends


async def _look(served: Served) -> None:
    try:
        if await asyncio.to_thread(served.refresh):
            log.logger().info("tls_reloaded")
    except LiaisonError as error:
        # One file is new and the other not yet, or it is a mistake; the old one is served on.
        log.logger().error("tls_reload_failed", code=error.code)
