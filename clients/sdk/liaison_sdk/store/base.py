"""The seam between the client and its store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from liaison_sdk.keystore import Keystore

T = TypeVar("T")
Row = tuple[Any, ...]


class Transaction:
    """One transaction: SQL, and the seal that sensitive columns go through.

    Rows hold ids, states and order in the clear; keys, names, headers and
    contents only sealed.
    """

    __slots__ = ("_after", "_connection", "_keystore")

    def __init__(self, connection: sqlite3.Connection, keystore: Keystore) -> None:
        self._connection = connection
        self._keystore = keystore
        self._after: list[Callable[[], None]] = []

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run an INSERT; return the new row's number."""
        return self._connection.execute(sql, values).lastrowid or 0

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return all rows."""
        return self._connection.execute(sql, values).fetchall()

    def seal(self, name: str, plaintext: bytes) -> bytes:
        """Encrypt a column's value; `name` says which row's it is and must not change."""
        return self._keystore.seal(name, plaintext)

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` made under the same name.

        Raises:
            SealBrokenError: the value was altered, or moved from another row.
        """
        return self._keystore.unseal(name, sealed)

    def after_commit(self, work: Callable[[], None]) -> None:
        """Run `work` once this transaction is durable, and never otherwise.

        Caches are filled by it: a cache that knew a state which was rolled back
        would let a key be used twice.
        """
        self._after.append(work)

    def committed(self) -> None:
        """Called by the store, once, after its commit."""
        for work in self._after:
            work()


class Store(Protocol):
    """Transactions over the client's state, safe among threads and processes."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a consistent view; it writes nothing.

        Raises:
            StoreError: the store can't be read.
        """

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` alone: no other process reads-then-writes meanwhile.

        When this returns, what `work` wrote is durable; when it raises, the
        store is as before. `work` runs in a thread and must not block on
        anything but the processor.

        Raises:
            StoreBusyError: another process held the store for too long.
            StoreError: the store can't be written.
        """

    async def data_version(self) -> int:
        """Return a number that is another one after each commit of another process."""

    async def close(self) -> None:
        """Finish what runs and let go of the file."""
