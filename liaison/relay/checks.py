"""`liaison-relay check`: is this relay fit to serve, and what weakens its promises?

Each check looks and changes nothing, and says in one line what it found. A
failed check means that the relay would not start or would break a promise; a
warning, that an operator has to know.
"""

from __future__ import annotations

import asyncio
import ctypes
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sized
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from liaison import words
from liaison.crypto import trial_tls
from liaison.errors import LiaisonError
from liaison.relay import adminsocket, identity, log_audit, openfiles, probing, restored, times, tls
from liaison.relay.files import DataDir
from liaison.relay.identity import RelayKeys
from liaison.relay.log_audit import Standing
from liaison.relay.settings import Settings, TLSMode
from liaison.storage.engine import Database
from liaison.values import dataclass

LOW_DISK: Final = 1 << 30
BEHIND: Final = 60
"""Seconds by which the clock may be behind the newest entry of a log, before nothing can be right."""
WAITING: Final = 60
"""Seconds for which entries may wait for their witnesses before an operator has to know."""
OLDEST_POSTGRESQL: Final = 13
_DAY: Final = 86_400
_SOON: Final = 14 * _DAY
_MODE: Final = 0o077
_TIME_ERROR: Final = 5  # Source: adjtimex(2)
_POST_QUANTUM_OPENSSL: Final = (3, 5)

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


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str) -> Finding:
    """Return what an operator has to know."""
    return Finding(check, Verdict.WARNING, text)


def failed(check: str, text: str) -> Finding:
    """Return what keeps the relay from running, or from a promise."""
    return Finding(check, Verdict.FAILED, text)


def run(data: DataDir, load_settings: Callable[[], Settings]) -> list[Finding]:
    """Make every check that can be made; a failed one hides none but those that need it."""
    found: list[Finding] = []
    settings = _tried(found, "settings", load_settings, "they can be used")
    keys = _tried(found, "keys", lambda: identity.load(data), "they are those of relay.json")
    if keys is not None:
        found.append(ok("origin", keys.public.url))
    found.extend(_modes(data, settings))
    process, status = _process(data)
    if settings is not None:
        found.extend(_tls(data, settings, is_running=status is not None))
        found.extend(_database(data, settings, keys, status))
    found.extend(_restored(data, status))
    found.extend(_disk(data, settings))
    found.extend(_open_files(data, settings, is_running=status is not None))
    found.append(process)
    return found


def _tried(found: list[Finding], check: str, step: Callable[[], T], good: str) -> T | None:
    try:
        value = step()
    except LiaisonError as error:
        found.append(failed(check, _words(error)))
        return None
    found.append(ok(check, good))
    return value


# --- files ------------------------------------------------------------------------------


def _modes(data: DataDir, settings: Settings | None) -> Iterator[Finding]:
    private = [data.path, data.keys, data.logs, data.socket, data.tls / "server.key"]
    if settings is not None and settings.tls is TLSMode.FILES and settings.tls_key is not None:
        private.append(settings.tls_key)
    open_ = [path for path in private if path.exists() and path.stat().st_mode & _MODE]
    for path in open_:
        wanted = "0700" if path.is_dir() else "0600"
        # A group of their own may read a TLS key: certificate tools do it so.
        world = path.stat().st_mode & 0o007
        text = f"others can open {path} (chmod {wanted} {path})"
        yield failed("modes", text) if world else warning("modes", text)
    if not open_ and data.path.is_dir():
        yield ok("modes", "nobody else can open keys, logs and database")


def _disk(data: DataDir, settings: Settings | None) -> Iterator[Finding]:
    places = {data.path}
    if settings is not None and settings.database_url.startswith("sqlite"):
        places.add(Path(settings.database_url.partition(":///")[2]).parent)
    for place in sorted(places):
        if place.is_dir():
            free = shutil.disk_usage(place).free
            verdict = Verdict.OK if free >= LOW_DISK else Verdict.WARNING
            yield Finding("disk", verdict, f"{free >> 20} MiB free in {place}")


# --- TLS --------------------------------------------------------------------------------


