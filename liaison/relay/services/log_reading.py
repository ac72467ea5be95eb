"""Reading an agreement's log: what a party's devices and offices are given of it, with proofs.

A caller gets entries of the channels that its device is or was in, those of credentials that it
names, and those of its party's keys; and of each what its party may open. Which entries these are
is read from the database. That they are in the log is proved from its tiles, in the newest
checkpoint that a quorum has cosigned, and nothing beyond that one is given; to a party that has
left, nothing beyond what `liaison.relay.services.log_views` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Final, NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.model import ChannelId
from liaison.relay.services import log_views
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller, DeviceCaller
from liaison.relay.services.errors import (
    UnknownAgreementError,
    UnknownLogError,
    UnknownReportError,
    UnknownTileError,
)
from liaison.relay.services.log_views import Reader, View
from liaison.storage import channels, erasures, logs, logs_reading, progress
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.storage.logs_reading import EntryRow
from liaison.storage.progress import Stay
from liaison.tlog.disclosure import Disclosure, Sealed
from liaison.tlog.errors import TileError
from liaison.tlog.fields import EntryType
from liaison.tlog.tiles import Tile, TileTree
from liaison.values import dataclass
from liaison.wire.log import FollowedChannel, LogAnswer, LogQuery, ProvenEntry

MAX_ANSWER_BYTES: Final = 4 << 20
"""Of entries and openings in one answer; a single entry may have more."""
_KEYS: Final = (EntryType.KEY.value, EntryType.POLICY.value, EntryType.CHECKPOINT.value)


class Tiles(Protocol):
    """The files of one log; its methods block."""

    def read(self, tile: Tile) -> bytes:
        """Return a tile's bytes.

        Raises:
            TileError: it is not there.
        """
        ...

    def tree(self, size: int) -> TileTree:
        """Return the tree of a size that was published."""
        ...


@dataclass
class _Found:
    """The entries of an answer as they are collected: at most `limit`, and so many bytes."""

    limit: int
    rows: dict[int, EntryRow] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)
    more: bool = False
    size: int = 0

    @property
    def room(self) -> int:
        return self.limit - len(self.rows)

    def add(self, rows: Iterable[EntryRow]) -> None:
        """Take what there is room for."""
        for row in rows:
            if row.at in self.rows:
                continue
            size = self.size + len(row.data) + len(row.openings or b"")
            if not self.room or (self.rows and size > MAX_ANSWER_BYTES):
                # What comes later is not taken either, so that nothing is left out in between.
                self.more, self.limit = True, len(self.rows)
                return
            self.rows[row.at], self.size = row, size


@dataclass(frozen=True)
class LogReading:
    """Answers questions about logs.

    Args:
        database: where entries, and what opens them, are.
        book: of agreements.
        clock: Unix milliseconds.
        files: gives a log's files by its origin.
    """

    database: Database
    book: Book
    clock: Callable[[], int]
    files: Callable[[str], Tiles]

    async def query(self, caller: Caller, id_: str, asked: LogQuery) -> LogAnswer:
        """Answer what a device or an office may know of an agreement's log.

        A size beyond the checkpoint's gets no proof: it is for the caller to see that the log
        has shrunk.

        Raises:
            UnknownAgreementError: the caller's party was never in such an agreement.
        """
        async with self.database.read() as tx:
            reader = await self._reader(tx, caller, id_)
            row = await _generation(tx, id_, asked.generation)
            if row is None:
                return LogAnswer()
            view = await log_views.view(tx, row, reader)
            if view.cosigned is None:
                return LogAnswer(newest=_text(view.newest))
            part, found = _Part(row.key, view.size), _Found(asked.limit)
            await _credentials(tx, part, asked.credentials, found)
            for channel in asked.channels:
                await _channel(tx, part, caller, channel, found)
            if asked.keys_after is not None:
                await _keys(tx, part, asked.keys_after, found)
        return await asyncio.to_thread(self._answer, row, view, reader, asked, found)

    def _answer(
        self, row: LogRow, view: View, reader: Reader, asked: LogQuery, found: _Found
    ) -> LogAnswer:
        size = view.size
        tree = self.files(row.origin).tree(size)
        consistency = tree.prove_consistency(asked.size) if 0 < asked.size < size else []
        return LogAnswer(
            checkpoint=_text(view.cosigned),
            newest=_text(view.newest),
            consistency=consistency,
            entries=[_proven(one, reader, tree) for one in found.rows.values()],
            missing=found.missing,
            more=found.more,
        )

    # --- files, as tools read them ------------------------------------------------------

    async def checkpoint(self, caller: Caller, id_: str | None, generation: int = 1) -> bytes:
        """Return the newest cosigned checkpoint of a log, as a note.

        Args:
            caller: a party's, to an agreement's log; anybody's, to the root log.
            id_: the agreement's; None for the root log.
            generation: of the agreement's log.

        Raises:
            UnknownAgreementError: see `query`.
            UnknownLogError: there is no such log, or nothing of it was published yet.
        """
        _, view = await self._log(caller, id_, generation)
        if view.cosigned is None:
            raise UnknownLogError("nothing of this log was published yet", hint="ask again later")
        return view.cosigned

    async def tile(self, caller: Caller, id_: str | None, path: str, generation: int = 1) -> bytes:
        """Return a tile or an entry bundle.

        Raises:
            UnknownAgreementError, UnknownLogError: see `checkpoint`.
            UnknownTileError: no tile's path, not written, or of what came after the party left.
        """
        try:
            tile = Tile.parse(path)
        except TileError as error:
            raise UnknownTileError(error.message) from error
        row, view = await self._log(caller, id_, generation)
        # Others may read on in the files of a log that its database has lost: it has a successor
        # then.
        if view.is_bound and tile.end > view.size:
            raise UnknownTileError(f"the log has no {tile.path}")
        try:
            return await asyncio.to_thread(self.files(row.origin).read, tile)
        except TileError as error:
            raise UnknownTileError(f"the log has no {tile.path}") from error

    async def erasure(self, caller: Caller, id_: str, digest: bytes) -> bytes:
        """Return the signed report of an erasure, as a note.

        Args:
            caller: a party's to the agreement.
            id_: the agreement's.
            digest: from the log's entry, 32 bytes.

        Raises:
            UnknownAgreementError: see `query`.
            UnknownReportError: there is no such report.
        """
        async with self.database.read() as tx:
            await self._reader(tx, caller, id_)
            report = await erasures.report(tx, id_, digest)
        if report is None:
            raise UnknownReportError("there is no such report of an erasure")
        return report

    async def _log(self, caller: Caller, id_: str | None, generation: int) -> tuple[LogRow, View]:
        """Return a log, and how far it is for the caller; of the root log, all that was signed."""
        async with self.database.read() as tx:
            reader = None if id_ is None else await self._reader(tx, caller, id_)
            row = await logs.of_generation(tx, id_, generation)
            if row is None:
                raise UnknownLogError("the relay has no such log")
            if reader is None:
                return row, View(row.size, row.published, row.published)
            return row, await log_views.view(tx, row, reader)

    async def _reader(self, tx: AsyncConnection, caller: Caller, id_: str) -> Reader:
        life = await self.book.life(tx, id_)
        found = log_views.reader(life, caller.party, self.clock() // 1000)
        if found is None:
            raise UnknownAgreementError(f"{caller.party} has no such agreement {id_[:80]!r}")
        return found


class _Part(NamedTuple):
    """A log's entries that may be returned: those below a size."""

    log: int
    size: int


