"""Tiles: named as the standard names them, grown in any steps to the same bytes, and healed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.tlog import merkle, tiles
from liaison.tlog.errors import EntryTooLargeError, TileConflictError, TileError
from liaison.tlog.merkle import Node
from liaison.tlog.tiles import MAX_ENTRY_BYTES, Tile, TileTree
from tests.core.tlog.support import Log


def entries_of(count: int) -> list[bytes]:
    return [b"entry %d" % n for n in range(count)]


SIZE = 256 * 256 + 300
"""Three levels of tiles: more than an example of hypothesis has time to grow."""
LEAVES = merkle.hash_leaves(entries_of(SIZE))
ROWS = [LEAVES]
while len(ROWS[-1]) >= 256:
    full = len(ROWS[-1]) // 256
    ROWS.append([merkle.hash_full(ROWS[-1][256 * n : 256 * n + 256]) for n in range(full)])


def tree_of(size: int) -> TileTree:
    """Give a tree of the first entries, which may read the tiles that such a log has."""
    needed = set(tiles.needed(size))

    def read(tile: Tile) -> bytes:
        assert tile in needed
        first = 256 * tile.index
        return b"".join(ROWS[tile.level or 0][first : first + tile.width])

    return TileTree(size, read)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1, 44), "tile/0/001.p/44"),
        (Tile(3, 1234067), "tile/3/x001/x234/067"),
        (Tile(None, 1234067, 255), "tile/entries/x001/x234/067.p/255"),
        (Tile(1, 1000), "tile/1/x001/000"),
    ],
)
def test_tiles_are_named_as_the_standard_names_them(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(
    level=st.none() | st.integers(0, 6),
    index=st.integers(0, 2**8 - 1) | st.integers(0, 10**5),
    width=st.integers(1, 256),
)
def test_every_name_is_read_as_the_tile_it_names(level: int | None, index: int, width: int) -> None:
    tile = Tile(level, index, width)

    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/000/",
        "/tile/0/000",
        "tile/00/000",
        "tile/64/000",
        "tile/7/001",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/data/000",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/000\n",
        "tile/entries/x999/x999/x999/x999/x999/x999/999",
    ],
    ids=repr,
)
def test_a_second_spelling_names_no_tile(path: str) -> None:
    with pytest.raises(TileError):
        Tile.parse(path)


def test_seventy_thousand_entries_need_the_tiles_that_the_standard_tells() -> None:
    named = [tile for tile in tiles.needed(70_000) if tile.level is not None]

    widths = {level: [t.width for t in named if t.level == level] for level in range(4)}
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1], 3: []}
    assert [t.path for t in tiles.needed(256) if t.level is not None] == [
        "tile/0/000",
        "tile/1/000.p/1",
    ]


@given(steps=st.lists(st.integers(0, 400), max_size=6))
def test_a_log_grown_in_any_steps_has_the_tiles_of_its_entries(steps: list[int]) -> None:
    log, total = Log(), 0
    for step in steps:
        fresh = entries_of(total + step)[total:]
        written = dict(tiles.grow(total, fresh, log.tiles.__getitem__))
        assert list(written) == tiles.growth(total, total + step)
        log.append(*fresh)
        total += step

    derived = dict(tiles.grow(0, log.entries, lambda tile: b""))
    assert list(derived) == tiles.needed(total)
    assert all(log.tiles[tile] == data for tile, data in derived.items())
    tree = TileTree(total, log.tiles.__getitem__)
    assert tree.root() == merkle.root_of(merkle.hash_leaves(log.entries))
    assert tree.compact_range() == merkle.CompactRange().extend(merkle.hash_leaves(log.entries))


@given(size=st.integers(0, SIZE) | st.sampled_from([255, 256, 257, 65535, 65536, 65537]))
def test_growing_reads_the_partial_tiles_and_no_others(size: int) -> None:
    named, asked = tiles.partial(size), []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        if tile.level is None:
            return tiles.encode_entries(entries_of(size)[-tile.width :])
        first = 256 * tile.index
        return b"".join(ROWS[tile.level][first : first + tile.width])

    written = dict(tiles.grow(size, entries_of(size + 256)[size:], read))

    # A level that the new entries do not reach is not read.
    assert asked == named[: len(asked)]
    assert set(named) == {tile for tile in tiles.needed(size) if tile.is_partial}
    assert not set(named) & written.keys()


@given(size=st.integers(1, SIZE), data=st.data())
def test_every_proof_can_be_made_from_tiles(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))

    inclusion, consistency = tree.prove_inclusion(index), tree.prove_consistency(old)

    root = merkle.root_of(LEAVES[:size])
    assert tree.root() == root
    assert tree.root_at(old) == merkle.root_of(LEAVES[:old])
    merkle.verify_inclusion(LEAVES[index], index, size, inclusion, root)
    merkle.verify_consistency(old, size, consistency, tree.root_at(old), root)


def test_a_proof_about_an_earlier_size_is_made_from_the_tiles_of_a_later_one() -> None:
    tree = tree_of(SIZE)

    inclusion, consistency = tree.prove_inclusion(7, 1000), tree.prove_consistency(300, 1000)

    merkle.verify_inclusion(LEAVES[7], 7, 1000, inclusion, tree.root_at(1000))
    merkle.verify_consistency(300, 1000, consistency, tree.root_at(300), tree.root_at(1000))


def test_what_a_tree_has_not_got_is_refused() -> None:
    tree = tree_of(300)

    with pytest.raises(TileError):
        tree.node(Node(8, 1))
    with pytest.raises(TileError):
        tree.node(Node(0, 300))
    with pytest.raises(TileError):
        tree.node(Node(16, 0))
    with pytest.raises(ValueError, match="has not had"):
        tree.root_at(301)
    with pytest.raises(ValueError, match="300 leaves"):
        tree.prove_inclusion(0, 301)
    with pytest.raises(ValueError, match="there is no leaf"):
        tree.prove_inclusion(300)


def test_tiles_of_another_width_are_refused() -> None:
    tile = Tile(0, 0, 2)

    with pytest.raises(TileError):
        tiles.decode_hashes(tile, bytes(63))
    with pytest.raises(TileError):
        tiles.decode_hashes(tile, bytes(96))
    with pytest.raises(TileError):
        TileTree(2, lambda tile: bytes(32)).root()


@given(entries=st.lists(st.binary(max_size=300), min_size=1, max_size=20), data=st.data())
def test_bundles_hold_entries_and_nothing_else(entries: list[bytes], data: st.DataObject) -> None:
    tile = Tile(None, 0, len(entries))

    bundle = tiles.encode_entries(entries)

    assert tiles.decode_entries(tile, bundle) == entries
    cut = data.draw(st.integers(0, len(bundle) - 1))
    with pytest.raises(TileError):
        tiles.decode_entries(tile, bundle[:cut])
    with pytest.raises(TileError):
        tiles.decode_entries(tile, bundle + b"\0")
    with pytest.raises(TileError):
        tiles.decode_entries(Tile(None, 0, len(entries) + 1), bundle)


def test_an_entry_has_a_largest_size() -> None:
    largest = bytes(MAX_ENTRY_BYTES)

    assert tiles.decode_entries(Tile(None, 0, 1), tiles.encode_entries([largest])) == [largest]
    with pytest.raises(EntryTooLargeError):
        tiles.encode_entries([largest + b"x"])


@given(stored=st.sets(st.integers(0, 5)))
def test_a_crash_between_any_two_tiles_heals(stored: set[int]) -> None:
    log = Log()
    log.append(*entries_of(300))
    derived = dict(tiles.grow(0, log.entries, log.tiles.__getitem__))
    there = {tile: data for at, (tile, data) in enumerate(derived.items()) if at in stored}

    healed = dict(tiles.missing(derived.items(), there.get))

    assert there | healed == derived
    assert not there.keys() & healed.keys()


def test_an_empty_tile_is_not_a_missing_one() -> None:
    log = Log()
    log.append(b"one")

    with pytest.raises(TileConflictError):
        list(tiles.missing(log.tiles.items(), lambda tile: b""))


@given(data=st.data())
def test_a_tile_with_other_bytes_is_never_written_over(data: st.DataObject) -> None:
    log = Log()
    log.append(*entries_of(300))
    tile = data.draw(st.sampled_from(list(log.tiles)))
    bit = data.draw(st.integers(0, 8 * len(log.tiles[tile]) - 1))
    changed = bytearray(log.tiles[tile])
    changed[bit // 8] ^= 1 << bit % 8
    stored = {**log.tiles, tile: bytes(changed)}
    derived = tiles.grow(0, log.entries, log.tiles.__getitem__)

    with pytest.raises(TileConflictError, match=tile.path):
        list(tiles.missing(derived, stored.get))
