"""What a scrape reads beside the counters: the logs, what waits for devices, the disk.

What comes from the database is read at most every `AGE` seconds, however many ask. What waits for
devices is added up of some stays in channels at a time: with very many, the sums are as old as one
round over all of them takes.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Final

from liaison.errors import LiaisonError
from liaison.relay.app import Relay
from liaison.storage import backlog, logs, logs_reading
from liaison.storage.backlog import Backlog
from liaison.storage.logs import LogRow
from liaison.values import dataclass

AGE: Final = 10.0
"""Seconds for which what was read from the database is given again."""
STAYS: Final = 50_000
"""Devices' stays in channels that are looked at each time: a tenth of a second on SQLite."""
PATIENCE: Final = 5.0
"""Seconds that the database has to answer; otherwise it counts as away."""


STATES: Final = ("ok", "waiting", "unconfirmed", "refused")
"""Of logs, as `liaison-relay log status` calls them."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The logs, together."""

    states: Mapping[str, int]
    entries: Mapping[str, int]
    lags: Mapping[str, float]
    witnesses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a scrape reads beside the counters."""

    is_ready: bool
    logs: LogFacts | None
    backlog: Backlog | None
    disk: tuple[int, int]
    files: Mapping[str, int]


@dataclass
class Scrape:
    """Reads what the counters do not tell.

    Args:
        relay: whose.
    """

    relay: Relay
    _read_at: float = float("-inf")
    _logs: LogFacts | None = None
    _backlog: Backlog | None = None
    _walk: backlog.Walk = backlog.BEGIN
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def facts(self) -> Facts:
        """Return what a scrape is given beside the counters."""
        async with self._reading:
            now = time.monotonic()
            if now - self._read_at >= AGE:
                self._logs = await self._from_database()
                # What could not be read is asked for again.
                self._read_at = now if self._logs is not None else float("-inf")
        disk, files = await asyncio.to_thread(self._from_disk)
        return Facts(await self._is_ready(), self._logs, self._backlog, disk, files)

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.relay.check_ready()
        except (LiaisonError, TimeoutError):
            return False
        return True

    async def _from_database(self) -> LogFacts | None:
        try:
            async with asyncio.timeout(PATIENCE), self.relay.database.read() as tx:
                found = _Logs(self.relay)
                # The newest of each agreement: what another follows has ended.
                newest = {row.agreement: row for row in await logs.listing(tx)}
                for row in newest.values():
                    signed, cosigned = found.add(row)
                    for stage, size in (("published", signed), ("cosigned", cosigned)):
                        oldest = (
                            await logs_reading.time_of(tx, row.key, size)
                            if size < row.size
                            else None
                        )
                        found.lag(stage, oldest)
                walk = await backlog.measure(tx, self._walk, limit=STAYS)
        except (LiaisonError, TimeoutError):
            self._backlog = None
            return None
        if walk.is_over:
            self._backlog, walk = walk.found, backlog.BEGIN
        self._walk = walk
        return found.facts()

    def _from_disk(self) -> tuple[tuple[int, int], dict[str, int]]:
        usage = shutil.disk_usage(self.relay.publisher.root.parent)
        return (usage.free, usage.total), self._database_files()

    def _database_files(self) -> dict[str, int]:
        path = self.relay.database.url.database
        if not self.relay.database.is_sqlite or path is None:
            return {}
        found = {}
        for name, file in (("database", Path(path)), ("wal", Path(f"{path}-wal"))):
            try:
                found[name] = file.stat().st_size
            except FileNotFoundError:
                found[name] = 0
        return found


class _Logs:
    """Adds up what all logs say."""

    def __init__(self, relay: Relay) -> None:
        self._held = relay.publisher.newest()
        self._refused = relay.publisher.recorder.refused
        self._now = relay.clocks.now_ms()
        self._states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        self._entries: Counter[str] = Counter({"recorded": 0, "published": 0, "cosigned": 0})
        self._lags = {"published": 0.0, "cosigned": 0.0}
        self._witnesses: Counter[str] = Counter({"none": 0})

    def add(self, row: LogRow) -> tuple[int, int]:
        """Add a log; return how much of it is published, and how much cosigned."""
        held = self._held.get(row.agreement)
        signed = row.published_size
        if held is not None and held.key == row.key:
            # The database's row waits for the witnesses.
            signed = max(signed, held.signed.size)
            for asked in held.cosigning.witnesses.values() if held.cosigning is not None else ():
                known = "none" if asked.answered else "unasked"
                self._witnesses[asked.problem or known] += 1
        cosigned = row.cosigned_size
        if row.agreement in self._refused:
            self._states["refused"] += 1
        elif held is not None and held.key == row.key and held.is_unconfirmed:
            self._states["unconfirmed"] += 1
        else:
            self._states["ok" if cosigned >= row.size else "waiting"] += 1
        self._entries.update(recorded=row.size, published=signed, cosigned=cosigned)
        return signed, cosigned

    def lag(self, stage: str, oldest_ms: int | None) -> None:
        """Add the time of the oldest entry that has not come so far; None where all have."""
        if oldest_ms is not None:
            self._lags[stage] = max(self._lags[stage], (self._now - oldest_ms) / 1000)

    def facts(self) -> LogFacts:
        """Return the sums."""
        return LogFacts(self._states, self._entries, self._lags, self._witnesses)
