"""Check a bundle of a Liaison log with Python 3.11 or newer and nothing else.

    python3 verify.py BUNDLE [--policy FILE] [--require WITNESS]

Checks that every byte of the bundle is what the log has signed, that the entries lead to the roots
that the log and its witnesses have signed, that channels are without gaps, that what is opened of
the entries is what they commit to, and that events.jsonl and events.csv say the same. Without
`--policy` the keys are those that the bundle names: compare them with yours, or give your own. What
`--require` names has to have cosigned the last checkpoint. Take this program from somebody you
trust, not from the bundle that it is to check.

Where entries are dated otherwise than the witnesses' times allow it says so: a clock is wrong, the
relay could not show at once what it had, or it has dated them falsely.

It does not check ML-DSA-44 signatures (it says how many there are: `liaison-auditor` checks them),
nor what report.html and events.parquet say: those are the relay's word.

Exit status: 0 nothing is wrong, 1 the file can't be read, 2 usage, 3 something is wrong.

Formats: docs/protocol/bundle.md and docs/protocol/log.md of Liaison.
"""

from __future__ import annotations

import binascii
import csv
import gc
import hashlib
import io
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import count
from json.encoder import encode_basestring
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeVar

T = TypeVar("T")
sha256 = hashlib.sha256
WIDTH = 256
MAX_SIZE = 2**63 - 1
MAX_NUMBER = 2**53 - 1
MAX_TIME = 253402300799999
# Numbers of a channel for each log of an agreement.
ROOM = 1 << 32
MAX_ENTRY = 16 * 1024
MAX_LINE = 3 << 20
MAX_VALUE = 512 * 1024
MAX_FACTS = 1 << 20
CHUNK = 1 << 20
# Seconds by which two clocks may differ, and a cosignature may take, without a word.
TOLERANCE = 300


class InvalidError(Exception):
    """Something in the bundle is wrong: where, and what."""

    def __init__(self, reason: str, index: int | None = None, part: str | None = None) -> None:
        where = [f"entry {index}"] if index is not None else []
        where += [part] if part is not None else []
        super().__init__(f"{', '.join(where)}: {reason}" if where else reason)
        self.reason, self.index, self.part = reason, index, part


def fail(reason: str, *, index: int | None = None, part: str | None = None) -> NoReturn:
    raise InvalidError(reason, index, part)


# --- Ed25519 (RFC 8032) ---------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]
IDENTITY: Point = (0, 1, 1, 0)


def add(a: Point, b: Point) -> Point:
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    u, v = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    w, z = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = v - u, z - w, z + w, v + u
    return e * f % P, g * h % P, f * g % P, e * h % P


def same(a: Point, b: Point) -> bool:
    return not ((a[0] * b[2] - b[0] * a[2]) % P or (a[1] * b[2] - b[1] * a[2]) % P)


