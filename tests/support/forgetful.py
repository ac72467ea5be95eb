"""A disk that forgets what was not synced: `python -m tests.support.forgetful ROOT SHADOW PROGRAM ...`.

The program is run with its syncs listened to: `os.fsync` and `os.fdatasync`, and those of SQLite,
whose file methods are replaced in the library that Python has loaded. At each of them a copy of
the file, or the names in the folder, go to SHADOW, and the real disk is left in peace. Whatever is
there of ROOT when the power fails is durable; of everything else each block of 4 KiB, and each
name, may be as it was or as it became. `cut` makes such a disk, after the program was killed.

Copies are made before a sync is over, so what the program believes to be durable is in SHADOW.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import random
import runpy
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

_STATE = "state.json"
_BLOCK = 4096
_FORGOTTEN = ("-shm", ".sock")
"""Ends of names that mean nothing after a start."""
_FAILED = 70
Names: TypeAlias = dict[str, dict[str, str]]
"""Of each folder below the root: names, and which copy in the shadow is the file."""


class Shadow:
    """What of a folder would survive."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root.resolve()
        self._folder = folder
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._names: Names = {}
        self._descriptors: dict[int, int] = {}

    def begin(self) -> None:
        """Take everything that is there for durable."""
        (self._folder / _STATE).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for where, _, files in os.walk(self._root):
            for name in files:
                self._keep_file(Path(where) / name)
            self._names[self._key(Path(where))] = _listing(Path(where))
        self._save()

    def sync(self, path: Path) -> None:
        """Keep a file or a folder as it is now."""
        if not path.is_relative_to(self._root):
            return
        with self._lock:
            if path.is_dir():
                self._names[self._key(path)] = _listing(path)
                self._save()
            else:
                self._keep_file(path)

    def sync_with_name(self, path: Path) -> None:
        """Keep a file and its name: SQLite syncs the folder with a file that it has made."""
        if not path.is_relative_to(self._root):
            return
        with self._lock:
            names = self._names.setdefault(self._key(path.parent), {})
            inode = self._keep_file(path, self._open_for_good(path))
            if names.get(path.name) != inode:
                names[path.name] = inode
                self._save()

    def _key(self, folder: Path) -> str:
        return str(folder.relative_to(self._root))

    def _open_for_good(self, path: Path) -> int:
        """Return a descriptor for a file of SQLite's.

        It is never closed: with the first one that is, the process would lose its locks on the
        file.
        """
        inode = path.stat().st_ino
        if inode not in self._descriptors:
            self._descriptors[inode] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[inode]

    def _keep_file(self, path: Path, descriptor: int | None = None) -> str:
        inode = str(path.stat().st_ino)
        self._part(inode)
        draft = self._folder / f".{threading.get_ident()}"
        if descriptor is None:
            shutil.copyfile(path, draft)
        else:
            draft.write_bytes(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        draft.replace(self._folder / inode)
        return inode

    def _part(self, inode: str) -> None:
        """Give a name its own copy that durably is a file whose number another file has now."""
        for folder, names in self._names.items():
            for name, known in names.items():
                if known == inode and _inode(self._root / folder / name) != inode:
                    names[name] = f"{inode}-{next(self._numbers)}"
                    shutil.copyfile(self._folder / inode, self._folder / names[name])
                    self._save()

    def _save(self) -> None:
        draft = self._folder / ".state"
        draft.write_text(json.dumps(self._names))
        draft.replace(self._folder / _STATE)


def _inode(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return str(path.stat().st_ino)
    return ""


def _listing(folder: Path) -> dict[str, str]:
    return {
        entry.name: str(entry.inode())
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False) and not entry.name.endswith(_FORGOTTEN)
    }


# --- the power fails --------------------------------------------------------------------


def cut(root: Path, shadow: Path, rng: random.Random) -> None:
    """Make of a folder what its disk has after the power failed; the program was killed before."""
    if not (shadow / _STATE).exists():
        return  # it had not begun
    durable: Names = json.loads((shadow / _STATE).read_text())
    for where, _, _ in list(os.walk(root)):
        folder = Path(where)
        known = durable.get(str(folder.resolve().relative_to(root.resolve())), {})
        _cut_folder(folder, known, shadow, rng)


def _cut_folder(folder: Path, durable: dict[str, str], shadow: Path, rng: random.Random) -> None:
    present = _listing(folder)
    made: dict[str, bytes] = {}
    for name in sorted({*durable, *present}):
        inode = rng.choice([durable.get(name), present.get(name)])
        if inode is not None:
            current = next((folder / n for n, i in present.items() if i == inode), None)
            made[name] = _content(shadow / inode, current, rng)
    for entry in list(os.scandir(folder)):
        if not entry.is_dir(follow_symlinks=False):
            Path(entry.path).unlink()
    for name, data in made.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)


