"""The sequencer: a log's state as a value, and what each step writes, as data.

The order is the log's promise, and the caller keeps it:

1. `append`: entries, their openings and the new state go into the transaction of what they record.
2. After the commit: `publish` gives the tiles and the text to sign. Tiles are written and synced.
3. The signed checkpoint is stored and synced, then shown to witnesses and readers.

A crash between two of them heals on start: `tiles.missing` over `publish` from the last stored
checkpoint writes what is not there and refuses what differs. The state never depends on tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from liaison import codec, words
from liaison.tlog import merkle, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import MAX_TIME, Entry
from liaison.tlog.errors import ForkError, ShrunkError, StateError, TimeOrderError
from liaison.tlog.merkle import HASH_BYTES, CompactRange
from liaison.tlog.tiles import ReadTile, Tile
from liaison.values import dataclass

_VERSION: Final = 1
_EMPTY: Final = CompactRange()
_HEADER_BYTES: Final = 1 + 8 + 8


@dataclass(frozen=True, slots=True)
class State:
    """All that appending needs.

    Args:
        tree: the compact range over all entries.
        time: of the last entry, Unix milliseconds; 0 for none.
    """

    tree: CompactRange = _EMPTY
    time: int = 0

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.tree.size

    def stamp(self, now: int) -> int:
        """Return the time for the next entry: a clock that was set back does not show.

        Args:
            now: Unix milliseconds.
        """
        return max(now, self.time)

    def checkpoint(self, origin: str) -> Checkpoint:
        """Return the checkpoint of this state, to be signed."""
        return Checkpoint(origin, self.size, self.tree.root)

    def encode(self) -> bytes:
        """Return the state for storage, at most 2 KiB."""
        head = codec.uint8(_VERSION) + codec.uint64(self.size) + codec.uint64(self.time)
        return head + b"".join(self.tree.hashes)

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Read a stored state.

        Raises:
            StateError: damaged.
        """
        head, rest = data[:_HEADER_BYTES], data[_HEADER_BYTES:]
        if len(head) != _HEADER_BYTES or head[0] != _VERSION or len(rest) % HASH_BYTES:
            raise StateError("the stored state of the log is damaged")
        size, time = int.from_bytes(head[1:9]), int.from_bytes(head[9:])
        if time > MAX_TIME:
            raise StateError("the stored state of the log is damaged")
        hashes = tuple(rest[at : at + HASH_BYTES] for at in range(0, len(rest), HASH_BYTES))
        return cls(CompactRange(size, hashes), time)


@dataclass(frozen=True, slots=True)
class Appended:
    """What one step of the sequencer gives.

    Args:
        state: to be stored with the entries.
        first: the index of the first of them.
        entries: their bytes, in order; to be stored as they are.
        leaf_hashes: of them, 32 bytes each.
    """

    state: State
    first: int
    entries: tuple[bytes, ...]
    leaf_hashes: tuple[bytes, ...]


def append(state: State, entries: Sequence[Entry]) -> Appended:
    """Give entries their places.

    Args:
        state: before them.
        entries: in order, stamped with `State.stamp`.

    Raises:
        TimeOrderError: an entry is older than the one before it. Nothing was appended.
        EntryTooLargeError: an entry is too large. Nothing was appended.
    """
    time = state.time
    for entry in entries:
        if entry.time < time:
            raise TimeOrderError(unchanged="nothing was appended")
        time = entry.time
    return append_written(state, time, [entry.encode() for entry in entries])


def append_written(state: State, time: int, entries: Sequence[bytes]) -> Appended:
    """Give entries their places that were written already.

    Args:
        state: before them.
        time: of all of them, from `State.stamp`.
        entries: in order, from `Entry.encode` or `sealing.write`.

    Raises:
        TimeOrderError: they are older than the one before them. Nothing was appended.
    """
    if time < state.time:
        raise TimeOrderError(unchanged="nothing was appended")
    data = tuple(entries)
    leaf_hashes = tuple(merkle.hash_leaves(data))
    return Appended(State(state.tree.extend(leaf_hashes), time), state.size, data, leaf_hashes)


def publish(
    published: int, entries: Sequence[bytes], read: ReadTile
) -> Iterator[tuple[Tile, bytes]]:
    """Give the tiles and bundles that the next checkpoint needs, to be written before it.

    Args:
        published: size of the checkpoint stored last.
        entries: from there to the new size, as stored.
        read: gives the partial tiles of the published size; with `published` 0 it is not used.

    Raises:
        TileError: a published tile is damaged: start from 0, everything can be derived again.
    """
    return tiles.grow(published, entries, read)


def verify_follows(
    published: Checkpoint, state: State, origin: str, since: Sequence[bytes], before: CompactRange
) -> None:
    """Check on start that the database goes on where the last stored checkpoint ended.

    Args:
        published: the checkpoint that was signed last.
        state: as the database has it.
        origin: of the log.
        since: the entries from the checkpoint's size on, as stored.
        before: the tree of the published size, from its tiles (`TileTree.compact_range`).

    Raises:
        ShrunkError: the database has fewer entries than were signed: an old backup.
        ForkError: it has other entries than were signed.
    """
    if published.size > state.size:
        raise ShrunkError(
            f"the database has {words.entries(state.size)} and {words.count(published.size, 'was', 'were')} signed",
            hint="restore the newest backup, or have all parties' authorities sign a successor log",
        )
    signed = before.size == published.size and before.root == published.root
    grown = before.extend(merkle.hash_leaves(since))
    if published.origin != origin or not signed or grown != state.tree:
        raise ForkError(
            "the database does not go on where the last signed checkpoint ended",
            hint="keep the database, the tiles and the checkpoint, and stop serving the log",
        )
