"""Backups: a relay's data in a folder, checked, while it serves or while it is stopped.

A backup has the database, the logs' newest signed checkpoints and their evidence, the identity
document and the settings. It has no private key: keys never change, so one copy of `keys/`, kept as
keys are, serves every backup. Tiles are left out, because they follow from the database.

The order is what makes it whole: the checkpoints are copied before the database, so that the copy
of the database has all that they sign. The manifest is written last and has the digest of every
file; a folder without one is no backup.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from sqlalchemy import make_url

from liaison.errors import ConflictError, MalformedError, UnavailableError, VerificationError
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import files, log_audit, times
from liaison.relay.errors import LockedError
from liaison.relay.files import SETTINGS_FILE, DataDir
from liaison.relay.log_audit import Standing
from liaison.relay.settings import Settings
from liaison.relay.version import VERSION
from liaison.storage.engine import BUSY_TIMEOUT_MS, Database
from liaison.values import dataclass

FORMAT: Final = "liaison-relay-backup/1"
MANIFEST: Final = "manifest.json"
DATABASE: Final = "relay.db"
IDENTITY: Final = "relay.json"
_PARTIAL: Final = ".partial"
_MAX_MANIFEST: Final = 64 << 20
_PATH: Final = re.compile(
    r"relay\.db|relay\.json|liaison-relay\.toml|log/[0-9a-f]{16}/(checkpoint|evidence/[\w.-]{1,200})"
)


class BackupError(MalformedError):
    """The folder is no backup of a relay."""

    code = "relay.backup_malformed"


class BackupDamagedError(VerificationError):
    """The backup is not what was written: a file is missing or has other bytes."""

    code = "relay.backup_damaged"


class BackupExistsError(ConflictError):
    """There is something in the place already."""

    code = "relay.backup_exists"


class BackupImpossibleError(UnavailableError):
    """The backup could not be made."""

    code = "relay.backup_impossible"


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a backup.

    Args:
        size: bytes.
        digest: SHA-256 in hex.
    """

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Args:
        origin: of the relay.
        made_ms: when its database was copied, Unix milliseconds.
        release: of the program that made it.
        was_stopped: whether the relay was stopped meanwhile, so that the backup has all of it.
        logs: where each log stands in it.
        files: by path.
    """

    origin: str
    made_ms: int
    release: str
    was_stopped: bool
    logs: Mapping[str, int]
    files: Mapping[str, Kept]

    def encode(self) -> bytes:
        """Return it as the file has it."""
        members = {
            "format": FORMAT,
            "origin": self.origin,
            "made": times.iso(self.made_ms),
            "release": self.release,
            "was_stopped": self.was_stopped,
            "logs": dict(self.logs),
            "files": {
                path: {"bytes": kept.size, "sha256": kept.digest}
                for path, kept in self.files.items()
            },
        }
        return json.dumps(members, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the file.

        Raises:
            BackupError: it is none, of another format, or names files that a backup has not.
        """
        try:
            members: Any = json.loads(data)
            if members["format"] != FORMAT:
                raise BackupError(f"the backup's format is {str(members['format'])[:60]!r}")
            found = cls(
                origin=str(members["origin"]),
                made_ms=times.parse(members["made"]),
                release=str(members["release"]),
                was_stopped=members["was_stopped"] is True,
                logs={str(origin): int(size) for origin, size in members["logs"].items()},
                files={
                    str(path): Kept(int(kept["bytes"]), str(kept["sha256"]))
                    for path, kept in members["files"].items()
                },
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError("the backup's manifest can't be read") from error
        # Each is written into a data directory: none may lead out of it, or be a key.
        if not all(_PATH.fullmatch(path) for path in found.files) or not (
            {DATABASE, IDENTITY} <= found.files.keys()
        ):
            raise BackupError("the backup's manifest names other files than a backup has")
        return found


def make(data: DataDir, settings: Settings, target: Path, now_ms: int) -> Manifest:
    """Back a relay up; it may be running. Blocks.

    Args:
        data: the relay's directory.
        settings: the relay's.
        target: a new folder.
        now_ms: Unix milliseconds.

    Raises:
        BackupExistsError: the target is there.
        BackupImpossibleError: the database is not SQLite's, or it can't be read or written.
        LiaisonError: the copy's logs do not hold together.
    """
    database = database_file(data, settings)
    if target.exists():
        raise BackupExistsError(f"{target} is there already", unchanged="nothing was written")
    draft = target.with_name(f"{target.name}{_PARTIAL}")
    with contextlib.suppress(FileNotFoundError):
        # Left by a backup that was cut short.
        shutil.rmtree(draft)
    files.make_private_directory(draft)
    try:
        with _stopped(data) as was_stopped:
            for path in _small(data):
                for folder in reversed(path.parents):
                    files.make_private_directory(draft / folder)
                files.write_private(draft / path, (data.path / path).read_bytes())
            # After the checkpoints: it has all that they sign.
            _copy_database(database, draft / DATABASE)
        standings = verify(draft)
        manifest = _manifest(draft, standings, now_ms, was_stopped=was_stopped)
        files.write_private(draft / MANIFEST, manifest.encode())
        draft.rename(target)
        files.sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def database_file(data: DataDir, settings: Settings) -> Path:
    """Return SQLite's file.

    Raises:
        BackupImpossibleError: the relay is on PostgreSQL.
    """
    url = make_url(data.database_url(settings.database_url))
    if url.get_backend_name() != "sqlite" or url.database is None:
        raise BackupImpossibleError(
            "this relay is on PostgreSQL, which is backed up with its own tools",
            hint="pg_basebackup and continuous archiving, and a copy of log/: see"
            " docs/operating/backup.md",
            unchanged="nothing was written",
        )
    return Path(url.database)


@contextlib.contextmanager
def _stopped(data: DataDir) -> Iterator[bool]:
    """Keep a stopped relay stopped; whether it is."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.exclusive(data))
        except LockedError:
            yield False
            return
        yield True


def _small(data: DataDir) -> list[Path]:
    """Return what is copied as it is, by its path in the data directory."""
    found = [Path(IDENTITY)]
    if data.settings.exists():
        found.append(Path(SETTINGS_FILE))
    for pattern in ("*/checkpoint", "*/evidence/*"):
        # What is being written has another name until it is whole.
        found += [
            path.relative_to(data.path)
            for path in sorted(data.logs.glob(pattern))
            if path.suffix != ".new"
        ]
    return found


def _copy_database(source: Path, target: Path) -> None:
    # One read transaction: the relay goes on writing, and the copy is of one moment.
    try:
        with (
            contextlib.closing(_connect(source)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            # One file, without a log beside it.
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupImpossibleError(
            f"the database can't be copied: {error}", unchanged="nothing was written"
        ) from error
    target.chmod(0o600)
    files.sync(target)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise BackupImpossibleError(f"there is no database in {path}")
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_MS / 1000
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def _manifest(
    folder: Path, standings: Sequence[Standing], now_ms: int, *, was_stopped: bool
) -> Manifest:
    kept = {
        str(path.relative_to(folder)): Kept(path.stat().st_size, digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    public = RelayIdentity.parse((folder / IDENTITY).read_bytes())
    logs = {one.origin: one.size for one in standings}
    return Manifest(public.origin, now_ms, VERSION, was_stopped, logs, kept)


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- looking at one ---------------------------------------------------------------------


def read(folder: Path) -> Manifest:
    """Read a backup's manifest and check every file against it.

    Raises:
        BackupError: the folder is no backup.
        BackupDamagedError: a file is missing or is another one.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > _MAX_MANIFEST:
        raise BackupError(f"{folder} is no backup of a relay", hint=f"it has no {MANIFEST}")
    manifest = Manifest.decode(path.read_bytes())
    for name, kept in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise BackupDamagedError(f"{file} is missing", hint="use another backup")
        if file.stat().st_size != kept.size or digest(file) != kept.digest:
            raise BackupDamagedError(f"{file} is not what was written", hint="use another backup")
    return manifest


def verify(folder: Path) -> list[Standing]:
    """Check a copy's database, and its logs entry by entry against their checkpoints.

    Raises:
        BackupDamagedError: the database is damaged.
        LiaisonError: a log does not hold together, or has less than was signed.
    """
    _check_database(folder / DATABASE)
    public = RelayIdentity.parse((folder / IDENTITY).read_bytes())
    return asyncio.run(_verify_logs(folder, public))


def _check_database(path: Path) -> None:
    try:
        with contextlib.closing(_connect(path)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
            strays = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        raise BackupDamagedError(f"{path} can't be read: {error}") from error
    if found != ["ok"] or strays is not None:
        raise BackupDamagedError(f"{path} is damaged: {'; '.join(found)[:200]}")


async def _verify_logs(folder: Path, public: RelayIdentity) -> list[Standing]:
    database = Database.open(f"sqlite:///{folder / DATABASE}")
    try:
        return await log_audit.verify(database, folder / "log", public.log_keys)
    finally:
        await database.close()
