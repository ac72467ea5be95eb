"""Restoring a backup, and knowing a restored relay for what it is.

A backup of a running relay is old the moment it is made: what the relay signed after it, witnesses
and clients have seen. So a restored copy carries a mark, `restored.json`; the relay says so when
it starts, and `liaison-relay check` while the logs are not confirmed. Where the lost relay's `log/` is
still there, a backup that has less than was signed is refused here; otherwise the witnesses tell the relay
before it signs anything in an agreement's log. The relay's own log has no witness: of it the operator has to
bring the newest checkpoint that anybody holds, or say that its end is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

from liaison.errors import ConflictError, LiaisonError
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import backup, files, identity, log_audit, settings, tilestore
from liaison.relay.backup import DATABASE, IDENTITY, BackupExistsError, Manifest
from liaison.relay.errors import KeyFileError
from liaison.relay.files import DataDir
from liaison.relay.recording import origin_of
from liaison.relay.restored import MARK, Mark
from liaison.relay.settings import Settings
from liaison.storage.engine import Database
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.note import Note
from liaison.values import dataclass


class RootUnknownError(ConflictError):
    """Nothing says whether the backup has all that the relay's own log has shown."""

    code = "relay.root_unknown"


@dataclass(frozen=True, slots=True)
class RootWord:
    """What the operator knows of the end of the relay's own log.

    Args:
        checkpoint: the newest that anybody holds, a signed note; None where nobody does.
        is_lost: whether more was signed than the backup has, or may have been.
    """

    checkpoint: bytes | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a restore.

    Args:
        manifest: of the backup.
        missing_keys: why the relay's keys can't be used as they are; empty where they can.
        lost_root: of the relay's own logs the one that is not gone on with; empty for none.
    """

    manifest: Manifest
    missing_keys: str
    lost_root: str


def restore(
    source: Path, data: DataDir, keys: Path | None, root: RootWord, now_ms: int
) -> Restored:
    """Make a data directory of a backup. Blocks.

    What may be there already: `keys/`, and `log/` of the relay that was lost, with which the backup is
    compared.

    Args:
        source: the backup.
        data: where the relay is to be.
        keys: a copy of the relay's `keys/`, to be put in place too.
        root: of the relay's own log; needed where that is not in `log/`.
        now_ms: Unix milliseconds.

    Raises:
        BackupError, BackupDamagedError: it is no backup, or not what was written.
        BackupExistsError: there is another relay, or a database, in the directory.
        RootUnknownError: the end of the relay's own log is not known.
        ShrunkError, ForkError: `root`, or what is in `log/`, was signed after the backup, or is of another relay.
        LiaisonError: the backup's logs do not hold together.
    """
    manifest = backup.read(source)
    public = (source / IDENTITY).read_bytes()
    files.make_private_directory(data.path)
    with files.exclusive(data):
        place = backup.database_file(data, _settings(source, data))
        _check_free(data, public, place)
        backup.verify(source)
        if data.logs.is_dir():
            _check_newest(source, data.logs, public)
        lost = _check_root(source, data, manifest, public, root)
        _copy(source, data, manifest)
        _copy_database(source, place)
        if keys is not None:
            _copy_keys(keys, data)
        mark = Mark(manifest.made_ms, now_ms, manifest.was_stopped, lost)
        files.write_private(data.path / MARK, mark.encode())
        # Last: while it is absent there is no relay here.
        files.write_public(data.identity, public)
    return Restored(manifest, _missing_keys(data), lost)


def _settings(source: Path, data: DataDir) -> Settings:
    # Those that are there already count.
    return settings.load(data.path if data.settings.exists() else source)


def _check_free(data: DataDir, public: bytes, place: Path) -> None:
    if data.identity.exists() and data.identity.read_bytes() != public:
        raise BackupExistsError(
            f"there is another relay in {data.path}", unchanged="nothing was restored"
        )
    if place.exists():
        raise BackupExistsError(
            f"{place} is there already",
            hint="restore into a new folder, or move it away first",
            unchanged="nothing was restored",
        )


def _check_newest(source: Path, logs: Path, public: bytes) -> None:
    """Compare the backup with what the lost relay has signed."""
    database = Database.open(f"sqlite:///{source / DATABASE}")

    async def compare() -> None:
        try:
            keys = RelayIdentity.parse(public).log_keys
            await log_audit.verify(database, logs, keys)
        finally:
            await database.close()

    try:
        asyncio.run(compare())
    except LiaisonError as error:
        error.unchanged = "nothing was restored"
        raise


def _check_root(
    source: Path, data: DataDir, manifest: Manifest, public: bytes, root: RootWord
) -> str:
    """Learn where the relay's own log ended; return its name where the end is lost.

    An agreement's log goes on only after its witnesses have said that they have seen no more. This
    one has none: without a word from outside a second history would begin, and nobody notice.
    """
    origin = _root_of(manifest)
    if tilestore.checkpoint(tilestore.folder(data.logs, origin)) is not None:
        return ""
    if root.checkpoint is not None:
        _check_checkpoint(source, origin, public, root.checkpoint)
        return ""
    if root.is_lost:
        return origin
    own = tilestore.folder(source / "log", origin) / "checkpoint"
    raise RootUnknownError(
        f"nothing here tells where {origin} ended",
        hint="bring its newest checkpoint that anybody holds (--root-checkpoint; "
        f"{own} where the relay has not run since), or begin a new one (--lost-root-log)",
        unchanged="nothing was restored",
    )


def _root_of(manifest: Manifest) -> str:
    """Return the name of the newest of the relay's own logs."""
    first = origin_of(manifest.origin, None)
    found = [name for name in manifest.logs if name == first or name.startswith(f"{first}/")]
    return max(found, key=lambda name: (len(name), name), default=first)


