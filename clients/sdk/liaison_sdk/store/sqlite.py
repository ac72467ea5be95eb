"""The store in one SQLite file, written by any number of the device's processes.

WAL with `synchronous=FULL`: a commit that returned survives power loss.
`BEGIN IMMEDIATE` takes the file's one write lock before the first read, so no
two processes ever start from the same group state. `secure_delete` overwrites
what is deleted, and closing empties the write-ahead log, so that keys which MLS
has deleted are not left in the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self, TypeVar

from liaison_sdk import files
from liaison_sdk.errors import StoreBusyError, StoreError
from liaison_sdk.keystore import Keystore
from liaison_sdk.store import schema
from liaison_sdk.store.base import Transaction

T = TypeVar("T")

FILE_NAME: Final = "liaison.db"
_BUSY_TIMEOUT_MS: Final = 30_000
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    # Small: what was deleted lives on in the log until it is written back.
    "PRAGMA wal_autocheckpoint = 200",
)


class SQLiteStore:
    """One connection, used by one thread; the event loop only waits for it."""

    def __init__(self, path: Path, keystore: Keystore) -> None:
        self._path = path
        self._keystore = keystore
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="liaison-store")
        self._connection: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, folder: Path, keystore: Keystore) -> Self:
        """Open the folder's store, making it where there is none.

        Raises:
            NewerStoreError: a later version of this program wrote it.
            StoreError: the file can't be opened, or is no store.
        """
        store = cls(folder / FILE_NAME, keystore)
        try:
            await store._run(store._connect)
        except BaseException:
            await store.close()
            raise
        return store

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See `Store`."""
        return await self._run(lambda: self._transact("BEGIN", work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """See `Store`."""
        return await self._run(lambda: self._transact("BEGIN IMMEDIATE", work))

    async def data_version(self) -> int:
        """See `Store`."""
        return await self._run(lambda: int(self._db.execute("PRAGMA data_version").fetchone()[0]))

    async def close(self) -> None:
        """See `Store`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError("the store is closed")
        return self._connection

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as e:
            if e.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreBusyError("another process holds the store for too long") from e
            raise StoreError(f"the store {self._path} failed: {e}") from e
        except sqlite3.DatabaseError as e:
            raise StoreError(f"the store {self._path} failed: {e}") from e

    def _connect(self) -> None:
        files.private_folder(self._path.parent)
        # SQLite gives the log and its index the mode of the file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            connection.execute("BEGIN IMMEDIATE")
            schema.prepare(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _transact(self, begin: str, work: Callable[[Transaction], T]) -> T:
        transaction = Transaction(self._db, self._keystore)
        self._db.execute(begin)
        try:
            result = work(transaction)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        transaction.committed()
        return result

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        # Another process may be reading, or the disk be full: then whoever closes next empties
        # the log. All that was acknowledged stands in it.
        with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
