"""The composition root: the one place that knows what everything is made of.

`Relay.open` opens the database and starts the writer; `application` makes what
aiohttp serves; `close` undoes it in the order that loses nothing. Reading files
(settings, keys, certificates) is done before, by `serve` and `admin`: nothing
here blocks the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from ssl import SSLContext
from typing import Self

from aiohttp import web

from liaison.crypto.secret import random_bytes
from liaison.errors import LiaisonError
from liaison.fanout import Bus
from liaison.relay import (
    appkeys,
    buses,
    log,
    log_status,
    middleware,
    recording,
    requests,
    workers,
)
from liaison.relay.connections import Connections
from liaison.relay.errors import NotReadyError
from liaison.relay.identity import RelayKeys
from liaison.relay.limits import Limits
from liaison.relay.metrics import Metrics
from liaison.relay.publishing import Publisher
from liaison.relay.recording import Recorder, Step, nothing
from liaison.relay.routes import TABLES
from liaison.relay.services import Limits as ServiceLimits
from liaison.relay.services import Services
from liaison.relay.services.book import Book
from liaison.relay.services.judging import JUDGE, Judge
from liaison.relay.services.log_grace import LogPolicies
from liaison.relay.sessions import Sessions
from liaison.relay.settings import Settings
from liaison.relay.streams import Streams
from liaison.relay.succeeding import Successors
from liaison.relay.writer import Writer
from liaison.storage import rehearsal
from liaison.storage.engine import Database
from liaison.values import dataclass
from liaison.wire.frames import Close


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where the relay's time comes from; tests turn it by hand.

    Args:
        now_ms: wall clock, Unix milliseconds.
        monotonic: seconds that only grow, for rates.
    """

    now_ms: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Places:
    """Where the relay's data are, and what was read from files before the loop started.

    Args:
        database_url: of the database.
        logs: folder of the logs' files.
        witness_context: whom to trust as a witness's host; None for the system's authorities.
        bus_context: whom to trust as a NATS server; None for the system's authorities.
        lost_root: see `liaison.relay.restored`.
    """

    database_url: str
    logs: Path
    witness_context: SSLContext | None = field(default=None, repr=False)
    bus_context: SSLContext | None = field(default=None, repr=False)
    lost_root: str = ""


