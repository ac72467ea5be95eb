"""Moving what was committed from SQLite's write-ahead log into the database, beside the writer.

SQLite does it by itself, in the commit that makes the log a thousand pages long: that message then waits
for two more syncs and for every page that was written since the last time. Here a thread with a connection
of its own does it, a PASSIVE checkpoint, for which no writer and no reader waits. When the writer has been
idle meanwhile, it begins the log anew from its start; under a load without pauses it hardly ever is, and
the log grows up to `BOUND`: then a commit does what is left, as SQLite itself would.
"""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final

BOUND: Final = 8_192
"""Pages of the log, 32 MiB, from which a commit moves them itself."""
DUE: Final = 1_500
"""What is written between two checkpoints, in rows; a message is some six, with the log's."""
ROW: Final = 4_096
"""Bytes of a large value that weigh as much as a row: a page."""

Connect = Callable[[], sqlite3.Connection]


class Checkpoints:
    """The thread; it begins with the first checkpoint that is due.

    Args:
        connect: opens the database; in the thread.
    """

    __slots__ = ("__weakref__", "_at", "_connect", "_queue", "_thread")

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._queue: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None
        self._at = 0

    def committed(self, written: int) -> None:
        """Have a checkpoint made if it is due; it is not waited for.

        Args:
            written: rows that the writer's connection has written, all in all.
        """
        # One at a time: where the last one has not begun yet, it will find this commit too.
        if written - self._at < DUE or not self._queue.empty():
            return
        self._at = written
        if self._thread is None:
            # A daemon: the log is as good as the database when the program ends.
            self._thread = Thread(
                target=_serve, args=(self._connect, self._queue), name="checkpoints", daemon=True
            )
            self._thread.start()
            weakref.finalize(self, self._queue.put, False)  # noqa: FBT003 - a message, no flag
        self._queue.put(True)  # noqa: FBT003 - as above

    def end(self) -> None:
        """Let the thread end once it has done what it was given; its connection is closed then."""
        self._queue.put(False)  # noqa: FBT003 - as above

    def wait(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()


def _serve(connect: Connect, queue: SimpleQueue[bool]) -> None:
    connection: sqlite3.Connection | None = None
    while queue.get():
        # On a full disk, say. Nothing is lost, it is tried again, and whoever writes hears of it anyway.
        with contextlib.suppress(sqlite3.Error):
            connection = connection or connect()
            move(connection)
    if connection is not None:
        connection.close()


def move(connection: sqlite3.Connection) -> tuple[int, int]:
    """Make one checkpoint.

    Returns:
        Pages in the log, and how many of them were moved by now.

    Raises:
        sqlite3.Error: the disk failed; the log is as it was.
    """
    _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return pages, moved
