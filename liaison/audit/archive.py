"""ZIP archives of which every byte is determined by names and contents.

Files are stored, never compressed: nothing can unfold into more than the archive itself, and no
byte is left to a compressor's choice. There are no times, comments, permissions or gaps; the ZIP64
forms stand exactly where the numbers need them. `Archive` builds each header anew from what the
directory says and takes only these bytes, so a reader of another make sees the same files.

Source: PKWARE APPNOTE 6.3.9 §4.3.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from liaison.audit.errors import BundleInvalidError

CHUNK_BYTES: Final = 1 << 20
MAX_DIRECTORY_BYTES: Final = 1 << 28
"""Room for two million files: a log of some 250 million entries."""

_SMALL: Final = 0xFFFF
_LARGE: Final = 0xFFFFFFFF
_PLAIN, _ZIP64 = 20, 45
_DATE: Final = 0x21  # 1980-01-01, the first day that the format knows
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,254}")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")


class Member(NamedTuple):
    """A file of an archive.

    Args:
        name: lower case, at most 255 bytes.
        size: in bytes.
        crc: CRC-32 of them.
        offset: where its header begins.
    """

    name: str
    size: int
    crc: int
    offset: int

    @property
    def header(self) -> bytes:
        """What stands before its bytes."""
        large = self.size >= _LARGE
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.size) if large else b""
        size = min(self.size, _LARGE)
        name = self.name.encode()
        version = _ZIP64 if large else _PLAIN
        head = (b"PK\3\4", version, 0, 0, 0, _DATE, self.crc, size, size, len(name), len(extra))
        return _LOCAL.pack(*head) + name + extra

    @property
    def record(self) -> bytes:
        """What stands of it in the directory."""
        wide = [self.size] * 2 if self.size >= _LARGE else []
        wide += [self.offset] if self.offset >= _LARGE else []
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        size, name = min(self.size, _LARGE), self.name.encode()
        version = _ZIP64 if wide else _PLAIN
        head = (b"PK\1\2", version, version, 0, 0, 0, _DATE, self.crc, size, size)
        tail = (len(name), len(extra), 0, 0, 0, 0, min(self.offset, _LARGE))
        return _CENTRAL.pack(*head, *tail) + name + extra

    @property
    def end(self) -> int:
        """Where the next file begins."""
        return self.offset + len(self.header) + self.size


class Spool:
    """A file in the making, kept until its place in the archive comes.

    Args:
        file: empty, open for reading and writing, only this spool's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.crc = 0
        self._hash = hashlib.sha256()

    @classmethod
    def of(cls, file: BinaryIO) -> Spool:
        """Take a file that was written already."""
        spool = cls(file)
        for data in spool.chunks():
            spool._count(data)
        return spool

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was written."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self._count(data)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Give all bytes, from the beginning."""
        self._file.seek(0)
        while data := self._file.read(size):
            yield data

    def lines(self) -> Iterator[bytes]:
        """Give all lines, with their ends."""
        self._file.seek(0)
        yield from self._file

    def _count(self, data: bytes) -> None:
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        self._hash.update(data)


class ArchiveWriter:
    """Writes an archive from front to back.

    Args:
        out: takes the bytes, in order.
    """

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self._members: list[Member] = []
        self._at = 0

    def add(self, name: str, data: bytes) -> None:
        """Add a file."""
        self._add(name, len(data), zlib.crc32(data), (data,))

    def add_spool(self, name: str, spool: Spool) -> None:
        """Add a file that was kept aside."""
        self._add(name, spool.size, spool.crc, spool.chunks())

    def close(self) -> None:
        """Write the directory."""
        start = self._at
        for member in self._members:
            self._write(member.record)
        self._write(_end(len(self._members), start, self._at - start))

    def _add(self, name: str, size: int, crc: int, chunks: Iterable[bytes]) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a file of a bundle")
        member = Member(name, size, crc, self._at)
        self._members.append(member)
        self._write(member.header)
        for chunk in chunks:
            self._write(chunk)

    def _write(self, data: bytes) -> None:
        self._out(data)
        self._at += len(data)


