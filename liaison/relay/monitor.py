"""Where the relay's numbers are read: on a loopback address of their own, and by the admin socket.

Never on the public listener: nobody who can only reach the relay learns how it is. On the host
whoever can open a port may read them; they name no party, device, channel or agreement.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from liaison.relay.app import Relay

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BACKLOG: Final = 16
_PATIENCE: Final = 5.0
"""Seconds that a scrape under way has when the relay stops."""

Text = Callable[[], Awaitable[bytes]]


async def load(relay: Relay) -> Text:
    """Return what gives the relay's metrics in the text format."""
    # Prometheus's library takes a tenth of a second to load, and not every relay is scraped.
    module: Any = await asyncio.to_thread(importlib.import_module, "liaison.relay.exposition")
    text: Text = module.Exposition.of(relay).text
    return text


@contextlib.asynccontextmanager
async def listening(listener: socket.socket | None, relay: Relay) -> AsyncIterator[None]:
    """Answer `GET /metrics` on a socket; does nothing without one."""
    if listener is None:
        yield
        return
    runner = web.AppRunner(
        _application(relay), access_log=None, handle_signals=False, shutdown_timeout=_PATIENCE
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        yield
    finally:
        await runner.cleanup()


def _application(relay: Relay) -> web.Application:
    loaded: list[Text] = []

    async def metrics(_request: web.Request) -> web.Response:
        if not loaded:
            loaded.append(await load(relay))
        return web.Response(body=await loaded[0](), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