async def _generation(tx: AsyncConnection, id_: str, generation: int | None) -> LogRow | None:
    if generation is None:
        return await logs.find(tx, id_)
    return await logs.of_generation(tx, id_, generation)


async def _credentials(
    tx: AsyncConnection, part: _Part, digests: Sequence[bytes], found: _Found
) -> None:
    if not digests:
        return
    there = await logs_reading.by_mark(tx, part.log, digests, below=part.size)
    wanted = dict.fromkeys(digests)
    found.add(there[digest] for digest in wanted if digest in there)
    found.missing = [digest for digest in wanted if digest not in there]


async def _channel(
    tx: AsyncConnection, part: _Part, caller: Caller, asked: FollowedChannel, found: _Found
) -> None:
    channel = await channels.find(tx, ChannelId.parse(asked.channel).value)
    if channel is None or not isinstance(caller, DeviceCaller):
        return
    for stay in await progress.all_stays(tx, caller.key, channel.key):
        rows = await logs_reading.by_place(
            tx,
            part.log,
            channel.key,
            after=max(asked.after, _before(stay)),
            upto=channel.head if stay.left_seq is None else stay.left_seq,
            below=part.size,
            limit=found.room + 1,
        )
        found.add(rows)


def _before(stay: Stay) -> int:
    # The commit that brought the device in shows it that its first epoch is in the log.
    return max(0, stay.joined_seq - 1)


async def _keys(tx: AsyncConnection, part: _Part, first: int, found: _Found) -> None:
    rows = await logs_reading.by_type(
        tx,
        part.log,
        _KEYS,
        first=first,
        below=part.size,
        party=None,
        limit=found.room + 1,
    )
    found.add(rows)


def _proven(row: EntryRow, reader: Reader, tree: TileTree) -> ProvenEntry:
    shown = _shown(row, reader)
    return ProvenEntry(
        index=row.at,
        data=row.data,
        disclosure=None if shown is None else shown.to_json(),
        proof=tree.prove_inclusion(row.at),
    )


def _shown(row: EntryRow, reader: Reader) -> Disclosure | None:
    if row.openings is None:
        return None
    type_ = EntryType(row.type)
    sealed = Sealed.decode(type_, row.openings)
    if reader.may_open(row):
        return sealed.disclose(type_)
    if type_ is EntryType.KEY and reader.is_in_time(row):
        # A registrar has to see that no entry about its own party is kept from it.
        return sealed.disclose(type_, ["party"])
    return None


def _text(note: bytes | None) -> str | None:
    return None if note is None else note.decode()