def _content(durable: Path, current: Path | None, rng: random.Random) -> bytes:
    """Mix what was synced with what was only written."""
    old = durable.read_bytes() if durable.exists() else b""
    new = old if current is None else current.read_bytes()
    size = rng.choice((len(old), len(new)))
    blocks = []
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        block = rng.choice((old, new))[start:end]
        blocks.append(block.ljust(end - start, b"\0"))
    return b"".join(blocks)


# --- listening to syncs -----------------------------------------------------------------


class _File(ctypes.Structure):
    _fields_ = (("methods", ctypes.c_void_p),)


_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(_File),
    ctypes.c_int,
    ctypes.c_void_p,
)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, versions 1 to 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("before", ctypes.c_void_p * 4),
        ("sync", _SYNC),
        ("after", ctypes.c_void_p * 13),
    )


class _System(ctypes.Structure):
    """`sqlite3_vfs`, as far as it is needed here."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", _OPEN),
    )


def _library() -> Any:
    """Return the SQLite that Python has loaded, or None where it is part of Python."""
    import sqlite3  # noqa: F401, PLC0415 - loads the library

    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "libsqlite3" in line}
    return ctypes.CDLL(paths.pop()) if paths else None


def is_possible() -> bool:
    """Tell whether SQLite can be listened to here."""
    return sys.platform == "linux" and _library() is not None


_kept: list[object] = []
"""What the library has pointers to."""


def _listen_to_sqlite(shadow: Shadow) -> None:
    library = _library()
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_System)
    system = library.sqlite3_vfs_find(None).contents
    plain_open = _OPEN(ctypes.cast(system.open, ctypes.c_void_p).value or 0)
    paths: dict[int, Path] = {}
    changed: dict[int, _Methods] = {}

    def sync(file: int, _flags: int) -> int:
        return _or_end(lambda: shadow.sync_with_name(paths[file]))

    replaced = _SYNC(sync)

    def opened(vfs: int, name: int | None, file: Any, flags: int, out: int) -> int:
        # The name goes on as it came: SQLite keeps the pointer.
        status: int = plain_open(vfs, name, file, flags, out)
        methods = file.contents.methods
        if status or name is None or not methods:
            return status
        if methods not in changed:
            copied = _Methods.from_buffer_copy(ctypes.string_at(methods, ctypes.sizeof(_Methods)))
            copied.sync = replaced
            changed[methods] = copied
        paths[ctypes.addressof(file.contents)] = Path(os.fsdecode(ctypes.string_at(name))).resolve()
        file.contents.methods = ctypes.addressof(changed[methods])
        return status

    system.open = _OPEN(opened)
    _kept.extend((plain_open, replaced, system.open, changed))


def _or_end(work: Callable[[], object]) -> int:
    """Do something inside SQLite; where that fails, the test must not go on."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - nothing may be raised through SQLite
        sys.stderr.write(f"the forgetful disk failed: {error!r}\n")
        os._exit(_FAILED)
    return 0


def _listen_to_python(shadow: Shadow) -> None:
    def sync(fd: Any) -> None:
        descriptor = fd if isinstance(fd, int) else fd.fileno()
        if stat.S_IFMT(os.fstat(descriptor).st_mode) in (stat.S_IFDIR, stat.S_IFREG):
            shadow.sync(Path(f"/proc/self/fd/{descriptor}").readlink())

    os.fsync = sync
    os.fdatasync = sync


def main() -> None:
    """Listen, then be the program."""
    root, folder, program, *arguments = sys.argv[1:]
    shadow = Shadow(Path(root), Path(folder))
    shadow.begin()
    _listen_to_python(shadow)
    _listen_to_sqlite(shadow)
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
