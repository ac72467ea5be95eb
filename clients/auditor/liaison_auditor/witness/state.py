"""What a witness has cosigned, and what it holds against a log: SQLite, synced at every step.

`advance` is the one way forward: it reads what was cosigned last, judges the request and stores
what is cosigned now, in one transaction that is on disk when it returns. So whoever signs
afterwards never signs two roots for one size, whatever dies when; a second process on the same file
waits.

Evidence is kept only of checkpoints that the log has signed. A `fork` is proof for anybody: two
roots for one size. Only the log's own signatures are kept: other lines are whatever the sender
likes. The other kinds are suspicion, for a stranger can replay an old checkpoint or send a wrong
proof: they are settled when the log shows that it has grown from what was cosigned last.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from liaison.tlog import witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, ProofError, WitnessBehindError
from liaison.tlog.note import Note
from liaison.tlog.vkey import VerifierKey
from liaison.tlog.witness import AddCheckpoint
from liaison.values import dataclass
from liaison_auditor.errors import WitnessStateError

REMEMBERED: Final = 10_000
"""Cosigned checkpoints kept for each log beside one an hour, to recognise a second root for one."""
MAX_FORKS: Final = 100
"""Pairs of notes kept for each log; one would do."""
_VERSION: Final = 1
_HOUR: Final = 3600
_PATIENCE: Final = 10

_SCHEMA: Final = """
CREATE TABLE cosigned (
    origin TEXT PRIMARY KEY, number INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    note BLOB NOT NULL, time INTEGER NOT NULL
) STRICT;
CREATE TABLE history (
    origin TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
    note BLOB NOT NULL, hourly INTEGER NOT NULL, PRIMARY KEY (origin, number),
    UNIQUE (origin, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY, origin TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL,
    root BLOB NOT NULL, time INTEGER NOT NULL, ours BLOB NOT NULL, theirs BLOB NOT NULL,
    request BLOB NOT NULL, settled INTEGER
) STRICT;
CREATE INDEX evidence_by_origin ON evidence (origin, kind);
"""


class Kind(StrEnum):
    """What a log has done."""

    FORK = "fork"
    """Signed two roots for one size."""
    SHRUNK = "shrunk"
    """Come with fewer entries than it had, and with a checkpoint never cosigned here."""
    UNPROVED = "unproved"
    """Not shown that it grew from what was cosigned last."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What was cosigned last for a log; `time` in POSIX seconds."""

    checkpoint: Checkpoint
    note: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is held against a log.

    Args:
        origin: of the log.
        kind: what it has done.
        size: of the checkpoint that it came with.
        time: POSIX seconds when it came.
        ours: the note that contradicts it, or what was cosigned last.
        theirs: the note that it came with; the log has signed both.
        request: as it came, with the proof, but with the log's signatures alone.
        settled: whether the log has since shown that it grew; never for a fork.
    """

    origin: str
    kind: Kind
    size: int
    time: int
    ours: bytes
    theirs: bytes
    request: bytes
    settled: bool


class State:
    """The open state of a witness; used by one thread at a time.

    Raises:
        WitnessStateError: the file is another program's, or of a later version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except sqlite3.DatabaseError as e:
            self._db.close()
            raise WitnessStateError(f"{path} is not a witness's state: {e}") from e
        except WitnessStateError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # A cosignature leaves after the commit: it has to be on the disk by then.
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise WitnessStateError(
                    f"{self._path} is of version {version}, and this program knows {_VERSION}",
                    hint="use the program that wrote it, or a later one",
                )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def latest(self, origin: str) -> Cosigned | None:
        """Return what was cosigned last for a log, or None."""
        row = self._db.execute(
            "SELECT size, root, note, time FROM cosigned WHERE origin = ?", (origin,)
        ).fetchone()
        return None if row is None else Cosigned(Checkpoint(origin, row[0], row[1]), row[2], row[3])

    def show(self, note: Note, log_keys: Sequence[VerifierKey]) -> bytes | None:
        """Return a note that the log has signed and that was cosigned here; None for none yet.

        It is one that contradicts the given note, where there is such a one, else the newest.

        Args:
            note: a checkpoint of the log, signed by it: who has none learns nothing of the log.
            log_keys: of the log, from the settings.

        Raises:
            LiaisonError: as `liaison.tlog.witness.signed_by_log`.
            WitnessStateError: the disk fails.
        """
        asked = witness.signed_by_log(note, log_keys)
        with self._transaction():
            other = self._db.execute(
                "SELECT note FROM history WHERE origin = ? AND size = ? AND root != ?",
                (asked.origin, asked.size, asked.root),
            ).fetchone()
            last = self.latest(asked.origin)
        if other is not None:
            return bytes(other[0])
        return None if last is None else last.note

    def advance(self, request: AddCheckpoint, log_keys: Sequence[VerifierKey], now: int) -> int:
        """Judge a request and store what is to be cosigned; on disk when this returns.

        Args:
            request: as decoded.
            log_keys: of the log, from the settings.
            now: POSIX seconds.

        Returns:
            The time to cosign with: `now`, but never before the last one for this log.

        Raises:
            LiaisonError: as `liaison.tlog.witness.judge`; what the log signed and should not have
                is kept as evidence.
            WitnessStateError: the disk is full or fails; nothing was stored.
        """
        origin = request.checkpoint.origin
        kept = _own(request, log_keys)
        with self._transaction():
            last = self.latest(origin)
            time = now if last is None else max(now, last.time)
            try:
                new = witness.judge(request, log_keys, None if last is None else last.checkpoint)
            except (ForkError, ProofError, WitnessBehindError) as error:
                refusal = error
                if last is not None:
                    self._suspect(kept, last, now)
            else:
                self._store(new, kept.note.encode(), last, time)
                return time
        raise refusal

    def evidence(self, origin: str | None = None) -> list[Evidence]:
        """Return what is held against the logs, or one of them, oldest first."""
        rows = self._db.execute(
            "SELECT origin, kind, size, time, ours, theirs, request, settled IS NOT NULL"
            " FROM evidence WHERE ? IS NULL OR origin = ? ORDER BY id",
            (origin, origin),
        )
        return [
            Evidence(origin, Kind(kind), size, time, ours, theirs, request, bool(settled))
            for origin, kind, size, time, ours, theirs, request, settled in rows
        ]

    def _store(self, new: Checkpoint, note: bytes, last: Cosigned | None, time: int) -> None:
        grown = last is None or last.checkpoint != new
        self._db.execute(
            "INSERT INTO cosigned VALUES (?, 1, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET"
            " number = number + ?, size = excluded.size, root = excluded.root,"
            " note = excluded.note, time = excluded.time",
            (new.origin, new.size, new.root, note, time, grown),
        )
        if not grown:
            return
        hourly = last is None or last.time // _HOUR != time // _HOUR
        self._db.execute(
            "INSERT INTO history SELECT origin, number, size, root, note, ? FROM cosigned"
            " WHERE origin = ?",
            (hourly, new.origin),
        )
        self._db.execute(
            "DELETE FROM history WHERE origin = ? AND NOT hourly AND number ="
            " (SELECT number - ? FROM cosigned WHERE origin = ?)",
            (new.origin, REMEMBERED, new.origin),
        )
        if last is not None:
            self._db.execute(
                "UPDATE evidence SET settled = ? WHERE origin = ? AND kind != ? AND settled IS NULL",
                (time, new.origin, Kind.FORK),
            )

    def _suspect(self, request: AddCheckpoint, last: Cosigned, now: int) -> None:
        new = request.checkpoint
        seen = self._db.execute(
            "SELECT root, note FROM history WHERE origin = ? AND size = ?", (new.origin, new.size)
        ).fetchone()
        if seen is not None:
            if seen[0] != new.root:
                self._keep(Kind.FORK, request, seen[1], now)
        elif new.size < last.checkpoint.size:
            self._keep(Kind.SHRUNK, request, last.note, now)
        elif request.old_size == last.checkpoint.size:
            self._keep(Kind.UNPROVED, request, last.note, now)

    def _keep(self, kind: Kind, request: AddCheckpoint, ours: bytes, now: int) -> None:
        new = request.checkpoint
        same = (new.origin, kind)
        if kind is Kind.FORK:
            rows = self._db.execute(
                "SELECT size, root FROM evidence WHERE origin = ? AND kind = ?", same
            ).fetchall()
            if (new.size, new.root) in rows or len(rows) >= MAX_FORKS:
                return
        else:
            # The newest will do, so that nobody can fill the disk.
            self._db.execute("DELETE FROM evidence WHERE origin = ? AND kind = ?", same)
        self._db.execute(
            "INSERT INTO evidence (origin, kind, size, root, time, ours, theirs, request)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*same, new.size, new.root, now, ours, request.note.encode(), request.encode()),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            # Immediate: from here on no other process changes what is read.
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            # A full disk has undone it already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise WitnessStateError(
                    f"{self._path} can't be written: {error}",
                    hint="look at the disk; the log will ask again",
                    unchanged="nothing was cosigned",
                ) from error
            raise


def _own(request: AddCheckpoint, log_keys: Sequence[VerifierKey]) -> AddCheckpoint:
    """Leave out all signatures but one by each key of the log."""
    lines = reversed(request.note.signatures)
    own = {key: line for line in lines for key in log_keys if line.is_by(key)}
    return replace(request, note=replace(request.note, signatures=tuple(own.values())))
