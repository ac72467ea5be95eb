"""Tiles: the tree and its entries as files that never change.

A hash tile holds up to 256 consecutive nodes of one level; levels count in steps of 8, so each
hash of a tile stands for a full tile of the level below. An entry bundle holds up to 256 entries,
each after its length. What is not full yet is partial and named by its width. `grow` gives what
has to be written when a log grows, as data; writing is the caller's, in this order: the entries'
commit, tiles, then the checkpoint. Tiles can be derived again from the entries at any time.

Source: C2SP tlog-tiles.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from liaison.tlog import merkle
from liaison.tlog.errors import EntryTooLargeError, TileConflictError, TileError
from liaison.tlog.merkle import HASH_BYTES, MAX_SIZE, Node
from liaison.values import dataclass

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = (1 << 16) - 1
"""An entry's length stands in two bytes."""

_LENGTH: Final = struct.Struct(">H").unpack_from
_PATH: Final = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a hash tile or of an entry bundle.

    Args:
        level: in steps of 8 levels of the tree; None for an entry bundle.
        index: within the level.
        width: hashes or entries in it, 1 to 256.
    """

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def is_partial(self) -> bool:
        """Whether the log has not filled it yet, at the size it was named for."""
        return self.width < WIDTH

    @property
    def first(self) -> int:
        """The first leaf under it."""
        return self.index << HEIGHT * ((self.level or 0) + 1)

    @property
    def end(self) -> int:
        """One past the last leaf under it."""
        return self.first + (self.width << HEIGHT * (self.level or 0))

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix: `tile/0/x001/234.p/5`."""
        level = "entries" if self.level is None else str(self.level)
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        return f"tile/{level}/{number}" + (f".p/{self.width}" if self.is_partial else "")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read `path`'s form.

        Raises:
            TileError: another spelling, or no such tile in any log.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            raise TileError(f"{path[:80]!r} is not a tile's path")
        kind, number, width = found.groups()
        tile = cls(
            level=None if kind == "entries" else int(kind),
            index=int(number.replace("x", "").replace("/", "")),
            width=WIDTH if width is None else int(width),
        )
        if tile.path != path or not tile._exists:
            raise TileError(f"{path[:80]!r} is not a tile's path")
        return tile

    @property
    def _exists(self) -> bool:
        level = self.level or 0
        return 1 <= self.width <= WIDTH and level <= MAX_LEVEL and self.first < MAX_SIZE


ReadTile = Callable[[Tile], bytes]
"""Gives a tile's bytes, of exactly that width; may raise what its source raises."""


# --- bytes ----------------------------------------------------------------------------------------


def encode_hashes(hashes: Iterable[bytes]) -> bytes:
    """Write a hash tile."""
    return b"".join(hashes)


def decode_hashes(tile: Tile, data: bytes) -> list[bytes]:
    """Read a hash tile.

    Raises:
        TileError: of another width.
    """
    if len(data) != tile.width * HASH_BYTES:
        raise TileError(f"{tile.path} has {tile.width} hashes, this has {len(data)} bytes")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Write an entry bundle.

    Raises:
        EntryTooLargeError: an entry has more than `MAX_ENTRY_BYTES`.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise EntryTooLargeError(f"an entry has at most {MAX_ENTRY_BYTES} bytes")
        parts += (len(entry).to_bytes(2), entry)
    return b"".join(parts)


def decode_entries(tile: Tile, data: bytes) -> list[bytes]:
    """Read an entry bundle.

    Raises:
        TileError: other than `tile.width` entries, or cut off.
    """
    entries, at = [], 0
    try:
        for _ in range(tile.width):
            (size,) = _LENGTH(data, at)
            at += 2 + size
            entries.append(data[at - size : at])
    except struct.error as error:
        raise TileError(f"{tile.path} has fewer entries than its name tells") from error
    if at != len(data):
        raise TileError(f"{tile.path} does not end with its last entry")
    return entries


# --- growing --------------------------------------------------------------------------------------


def growth(old: int, new: int) -> list[Tile]:
    """Name what has to be written when a log grows: entry bundles first, then hash tiles.

    Args:
        old: leaves at the checkpoint published last; what that one needed is there.
        new: leaves at the next, at least `old`.
    """
    named = _row(None, old, new)
    level = 0
    while new >> HEIGHT * level:
        named += _row(level, old >> HEIGHT * level, new >> HEIGHT * level)
        level += 1
    return named


def needed(size: int) -> list[Tile]:
    """Name every tile and bundle that a log of `size` leaves is served with."""
    return growth(0, size)


