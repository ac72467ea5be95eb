"""The sequencer: dense, in order of time, the same however it is grouped, healed after any crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.tlog import entries, merkle, sequencer, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import Entry
from liaison.tlog.errors import ForkError, ShrunkError, StateError, TimeOrderError
from liaison.tlog.fields import EntryType
from liaison.tlog.merkle import CompactRange
from liaison.tlog.sequencer import State
from liaison.tlog.tiles import Tile, TileTree
from tests.core.tlog.support import ORIGIN
from tests.support import merkle_naive as naive


def entry_of(time: int, act: str = "started") -> Entry:
    return entries.seal(EntryType.ADMIN, time, {"act": act}, bytes)[0]


def grown(count: int, act: str = "started") -> tuple[State, list[bytes]]:
    done = sequencer.append(State(), [entry_of(n, act) for n in range(count)])
    return done.state, list(done.entries)


@given(steps=st.lists(st.integers(0, 30), max_size=5))
def test_entries_get_the_same_places_however_they_are_grouped(steps: list[int]) -> None:
    stored: list[bytes] = []
    state = State()
    for step in steps:
        made = [entry_of(len(stored) + n) for n in range(step)]
        done = sequencer.append(state, made)
        assert done.first == len(stored)
        assert list(done.leaf_hashes) == merkle.hash_leaves(done.entries)
        state = State.decode(done.state.encode())
        stored += done.entries

    assert state == grown(sum(steps))[0]
    assert [Entry.decode(data).time for data in stored] == list(range(sum(steps)))
    assert state.checkpoint(ORIGIN) == Checkpoint(ORIGIN, len(stored), naive.root(stored))


def test_time_never_goes_back_though_the_clock_does() -> None:
    state = sequencer.append(State(), [entry_of(1000)]).state

    assert state.stamp(900) == 1000
    assert state.stamp(1100) == 1100
    with pytest.raises(TimeOrderError):
        sequencer.append(state, [entry_of(999)])
    with pytest.raises(TimeOrderError):
        sequencer.append(state, [entry_of(1001), entry_of(1000)])
    assert sequencer.append(state, [entry_of(1000), entry_of(1000)]).state.size == 3


@given(count=st.integers(0, 300), data=st.data())
def test_a_damaged_state_is_refused(count: int, data: st.DataObject) -> None:
    encoded = grown(count)[0].encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(StateError):
        State.decode(encoded[:cut])
    with pytest.raises(StateError):
        State.decode(encoded + bytes(1))
    with pytest.raises(StateError):
        State.decode(encoded + bytes(32))
    with pytest.raises(StateError):
        State.decode(b"\xff" + encoded[1:])


@settings(max_examples=25)
@given(published=st.integers(0, 300), more=st.integers(0, 600), data=st.data())
def test_a_crash_at_any_step_of_publishing_heals_to_the_same_tiles(
    published: int, more: int, data: st.DataObject
) -> None:
    state, stored = grown(published + more)
    disk: dict[Tile, bytes] = dict(sequencer.publish(0, stored[:published], lambda tile: b""))
    plan = list(sequencer.publish(published, stored[published:], disk.__getitem__))
    written = data.draw(st.integers(0, len(plan)))
    disk |= dict(plan[:written])

    again = sequencer.publish(published, stored[published:], disk.__getitem__)
    disk |= dict(tiles.missing(again, disk.get))

    tree = TileTree(state.size, disk.__getitem__)
    assert tree.root() == state.tree.root
    assert {tile: disk[tile] for tile in tiles.needed(state.size)} == dict(
        sequencer.publish(0, stored, lambda tile: b"")
    )


@given(size=st.integers(0, 40), more=st.integers(0, 40))
def test_on_start_the_database_goes_on_where_the_checkpoint_ended(size: int, more: int) -> None:
    state, stored = grown(size + more)
    before, _ = grown(size)

    sequencer.verify_follows(before.checkpoint(ORIGIN), state, ORIGIN, stored[size:], before.tree)


def test_an_old_backup_is_recognised() -> None:
    new, _ = grown(9)
    old, _ = grown(5)

    with pytest.raises(ShrunkError):
        sequencer.verify_follows(new.checkpoint(ORIGIN), old, ORIGIN, [], new.tree)


def test_a_database_with_another_history_is_recognised() -> None:
    ours, stored = grown(9)
    before, _ = grown(5)
    theirs, others = grown(9, "stopped")
    head = before.checkpoint(ORIGIN)

    for state, since, tree, origin in (
        (theirs, others[5:], before.tree, ORIGIN),
        (ours, others[5:], before.tree, ORIGIN),
        (ours, stored[5:-1], before.tree, ORIGIN),
        (ours, stored[5:], grown(5, "stopped")[0].tree, ORIGIN),
        (ours, stored[4:], grown(4)[0].tree, ORIGIN),
        (ours, stored, CompactRange(), ORIGIN),
        (ours, stored[5:], before.tree, "another.example"),
    ):
        with pytest.raises(ForkError):
            sequencer.verify_follows(head, state, origin, since, tree)