def _tls(data: DataDir, settings: Settings, *, is_running: bool) -> Iterator[Finding]:
    if settings.tls is TLSMode.PROXY:
        yield ok("tls", f"a proxy ends it and asks {settings.listen}")
        if not settings.trusted_proxies:
            yield warning("proxy", "trusted_proxies is empty: all clients share one rate")
        return
    trial = settings.tls is TLSMode.DEV
    certificate = data.tls / "server.pem" if trial else settings.tls_certificate
    key = data.tls / "server.key" if trial else settings.tls_key
    if certificate is None or key is None:
        yield failed("tls", "no certificate is set (a trial's: LIAISON_RELAY_TLS=dev)")
        return
    if trial and not certificate.exists():
        yield warning("tls", "a trial certificate will be made at start")
        return
    try:
        served = tls.Served(certificate, key)
    except LiaisonError as error:
        yield failed("tls", _words(error))
        return
    yield _certificate(certificate, served.ends, trial=trial)
    yield _group(probing.with_context(served.context).group)
    if is_running:
        yield from _served(settings, certificate)


def _certificate(path: Path, ends: int, *, trial: bool) -> Finding:
    names, _ = trial_tls.names_and_end(path.read_bytes())
    left = ends - int(time.time())
    days = words.count(max(0, left // _DAY), "day")
    text = f"for {', '.join(sorted(names)) or 'no name'}; {days} left"
    if left <= 0:
        return failed("tls", text)
    if trial or left < _SOON or not names:
        return warning("tls", f"{text}{' (trial)' if trial else ''}")
    return ok("tls", text)


def _group(group: str) -> Finding:
    text = f"TLS 1.3; a client like this one exchanges keys by {group or 'an unknown group'}"
    if group in probing.POST_QUANTUM:
        return ok("key share", text)
    if ssl.OPENSSL_VERSION_INFO[:2] < _POST_QUANTUM_OPENSSL:
        release = " ".join(ssl.OPENSSL_VERSION.split()[:2])
        return ok("key share", f"{text}; {release} has none against quantum computers")
    return warning("key share", f"{text}, which does not stand against quantum computers")


def _served(settings: Settings, certificate: Path) -> Iterator[Finding]:
    if settings.port == 0:
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - where it listens
    try:
        seen = probing.with_relay(host, settings.port)
    except OSError as error:
        yield warning("served", f"the relay runs, and {settings.listen} makes no TLS: {error}")
        return
    leaf, end, _ = certificate.read_text().partition("-----END CERTIFICATE-----")
    if seen.certificate == ssl.PEM_cert_to_DER_cert(leaf.lstrip() + end):
        keys = f"exchanges keys by {seen.group or 'an unknown group'}"
        yield ok("served", f"the relay on {settings.listen} shows this certificate and {keys}")
    else:
        yield warning("served", f"the relay on {settings.listen} shows another certificate")


# --- database, logs, clock --------------------------------------------------------------


def _database(
    data: DataDir, settings: Settings, keys: RelayKeys | None, status: list[Any] | None
) -> list[Finding]:
    found: list[Finding] = []
    try:
        asyncio.run(_look(found, data, settings, keys, status))
    except LiaisonError as error:
        found.append(failed("database", _words(error)))
    return found


async def _look(
    found: list[Finding],
    data: DataDir,
    settings: Settings,
    keys: RelayKeys | None,
    status: list[Any] | None,
) -> None:
    database = Database.open(data.database_url(settings.database_url))
    try:
        await database.check()
        version = await database.version()
        found.append(_release(version))
        found += [warning("durability", text) for text in await database.durability()]
        if status is not None:
            found += list(_running_logs(status))
        if keys is not None:
            found += await _logs(database, data, keys, is_running=status is not None)
    finally:
        await database.close()


def _release(version: str) -> Finding:
    name, _, number = version.partition(" ")
    major = re.match(r"\d+", number)
    if name == "PostgreSQL" and major is not None and int(major[0]) < OLDEST_POSTGRESQL:
        return warning("database", f"{version} is no longer maintained by its makers")
    return ok("database", f"{version} is reachable, and its schema is this release's")


async def _logs(
    database: Database, data: DataDir, keys: RelayKeys, *, is_running: bool
) -> list[Finding]:
    try:
        # A relay that runs signs meanwhile: what it says itself counts then.
        files = None if is_running else data.logs
        standings = await log_audit.look(database, files, keys.public.log_keys)
    except LiaisonError as error:
        return [failed("log", _words(error))]
    found = [_clock(standings)]
    if not is_running:
        entries = sum(one.size for one in standings)
        signed = sum(one.signed for one in standings)
        found.append(
            ok("log", f"{_count(standings)}, {words.entries(entries)}, {signed} of them signed")
        )
    return found


def _running_logs(status: list[Any]) -> Iterator[Finding]:
    alive = [one for one in status if not one.get("ended")]
    refused = [one for one in alive if one["refused"]]
    well = [one for one in alive if not one["refused"]]
    waits = max((one["waiting_seconds"] or 0 for one in well), default=0)
    problems = sorted({w["problem"] for one in well for w in one["witnesses"] if w["problem"]})
    for one in refused:
        yield failed("log", f"{one['log']} is refused: {one['refused']['message']}")
    if waits > WAITING or problems:
        why = "; ".join(
            [f"entries wait for witnesses for {waits} s"] * (waits > WAITING) + problems
        )
        yield warning("log", f"{why}: see liaison-relay log status")
    elif not refused:
        entries = sum(one["entries"] for one in alive)
        yield ok("log", f"{_count(alive)}, {words.entries(entries)}, none waits for a witness")


def _count(logs: Sized) -> str:
    return words.count(len(logs), "log")


def _clock(standings: list[Standing]) -> Finding:
    newest = max((one.time_ms or 0 for one in standings), default=0)
    behind = (newest - time.time_ns() // 1_000_000) // 1000
    if behind > BEHIND:
        return failed("clock", f"it is {behind} s behind the newest entry of a log")
    if not _is_synchronised():
        return warning("clock", "the kernel does not know it to be synchronised (NTP)")
    return ok("clock", "synchronised, and not behind the logs")


def _is_synchronised() -> bool:
    """Say whether something keeps the clock right; where that can't be told, it counts as kept."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return True
    # `struct timex`, all zero: it is read and nothing is set.
    return bool(adjtimex(ctypes.create_string_buffer(512)) != _TIME_ERROR)


# --- the copy, the process --------------------------------------------------------------


def _restored(data: DataDir, status: list[Any] | None) -> Iterator[Finding]:
    try:
        mark = restored.Mark.read(data)
    except LiaisonError as error:
        yield failed("restored", _words(error))
        return
    if mark is None:
        return
    text = f"from a backup of {times.iso(mark.made_ms)}"
    logs = [one for one in status or () if one["agreement"] is not None and not one.get("ended")]
    if status is None:
        yield warning(
            "restored", f"{text}; witnesses tell after the start whether it is the newest"
        )
    elif all(one["refused"] is None and one["confirmed"] is not False for one in logs):
        yield ok("restored", f"{text}; no witness has seen more than is here")
    else:
        yield warning("restored", f"{text}; not every log is confirmed as the newest")


def _process(data: DataDir) -> tuple[Finding, list[Any] | None]:
    """Return whether the relay runs, and what it says of its logs."""
    try:
        status = adminsocket.ask(data, {"do": "log.status"})
    except LiaisonError as error:
        return failed("process", _words(error)), None
    return ok("process", "not running" if status is None else "running"), status


def _open_files(data: DataDir, settings: Settings | None, *, is_running: bool) -> Iterator[Finding]:
    """Compare the limit of open files, of the relay that runs or of one that this shell starts, with the setting."""
    if is_running:
        try:
            said = adminsocket.ask(data, {"do": "process"})
        except LiaisonError as error:
            # One of an earlier release does not know the question.
            yield warning("open files", f"the relay does not tell: {_words(error)}")
            return
        if said is not None:
            yield _files("the relay may have", said["open_files"], said["max_connections"])
    elif settings is not None:
        most = openfiles.allowed_at_most()
        yield _files("started from here it may have", most, settings.max_connections)


def _files(who: str, most: int, max_connections: int) -> Finding:
    needed = openfiles.needed(max_connections)
    text = f"{who} {most} open; max_connections = {max_connections} needs {needed}"
    return ok("open files", text) if most >= needed else warning("open files", text)


def _words(error: LiaisonError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