def partial(size: int) -> list[Tile]:
    """Name the tiles and the bundle that a log of `size` leaves has begun: what `grow` reads.

    A partial tile may be deleted as soon as the full one in its place is written.
    """
    named = [Tile(None, size // WIDTH, size % WIDTH)] if size % WIDTH else []
    level = 0
    while count := size >> HEIGHT * level:
        if count % WIDTH:
            named.append(Tile(level, count // WIDTH, count % WIDTH))
        level += 1
    return named


def _row(level: int | None, old: int, new: int) -> list[Tile]:
    if old == new:
        return []
    full = [Tile(level, index) for index in range(old // WIDTH, new // WIDTH)]
    return full + ([Tile(level, new // WIDTH, new % WIDTH)] if new % WIDTH else [])


def grow(old: int, entries: Sequence[bytes], read: ReadTile) -> Iterator[tuple[Tile, bytes]]:
    """Give what has to be written when entries are appended, in `growth`'s order.

    Args:
        old: leaves so far.
        entries: what is appended, as it stands in the log.
        read: gives the partial tiles of the tree of `old` leaves: at most one on each level and
            one bundle. From nothing (`old` = 0) nothing is read, so everything can be derived
            again from the entries alone.

    Raises:
        TileError: what was read is not the tile.
        EntryTooLargeError: an entry is too large for a bundle.
    """
    if not entries:
        return
    held = _held(None, old, read)
    row = [*(decode_entries(*held) if held else ()), *entries]
    for tile, members in _cut(None, old // WIDTH, row):
        yield tile, encode_entries(members)
    yield from grow_hashes(old, merkle.hash_leaves(entries), read)


def grow_hashes(
    old: int, leaf_hashes: Sequence[bytes], read: ReadTile
) -> Iterator[tuple[Tile, bytes]]:
    """Give the hash tiles that have to be written when leaves are appended.

    Raises:
        TileError: what was read is not the tile.
    """
    level, start, fresh = 0, old, list(leaf_hashes)
    while fresh:
        held = _held(level, start, read)
        row = [*(decode_hashes(*held) if held else ()), *fresh]
        fresh = []
        for tile, hashes in _cut(level, start // WIDTH, row):
            yield tile, encode_hashes(hashes)
            if not tile.is_partial:
                fresh.append(merkle.hash_full(hashes))
        level, start = level + 1, start // WIDTH


def _held(level: int | None, start: int, read: ReadTile) -> tuple[Tile, bytes] | None:
    if not start % WIDTH:
        return None
    tile = Tile(level, start // WIDTH, start % WIDTH)
    return tile, read(tile)


def _cut(
    level: int | None, index: int, row: Sequence[bytes]
) -> Iterator[tuple[Tile, Sequence[bytes]]]:
    for at in range(0, len(row), WIDTH):
        members = row[at : at + WIDTH]
        yield Tile(level, index + at // WIDTH, len(members)), members


def missing(
    derived: Iterable[tuple[Tile, bytes]], stored: Callable[[Tile], bytes | None]
) -> Iterator[tuple[Tile, bytes]]:
    """Give what of the derived tiles has still to be written: what heals a log after a crash.

    Args:
        derived: from `grow`, over the entries in the database.
        stored: gives what was written, None for nothing. A file that a crash left short must not
            be given: write to another name, sync, then rename.

    Raises:
        TileConflictError: what is stored has other bytes; it is never written over.
    """
    for tile, data in derived:
        there = stored(tile)
        if there is None:
            yield tile, data
        elif there != data:
            raise TileConflictError(
                f"{tile.path} is not what the log's entries give",
                hint="stop serving the log and keep both the tile and the database",
                unchanged="the tile was left as it is",
            )


# --- reading --------------------------------------------------------------------------------------


class TileTree:
    """The tree of one size, over its tiles: gives nodes, roots and proofs.

    Each tile is read and hashed once and kept, however many proofs it is asked for. The tiles are
    taken as they are: a proof made of wrong ones does not verify, and `root` shows whether they are
    a checkpoint's.

    Args:
        size: of a checkpoint of the log.
        read: gives its tiles.
    """

    def __init__(self, size: int, read: ReadTile) -> None:
        self.size = size
        self._read = read
        self._rows: dict[tuple[int, int], list[list[bytes]]] = {}

    def node(self, node: Node) -> bytes:
        """Return the hash of a full node of the tree.

        Raises:
            TileError: a tile is not what it should be, or there is no such node.
        """
        level, below = divmod(node.level, HEIGHT)
        first = node.index << below
        row = self._rows_of(level, first // WIDTH)[below]
        at = (first % WIDTH) >> below
        if at >= len(row):
            raise TileError(f"a tree of {self.size} leaves has no full {node}")
        return row[at]

    def root(self) -> bytes:
        """Return the root."""
        return merkle.read_root(0, self.size, self.node)

    def root_at(self, size: int) -> bytes:
        """Return the root that the log had when it was smaller.

        Raises:
            ValueError: it never had this size.
        """
        if not 0 <= size <= self.size:
            raise ValueError(f"a log of {self.size} leaves has not had {size}")
        return merkle.read_root(0, size, self.node)

    def compact_range(self) -> merkle.CompactRange:
        """Return what appending to the tree needs."""
        nodes = merkle.full_nodes(0, self.size)
        return merkle.CompactRange(self.size, tuple(self.node(node) for node in nodes))

    def prove_inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Make the proof of a leaf, in the tree of `size` leaves (this one's).

        Raises:
            ValueError: there is no such leaf.
        """
        return merkle.prove_inclusion(index, self._size(size), self.node)

    def prove_consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """Make the proof that the tree of `old` leaves became the one of `size` (this one's).

        Raises:
            ValueError: `old` is zero or larger.
        """
        return merkle.prove_consistency(old, self._size(size), self.node)

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.size
        if size > self.size:
            raise ValueError(f"the tree has {self.size} leaves, not {size}")
        return size

    def _rows_of(self, level: int, index: int) -> list[list[bytes]]:
        """Return a tile's hashes, and above them those of its full nodes, row by row."""
        kept = self._rows.get((level, index))
        if kept is None:
            width = min(WIDTH, (self.size >> HEIGHT * level) - index * WIDTH)
            if width < 1:
                raise TileError(f"a tree of {self.size} leaves has no tile {level}/{index}")
            tile = Tile(level, index, width)
            kept = [decode_hashes(tile, self._read(tile))]
            for _ in range(HEIGHT):
                pairs = iter(kept[-1])
                # One without a sibling is part of no full node.
                kept.append([*map(merkle.hash_children, pairs, pairs)])
            self._rows[level, index] = kept
        return kept
