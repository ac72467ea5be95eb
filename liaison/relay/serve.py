"""A relay with its sockets: from the data directory to a process that serves.

Files are read and sockets bound before the event loop starts; then `serving`
opens the relay, listens, and at the end takes everything down in the order that
loses nothing: no new connections, streams told to go away, requests answered,
the writer drained, the database closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import field
from typing import Any, Final

from aiohttp import web

from liaison.relay import (
    admin,
    hardening,
    identity,
    interpreter,
    log,
    monitor,
    openfiles,
    renewal,
    restored,
    times,
    tls,
)
from liaison.relay.app import Clocks, Places, Relay
from liaison.relay.connections import Door
from liaison.relay.errors import SettingsError
from liaison.relay.files import DataDir, exclusive
from liaison.relay.identity import RelayKeys
from liaison.relay.recording import Step, nothing
from liaison.relay.services.judging import JUDGE, Judge
from liaison.relay.settings import Settings
from liaison.relay.version import VERSION
from liaison.values import dataclass

BACKLOG: Final = 1_024
LINGER: Final = 1.0
"""Seconds that a refused body may still arrive, so that its sender gets to read the refusal."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that was read and bound before the loop starts."""

    settings: Settings
    keys: RelayKeys
    places: Places
    listener: socket.socket
    admin: socket.socket
    metrics: socket.socket | None
    served: tls.Served | None
    renew: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set by whoever wants the certificate's files looked at now."""

    @property
    def context(self) -> ssl.SSLContext | None:
        """What handshakes are made with; None where a proxy ends TLS."""
        return None if self.served is None else self.served.context

    @property
    def address(self) -> str:
        """Where it listens, `https://127.0.0.1:8443`, with the port that was taken."""
        host, port = self.listener.getsockname()[:2]
        scheme = "http" if self.served is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def prepared(data: DataDir, settings: Settings) -> Iterator[Prepared]:
    """Take the relay's lock, read its files and bind its sockets.

    Raises:
        NotInitialisedError: there is no relay in the directory.
        LockedError: another process uses it.
        SettingsError: the address can't be listened on, or TLS is not set up.
        KeyFileError: a key of the relay can't be used.
    """
    data.require()
    with contextlib.ExitStack() as stack:
        stack.enter_context(exclusive(data))
        keys = identity.load(data)
        served = tls.served(data, settings, int(time.time()))
        places = Places(
            data.database_url(settings.database_url),
            data.logs,
            tls.witness_context(settings),
            tls.bus_context(settings),
            restored.lost_root(data),
        )
        listener = stack.enter_context(_listener(settings.listen))
        metrics = None
        if settings.metrics_listen:
            metrics = stack.enter_context(_listener(settings.metrics_listen))
        socket_ = stack.enter_context(admin.bound(data))
        yield Prepared(settings, keys, places, listener, socket_, metrics, served)


def _listener(where: str) -> socket.socket:
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    except OSError as e:
        raise SettingsError(f"can't listen on {where}: {e.strerror}") from None


@contextlib.asynccontextmanager
async def serving(
    prepared: Prepared,
    clocks: Clocks | None = None,
    judge: Judge = JUDGE,
    step: Step = nothing,
) -> AsyncIterator[Relay]:
    """Serve until the block ends, then stop without losing anything."""
    settings = prepared.settings
    relay = await Relay.open(settings, prepared.keys, prepared.places, clocks, judge, step)
    runner = web.AppRunner(
        relay.application(),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=settings.shutdown_grace,
    )
    renewing = asyncio.create_task(
        renewal.keep(prepared.served, relay.metrics, prepared.renew), name="certificate"
    )
    try:
        relay.start_workers()
        await runner.setup()
        door = Door(
            runner, prepared.listener, prepared.context, relay.connections, lingering=LINGER
        )
        await door.start()
        async with (
            monitor.listening(prepared.metrics, relay),
            admin.listening(prepared.admin, relay),
        ):
            yield relay
    finally:
        renewing.cancel()
        try:
            await runner.cleanup()
        finally:
            await relay.close()


def run(data: DataDir, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; prints the address once requests are answered.

    SIGHUP has the certificate's files looked at.

    Raises:
        LiaisonError: it could not start.
    """
    log.configure(settings.log_level)
    hardening.forbid_core_dumps()
    openfiles.allow(settings.max_connections)
    mark = restored.Mark.read(data)
    if mark is not None:
        log.logger().warning("restored_copy", backup=times.iso(mark.made_ms))
    with prepared(data, settings) as ready:
        _run_loop(_until_signalled(ready))


async def _until_signalled(ready: Prepared) -> None:
    stop: asyncio.Event = asyncio.Event()
    loop = asyncio.get_running_loop()
    logger = log.logger()

    def ask_to_stop(number: signal.Signals) -> None:
        logger.info("stopping", signal=number.name)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, ask_to_stop, number)
    loop.add_signal_handler(signal.SIGHUP, ready.renew.set)
    async with serving(ready):
        interpreter.settle()
        logger.info(
            "listening",
            listen=ready.address,
            origin=ready.keys.public.origin,
            version=VERSION,
            pid=os.getpid(),
        )
        sys.stdout.write(f"listening on {ready.address}\n")
        sys.stdout.flush()
        await stop.wait()
    logger.info("stopped")


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra, and not made for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