class Archive:
    """A bundle's archive, open for reading. The directory is checked at once, a header by `member`.

    Args:
        file: the whole archive; read from where it is needed.

    Raises:
        BundleInvalidError: not an archive as `ArchiveWriter` makes them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.members = {member.name: member for member in _directory(file)}

    def member(self, name: str) -> Member:
        """Return a file, after checking that what stands before it is what the directory says.

        Raises:
            BundleInvalidError: there is no such file, or its header is another.
        """
        member = self.members.get(name)
        if member is None:
            raise BundleInvalidError("the bundle has no such file", part=name)
        if self.read(member.offset, len(member.header)) != member.header:
            raise BundleInvalidError("its header is not what the directory says", part=name)
        return member

    def read(self, at: int, count: int) -> bytes:
        """Return bytes of the archive.

        Raises:
            BundleInvalidError: it does not have so many.
        """
        return _read(self._file, at, count)


def _end(count: int, start: int, size: int) -> bytes:
    """Give what ends an archive: the ZIP64 records where they are needed, and the last one."""
    parts = []
    if count >= _SMALL or start >= _LARGE or size >= _LARGE:
        head = (b"PK\6\6", _END64.size - 12, _ZIP64, _ZIP64, 0, 0)
        parts += [
            _END64.pack(*head, count, count, size, start),
            _LOCATOR.pack(b"PK\6\7", 0, start + size, 1),
        ]
    few = min(count, _SMALL)
    parts.append(_END.pack(b"PK\5\6", 0, 0, few, few, min(size, _LARGE), min(start, _LARGE), 0))
    return b"".join(parts)


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) != count:
        raise BundleInvalidError("the archive is cut short")
    return data


def _directory(file: BinaryIO) -> list[Member]:
    whole = file.seek(0, io.SEEK_END)
    count, size, start = _place(file, whole)
    if size > MAX_DIRECTORY_BYTES or start + size > whole:
        raise BundleInvalidError("the archive has no directory of its files")
    data = _read(file, start, size)
    try:
        members = _records(data, count)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise BundleInvalidError("the directory of the archive is damaged") from error
    # All that is not a name, a size or a checksum follows from them: nothing else is taken.
    if b"".join(member.record for member in members) != data:
        raise BundleInvalidError("the directory of the archive is not in its one form")
    if _read(file, start + size, whole - start - size) != _end(count, start, size):
        raise BundleInvalidError("the end of the archive is not in its one form")
    at, names = 0, set()
    for member in members:
        if member.offset != at or member.name in names or not _NAME.fullmatch(member.name):
            raise BundleInvalidError("the files of the archive do not follow one another")
        names.add(member.name)
        at = member.end
    if at != start:
        raise BundleInvalidError("the files of the archive do not follow one another")
    return members


def _place(file: BinaryIO, whole: int) -> tuple[int, int, int]:
    """Give the directory's number of files, its size and where it begins."""
    if whole < _END.size:
        raise BundleInvalidError("the file is not a bundle")
    end = _END.unpack(_read(file, whole - _END.size, _END.size))
    if end[0] != b"PK\5\6":
        raise BundleInvalidError("the file is not a bundle, or it is cut short")
    count, size, start = end[4], end[5], end[6]
    wide = _END64.size + _LOCATOR.size + _END.size
    if (count == _SMALL or _LARGE in (size, start)) and whole >= wide:
        end64 = _END64.unpack(_read(file, whole - wide, _END64.size))
        count, size, start = end64[7:]
    return count, size, start


def _records(data: bytes, count: int) -> list[Member]:
    members, at = [], 0
    while at < len(data):
        head = _CENTRAL.unpack_from(data, at)
        crc, size, offset = head[7], head[9], head[16]
        name_end = at + _CENTRAL.size + head[10]
        name = data[at + _CENTRAL.size : name_end].decode("ascii")
        wide = [
            each for (each,) in struct.iter_unpack("<Q", data[name_end + 4 : name_end + head[11]])
        ]
        if size == _LARGE:
            size = wide[0]
        if offset == _LARGE:
            offset = wide[-1]
        members.append(Member(name, size, crc, offset))
        at = name_end + head[11]
    if len(members) != count:
        raise BundleInvalidError("the archive has another number of files than it says")
    return members
