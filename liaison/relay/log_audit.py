"""Do the logs in a database hold together, and do they go on where their files end?

For those who look at a relay that need not run: a backup, a restored copy, `liaison-relay check`.
Nothing is written. `liaison.relay.publishing` makes the same comparisons while the relay serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from liaison import words
from liaison.policy.keys import VerifyKey
from liaison.relay import held as held_log
from liaison.relay import tilestore
from liaison.relay.asking import RESTORE
from liaison.relay.held import CHUNK
from liaison.storage import logs, logs_reading
from liaison.storage.engine import Database
from liaison.storage.logs import LogRow
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ShrunkError
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from liaison.tlog.sequencer import State
from liaison.tlog.vkey import SignatureType, VerifierKey
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a log stands.

    Args:
        origin: its name.
        size: entries in the database.
        root: of the tree of all of them.
        signed: entries under the newest signed checkpoint in the files; 0 where there is none.
        time_ms: of the newest entry; None for an empty log.
    """

    origin: str
    size: int
    root: bytes
    signed: int
    time_ms: int | None


async def look(database: Database, files: Path | None, keys: Sequence[VerifyKey]) -> list[Standing]:
    """Compare the logs' states with their files.

    Of a log that another has followed only the database is looked at: it ended because the two did
    not agree, or because the parties wanted it.

    Args:
        database: read only.
        files: folder of all logs' files; None to compare with none.
        keys: the relay's log keys.

    Raises:
        ShrunkError: the database has less than was signed: it is an old copy.
        ForkError: it has other entries than were signed.
        LiaisonError: a checkpoint is none, or not signed with a key of this relay.
    """
    rows = await _rows(database)
    if files is not None:
        await asyncio.to_thread(_check_known, rows, files)
    return [
        await _standing(database, row, await _checkpoint(row, rows, files, keys)) for row in rows
    ]


async def verify(database: Database, files: Path, keys: Sequence[VerifyKey]) -> list[Standing]:
    """Compare as `look` does, and compute every log's tree from its entries; takes its time.

    Raises:
        ForkError: a log's entries are not those of its state, or not those that were signed.
        LiaisonError: as `look`.
    """
    found = await look(database, files, keys)
    rows = await _rows(database)
    for row in rows:
        await _recompute(database, row, await _checkpoint(row, rows, files, keys))
    return found


def _check_known(rows: Sequence[LogRow], files: Path) -> None:
    known = {tilestore.folder(files, row.origin) for row in rows}
    for folder in sorted(files.glob("*/")):
        if folder not in known and tilestore.checkpoint(folder) is not None:
            raise ShrunkError(f"{folder} is of a log that the database does not know", hint=RESTORE)


async def _rows(database: Database) -> list[LogRow]:
    async with database.read() as tx:
        return await logs.listing(tx)


async def _standing(database: Database, row: LogRow, signed: Checkpoint | None) -> Standing:
    state = State.decode(row.state)
    if signed is not None:
        held_log.check_not_shorter(signed, state)
        if signed.size == state.size and signed.root != state.tree.root:
            raise _forked(row, "its state is not the one that was signed")
    if row.size != state.size:
        raise _forked(row, f"its state is of {words.entries(state.size)} and its row of {row.size}")
    async with database.read() as tx:
        newest = await logs_reading.time_of(tx, row.key, row.size - 1) if row.size else None
    return Standing(
        row.origin, state.size, state.tree.root, 0 if signed is None else signed.size, newest
    )


async def _checkpoint(
    row: LogRow, rows: Sequence[LogRow], files: Path | None, keys: Sequence[VerifyKey]
) -> Checkpoint | None:
    followed = any(
        one.agreement == row.agreement and one.generation > row.generation for one in rows
    )
    if files is None or followed:
        return None
    data = await asyncio.to_thread(tilestore.checkpoint, tilestore.folder(files, row.origin))
    if data is None:
        return None
    note = Note.decode(data)
    note.verify(VerifierKey(row.origin, SignatureType.ED25519, key.public) for key in keys)
    return Checkpoint.parse(note.text)


async def _recompute(database: Database, row: LogRow, signed: Checkpoint | None) -> None:
    state, tree = State.decode(row.state), CompactRange()
    while tree.size < state.size:
        end = min(tree.size + CHUNK, state.size)
        if signed is not None and tree.size < signed.size:
            end = min(end, signed.size)
        async with database.read() as tx:
            entries = await logs_reading.data(tx, row.key, tree.size, end)
        if len(entries) != end - tree.size:
            raise _forked(row, f"of the entries from {tree.size} to {end} some are missing")
        tree = await asyncio.to_thread(held_log.extended, tree, entries)
        if signed is not None and tree.size == signed.size and tree.root != signed.root:
            first = words.count(
                signed.size, "entry is not the one that was", "entries are not those that were"
            )
            raise _forked(row, f"its first {first} signed")
    if tree != state.tree:
        raise _forked(row, "its entries are not those of its state")


def _forked(row: LogRow, what: str) -> ForkError:
    return ForkError(f"the log {row.origin} is damaged: {what}", hint=RESTORE)
