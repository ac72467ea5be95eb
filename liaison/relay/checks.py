"""`liaison-relay check`: is this relay fit to serve, and what weakens its promises?

Each check looks and changes nothing, and says in one line what it found. A
failed check means that the relay would not start or would break a promise; a
warning, that an operator has to know.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from liaison.crypto import trial_tls
from liaison.errors import LiaisonError
from liaison.relay import adminsocket, identity, tls
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from liaison.storage.engine import Database

LOW_DISK: Final = 1 << 30
_DAY: Final = 86_400
_SOON: Final = 14 * _DAY

T = TypeVar("T")


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    verdict: Verdict
    text: str


def run(data: DataDir, load_settings: Callable[[], Settings]) -> list[Finding]:
    """Make every check that can be made; a failed one hides none but those that need it."""
    found: list[Finding] = []
    settings = _tried(found, "settings", load_settings, "they can be used")
    keys = _tried(found, "keys", lambda: identity.load(data), "they are those of relay.json")
    if keys is not None:
        found.append(Finding("origin", Verdict.OK, keys.public.url))
    if settings is not None:
        found.extend(_tls(data, settings))
        found.extend(_database(data, settings))
    found.extend(_disk(data))
    found.append(_process(data))
    return found


def _tried(found: list[Finding], check: str, step: Callable[[], T], good: str) -> T | None:
    try:
        value = step()
    except LiaisonError as error:
        found.append(Finding(check, Verdict.FAILED, _words(error)))
        return None
    found.append(Finding(check, Verdict.OK, good))
    return value


def _tls(data: DataDir, settings: Settings) -> Iterator[Finding]:
    if settings.tls is TLSMode.PROXY:
        yield Finding("tls", Verdict.OK, f"a proxy ends it and asks {settings.listen}")
        if not settings.trusted_proxies:
            yield Finding(
                "proxy", Verdict.WARNING, "trusted_proxies is empty: all clients share one rate"
            )
        return
    trial = settings.tls is TLSMode.DEV
    certificate = data.tls / "server.pem" if trial else settings.tls_certificate
    key = data.tls / "server.key" if trial else settings.tls_key
    if certificate is None or key is None:
        yield Finding(
            "tls", Verdict.FAILED, "no certificate is set (a trial's: LIAISON_RELAY_TLS=dev)"
        )
        return
    if trial and not certificate.exists():
        yield Finding("tls", Verdict.WARNING, "a trial certificate will be made at start")
        return
    try:
        tls.context(certificate, key)
        names, end = trial_tls.names_and_end(certificate.read_bytes())
    except LiaisonError as error:
        yield Finding("tls", Verdict.FAILED, _words(error))
        return
    left = end - int(time.time())
    text = f"for {', '.join(sorted(names))}; {max(0, left // _DAY)} days left"
    if left <= 0:
        yield Finding("tls", Verdict.FAILED, text)
    elif trial or left < _SOON:
        yield Finding("tls", Verdict.WARNING, f"{text}{' (trial)' if trial else ''}")
    else:
        yield Finding("tls", Verdict.OK, text)


def _database(data: DataDir, settings: Settings) -> list[Finding]:
    try:
        return asyncio.run(_look(data.database_url(settings.database_url)))
    except LiaisonError as error:
        return [Finding("database", Verdict.FAILED, _words(error))]


async def _look(url: str) -> list[Finding]:
    database = Database.open(url)
    try:
        await database.check()
        warnings = await database.durability()
    finally:
        await database.close()
    found = [Finding("database", Verdict.OK, "reachable, and its schema is this release's")]
    found += [Finding("durability", Verdict.WARNING, text) for text in warnings]
    return found


def _disk(data: DataDir) -> Iterator[Finding]:
    if not data.path.is_dir():
        return
    free = shutil.disk_usage(data.path).free
    verdict = Verdict.OK if free >= LOW_DISK else Verdict.WARNING
    yield Finding("disk", verdict, f"{free >> 20} MiB free")


def _process(data: DataDir) -> Finding:
    try:
        running = adminsocket.ask(data, {"do": "party.list"}) is not None
    except LiaisonError as error:
        return Finding("process", Verdict.FAILED, _words(error))
    return Finding("process", Verdict.OK, "running" if running else "not running")


def _words(error: LiaisonError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
