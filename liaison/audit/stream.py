"""A file of a bundle, read from front to back while nothing of it is believed.

Its checksum and digest are known only at the end, and a reader wants to name the entry that is
wrong: so what is read is compared as it comes, and `end` decides about the whole.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Final

from liaison.audit.archive import CHUNK_BYTES, Archive
from liaison.audit.errors import BundleInvalidError
from liaison.audit.manifest import File

MAX_LINE_BYTES: Final = 3 << 20
"""Room for the longest disclosure."""


class Stream:
    """One file.

    Args:
        archive: in which it stands.
        name: of the file.
        expected: what the manifest says of it; None where nothing does.

    Raises:
        BundleInvalidError: there is no such file, or its header is wrong.
    """

    def __init__(self, archive: Archive, name: str, expected: File | None) -> None:
        self.name = name
        self._archive, self._expected = archive, expected
        self._member = archive.member(name)
        self._next = self._member.offset + len(self._member.header)
        self._left = self._member.size
        self._hash = hashlib.sha256()
        self._crc = 0
        self._rest = b""
        self._lines: list[bytes] = []

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return self._left

    def read(self, most: int) -> bytes:
        """Return the next bytes, as many as there are up to `most`."""
        data = self._archive.read(self._next, min(self._left, most))
        self._next, self._left = self._next + len(data), self._left - len(data)
        self._hash.update(data)
        self._crc = zlib.crc32(data, self._crc)
        return data

    def lines(self, count: int) -> list[bytes]:
        """Return the next lines without their newlines; fewer where there are no more.

        A line that is longer than `MAX_LINE_BYTES` ends them.
        """
        while len(self._lines) < count and self._left and len(self._rest) <= MAX_LINE_BYTES:
            *fresh, self._rest = (self._rest + self.read(CHUNK_BYTES)).split(b"\n")
            self._lines += fresh
        taken, self._lines = self._lines[:count], self._lines[count:]
        return taken

    @property
    def is_right(self) -> bool:
        """Whether all was read, and is what the directory and the manifest say."""
        digest = File(self._member.size, self._hash.digest())
        known = self._expected is None or self._expected == digest
        return known and not self._left and self._crc == self._member.crc

    @property
    def has_more(self) -> bool:
        """Whether there is more than was taken."""
        return bool(self._lines or self._rest or self._left)

    def end(self) -> None:
        """Check that nothing follows, and the whole.

        Raises:
            BundleInvalidError: something follows, or the file is another than the manifest says.
        """
        if self.has_more or not self.is_right:
            raise BundleInvalidError("it is not what the manifest says", part=self.name)

    def skip(self) -> None:
        """Read what is left, and check the whole.

        Raises:
            BundleInvalidError: the file is another than the manifest says.
        """
        while self._left:
            self.read(CHUNK_BYTES)
        self.end()

    def whole(self, most: int) -> bytes:
        """Return all of it.

        Raises:
            BundleInvalidError: more than `most` bytes, or another than the manifest says.
        """
        if self._left > most:
            raise BundleInvalidError(f"it has more than {most} bytes", part=self.name)
        data = self.read(most)
        self.end()
        return data