@dataclass(slots=True)
class Relay:
    """A relay at work, without its sockets."""

    settings: Settings
    keys: RelayKeys
    clocks: Clocks
    database: Database
    recorder: Recorder
    publisher: Publisher
    writer: Writer
    bus: Bus
    services: Services
    streams: Streams
    metrics: Metrics
    connections: Connections
    _workers: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def open(
        cls,
        settings: Settings,
        keys: RelayKeys,
        places: Places,
        clocks: Clocks | None = None,
        judge: Judge = JUDGE,
        step: Step = nothing,
    ) -> Self:
        """Open the database and start the writer.

        Args:
            settings: checked.
            keys: the relay's own.
            places: where its data are.
            clocks: the system's where left out.
            judge: see `liaison.relay.services.judging`.
            step: see `liaison.relay.recording`.

        Raises:
            SchemaError: the database needs `migrate`, or a newer program.
        """
        clocks = clocks or Clocks()
        database = Database.open(places.database_url)
        try:
            await database.check()
        except LiaisonError:
            await database.close()
            raise
        recorder = Recorder(keys.public.origin, clocks.now_ms, random_bytes, step)
        metrics = Metrics()
        writer = Writer(database, recorder=recorder, metrics=metrics)
        bus = buses.of(settings.nats_servers, keys.public.origin, places.bus_context)
        publisher = Publisher(
            database=database,
            writer=writer,
            recorder=recorder,
            root=places.logs,
            signer=keys.log,
            policies=LogPolicies(database, clocks.now_ms).find,
            urls=settings.witnesses,
            clock=clocks.now_ms,
            context=places.witness_context,
            step=step,
        )
        await writer.start()
        await recording.begin(database, writer, recorder)
        await rehearsal.rehearse(database)
        await publisher.open()
        await publisher.give_up(places.lost_root)
        services = Services.build(
            database=database,
            writer=writer,
            bus=bus,
            clock=clocks.now_ms,
            identity=keys.public,
            senders=keys.senders,
            limits=_service_limits(settings),
            judge=judge,
            files=publisher.files,
            log_signer=keys.log,
            successors=Successors(publisher, Book()).check,
        )
        streams = Streams(settings.max_streams, settings.max_streams_per_device, metrics)
        connections = Connections(settings, clocks.monotonic)
        return cls(
            settings,
            keys,
            clocks,
            database,
            recorder,
            publisher,
            writer,
            bus,
            services,
            streams,
            metrics,
            connections,
        )

    def start_workers(self) -> None:
        """Start what runs beside requests; `close` ends it."""
        settings, logger = self.settings, log.logger()
        self.bus.start()
        poll = settings.revocation_poll_ms / 1000
        self._workers += [
            asyncio.create_task(self.publisher.run(), name="log"),
            asyncio.create_task(workers.tell_deliveries(self.services, logger), name="deliveries"),
            asyncio.create_task(workers.tell_counts(self.services, logger), name="counts"),
            asyncio.create_task(
                workers.watch_revocations(self.services, self.bus, self.streams, logger, poll=poll),
                name="revocations",
            ),
            asyncio.create_task(
                workers.propose_removals(self.services, self.clocks.now_ms, logger),
                name="removals",
            ),
            asyncio.create_task(
                workers.recheck_streams(self.services, self.streams, logger), name="expiry"
            ),
            asyncio.create_task(
                workers.erase_expired(self.services, logger, interval=settings.retention_interval),
                name="retention",
            ),
        ]

    async def check_ready(self) -> list[str]:
        """Check that messages could be accepted now; return what is wrong for some partnership.

        Raises:
            LiaisonError: the database or its schema is unfit, no log takes entries, or the writer
                has ended.
        """
        if not self.writer.alive:
            raise NotReadyError("the writer has ended")
        log_status.check(self.publisher)
        await self.database.check()
        return log_status.problems(self.publisher)

    def application(self) -> web.Application:
        """Return the application that serves this relay."""
        app = web.Application(
            middlewares=[
                middleware.log_request,
                middleware.problems,
                middleware.guard,
                middleware.authenticate,
            ],
        )
        app[appkeys.SERVICES] = self.services
        app[appkeys.SETTINGS] = self.settings
        app[appkeys.SESSIONS] = self._sessions()
        app[appkeys.LIMITS] = Limits(self.settings, self.clocks.monotonic)
        app[appkeys.STREAMS] = self.streams
        app[appkeys.METRICS] = self.metrics
        app[appkeys.IDENTITY] = self.keys.public
        app[appkeys.LOG] = log.logger()
        app[appkeys.NOW_MS] = self.clocks.now_ms
        app[appkeys.READY] = self.check_ready
        app.on_response_prepare.append(middleware.security_headers)
        app.on_shutdown.append(self._end_streams)
        for table in TABLES:
            app.add_routes([_expecting(route) for route in table])
        return app

    def _sessions(self) -> Sessions:
        return Sessions(
            signer=self.keys.identity,
            secret=self.keys.session_secret,
            origin=self.keys.public.url,
            clock=lambda: self.clocks.now_ms() / 1000,
            rng=random_bytes,
        )

    async def _end_streams(self, _app: web.Application) -> None:
        await self.streams.end_all(Close.GOING_AWAY)

    async def close(self) -> None:
        """Stop: workers, then the writer with all it was given, then the database."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await workers.tell_rest(self.services, log.logger())
        await self.publisher.close()
        # What was submitted is committed and answered before the database goes.
        await self.writer.stop()
        await self.bus.close()
        await self.database.close()


def _service_limits(settings: Settings) -> ServiceLimits:
    return ServiceLimits(
        max_blob=settings.max_blob,
        invitations=settings.max_invitations,
        channels=settings.max_channels_per_agreement,
        messages=settings.max_messages_per_channel,
        message_bytes=settings.max_bytes_per_channel,
        channel_attachments=settings.max_attachments_per_channel,
        party_attachments=settings.max_attachments_per_party,
    )


def _expecting(route: web.AbstractRouteDef) -> web.AbstractRouteDef:
    if not isinstance(route, web.RouteDef):
        return route
    more = {**route.kwargs, "expect_handler": requests.expect}
    return web.RouteDef(route.method, route.path, route.handler, more)