def _check_checkpoint(source: Path, origin: str, public: bytes, data: bytes) -> None:
    try:
        named = Checkpoint.parse(Note.decode(data).text).origin
    except LiaisonError as error:
        error.unchanged = "nothing was restored"
        raise
    if named != origin:
        raise RootUnknownError(
            f"the checkpoint is of {named[:200]!r}",
            hint=f"that of {origin} is needed",
            unchanged="nothing was restored",
        )
    with tempfile.TemporaryDirectory() as folder:
        # As if it were left of the lost relay, so that it is compared in the same way.
        kept = tilestore.folder(Path(folder), origin)
        files.make_private_directory(kept)
        files.write_private(kept / "checkpoint", data)
        _check_newest(source, Path(folder), public)


def _copy(source: Path, data: DataDir, manifest: Manifest) -> None:
    for name in manifest.files:
        target = data.path / name
        if name in (DATABASE, IDENTITY):
            continue
        if name.startswith("log/"):
            files.make_private_directory(data.logs)
            files.make_private_directory(target.parent)
            # What is there is newer, as was just checked.
            if not target.exists():
                files.write_private(target, (source / name).read_bytes())
        elif not target.exists():
            files.write_public(target, (source / name).read_bytes())


def _copy_database(source: Path, place: Path) -> None:
    # What lies beside a database that was moved away would be taken for a part of this one.
    for suffix in ("-wal", "-shm", "-journal"):
        place.with_name(f"{place.name}{suffix}").unlink(missing_ok=True)
    draft = place.with_name(f"{place.name}.new")
    shutil.copyfile(source / DATABASE, draft)
    draft.chmod(0o600)
    # As the relay has it: to change that it would have to be alone with the database.
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    files.sync(draft)
    draft.replace(place)
    files.sync_directory(place.parent)


def _copy_keys(keys: Path, data: DataDir) -> None:
    files.make_private_directory(data.keys)
    for path in sorted(keys.glob("*.key")):
        if not (data.keys / path.name).exists():
            files.write_private(data.keys / path.name, path.read_bytes())


def _missing_keys(data: DataDir) -> str:
    try:
        identity.load(data)
    except KeyFileError as error:
        return error.message
    return ""
