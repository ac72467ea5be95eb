"""Exporting a part of a partnership's log as a bundle, for one party's auditors.

The bundle is made by the command's own process, from the database and the log's files, which it
only reads: a relay at work goes on undisturbed. Memory stays bounded however long the log is. The
relay then tells of it in the log, and only after that the bundle gets its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.audit import manifest
from liaison.audit.bundle import BundleWriter, Shown
from liaison.audit.manifest import Facts, Manifest
from liaison.crypto.signing import Signer
from liaison.errors import LiaisonError, UnknownError
from liaison.model import PartyCode
from liaison.policy.agreement import Agreement
from liaison.relay import export_extras, times
from liaison.relay.services import log_views, rosters
from liaison.relay.services.book import Book
from liaison.relay.services.errors import ForeignPartyError, UnknownAgreementError
from liaison.relay.services.exports import Export
from liaison.relay.services.lives import Life
from liaison.relay.services.log_views import Reader
from liaison.relay.tilestore import TileStore, folder
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.storage.logs_reading import EntryRow
from liaison.tlog import merkle
from liaison.tlog.entries import PolicyRef
from liaison.tlog.merkle import CompactRange
from liaison.tlog.policy import Policy
from liaison.tlog.tiles import WIDTH
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.trust import log as trust_log
from liaison.values import dataclass


class NothingToExportError(UnknownError):
    """There is nothing that could be exported."""

    code = "export.nothing"


_AT_ONCE: Final = 4096
"""Entries that are read from the database together."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be exported.

    Args:
        agreement: whose log.
        party: for whom: what this party may see is open in the bundle.
        since: Unix milliseconds; what is older is closed, and left out where whole tiles are.
        until: Unix milliseconds; what is not older is closed, and left out likewise.
        generation: of the agreement's log; None for the one that goes on.
        parquet: whether to add the events as Parquet; needs the extra `parquet`.
        report: whether to add the report; needs the extra `report`.
    """

    agreement: str
    party: PartyCode
    since: int | None = None
    until: int | None = None
    parquet: bool = False
    report: bool = False
    generation: int | None = None

    @property
    def filters(self) -> tuple[str, ...]:
        """The limits as the log's entry has them."""
        named = (("from", self.since), ("to", self.until))
        limits = [f"{word} {times.iso(at)}" for word, at in named if at is not None]
        # The entry stands in the log that goes on, and its places may be another one's.
        which = () if self.generation is None else (f"log {self.generation}",)
        return (*which, *limits)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an export comes from.

    Args:
        database: read only.
        logs: folder of the logs' files.
        signer: the relay's log key.
        clock: Unix milliseconds.
    """

    database: Database
    logs: Path
    signer: Signer
    clock: Callable[[], int]


async def export(source: Source, wanted: Wanted, out: BinaryIO) -> tuple[Manifest, Export]:
    """Write a bundle.

    Args:
        source: of what it is made.
        wanted: which part, for whom.
        out: a new file.

    Returns:
        The bundle's manifest, and what the log has to be told of it.

    Raises:
        UnknownAgreementError: the relay has no such agreement.
        ForeignPartyError: the party was never in it.
        NothingToExportError: nothing of the log is cosigned, or is of those times.
        MissingPackageError: for the report or for Parquet.
        ExportError: the log has signed other entries than the database has.
    """
    plan = await _Plan.make(source, wanted)
    with contextlib.ExitStack() as stack:
        writer = await asyncio.to_thread(_writer, plan, out, stack)
        for first in range(plan.facts.first, plan.facts.end, _AT_ONCE):
            last = min(first + _AT_ONCE, plan.facts.end)
            # One read each: a transaction that stays open keeps a busy database from tidying up.
            async with source.database.read() as tx:
                rows = await logs_reading.by_index(tx, plan.row.key, first, last)
            await asyncio.to_thread(writer.add, plan.shown(rows))
        made = await asyncio.to_thread(_finish, writer, plan, wanted, source.signer, stack)
    facts = made.facts
    told = Export(
        wanted.agreement,
        wanted.party,
        facts.first,
        facts.end - 1,
        wanted.filters,
        made.disclosed,
        made.digest,
    )
    return made, told


def _writer(plan: _Plan, out: BinaryIO, stack: contextlib.ExitStack) -> BundleWriter:
    return BundleWriter(
        plan.facts,
        out.write,
        policy=plan.policy,
        notes=plan.notes,
        before=plan.before,
        spool=lambda: stack.enter_context(tempfile.TemporaryFile()),
    )


def _finish(
    writer: BundleWriter, plan: _Plan, wanted: Wanted, signer: Signer, stack: contextlib.ExitStack
) -> Manifest:
    if wanted.report:
        writer.attach("report.html", export_extras.report(plan.facts, writer))
    if wanted.parquet:
        writer.attach("events.parquet", stack.enter_context(export_extras.parquet(writer)))
    key = VerifierKey.of(plan.row.origin, SignatureType.ED25519, signer)
    return writer.finish(key, signer)


def run(
    url: str, logs_folder: Path, signer: Signer, wanted: Wanted, out: BinaryIO
) -> tuple[Manifest, Export]:
    """Run `export` on a database that is opened for it."""

    async def once() -> tuple[Manifest, Export]:
        database = Database.open(url)
        try:
            await database.check()
            source = Source(database, logs_folder, signer, lambda: time.time_ns() // 1_000_000)
            return await export(source, wanted, out)
        finally:
            await database.close()

    # A long export makes garbage; the command's start has switched looking for it off.
    gc.enable()
    return asyncio.run(once())


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """Give a file, and what is to be called when it is whole: only then it is at `path`.

    Raises:
        FileExistsError: there is something already; it is left as it is.
    """
    draft = path.with_name(f".{path.name}.part")
    if path.exists():
        raise FileExistsError(errno.EEXIST, "it is there already", str(path))

    def finish() -> None:
        file.flush()
        os.fsync(file.fileno())
        draft.rename(path)

    # What an export that was cut off has left. Never written into: somebody else may have put it
    # there, to own what is written, or a link to another file.
    draft.unlink(missing_ok=True)
    # Openings are in it: for nobody but the operator until it is handed on.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, finish
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is written, worked out before the first entry is read.

    Args:
        row: of the log.
        facts: of the bundle.
        policy: that its checkpoints fulfil.
        notes: the checkpoints.
        before: the tree of what stands before the bundle.
        reader: whose view it is.
        met: names of the devices of whom its party is told.
    """

    row: LogRow
    facts: Facts
    policy: Policy
    notes: list[bytes]
    before: CompactRange
    reader: Reader
    met: frozenset[str]

    @classmethod
    async def make(cls, source: Source, wanted: Wanted) -> _Plan:
        life = await _life(source.database, wanted)
        newest = life.newest
        if newest is None:
            raise UnknownAgreementError(f"the relay has no agreement {wanted.agreement[:80]!r}")
        reader = log_views.reader(life, wanted.party, source.clock() // 1000)
        if reader is None:
            raise ForeignPartyError(f"{wanted.party} was never in {wanted.agreement}")
        async with source.database.read() as tx:
            row = await _log(tx, wanted)
            view = None if row is None else await log_views.view(tx, row, reader)
            if row is None or view is None or not view.size:
                raise NothingToExportError(
                    f"no checkpoint of the log of {wanted.agreement} is cosigned yet",
                    hint="start the relay; it publishes the log and asks the witnesses",
                )
            first, want = await _range(tx, row.key, view.size, wanted)
            kept = await logs_reading.checkpoints(tx, row.key, first=max(first, 1))
            keys = [one.key for one in await logs.listing(tx) if one.agreement == row.agreement]
        # Of who has left, the last version that it signed: others may have come since.
        signed = newest if reader.until_ms is None else life.naming(wanted.party) or newest
        policy = trust_log.policy(_last(life, row.generation, signed.agreement), row.generation)
        sized = {one.size: one.note for one in kept if _counts(policy, one.note)}
        sized[view.size] = view.cosigned or b""
        end = min(size for size in sized if size >= want)
        facts = Facts(
            row.origin,
            _agreement(life, signed.agreement),
            str(wanted.party),
            first,
            end,
            wanted.since,
            wanted.until,
            source.clock(),
            _predecessor(life, row.generation),
        )
        return cls(
            row,
            facts,
            policy,
            [note for size, note in sorted(sized.items()) if size <= end],
            await asyncio.to_thread(_before, source, row, first),
            reader,
            await rosters.met(source.database, keys, reader.party),
        )

    def shown(self, rows: Iterable[EntryRow]) -> Iterator[tuple[bytes, Shown]]:
        """Give each entry with what the party may see of it."""
        for row in rows:
            if self.reader.may_open(row) and self._is_asked_for(row.time):
                yield row.data, rosters.shown(row, self.reader.party, self.met)
            else:
                yield row.data, None

    def _is_asked_for(self, time: int) -> bool:
        since, until = self.facts.since, self.facts.until
        return (since is None or time >= since) and (until is None or time < until)


async def _log(tx: AsyncConnection, wanted: Wanted) -> LogRow | None:
    if wanted.generation is None:
        return await logs.find(tx, wanted.agreement)
    return await logs.of_generation(tx, wanted.agreement, wanted.generation)


def _last(life: Life, generation: int, signed: Agreement) -> Agreement:
    """Return the version by whose keys and witnesses a log counts: its last one, where it has ended."""
    if signed.log.generation <= generation:
        return signed
    under = [one.agreement for one in life.versions if one.agreement.log.generation == generation]
    return under[-1] if under else signed


def _predecessor(life: Life, generation: int) -> manifest.Predecessor | None:
    """Return what the parties have agreed about the log before one."""
    named = (one.agreement.log for one in life.versions)
    head = next((log.predecessor for log in named if log.generation == generation), None)
    return None if head is None else manifest.Predecessor(head.origin, head.size, head.root)


async def _life(database: Database, wanted: Wanted) -> Life:
    async with database.read() as tx:
        return await Book().life(tx, wanted.agreement)


async def _range(tx: AsyncConnection, log: int, size: int, wanted: Wanted) -> tuple[int, int]:
    """Return the first entry of the bundle, and how many the log has to have at its end."""
    first, end = 0, size
    if wanted.since is not None:
        first = await logs_reading.index_at(tx, log, wanted.since, below=end)
    if wanted.until is not None:
        end = await logs_reading.index_at(tx, log, wanted.until, below=end)
    if first >= end:
        raise NothingToExportError(f"the log of {wanted.agreement} has no entry of those times")
    return first - first % WIDTH, end


def _before(source: Source, row: LogRow, first: int) -> CompactRange:
    store = TileStore(folder(source.logs, row.origin), ThreadPoolExecutor(1))
    # Read from the newest tree: of a smaller one the tiles that were never full are gone.
    tree = store.tree(row.published_size)
    return CompactRange(first, tuple(map(tree.node, merkle.full_nodes(0, first))))


def _counts(policy: Policy, note: bytes) -> bool:
    try:
        policy.verify(note)
    except LiaisonError:
        # Cosigned under an earlier version with other witnesses: the ones around it count.
        return False
    return True


def _agreement(life: Life, newest: Agreement) -> manifest.Agreement:
    versions = tuple(
        PolicyRef(one.agreement.version, one.agreement.digest()) for one in life.versions
    )
    parties = {str(party.code): party.name for party in newest.parties}
    limits: dict[str, int] = {}
    for channel in newest.channels:
        for level, answer in channel.answers.items():
            if answer.acknowledge:
                # The entries do not tell whose channel it was: late is what is late everywhere.
                limits[level.name] = max(limits.get(level.name, 0), answer.acknowledge)
    return manifest.Agreement(newest.agreement_id, versions, parties, limits)
