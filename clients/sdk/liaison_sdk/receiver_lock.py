"""Which of a device's processes receives: the one that holds this lock.

An advisory lock on a file, so it is gone the moment its process is.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "receiver.lock"


class ReceiverLock:
    """The lock of one folder."""

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / FILE_NAME
        self._handle: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._handle is not None

    async def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held then."""
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._take)
        return self.is_held

    def release(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _take(self) -> int | None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        return handle
