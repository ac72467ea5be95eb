"""Going through a bundle's entries once, comparing all that the bundle says of each.

The first entry that is wrong in any way is the one that is named: in its tile, in its channel, in
what is shown of it, or in the events made of it. Only where all of these agree with each other and
a signed root does not, nobody can tell which entry was changed; then the first one that no signed
root vouches for is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from liaison.audit import dates, events, layout
from liaison.audit.archive import Archive
from liaison.audit.errors import BundleInvalidError
from liaison.audit.events import Event
from liaison.audit.manifest import File, Manifest
from liaison.audit.stream import Stream
from liaison.errors import LiaisonError
from liaison.tlog import merkle, tiles
from liaison.tlog.channels import first_of
from liaison.tlog.disclosure import Disclosure
from liaison.tlog.entries import Entry
from liaison.tlog.fields import EntryType
from liaison.tlog.merkle import HASH_BYTES, CompactRange
from liaison.tlog.tiles import WIDTH, Tile

_MAX_TILE_BYTES: Final = WIDTH * (tiles.MAX_ENTRY_BYTES + 2)
_OPENING: Final = b'{"disclosure":'
_NOTHING: Final = b"null"


class Channels:
    """Follows every channel of a log: dense numbers, one commit for each epoch.

    As `liaison.tlog.channels.ChannelView`, for all channels and from anywhere in them.

    Args:
        generation: of the log, where it is followed from its first entry, and so every channel has
            to begin where channels do; None from anywhere else.
    """

    def __init__(self, generation: int | None) -> None:
        self._generation = generation
        self._views: dict[bytes, tuple[int, int, bool]] = {}
        self.begun: dict[str, int] = {}
        """The first number of each channel whose beginning lies before, by pseudonym."""

    def follow(self, index: int, entry: Entry) -> None:
        """Take the next entry of the log.

        Raises:
            BundleInvalidError: its channel is not at this number, or not in this epoch.
        """
        if entry.channel is None or entry.seq is None or entry.epoch is None:
            return
        seq, epoch, commit = entry.seq, entry.epoch, entry.type is EntryType.COMMIT
        if entry.channel not in self._views:
            first = seq if self._generation is None else first_of(seq, self._generation)
            # The epoch is sure from the channel's beginning, or from its first commit on.
            sure = first == 1
            self._views[entry.channel] = first, epoch, sure
            if not sure:
                self.begun[entry.channel.hex()] = seq
        number, current, sure = self._views[entry.channel]
        if seq != number:
            raise BundleInvalidError(
                f"the channel goes on with item {seq}, not {number}", index=index
            )
        ahead = sure and (epoch > current or (commit and epoch != current))
        if ahead or (commit and epoch < current):
            raise BundleInvalidError(f"the channel is in epoch {current}, not {epoch}", index=index)
        current = epoch + 1 if commit else max(epoch, current)
        self._views[entry.channel] = seq + 1, current, sure or commit


class Walk:
    """One way through a bundle.

    Args:
        archive: the bundle.
        manifest: checked already.
        roots: the signed ones, by size.
        before: the tree before the range.
    """

    def __init__(
        self,
        archive: Archive,
        manifest: Manifest,
        roots: Mapping[int, bytes],
        before: CompactRange,
    ) -> None:
        self._archive, self._manifest, self._roots = archive, manifest, roots
        self._tree = before
        self._row: list[bytes] = []
        self._vouched = before.size
        # Of order in the log or a channel: told once the log has turned out to have signed it.
        self._problem: BundleInvalidError | None = None
        self._time = 0
        self._places = dates.places(roots)
        self.times: dict[int, int] = {}
        """Times of the entries at the `dates.places` of the signed sizes."""
        self._disclosed = 0
        facts = manifest.facts
        self.channels = Channels(facts.generation if facts.first == 0 else None)
        self._openings = self._stream(layout.OPENINGS)
        has = layout.EVENTS in manifest.files
        self._events = self._stream(layout.EVENTS) if has else None
        self._table = self._stream(layout.TABLE) if layout.TABLE in manifest.files else None

    def events(self) -> Iterator[Event]:
        """Go, and give the event of each entry; right is the bundle only once this has ended.

        Raises:
            BundleInvalidError: with the first entry that is wrong.
        """
        first, end = self._manifest.facts.first, self._manifest.facts.end
        if self._table is not None and self._table.lines(1) != [events.header()[:-1]]:
            raise BundleInvalidError("its first line is another", part=layout.TABLE)
        self._verify_root(self._tree)
        for start in range(first, end, WIDTH):
            yield from self._tile(start, min(WIDTH, end - start))
        for tile, expected in layout.upper_tiles(first, self._row):
            self._upper_tile(tile, expected)
        for stream in (self._openings, self._events, self._table):
            if stream is not None:
                if stream.has_more:
                    problem = "it goes on after the last entry"
                    raise BundleInvalidError(problem, index=end, part=stream.name)
                stream.end()
        if self._disclosed != self._manifest.disclosed:
            raise BundleInvalidError("it counts other opened entries", part="manifest.json")

    def _stream(self, name: str) -> Stream:
        return Stream(self._archive, name, self._manifest.files.get(name, File(-1, b"")))

    def _tile(self, start: int, width: int) -> list[Event]:
        bundle = self._stream(Tile(None, start // WIDTH, width).path)
        hashes = self._stream(Tile(0, start // WIDTH, width).path)
        told = self._entries(start, width, bundle, hashes)
        opened: list[Event] = []
        if self._problem is None:
            self._problem = _problem(lambda: self._follow(start, [entry for _, entry in told]))
        problem = _problem(lambda: self._lines(start, told, opened))
        if problem is not None:
            raise min(problem, self._problem or problem, key=_place)
        for index in self._places.intersection(range(start, start + width)):
            self.times[index] = told[index - start][1].time
        leaves = merkle.hash_leaves(data for data, _ in told)
        for size in range(start + 1, start + width):
            if size in self._roots:
                self._verify_root(self._tree.extend(leaves[: size - start]))
        if width == WIDTH:
            self._row.append(merkle.hash_full(leaves))
            self._tree = self._tree.extend(self._row[-1:], tiles.HEIGHT)
        else:
            self._tree = self._tree.extend(leaves)
        self._verify_root(self._tree)
        return opened

    def _entries(
        self, start: int, width: int, bundle: Stream, hashes: Stream
    ) -> list[tuple[bytes, Entry]]:
        """Read a bundle and the tile of its hashes: each entry is the one that the tile has."""
        data, row = bundle.read(_MAX_TILE_BYTES), hashes.read(WIDTH * HASH_BYTES)
        told, at = [], 0
        for index in range(start, start + width):
            size = int.from_bytes(data[at : at + 2])
            entry = data[at + 2 : at + 2 + size]
            if at + 2 + size > len(data):
                raise BundleInvalidError("it is cut short", index=index, part=bundle.name)
            own = HASH_BYTES * (index - start)
            if merkle.hash_leaf(entry) != row[own : own + HASH_BYTES]:
                problem = "its hash is not the one in the hash tile"
                raise BundleInvalidError(problem, index=index, part=bundle.name)
            try:
                told.append((entry, Entry.decode(entry)))
            except LiaisonError as error:
                raise BundleInvalidError(error.message, index=index, part=bundle.name) from error
            at += 2 + size
        if at != len(data) or len(row) != HASH_BYTES * width:
            problem = "there is more than the entries that belong here"
            raise BundleInvalidError(problem, index=start + width, part=bundle.name)
        for stream in (bundle, hashes):
            stream.end()
        return told

    def _follow(self, start: int, entries: Iterable[Entry]) -> None:
        for index, entry in enumerate(entries, start):
            if entry.time < self._time:
                problem = "its time is before that of the entry before it"
                raise BundleInvalidError(problem, index=index)
            self._time = entry.time
            self.channels.follow(index, entry)

    def _lines(self, start: int, told: Sequence[tuple[bytes, Entry]], opened: list[Event]) -> None:
        count = len(told)
        openings = self._openings.lines(count)
        lines = None if self._events is None else self._events.lines(count)
        rows = None if self._table is None else self._table.lines(count)
        for n, (_, entry) in enumerate(told):
            index = start + n
            event = _event(index, entry, openings[n : n + 1])
            if index == 0:
                _check_first(self._manifest, entry, event)
            self._disclosed += event.is_opened
            # Line and row by themselves: a list that is too short has no such element.
            if lines is not None and lines[n : n + 1] != [event.encode()[:-1]]:
                problem = "another event stands there"
                raise BundleInvalidError(problem, index=index, part=layout.EVENTS)
            if rows is not None and rows[n : n + 1] != [events.table([event.row()])[:-1]]:
                problem = "another row stands there"
                raise BundleInvalidError(problem, index=index, part=layout.TABLE)
            opened.append(event)

    def _upper_tile(self, tile: Tile, expected: bytes) -> None:
        stream = self._stream(tile.path)
        data = stream.read(WIDTH * HASH_BYTES)
        for n, at in enumerate(range(0, len(expected), HASH_BYTES)):
            if data[at : at + HASH_BYTES] != expected[at : at + HASH_BYTES]:
                index = (tile.index * WIDTH + n) << tiles.HEIGHT * (tile.level or 0)
                problem = "the hash is another than that of the entries"
                raise BundleInvalidError(problem, index=index, part=tile.path)
        stream.end()

    def _verify_root(self, tree: CompactRange) -> None:
        root = self._roots.get(tree.size)
        if root is None:
            return
        if root != tree.root:
            raise BundleInvalidError(
                f"the log has signed other entries from here to {tree.size}",
                index=self._vouched,
                part=layout.checkpoint(tree.size),
            )
        self._vouched = tree.size
        if self._problem is not None and _place(self._problem) < tree.size:
            raise self._problem


def _check_first(manifest: Manifest, entry: Entry, event: Event) -> None:
    """Check that a log that follows another one begins with what the parties have agreed."""
    before, versions = manifest.facts.begins_with, manifest.facts.agreement.versions
    if before is None:
        return
    if entry.type is not EntryType.CHECKPOINT or entry.policy not in versions:
        problem = "it does not tell of the log before this one, under an agreed version"
        raise BundleInvalidError(problem, index=0)
    if event.values is not None and any(
        name not in event.hidden and event.values.get(name) != value
        for name, value in before.values.items()
    ):
        raise BundleInvalidError("it tells another head of the log before this one", index=0)


def _event(index: int, entry: Entry, line: Sequence[bytes]) -> Event:
    end = b',"index":%d}' % index
    if not line or not line[0].startswith(_OPENING) or not line[0].endswith(end):
        problem = "its line is missing, or another entry's"
        raise BundleInvalidError(problem, index=index, part=layout.OPENINGS)
    data = line[0][len(_OPENING) : -len(end)]
    try:
        shown = None if data == _NOTHING else Disclosure.decode(data)
        return events.of(index, entry, shown)
    except LiaisonError as error:
        raise BundleInvalidError(error.message, index=index, part=layout.OPENINGS) from error


def _problem(step: Callable[[], None]) -> BundleInvalidError | None:
    try:
        step()
    except BundleInvalidError as error:
        return error
    return None


def _place(problem: BundleInvalidError) -> int:
    return problem.index or 0
