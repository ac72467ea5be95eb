"""A log's files: tiles, the newest signed checkpoint, and evidence where the log is damaged.

A file is written under another name, synced, and only then takes its own, so that a crash leaves
no half of one; nothing that a checkpoint covers is ever written over with other bytes. Everything
but the evidence can be derived again from the database. All functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final

from liaison.tlog import tiles
from liaison.tlog.errors import TileError
from liaison.tlog.merkle import HASH_BYTES
from liaison.tlog.tiles import Tile, TileTree

_CHECKPOINT: Final = "checkpoint"
_EVIDENCE: Final = "evidence"
_DRAFT: Final = ".new"
_NAME_DIGITS: Final = 16


def folder(logs: Path, origin: str) -> Path:
    """Return where a log's files lie, below the folder of all logs."""
    return logs / hashlib.sha256(origin.encode()).hexdigest()[:_NAME_DIGITS]


def checkpoint(root: Path) -> bytes | None:
    """Return the newest signed checkpoint in a log's folder; None where nothing was published."""
    try:
        return (root / _CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return None


class TileStore:
    """The files of one log.

    Args:
        root: its folder, see `folder`; made when something is written.
        syncing: waits for the disk for several files at once.
    """

    def __init__(self, root: Path, syncing: Executor) -> None:
        self.root = root
        self._syncing = syncing
        self._folders: dict[Path, Future[None]] = {}

    # --- reading ---

    def stored(self, tile: Tile) -> bytes | None:
        """Return the file of exactly this tile; None where it is not there."""
        try:
            return (self.root / tile.path).read_bytes()
        except FileNotFoundError:
            return None

    def read(self, tile: Tile) -> bytes:
        """Return a tile's bytes, from its own file or from that of a wider one.

        Raises:
            TileError: it is not there, or is damaged.
        """
        found = self.stored(tile)
        if found is None and tile.is_partial:
            # A partial tile goes when the full one in its place is there.
            found = self._cut(tile)
        if found is None:
            raise TileError(f"{tile.path} is not there")
        return found

    def _cut(self, tile: Tile) -> bytes | None:
        wider = Tile(tile.level, tile.index)
        data = self.stored(wider)
        if data is None and (partial := self._wider(tile)) is not None:
            # Where files were lost, not those of every size that was published were made again.
            wider, data = partial, self.stored(partial)
        if data is None:
            return None
        if tile.level is not None:
            return data[: tile.width * HASH_BYTES]
        return tiles.encode_entries(tiles.decode_entries(wider, data)[: tile.width])

    def _wider(self, tile: Tile) -> Tile | None:
        try:
            names = [path.name for path in (self.root / tile.path).parent.iterdir()]
        except FileNotFoundError:
            return None
        widths = (int(name) for name in names if name.isdigit())
        found = min((width for width in widths if width > tile.width), default=None)
        return None if found is None else Tile(tile.level, tile.index, found)

    def tree(self, size: int) -> TileTree:
        """Return the tree of a size that was published."""
        return TileTree(size, self.read)

    def absent(self, size: int) -> Iterator[Tile]:
        """Give the tiles of a published size that are not there, by their names alone."""
        for tile in tiles.needed(size):
            whole = Tile(tile.level, tile.index)
            if not (self.root / tile.path).exists() and not (self.root / whole.path).exists():
                yield tile

    def checkpoint(self) -> bytes | None:
        """Return the newest signed checkpoint, as a note; None where nothing was published."""
        return checkpoint(self.root)

    # --- writing ---

    def write(
        self, derived: Iterable[tuple[Tile, bytes]], step: Callable[[str], object], signed: int
    ) -> None:
        """Write those of the tiles that are not there.

        They are on the disk when this returns, under names that are once `show` returns.

        Args:
            derived: from the log's entries.
            step: told of each file before it takes its name.
            signed: entries under the last signed checkpoint. A tile that has more was shown to
                nobody, and is replaced: it is of a database that was an old copy, or lost its last
                commits.

        Raises:
            TileConflictError: one that is there has other bytes; it was left as it is.
        """
        drafts = [self._draft(tile.path, data) for tile, data in self._missing(derived, signed)]
        # Several at once: a journal takes them together.
        list(self._syncing.map(_sync, drafts))
        for draft in drafts:
            step("tile")
            draft.replace(_final(draft))
        self._sync_soon({draft.parent for draft in drafts})

    def _missing(
        self, derived: Iterable[tuple[Tile, bytes]], signed: int
    ) -> Iterator[tuple[Tile, bytes]]:
        shown = []
        for tile, data in derived:
            if tile.end <= signed:
                shown.append((tile, data))
            elif self.stored(tile) != data:
                yield tile, data
        yield from tiles.missing(shown, self.stored)

    def show(self, note: bytes, step: Callable[[str], object]) -> None:
        """Make a signed checkpoint the newest; it is on the disk when this returns.

        It takes its name when everything that was written before has its own for good.
        """
        draft = self._draft(_CHECKPOINT, note)
        _sync(draft)
        folders, self._folders = self._folders, {}
        try:
            for each in folders.values():
                each.result()
        except OSError:
            # The names in them are not there for good: no checkpoint before they are.
            self._sync_soon(folders)
            raise
        step("checkpoint")
        draft.replace(_final(draft))
        _sync_folder(self.root)

    def prune(self, old: int, new: int) -> None:
        """Delete the partial tiles of a log that grew, where the full ones are there now."""
        for tile in tiles.growth(old, new):
            if not tile.is_partial:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(self.root / f"{tile.path}.p")

    def keep_evidence(self, name: str, data: bytes) -> Path:
        """Keep what shows that the log is damaged; return where. What is there stays."""
        path = self.root / _EVIDENCE / name
        if not path.exists():
            draft = self._draft(f"{_EVIDENCE}/{name}", data)
            _sync(draft)
            draft.replace(path)
            for folder in (path.parent, self.root, self.root.parent):
                _sync_folder(folder)
        return path

    def evidence(self) -> list[bytes]:
        """Return what was kept as evidence, in the order of the names."""
        try:
            found = sorted((self.root / _EVIDENCE).iterdir())
        except FileNotFoundError:
            return []
        return [path.read_bytes() for path in found if path.suffix != _DRAFT]

    def _sync_soon(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            self._folders[folder] = self._syncing.submit(_sync_folder, folder)

    def _draft(self, path: str, data: bytes) -> Path:
        draft = self.root / f"{path}{_DRAFT}"
        self._make_folder(draft.parent)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return draft

    def _make_folder(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        # Beside the files, which have to wait for the disk anyway; `show` sees to it that it is
        # done.
        self._sync_soon([path.parent])


def _final(draft: Path) -> Path:
    return draft.with_name(draft.name.removesuffix(_DRAFT))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
