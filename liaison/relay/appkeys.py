"""What the application and each request carry, typed.

Set once by `app`; handlers read from here and know nothing of how a thing was made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.limits import Held, Limits
from liaison.relay.log import Log
from liaison.relay.metrics import Metrics
from liaison.relay.services import Services
from liaison.relay.services.callers import Caller
from liaison.relay.sessions import Session, Sessions
from liaison.relay.settings import Settings
from liaison.relay.streams import Streams

SERVICES: Final = web.AppKey("services", Services)
SETTINGS: Final = web.AppKey("settings", Settings)
SESSIONS: Final = web.AppKey("sessions", Sessions)
LIMITS: Final = web.AppKey("limits", Limits)
STREAMS: Final = web.AppKey("streams", Streams)
METRICS: Final = web.AppKey("metrics", Metrics)
IDENTITY: Final = web.AppKey("identity", RelayIdentity)
LOG: Final = web.AppKey[Log]("log")
NOW_MS: Final = web.AppKey[Callable[[], int]]("now_ms")
READY: Final = web.AppKey[Callable[[], Awaitable[list[str]]]]("ready")

CALLER: Final = web.RequestKey[Caller]("caller")
SESSION: Final = web.RequestKey("session", Session)
HELD: Final = web.RequestKey("held", Held)
PROBLEM: Final = web.RequestKey("problem", str)
"""Code of the problem that the request was answered with, for its log line."""