def encode_point(a: Point) -> bytes:
    inverse = pow(a[2], -1, P)
    x, y = a[0] * inverse % P, a[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode_point(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if len(data) != 32 or y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def table_of(point: Point) -> list[list[Point]]:
    """Give each multiple 1 to 15 of the point times each power of 16: sums need no doublings."""
    rows = []
    for _ in range(64):
        row = [IDENTITY]
        for _ in range(16):
            row.append(add(row[-1], point))
        point = row.pop()
        rows.append(row)
    return rows


def times(table: list[list[Point]], scalar: int, start: Point) -> Point:
    for row in table:
        if scalar & 15:
            start = add(start, row[scalar & 15])
        scalar >>= 4
    return start


_BASE: list[list[list[Point]]] = []


def base_table() -> list[list[Point]]:
    if not _BASE:
        base = decode_point(bytes([0x58]) + bytes([0x66]) * 31)
        _BASE.append(table_of(base or IDENTITY))
    return _BASE[0]


class Ed25519Key:
    """A public key; what it takes to verify is computed once."""

    def __init__(self, public: bytes) -> None:
        point = decode_point(public)
        if point is None:
            raise ValueError("not a point of the curve")
        x, y, z, t = point
        self.public = public
        self.table = table_of((-x % P, y, z, -t % P))
        # No honest key is of small order, or has a part of it.
        if same(point, IDENTITY) or not same(times(self.table, ORDER, IDENTITY), IDENTITY):
            raise ValueError("not a point of the large prime order")

    def holds(self, signature: bytes, message: bytes) -> bool:
        r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if len(signature) != 64 or s >= ORDER:
            return False
        data = hashlib.sha512(r + self.public + message).digest()
        h = int.from_bytes(data, "little") % ORDER
        point = times(self.table, h, times(base_table(), s, IDENTITY))
        eight = point
        for _ in range(3):
            eight = add(eight, eight)
        return encode_point(point) == r and not same(eight, IDENTITY)


@lru_cache(maxsize=64)
def ed25519_key(public: bytes) -> Ed25519Key:
    return Ed25519Key(public)


# --- texts ----------------------------------------------------------------------------------------


def base64_of(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def from_base64(text: Any, size: int | None = None) -> bytes:
    data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    if base64_of(data) != text or size not in (None, len(data)):
        raise ValueError("not base64 of such bytes")
    return data


def decimal(text: str, most: int = MAX_SIZE) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or int(text) > most:
        raise ValueError("not a number")
    return int(text)


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def canonical(value: object) -> bytes:
    return ENCODER.encode(value).encode()


def load(data: bytes) -> Any:
    """Read canonical JSON; another spelling of the same is a ValueError."""
    try:
        value = json.loads(data.decode())
        if canonical(value) != data:
            raise ValueError("not canonical JSON")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


# --- notes, checkpoints, the policy (C2SP signed-note, tlog-checkpoint, -cosignature, -policy) ----


class Key(NamedTuple):
    """A key of a log or a witness."""

    name: str
    id: bytes
    type: int
    public: bytes
    ed25519: Ed25519Key | None


class Checkpoint(NamedTuple):
    """The head of a log at one size."""

    origin: str
    size: int
    root: bytes


def is_name(name: str) -> bool:
    bad = any(c.isspace() or c < " " or "\ud800" <= c <= "\udfff" or c == "+" for c in name)
    return 0 < len(name.encode(errors="replace")) <= 255 and not bad


def parse_key(text: str) -> Key:
    name, _, rest = text.partition("+")
    id_, _, encoded = rest.partition("+")
    data = from_base64(encoded)
    computed = sha256(name.encode() + b"\n" + data).digest()[:4]
    if not is_name(name) or id_ != computed.hex() or data[:1] not in (b"\1", b"\4", b"\6"):
        raise ValueError(f"{text[:80]!r} is not a verifier key")
    if data[0] == 6:
        if len(data) != 1 + 1312:
            raise ValueError("an ML-DSA-44 key has 1312 bytes")
        return Key(name, computed, data[0], data[1:], None)
    return Key(name, computed, data[0], data[1:], ed25519_key(data[1:]))


class Note:
    """A text and the signatures under it."""

    def __init__(self, data: bytes) -> None:
        text, blank, lines = data.decode().rpartition("\n\n")
        self.text = text + "\n"
        if len(data) > 1 << 18 or not blank or not lines.endswith("\n"):
            raise ValueError("not a signed note")
        if re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", self.text):
            raise ValueError("not a signed note")
        self.signatures = []
        for line in lines[:-1].split("\n"):
            name, space, encoded = line.removeprefix("\u2014 ").partition(" ")
            signature = from_base64(encoded)
            if not line.startswith("\u2014 ") or not space or not is_name(name):
                raise ValueError("not a line of a signature")
            if len(signature) <= 4:
                raise ValueError("not a line of a signature")
            self.signatures.append((name, signature[:4], signature[4:]))
        if len(self.signatures) > 64:
            raise ValueError("too many signatures")

    def checkpoint(self) -> Checkpoint:
        origin, *lines = self.text.split("\n")
        if len(lines) < 3 or lines.pop() or "" in lines or not origin or len(lines) > 18:
            raise ValueError("not a checkpoint")
        size, root = decimal(lines[0]), from_base64(lines[1], 32)
        if not size and root != sha256().digest():
            raise ValueError("the empty log has another root")
        return Checkpoint(origin, size, root)

    def verify(self, keys: dict[tuple[str, bytes], Key]) -> list[tuple[Key, int, bool]]:
        """Give key, time and whether it was checked, of each signature by a known key."""
        found = []
        for name, id_, signature in self.signatures:
            key = keys.get((name, id_))
            if key is None:
                continue
            time, raw, message = 0, signature, self.text.encode()
            if key.type != 1:
                time, raw = int.from_bytes(signature[:8], "big"), signature[8:]
                message = b"cosignature/v1\ntime %d\n%b" % (time, message)
                self.checkpoint()
            valid = 0 < time <= MAX_SIZE or key.type == 1
            if key.ed25519 is None:
                valid = valid and len(raw) == 2420
            else:
                valid = valid and key.ed25519.holds(raw, message)
            if not valid:
                raise ValueError(f"the signature by {name} does not hold")
            found.append((key, time, key.ed25519 is not None))
        return found


class Policy:
    """Which logs and witnesses count, and who of them is enough."""

    def __init__(self, data: bytes) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        members: set[str] = set()
        text = data.decode("utf-8", "surrogateescape")
        if len(data) > 1 << 19 or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
            raise ValueError("not a policy")
        for line in text.split("\n"):
            items = re.sub(r"[ \t]+", " ", line).strip(" ").split(" ")
            if items[0] and not items[0].startswith("#"):
                self._read(items, members)
        if not self.quorum:
            raise ValueError("the policy tells no quorum")
        if len({key.public for key in self.logs}) != len(self.logs):
            raise ValueError("a key stands twice in the policy")
        if len({key.public for key in self.witnesses.values()}) != len(self.witnesses):
            raise ValueError("a key stands twice in the policy")
        if len(self.logs) + len(self.witnesses) + len(self.groups) > 128:
            raise ValueError("the policy is too long")

    def _read(self, items: list[str], members: set[str]) -> None:
        word, rest = items[0], items[1:]
        known = {"none", *self.witnesses, *self.groups}
        if word == "log" and 1 <= len(rest) <= 2:
            self.logs.append(parse_key(rest[0]))
        elif word == "witness" and 2 <= len(rest) <= 3 and rest[0] not in known:
            key = parse_key(rest[1])
            if key.type == 1:
                raise ValueError("the key of a witness is not for cosignatures")
            self.witnesses[rest[0]] = key
        elif word == "group" and len(rest) >= 3 and rest[0] not in known:
            names = rest[2:]
            numbers = {"any": "1", "all": str(len(names))}
            threshold = decimal(numbers.get(rest[1], rest[1]))
            fresh = known - {"none"} - members
            if not 1 <= threshold <= len(names) or not fresh.issuperset(names):
                raise ValueError("a group of the policy is none")
            if len(set(names)) != len(names):
                raise ValueError("a group of the policy is none")
            members |= set(names)
            self.groups[rest[0]] = threshold, names
        elif word == "quorum" and len(rest) == 1 and rest[0] in known and not self.quorum:
            self.quorum = rest[0]
        else:
            raise ValueError("a line of the policy is none")

    def log_keys(self, origin: str) -> dict[tuple[str, bytes], Key]:
        return {(key.name, key.id): key for key in self.logs if key.name == origin}

    def is_quorum(self, name: str, witnesses: set[str]) -> bool:
        if name == "none":
            return True
        if name not in self.groups:
            return name in witnesses
        threshold, members = self.groups[name]
        return sum(self.is_quorum(member, witnesses) for member in members) >= threshold


class Cosigned(NamedTuple):
    """A checkpoint that fulfils the policy, with its witnesses' times and those not checked."""

    checkpoint: Checkpoint
    witnesses: dict[str, int]
    left: int


def verify_checkpoint(data: bytes, policy: Policy, origin: str) -> Cosigned:
    note = Note(data)
    checkpoint = note.checkpoint()
    if checkpoint.origin != origin:
        raise ValueError("it is of another log")
    log = note.verify(policy.log_keys(origin))
    if not any(checked for _, _, checked in log):
        raise ValueError("the log has not signed it")
    names = {(key.name, key.id): name for name, key in policy.witnesses.items()}
    keys = {at: policy.witnesses[name] for at, name in names.items()}
    signed = note.verify(keys)
    witnesses = {names[key.name, key.id]: time for key, time, _ in signed}
    if not policy.is_quorum(policy.quorum, set(witnesses)):
        raise ValueError(
            f"the cosignatures of {counted(len(witnesses), 'witness', 'witnesses')} are no quorum"
        )
    return Cosigned(checkpoint, witnesses, sum(not checked for _, _, checked in log + signed))


# --- the archive (ZIP, stored, in one form) -------------------------------------------------------

LOCAL, CENTRAL = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
END, END64, LOCATOR = (
    struct.Struct("<4s4H2IH"),
    struct.Struct("<4sQ2H2I4Q"),
    struct.Struct("<4sIQI"),
)
LARGE = 0xFFFFFFFF
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,254}")


class Member(NamedTuple):
    """A file of the archive."""

    name: str
    size: int
    crc: int
    offset: int

    def header(self) -> bytes:
        large = self.size >= LARGE
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.size) if large else b""
        name, size = self.name.encode(), min(self.size, LARGE)
        version = 45 if large else 20
        numbers = (version, 0, 0, 0, 0x21, self.crc, size, size, len(name), len(extra))
        return LOCAL.pack(b"PK\3\4", *numbers) + name + extra

    def record(self) -> bytes:
        wide = [self.size] * 2 if self.size >= LARGE else []
        wide += [self.offset] if self.offset >= LARGE else []
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        name, size, version = self.name.encode(), min(self.size, LARGE), 45 if wide else 20
        numbers = (version, version, 0, 0, 0, 0x21, self.crc, size, size, len(name), len(extra))
        return CENTRAL.pack(b"PK\1\2", *numbers, 0, 0, 0, 0, min(self.offset, LARGE)) + name + extra


class Archive:
    """The files of the bundle."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        whole = file.seek(0, io.SEEK_END)
        if whole < END.size:
            fail("the file is not a bundle")
        end = END.unpack(self.at(whole - END.size, END.size))
        if end[0] != b"PK\5\6":
            fail("the file is not a bundle, or it is cut short")
        count, size, start = end[4:7]
        wide = END64.size + LOCATOR.size + END.size
        if (count == 0xFFFF or LARGE in (size, start)) and whole >= wide:
            count, size, start = END64.unpack(self.at(whole - wide, END64.size))[7:]
        if size > 1 << 28 or start + size > whole:
            fail("the archive has no directory of its files")
        directory = self.at(start, size)
        try:
            members = self._members(directory)
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise InvalidError("the directory of the archive is damaged") from error
        if len(members) != count or b"".join(m.record() for m in members) != directory:
            fail("the directory of the archive is not in its one form")
        tail = b""
        if count >= 0xFFFF or start >= LARGE or size >= LARGE:
            tail = END64.pack(b"PK\6\6", END64.size - 12, 45, 45, 0, 0, count, count, size, start)
            tail += LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
        few = min(count, 0xFFFF)
        tail += END.pack(b"PK\5\6", 0, 0, few, few, min(size, LARGE), min(start, LARGE), 0)
        if self.at(start + size, whole - start - size) != tail:
            fail("the end of the archive is not in its one form")
        at = 0
        for member in members:
            if member.offset != at or not FILE_NAME.fullmatch(member.name):
                fail("the files of the archive do not follow one another")
            at += len(member.header()) + member.size
        self.members = {member.name: member for member in members}
        if at != start or len(self.members) != len(members):
            fail("the files of the archive do not follow one another")

    def _members(self, data: bytes) -> list[Member]:
        members, at = [], 0
        while at < len(data):
            head = CENTRAL.unpack_from(data, at)
            crc, size, offset = head[7], head[9], head[16]
            middle = at + CENTRAL.size + head[10]
            name = data[at + CENTRAL.size : middle].decode("ascii")
            at = middle + head[11]
            wide = [each for (each,) in struct.iter_unpack("<Q", data[middle + 4 : at])]
            size = wide[0] if size == LARGE else size
            members.append(Member(name, size, crc, wide[-1] if offset == LARGE else offset))
        return members

    def at(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            fail("the archive is cut short")
        return data


class Digest(NamedTuple):
    """What the manifest says of a file."""

    size: int
    sha256: bytes


class Stream:
    """A file of the archive, read from front to back; the end tells whether it is the right one."""

    def __init__(self, archive: Archive, name: str, digest: Digest | None) -> None:
        member = archive.members.get(name)
        if member is None:
            fail("the bundle has no such file", part=name)
        self.name, self.archive, self.member, self.digest = name, archive, member, digest
        header = member.header()
        self.next, self.left = member.offset + len(header), member.size
        self.hash, self.crc = sha256(), 0
        self.rest, self.ready = b"", 0
        self.lines: list[bytes] = []
        if archive.at(member.offset, len(header)) != header:
            fail("its header is not what the directory says", part=name)

    def read(self, size: int = CHUNK) -> bytes:
        data = self.archive.at(self.next, min(self.left, size))
        self.next, self.left = self.next + len(data), self.left - len(data)
        self.hash.update(data)
        self.crc = zlib.crc32(data, self.crc)
        return data

    def take(self, count: int) -> list[bytes]:
        """Give the next lines without their ends; fewer where there are no more."""
        while len(self.lines) - self.ready < count and (self.left or b"\n" in self.rest):
            *fresh, self.rest = (self.rest + self.read()).split(b"\n")
            self.lines = self.lines[self.ready :] + fresh
            self.ready = 0
            if len(self.rest) > MAX_LINE:
                break
        self.ready += count
        return self.lines[self.ready - count : self.ready]

    def takes(self, data: bytes) -> bool:
        """Go on behind these bytes if it is them that come next; else stay."""
        if self.ready < len(self.lines):
            return False
        while len(self.rest) < len(data) and self.left:
            self.rest += self.read(CHUNK >> 3)
        if not self.rest.startswith(data):
            return False
        self.rest = self.rest[len(data) :]
        return True

    @property
    def is_whole(self) -> bool:
        """Whether all was read and is what directory and manifest say."""
        right = self.digest is None or self.digest == (self.member.size, self.hash.digest())
        return right and not self.left and self.crc == self.member.crc

    def end_unread(self) -> None:
        """Read all, and check the digest."""
        while self.left:
            self.read()
        self.end()

    @property
    def has_more(self) -> bool:
        """Whether there is more than was taken."""
        return bool(self.rest or self.lines[self.ready :] or self.left)

    def end(self) -> None:
        """Check that nothing follows, and the digest of the whole."""
        if self.has_more or not self.is_whole:
            fail("it is not what the manifest says", part=self.name)


class File:
    """A small file of the archive, read at once."""

    def __init__(self, archive: Archive, name: str, manifest: Manifest) -> None:
        member = archive.members.get(name)
        if member is None:
            fail("the bundle has no such file", part=name)
        header = member.header()
        most = min(member.size, MAX_LINE * 6)
        whole = archive.at(member.offset, len(header) + most)
        if not whole.startswith(header):
            fail("its header is not what the directory says", part=name)
        self.name, self.data = name, whole[len(header) :]
        digest = Digest(len(self.data), sha256(self.data).digest())
        known = most == member.size and digest == manifest.files.get(name)
        self.is_right = known and zlib.crc32(self.data) == member.crc

    def verify(self) -> None:
        """Check that it is what directory and manifest say."""
        if not self.is_right:
            fail("it is not what the manifest says", part=self.name)


# --- the manifest ---------------------------------------------------------------------------------


class Manifest(NamedTuple):
    """What the bundle is of."""

    origin: str
    party: str
    first: int
    end: int
    disclosed: int
    files: dict[str, Digest]
    digest: bytes
    before: dict[str, Any]
    versions: list[Any]


def number(value: object, most: int = MAX_SIZE, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError("a number is none")
    return value


def name_of(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1024:
        raise ValueError("a name is none")
    return value


def members(body: Any, names: str) -> list[Any]:
    if not isinstance(body, dict) or body.keys() != set(names.split()):
        raise ValueError("other members")
    return [body[name] for name in names.split()]


def parse_manifest(data: bytes) -> Manifest:
    names = "agreement counts files format made_at origin party range"
    body = load(data)
    follows = isinstance(body, dict) and "predecessor" in body
    before = body.pop("predecessor") if follows else {}
    agreement, counts, files, format_, made_at, origin, party, bounds = members(body, names)
    if format_ != "liaison.bundle/1":
        raise ValueError("another format")
    if not isinstance(agreement, dict) or not isinstance(agreement.get("versions"), list):
        raise TypeError("the versions are none")
    id_, limits, parties, versions = members(agreement, "id limits parties versions")
    for text in (origin, party, id_, *parties.values(), *parties, *limits):
        name_of(text)
    for seconds in limits.values():
        number(seconds, MAX_NUMBER)
    for version in versions:
        digest, serial = members(version, "digest version")
        number(serial, 2**32 - 1, 1)
        from_base64(digest, 32)
    end, first, since, until = members(bounds, "end first since until")
    for time in (since, until):
        number(0 if time is None else time, MAX_TIME)
    number(made_at, MAX_TIME)
    disclosed, entries = members(counts, "disclosed entries")
    found = {}
    for name, file in files.items():
        digest, size = members(file, "sha256 size")
        found[name] = Digest(number(size, MAX_SIZE), from_base64(digest, 32))
    if number(first) >= number(end) or first % WIDTH or entries != end - first:
        raise ValueError("the range is none")
    if (check_predecessor(before) if follows else None) != predecessor_of(origin, id_):
        raise ValueError("a successor log follows the one before it, and no other log any")
    opened, digest = number(disclosed, end - first), sha256(data).digest()
    return Manifest(origin, party, first, end, opened, found, digest, before, versions)


def check_predecessor(before: Any) -> str:
    name, root, size = members(before, "origin root size")
    from_base64(root, 32)
    number(size)
    return name_of(name)


def predecessor_of(origin: str, agreement: str) -> str | None:
    """Name the log that a log follows: None for an agreement's first log, and any other."""
    first, _, generation = origin.rpartition("/")
    if not first.endswith("/log/" + agreement):
        return None
    if not re.fullmatch("[2-9]|[1-9][0-9]{1,3}", generation):
        return None
    return first if generation == "2" else f"{first}/{int(generation) - 1}"


def tile_path(level: int | None, index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    kind = "entries" if level is None else str(level)
    return f"tile/{kind}/{place}" + (f".p/{width}" if width < WIDTH else "")


def tiles_of(first: int, end: int) -> Iterator[tuple[int | None, int, int]]:
    """Give level, index and width of the bundles of a range and of the hash tiles within it."""
    level: int | None = None
    while level is None or end >> 8 * level:
        low, high = (bound >> 8 * (level or 0) for bound in (first, end))
        step = 8 * ((level or 0) + 1)
        for index in range(low // WIDTH, -(-high // WIDTH)):
            if index << step >= first:
                yield level, index, min(WIDTH, high - index * WIDTH)
        level = 0 if level is None else level + 1


OPTIONAL = ("events.jsonl", "events.csv", "events.parquet", "report.html")


def order(manifest: Manifest) -> list[str]:
    there = [tile_path(*tile) for tile in tiles_of(manifest.first, manifest.end)]
    sizes = [decimal(n[12:]) for n in manifest.files if n.startswith("checkpoints/")]
    there += ["policy", "compact", *(f"checkpoints/{size}" for size in sorted(sizes))]
    there += ["openings.jsonl", *(name for name in OPTIONAL if name in manifest.files)]
    return [*there, "verify.py"]


# --- entries --------------------------------------------------------------------------------------

_HASH = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_NUMBER = rb"(?:0|[1-9][0-9]{0,14})"
# Most entries are of messages, and most of their text is the same in many of them: this only cuts
# it into pieces, and `Column` knows those that it has met. The others are found by their braces.
ENTRIES = re.compile(
    rb"""(?s:(..))((?s:(.{54}[0-9]{1,15}+.{11})%b(.{69}[^:]{8}:[^:]{7,16}:)([1-9][0-9]{0,14}+)"""
    rb"""(.{8}[0-9]{1,15}+.{8})([1-9][0-9]{12})(.{9}(?:acc|rec)[^}]{1,20}+\}))"""
    rb"""|\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)?+\})""" % _HASH
)


class Column:
    """Pieces that stand in the same place of many entries, and are mostly the same."""

    def __init__(self, form: bytes) -> None:
        self.form = re.compile(form)
        self.known: set[bytes | None] = {None}

    def holds(self, pieces: list[bytes | None]) -> bool:
        """Tell whether each is in its one form, or none."""
        first = pieces[0]
        # Quicker where all are the same.
        if first in self.known and pieces.count(first) == len(pieces):
            return True
        if self.known.issuperset(pieces):
            return True
        if len(self.known) > 1 << 15:
            self.known = {None}
        self.known |= {piece for piece in set(pieces) if piece and self.form.fullmatch(piece)}
        return self.known.issuperset(pieces)


_PLACES = Column(rb'\{"channel":"([0-9a-f]{32})","epoch":(%b),"fields":"' % _NUMBER)
_POLICIES = Column(rb'","policy":\{"digest":"%b","version":[1-9][0-9]{0,8}\},"seq":' % _HASH)
_SIZES = Column(rb',"size":%b,"time":' % _NUMBER)
_ENDS = Column(rb',"type":"(?:accepted|receipt)","v":2\}')


TEXT, NUMBER, TEXTS = str, int, list


def schema(
    required: str, sealed: str, optional: str = ""
) -> tuple[set[str], set[str], dict[str, type]]:
    kinds = {"#": NUMBER, "*": TEXTS}
    named = {word.rstrip("#*"): kinds.get(word[-1], TEXT) for word in sealed.split()}
    return set(required.split()), set(f"{required} {optional}".split()), dict(sorted(named.items()))


_PLACE = "channel seq epoch policy size"
_MESSAGE = "party sender message digest kind action info dtg# to* copy* label reply"
SCHEMAS = {
    "accepted": schema(_PLACE, _MESSAGE),
    "receipt": schema(_PLACE, _MESSAGE),
    "commit": schema(_PLACE, "party sender digest added* removed*"),
    "delivered": schema("channel", "party device first# last#"),
    "refused": schema("", "party device action code rule count#", "channel policy"),
    "policy": schema("", "party agreement step document digest", "policy"),
    "admin": schema("", "party act subject digest"),
    "member": schema("", "party device change reason", "channel epoch"),
    "key": schema("", "party subject act digest serial suite not_after#"),
    "export": schema("", "party first# last# filters* count# digest"),
    "erasure": schema("", "party first# last# rule contents# openings# digest"),
    "checkpoint": schema("", "origin size# root", "period policy"),
}
OPEN = {"channel", "epoch", "period", "policy", "seq", "size"}


def parse_entry(data: bytes) -> dict[str, Any]:
    """Read an entry of any type; ValueError for anything that the log would not have written."""
    if len(data) > MAX_ENTRY:
        raise ValueError("too long")
    body = load(data)
    if not isinstance(body, dict) or body.keys() - OPEN != {"fields", "time", "type", "v"}:
        raise ValueError("other members")
    if type(body["v"]) is not int or body["v"] != 2 or body["type"] not in SCHEMAS:
        raise ValueError("of another version or type")
    required, shown, _ = SCHEMAS[body["type"]]
    if not required <= body.keys() & OPEN <= shown:
        raise ValueError("other members in the open")
    from_base64(body["fields"], 32)
    number(body["time"], MAX_TIME)
    for name in body.keys() & {"epoch", "period", "size"}:
        number(body[name], MAX_NUMBER)
    if "seq" in body:
        number(body["seq"], MAX_NUMBER, 1)
    if "channel" in body and not re.fullmatch("[0-9a-f]{32}", name_of(body["channel"])):
        raise ValueError("not a pseudonym")
    if "policy" in body:
        digest, version = members(body["policy"], "digest version")
        number(version, 2**32 - 1, 1)
        from_base64(digest, 32)
    return body


def cut(data: bytes, width: int) -> list[Any]:
    """Cut a bundle into pieces, nine for each entry; empty if it is none of so many entries."""
    pieces = ENTRIES.split(data)
    lengths, told = pieces[1::9], pieces[2::9]
    # Before each entry, beside its length, there is nothing.
    whole = len(told) == width and not any(pieces[::9])
    return pieces if whole and b"".join(lengths) == lengths_of(told) else []


def lengths_of(told: Sequence[bytes]) -> bytes:
    """Give what stands before each entry; nothing if one is too long."""
    sizes = list(map(len, told))
    return struct.pack(f">{len(sizes)}H", *sizes) if max(sizes) <= MAX_ENTRY else b""


class Found(NamedTuple):
    """The entries of a tile: of messages channel and epoch as they stand there, others whole."""

    told: list[Any]
    places: list[Any]
    seqs: Iterable[int]
    # As they stand there, or as numbers: either way in their order.
    times: list[Any]
    bodies: list[dict[str, Any] | None]


def found_in(pieces: list[Any], start: int, part: str) -> Found:
    """Read the entries of a tile."""
    told, places, seqs, times = (pieces[at::9] for at in (2, 3, 5, 7))
    columns = _PLACES, _POLICIES, _SIZES, _ENDS
    if not all(c.holds(pieces[at::9]) for c, at in zip(columns, (3, 4, 6, 8), strict=True)):
        places = [None] * len(told)
    bodies: list[dict[str, Any] | None] = [None] * len(told)
    if all(places):
        return Found(told, places, map(int, seqs), times, bodies)
    for n, place in enumerate(places):
        if not place:
            try:
                bodies[n] = parse_entry(told[n])
            except (ValueError, TypeError) as error:
                raise InvalidError(f"not an entry: {error}", start + n, part) from error
    rows = list(zip(seqs, times, bodies, strict=True))
    numbers = [0 if body else int(seq) for seq, _, body in rows]
    at = [body["time"] if body else int(time) for _, time, body in rows]
    return Found(told, places, numbers, at, bodies)


def first_of(seq: int, before: int) -> int:
    """Give the number with which a channel has to begin in a log: after those of the logs before."""
    return before + 1 if seq > before else 1


class View:
    """How far a channel was followed."""

    __slots__ = ("epoch", "is_sure", "seq", "told")

    def __init__(self, seq: int, epoch: int) -> None:
        # The number that has to come next, and the epoch that has not ended; whether the channel's
        # beginning or a commit has told it. Where `told`, the last entry's place, stands in
        # `Walk.following`, the number is there.
        self.seq, self.epoch, self.is_sure, self.told = seq, epoch, seq == 1, b""

    def follow(self, index: int, seq: int, epoch: int, *, commit: bool) -> None:
        if seq != self.seq:
            fail(f"the channel goes on with item {seq}, not {self.seq}", index=index)
        ahead = self.is_sure and (epoch > self.epoch or (commit and epoch != self.epoch))
        if ahead or (commit and epoch < self.epoch):
            fail(f"the channel is in epoch {self.epoch}, not {epoch}", index=index)
        self.seq = seq + 1
        self.epoch = epoch + 1 if commit else max(epoch, self.epoch)
        self.is_sure = self.is_sure or commit


# --- what is shown of entries ---------------------------------------------------------------------

OPENING, CLOSED = b'{"disclosure":', b'{"disclosure":null,"index":%d}'


_LAST_DIGITS = [b"%03d}\n" % n for n in range(1000)]


def closed_lines(start: int, width: int) -> bytes:
    """Give the lines of at most 256 entries of which nothing is shown."""
    thousands, rest = divmod(start, 1000)
    if not thousands or rest + width > 1000:
        return (CLOSED + b"\n") * width % tuple(range(start, start + width))
    # Quicker than writing each of the numbers.
    before = CLOSED[:-3] + b"%d" % thousands
    return before + before.join(_LAST_DIGITS[rest : rest + width])


class Shown(NamedTuple):
    """What is shown of an entry: values in canonical JSON, and the names of hidden fields."""

    values: dict[str, Any] | None
    encoded: bytes
    hidden: list[str]


NOTHING = Shown(None, b"null", [])


def encode_value(value: Any, kind: type) -> bytes:
    if value is None:
        return b"null"
    if kind is str and isinstance(value, str):
        data = encode_basestring(value).encode()
    elif kind is int:
        data = b"%d" % number(value, MAX_NUMBER, -MAX_NUMBER)
    elif kind is list and isinstance(value, list) and all(type(v) is str for v in value):
        data = f"[{','.join(map(encode_basestring, value))}]".encode()
    else:
        raise ValueError("a value of another kind")
    if len(data) > MAX_VALUE:
        raise ValueError("a value is too long")
    return data


LABELS = {
    name: bytes([len(name)]) + name.encode() for _, _, sealed in SCHEMAS.values() for name in sealed
}


WHOLE = re.compile(rb'\{"secret":"([A-Za-z0-9+/]{43}=)","values":(\{.*\})\}', re.DOTALL)


def open_entry(line: bytes, index: int, type_: str, fields: bytes) -> Shown:
    """Check what a line of openings.jsonl shows of an entry."""
    end = b',"index":%d}' % index
    if not line.startswith(OPENING) or not line.endswith(end):
        raise ValueError("its line is missing, or another entry's")
    encoded = line[len(OPENING) : -len(end)]
    if encoded == b"null":
        return NOTHING
    sealed = SCHEMAS[type_][2]
    whole = WHOLE.fullmatch(encoded)
    if whole is not None:
        made, shown = open_whole(whole[1], whole[2], sealed)
    else:
        made, shown = open_part(load(encoded), sealed)
    if sha256(b"liaison log fields v1\0" + made).digest() != fields:
        raise ValueError("what is shown of it is not what it commits to")
    return shown


def open_whole(secret: bytes, encoded: bytes, sealed: dict[str, type]) -> tuple[bytes, Shown]:
    """Give the commitments to all fields, from the secret and the values in canonical JSON."""
    try:
        values = json.loads(encoded)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    key = b"liaison log keys v1\0" + from_base64(secret.decode(), 32)
    keys = hashlib.shake_256(key).digest(32 * len(sealed))
    made, parts, at, new = [], [], 0, sha256
    for name, kind in sealed.items():
        value = b"null"
        if name in values:
            value = encode_value(values[name], kind)
            parts.append(b'"%b":%b' % (name.encode(), value))
        made.append(new(keys[at : at + 32] + LABELS[name] + value).digest())
        at += 32
    # This is also what makes each value, name and the order canonical, and nothing else there.
    if b"{%b}" % b",".join(parts) != encoded or None in values.values():
        raise ValueError("its values are not in their one form, or no fields of the entry")
    return b"".join(made), Shown(values, encoded, [])


def open_part(body: Any, sealed: dict[str, type]) -> tuple[bytes, Shown]:
    """Give the commitments to all fields, from those that are hidden and those that are opened."""
    hidden, opened = members(body, "hidden opened")
    made = {name: from_base64(each, 32) for name, each in hidden.items()}
    values = {}
    for name, each in opened.items():
        key, value = members(each, "key value")
        if name in made or name not in sealed:
            raise ValueError("the entry has no such field")
        data = from_base64(key, 32) + LABELS[name] + encode_value(value, sealed[name])
        made[name] = sha256(data).digest()
        if value is not None:
            values[name] = value
    if made.keys() != sealed.keys():
        raise ValueError("the entry has other fields")
    shown = Shown(values, canonical(values), [name for name in sealed if name in hidden])
    return b"".join([made[name] for name in sealed]), shown


# --- events.jsonl and events.csv ------------------------------------------------------------------

ZERO = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN = ("index", "time", "type", "channel", "seq", "epoch", "policy", "size", "period")
SEALED = sorted(LABELS)
HEADINGS = [*SHOWN, "opened", *(f"field_{name}" if name in OPEN else name for name in SEALED)]


@lru_cache(maxsize=64)
def second(time: int) -> str:
    return (ZERO + timedelta(seconds=time)).isoformat(timespec="seconds")[:-6]


def counted(number: int, one: str, many: str) -> str:
    """Write how many there are."""
    return f"{number} {one if number == 1 else many}"


def iso(time: int) -> str:
    return f"{second(time // 1000)}.{time % 1000:03}Z"


CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
FORMULA = re.compile(rf"(^\s*|;[\s\"]*)([{re.escape(SIGNS)}])")
COLUMN = {name: at for at, name in enumerate(SEALED, len(SHOWN) + 1)}
EMPTY = [""] * len(SEALED)


def cell(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    text = value if isinstance(value, str) else "; ".join(value)
    if CONTROL.search(text):
        text = CONTROL.sub(" ", text)
    return FORMULA.sub(r"\1'\2", text) if ";" in text or text.lstrip()[:1] in SIGNS else text


def event(index: int, body: dict[str, Any], shown: Shown) -> tuple[bytes, list[str]]:
    """Give the line and the row of an entry."""
    open_ = {name: body[name] for name in OPEN if name in body}
    if "policy" in open_:
        open_["policy"] = open_["policy"]["version"]
    open_ |= {"index": index, "time": iso(body["time"]), "type": body["type"]}
    parts = {name: f'"{v}"' if type(v) is str else str(v) for name, v in open_.items()}
    parts["fields"] = shown.encoded.decode()
    if shown.hidden:
        parts["hidden"] = canonical(shown.hidden).decode()
    line = b"{%b}" % ",".join([f'"{name}":{parts[name]}' for name in sorted(parts)]).encode()
    opened = "no" if shown.values is None else "partly" if shown.hidden else "yes"
    row = [str(open_.get(name, "")) for name in SHOWN] + [opened, *EMPTY]
    for name, value in (shown.values or {}).items():
        row[COLUMN[name]] = cell(value)
    return line, row


def table(rows: Sequence[Sequence[str]]) -> list[bytes]:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode().split(b"\n")[:-1]


# --- the walk through the entries -----------------------------------------------------------------


_PAIRS = [struct.Struct("64s" * (128 >> level)) for level in range(8)]
_LEAF, _NODE = sha256(b"\0"), sha256(b"\1")


def hashes_of(start: Any, texts: Sequence[bytes]) -> bytes:
    """Hash each of the texts behind what `start` has taken."""
    found, fresh = [], start.copy
    for text in texts:
        # A quarter of the time that all takes: copying is quicker than putting both together.
        state = fresh()
        state.update(text)
        found.append(state.digest())
    return b"".join(found)


def reduce_full(row: bytes) -> bytes:
    """Give the root of 256 hashes."""
    for pairs in _PAIRS:
        row = hashes_of(_NODE, pairs.unpack(row))
    return row


def extended(
    tree: list[tuple[int, bytes]], level: int, nodes: Sequence[bytes]
) -> list[tuple[int, bytes]]:
    """Append full subtrees of one level to a list of full subtrees, the largest first."""
    tree = list(tree)
    for fresh in nodes:
        at, node = level, fresh
        while tree and tree[-1][0] == at:
            node = sha256(b"\1" + tree.pop()[1] + node).digest()
            at += 1
        tree.append((at, node))
    return tree


def root_of(tree: list[tuple[int, bytes]]) -> bytes:
    if not tree:
        return sha256().digest()
    node = tree[-1][1]
    for _, left in reversed(tree[:-1]):
        node = sha256(b"\1" + left + node).digest()
    return node


class Walk:
    """Goes through the entries once, with all that is said of them beside it."""

    def __init__(
        self, archive: Archive, manifest: Manifest, checkpoints: list[Checkpoint], compact: bytes
    ) -> None:
        self.archive, self.manifest = archive, manifest
        # The numbers of the logs before this one.
        self.before = (int(manifest.origin.rpartition("/")[2]) - 1) * ROOM if manifest.before else 0
        self.roots = {each.size: each.root for each in checkpoints}
        first = manifest.first
        levels = [bit for bit in reversed(range(first.bit_length())) if first >> bit & 1]
        self.tree = [(bit, compact[32 * n : 32 * n + 32]) for n, bit in enumerate(levels)]
        self.row: list[bytes] = []
        self.good = first
        # Of order in the log or a channel: told once the log has turned out to have signed it.
        self.problem: InvalidError | None = None
        self.views: dict[bytes, View] = {}
        # What comes next in a channel while its epoch is the same, by what messages tell of both.
        self.following: dict[bytes, int] = {}
        self.time = 0
        # The last entry that a checkpoint covers, and the next: their times say it for all.
        self.places = {index for size in self.roots for index in (size - 1, size)}
        self.times: dict[int, int] = {}
        self.disclosed = 0
        self.openings = self.stream("openings.jsonl")
        self.events = self.stream("events.jsonl") if "events.jsonl" in manifest.files else None
        self.table = self.stream("events.csv") if "events.csv" in manifest.files else None

    def stream(self, name: str) -> Stream:
        return Stream(self.archive, name, self.manifest.files.get(name))

    def run(self) -> None:
        first, end = self.manifest.first, self.manifest.end
        if self.table is not None and self.table.take(1) != table([HEADINGS]):
            fail("its first line is another", part="events.csv")
        self.check_root(first)
        for start in range(first, end, WIDTH):
            self.tile(start, min(WIDTH, end - start))
        self.upper_tiles()
        for stream in (self.openings, self.events, self.table):
            if stream is not None:
                if stream.has_more:
                    fail("it goes on after the last entry", index=end, part=stream.name)
                stream.end()
        if self.disclosed != self.manifest.disclosed:
            fail("it counts other opened entries than there are", part="manifest.json")

    def tile(self, start: int, width: int) -> None:
        bundle = File(self.archive, tile_path(None, start // WIDTH, width), self.manifest)
        hashes = File(self.archive, tile_path(0, start // WIDTH, width), self.manifest)
        data, row = bundle.data, hashes.data
        pieces = cut(data, width)
        told = pieces[2::9]
        if not pieces or hashes_of(_LEAF, told) != row:
            self.locate(start, width, data, row)
            bundle.verify()
            fail("its entries are not in their one form", part=bundle.name)
        if not bundle.is_right or not hashes.is_right:
            self.locate(start, width, data, row)
            bundle.verify()
            hashes.verify()
        found = found_in(pieces, start, bundle.name)
        if start == 0 and self.manifest.before:
            self.check_first(found.bodies[0] or {})
        if self.problem is None:
            self.problem = problem_of(lambda: self.follow(start, found))
        problem = problem_of(lambda: self.lines(start, found))
        if problem is not None:
            raise min(problem, self.problem or problem, key=where)
        for index in self.places.intersection(range(start, start + width)):
            self.times[index] = int(found.times[index - start])
        for size in range(start + 1, start + width):
            if size in self.roots:
                self.check_root(size, extended(self.tree, 0, divided(row)[: size - start]))
        if width == WIDTH:
            self.row.append(reduce_full(row))
            self.tree = extended(self.tree, 8, self.row[-1:])
        else:
            self.tree = extended(self.tree, 0, divided(row))
        self.check_root(start + width)

    def check_first(self, body: dict[str, Any]) -> None:
        """A log that follows another one begins with what the parties have agreed."""
        if body.get("type") != "checkpoint" or body.get("policy") not in self.manifest.versions:
            fail("it does not tell of the log before this one, under an agreed version", index=0)

    def check_root(self, size: int, tree: list[tuple[int, bytes]] | None = None) -> None:
        root = self.roots.get(size)
        if root is None:
            return
        if root != root_of(self.tree if tree is None else tree):
            part = f"checkpoints/{size}"
            fail(
                f"the log has signed other entries from here to {size}", index=self.good, part=part
            )
        self.good = size
        if self.problem is not None and where(self.problem) < size:
            raise self.problem

    def locate(self, start: int, width: int, data: bytes, row: bytes) -> None:
        """Find the first entry that is not the one in the hash tile, or is none."""
        at = 0
        part = tile_path(None, start // WIDTH, width)
        for n in range(width):
            size = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + size]
            if len(data) < at + 2 + size or at + 2 > len(data):
                fail("it is cut short", index=start + n, part=part)
            if sha256(b"\0" + entry).digest() != row[32 * n : 32 * n + 32]:
                fail("its hash is not the one in the hash tile", index=start + n, part=part)
            try:
                parse_entry(entry)
            except (ValueError, TypeError) as error:
                raise InvalidError(f"not an entry: {error}", start + n, part) from error
            at += 2 + size
        if at != len(data) or len(row) != 32 * width:
            fail("there is more than the entries that belong here", index=start + width, part=part)

    def follow(self, start: int, found: Found) -> None:
        following, places = self.following, found.places
        times, late = found.times, None
        if int(times[0]) < self.time or sorted(times) != times:
            before = [self.time, *map(int, times)]
            late = next(n for n, time in enumerate(before[1:]) if time < before[n])
            places = places[: late + 1]
        # Not strict: it ends where time goes back.
        for index, place, seq in zip(count(start), places, found.seqs, strict=False):
            # Most messages are of the same epoch as the one before, and nothing else is new.
            if following.get(place) == seq:
                following[place] = seq + 1
            elif place:
                self.follow_message(index, place, seq)
            else:
                self.follow_other(index, found.bodies[index - start] or {})
        if late is not None:
            fail("its time is before that of the entry before it", index=start + late)
        self.time = int(times[-1])

    def follow_message(self, index: int, place: bytes, seq: int) -> None:
        match = _PLACES.form.fullmatch(place)
        channel, epoch = match.groups() if match else (b"", b"")
        view = self.follow_item(index, channel, seq, int(epoch), commit=False)
        view.told, self.following[place] = place, view.seq

    def follow_other(self, index: int, body: dict[str, Any]) -> None:
        if "seq" in body:
            channel, commit = body["channel"].encode(), body["type"] == "commit"
            self.follow_item(index, channel, body["seq"], body["epoch"], commit=commit)

    def follow_item(
        self, index: int, channel: bytes, seq: int, epoch: int, *, commit: bool
    ) -> View:
        view = self.views.get(channel)
        if view is None:
            first = seq if self.manifest.first else first_of(seq, self.before)
            view = self.views[channel] = View(first, epoch)
        if view.told:
            view.seq, view.told = self.following.pop(view.told), b""
        view.follow(index, seq, epoch, commit=commit)
        return view

    def lines(self, start: int, found: Found) -> None:
        width = len(found.told)
        closed = closed_lines(start, width)
        if self.events is None and self.openings.takes(closed):
            return
        openings = self.openings.take(width)
        events = None if self.events is None else self.events.take(width)
        cells = None if self.table is None else self.table.take(width)
        if events is None and b"\n".join([*openings, b""]) == closed:
            return
        rows, problems = [], []
        for n, entry in enumerate(found.told):
            try:
                body = found.bodies[n] or json.loads(entry)
                line, row = self.shown(start + n, body, openings[n : n + 1])
            except (ValueError, TypeError, AttributeError) as error:
                problems.append(InvalidError(str(error), start + n, "openings.jsonl"))
                break
            rows.append(row)
            if events is not None and events[n : n + 1] != [line]:
                problems.append(
                    InvalidError("another event stands there", start + n, "events.jsonl")
                )
                break
        for n, line in enumerate(table(rows) if cells is not None else ()):
            if cells is not None and cells[n : n + 1] != [line]:
                problems.append(InvalidError("another row stands there", start + n, "events.csv"))
                break
        if problems:
            raise min(problems, key=where)

    def shown(self, index: int, body: dict[str, Any], line: list[bytes]) -> tuple[bytes, list[str]]:
        shown = NOTHING
        if line != [CLOSED % index]:
            fields = from_base64(body["fields"], 32)
            shown = open_entry(b"".join(line), index, body["type"], fields)
            self.disclosed += 1
        if index == 0 and self.manifest.before and shown.values is not None:
            for name, value in self.manifest.before.items():
                if name not in shown.hidden and shown.values.get(name) != value:
                    fail("it tells another head of the log before this one", index=0)
        return (b"", []) if self.events is None else event(index, body, shown)

    def upper_tiles(self) -> None:
        level, base, row = 1, self.manifest.first // WIDTH, self.row
        while row:
            first = -(-base // WIDTH) * WIDTH
            above = []
            for at in range(first - base, len(row), WIDTH):
                some = row[at : at + WIDTH]
                self.upper_tile(level, (base + at) // WIDTH, some)
                if len(some) == WIDTH:
                    above.append(reduce_full(b"".join(some)))
            level, base, row = level + 1, first // WIDTH, above

    def upper_tile(self, level: int, index: int, hashes: list[bytes]) -> None:
        stream = self.stream(tile_path(level, index, len(hashes)))
        data = stream.read(MAX_LINE)
        for n, expected in enumerate(hashes):
            if data[32 * n : 32 * n + 32] != expected:
                entry = (index * WIDTH + n) << 8 * level
                fail("the hash is another than that of the entries", index=entry, part=stream.name)
        stream.end()


def divided(row: bytes) -> list[bytes]:
    """Give the hashes of a tile."""
    return [row[at : at + 32] for at in range(0, len(row), 32)]


def where(problem: InvalidError) -> int:
    return problem.index or 0


def problem_of(step: Callable[[], None]) -> InvalidError | None:
    try:
        step()
    except InvalidError as error:
        return error
    return None


# --- all of it ------------------------------------------------------------------------------------


class Misdated(NamedTuple):
    """Where the log's times and one witness's differ, at the worst of the checkpoints."""

    witness: str
    is_late: bool
    checkpoints: int
    size: int
    cosigned_at: int
    entry: int
    time: int

    @property
    def seconds(self) -> int:
        return abs(self.time - 1000 * self.cosigned_at) // 1000

    def told(self) -> str:
        dated = f"entry {self.entry} is dated {iso(self.time)}, {self.seconds} s"
        size = counted(self.size, "entry", "entries")
        seen = f"had cosigned {size} at {moment(self.cosigned_at)}"
        if not self.is_late:
            seen = f"saw no more than {size} at {moment(self.cosigned_at)}"
        order = "after" if self.is_late else "before"
        more = f"; so with {self.checkpoints} checkpoints" if self.checkpoints > 1 else ""
        return f"{dated} {order} {self.witness} {seen}{more}"


def compared(checkpoints: list[Cosigned], times: dict[int, int]) -> list[Misdated]:
    """Tell where entries are dated after a cosignature that covers them, or before another."""
    worst: dict[tuple[str, bool], Misdated] = {}
    for found in differences(checkpoints, times):
        at = found.witness, not found.is_late
        known = worst.get(at)
        worst[at] = found
        if known is not None:
            worse = found if found.seconds > known.seconds else known
            worst[at] = worse._replace(checkpoints=known.checkpoints + 1)
    return [worst[at] for at in sorted(worst)]


def differences(checkpoints: list[Cosigned], times: dict[int, int]) -> Iterator[Misdated]:
    for (_, size, _), witnesses, _ in checkpoints:
        last, following = times.get(size - 1), times.get(size)
        for name, at in witnesses.items():
            found = partial(Misdated, name, checkpoints=1, size=size, cosigned_at=at)
            if last is not None and last > 1000 * (at + TOLERANCE):
                yield found(is_late=True, entry=size - 1, time=last)
            if following is not None and following < 1000 * (at - TOLERANCE):
                yield found(is_late=False, entry=size, time=following)


class Report(NamedTuple):
    """What was found."""

    manifest: Manifest
    checkpoints: list[Cosigned]
    left: int
    attached: list[str]
    misdated: list[Misdated]


def verify(file: BinaryIO, policy: bytes | None = None, required: Sequence[str] = ()) -> Report:
    """Check a bundle.

    Args:
        file: the bundle, open for reading.
        policy: the reader's own, as C2SP tlog-policy; None for the one in the bundle.
        required: witnesses that must have cosigned the last checkpoint.

    Raises:
        InvalidError: what is wrong, and the first entry that it concerns.
    """
    archive = Archive(file)
    own = read_file(archive, "policy", None, 1 << 19)
    trusted = parsed("policy", lambda: Policy(own if policy is None else policy))
    # Each file has one line in it: more than that is nothing to be read, whoever has signed it.
    most = MAX_FACTS + sum(len(name) + 128 for name in archive.members)
    data = read_file(archive, "manifest.json", None, most)
    origin = verify_signature(archive, sha256(data).digest(), trusted)
    manifest = parsed("manifest.json", lambda: parse_manifest(data))
    if manifest.origin != origin:
        fail("the log has not signed this manifest", part="manifest.sig")
    # As many are listed below, and no more.
    if 2 * (manifest.end - manifest.first) > WIDTH * len(manifest.files):
        fail("it tells of other files than there are", part="manifest.json")
    names = parsed("manifest.json", lambda: order(manifest))
    if [*names, "manifest.json", "manifest.sig"] != list(archive.members):
        fail("the archive has other files than its manifest tells, or in another order")
    if set(names) != set(manifest.files):
        fail("it tells of other files than there are", part="manifest.json")
    if len(manifest.files.keys() & {"events.jsonl", "events.csv"}) == 1:
        fail("it tells of events in one of two forms", part="manifest.json")
    if manifest.files["policy"] != (len(own), sha256(own).digest()):
        fail("it is not what the manifest says", part="policy")
    compact = read_file(archive, "compact", manifest.files["compact"], 64 * 32)
    if len(compact) != 32 * manifest.first.bit_count():
        fail("it has another number of hashes", part="compact")
    checkpoints = verify_checkpoints(archive, manifest, trusted, required)
    walk = Walk(archive, manifest, [each.checkpoint for each in checkpoints], compact)
    walk.run()
    attached = [name for name in OPTIONAL[2:] if name in manifest.files]
    for name in (*attached, "verify.py"):
        Stream(archive, name, manifest.files[name]).end_unread()
    left = sum(each.left for each in checkpoints)
    return Report(manifest, checkpoints, left, attached, compared(checkpoints, walk.times))


def parsed(name: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidError(str(error) or "damaged", None, name) from error


def read_file(archive: Archive, name: str, digest: Digest | None, most: int) -> bytes:
    stream = Stream(archive, name, digest)
    if stream.left > most:
        fail("it is too large", part=name)
    data = stream.read(most)
    stream.end()
    return data


def verify_signature(archive: Archive, digest: bytes, policy: Policy) -> str:
    """Check who has signed a manifest before it is read; return the log's origin."""
    name = "manifest.sig"
    data = read_file(archive, name, None, 1 << 18)
    note = parsed(name, lambda: Note(data))
    origin = "".join(note.text.split("\n")[1:2])
    signed = parsed(name, lambda: note.verify(policy.log_keys(origin)))
    text = f"liaison.bundle/1\n{origin}\nsha256 {base64_of(digest)}\n"
    if note.text != text or not any(checked for _, _, checked in signed):
        fail("the log has not signed this manifest", part=name)
    # Nothing vouches for further lines.
    if len(note.signatures) != 1:
        fail("it has other signatures than the log's one", part=name)
    return origin


def verify_checkpoints(
    archive: Archive, manifest: Manifest, policy: Policy, required: Sequence[str]
) -> list[Cosigned]:
    checkpoints = []
    for name in order(manifest):
        if not name.startswith("checkpoints/"):
            continue
        data = read_file(archive, name, manifest.files[name], 1 << 18)
        found = parsed(name, partial(verify_checkpoint, data, policy, manifest.origin))
        size = found.checkpoint.size
        if name != f"checkpoints/{size}" or not max(manifest.first, 1) <= size <= manifest.end:
            fail("it is of another size than its name, or outside of the range", part=name)
        checkpoints.append(found)
    last = f"checkpoints/{manifest.end}"
    if not checkpoints or checkpoints[-1].checkpoint.size != manifest.end:
        fail("the end of the range has no checkpoint", part=last)
    for name in required:
        if name not in checkpoints[-1].witnesses:
            fail(f"{name} has not cosigned it", part=last)
    return checkpoints


def moment(seconds: int) -> str:
    """Write the time of a cosignature: of the witness's choice, and not always in a calendar."""
    known = 1000 * seconds <= MAX_TIME
    return iso(1000 * seconds) if known else f"second {seconds}, after the year 9999"


def told(report: Report) -> list[str]:
    """Say what was found, in lines."""
    manifest, last = report.manifest, report.checkpoints[-1]
    times = ", ".join(f"{n} at {moment(t)}" for n, t in sorted(last.witnesses.items()))
    by = f"cosigned by {times or 'no witness'}"
    lines = [f"log          {manifest.origin}"]
    if manifest.before:
        before = "{origin}, up to entry {size}, root {root}".format(**manifest.before)
        lines.append(f"follows      {before}")
    opened = f"{manifest.disclosed} opened for {manifest.party}"
    lines.append(f"entries      {manifest.first} to {manifest.end - 1}; {opened}")
    count, size = len(report.checkpoints), last.checkpoint.size
    lines.append(f"checkpoints  {count}; the last of {counted(size, 'entry', 'entries')}, {by}")
    if report.left:
        left = counted(report.left, "ML-DSA-44 signature", "ML-DSA-44 signatures")
        lines.append(f"not checked  {left}: use liaison-auditor")
    if report.attached:
        names = ", ".join(report.attached)
        lines.append(f"not checked  what is in {names}, only that the log signed it")
    lines += [f"times        {each.told()}" for each in report.misdated]
    return lines


USAGE = "usage: verify.py BUNDLE [--policy FILE] [--require WITNESS]..."


def main(arguments: list[str]) -> int:
    """Check the bundle that the arguments name, and say what was found."""
    names: list[str] = []
    options: dict[str, list[str]] = {"--policy": [], "--require": []}
    rest = iter(arguments)
    for word in rest:
        if word in ("-h", "--help"):
            sys.stdout.write(__doc__ or "")
            return 0
        value = next(rest, None) if word in options else None
        if (word.startswith("--") or word in options) and value is None:
            sys.stderr.write(f"verify.py: error: {word} is not understood\n{USAGE}\n")
            return 2
        if value is None:
            names.append(word)
        else:
            options[word].append(value)
    if len(names) != 1 or len(options["--policy"]) > 1:
        sys.stderr.write(USAGE + "\n")
        return 2
    try:
        policy = None
        for path in options["--policy"]:
            with open(path, "rb") as file:
                policy = file.read()
        with open(names[0], "rb", buffering=0) as bundle:
            report = verify(bundle, policy, options["--require"])
    except OSError as error:
        sys.stderr.write(f"verify.py: error: {error.filename}: {error.strerror}\n")
        return 1
    except InvalidError as error:
        sys.stderr.write(f"verify.py: error: {printable(str(error))}\n")
        return 3
    lines = [*told(report)]
    if policy is None:
        lines.append(
            "keys         those that the bundle names: give --policy to check against yours"
        )
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines) + "whole, and signed\n")
    return 0


def printable(text: str) -> str:
    """Return text that commands no terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


if __name__ == "__main__":
    # Looking for cycles among a million entries costs a tenth of the time, and there are none.
    gc.disable()
    sys.exit(main(sys.argv[1:]))
