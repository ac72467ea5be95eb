"""The HTTP API, one module for each noun: parse, call one service, answer."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from liaison.relay.routes import (
    agreements,
    blobs,
    channels,
    devices,
    enrolments,
    health,
    key_packages,
    log,
    relay,
    revocations,
    session,
    stream,
)

TABLES: Final[tuple[web.RouteTableDef, ...]] = (
    health.routes,
    relay.routes,
    session.routes,
    enrolments.routes,
    revocations.routes,
    agreements.routes,
    devices.routes,
    key_packages.routes,
    channels.routes,
    blobs.routes,
    log.routes,
    stream.routes,
)
