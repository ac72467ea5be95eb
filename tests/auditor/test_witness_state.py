"""What a witness remembers, and what it holds against a log."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import ForkError, NoteUnsignedError, ProofError, WitnessBehindError
from liaison.tlog.witness import AddCheckpoint
from liaison_auditor.errors import WitnessStateError
from liaison_auditor.witness import state as states
from liaison_auditor.witness.state import Kind, State
from tests.support.signed_log import SignedLog

NOW = 1_800_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing(State(tmp_path / "witness.sqlite")) as opened:
        yield opened


@pytest.fixture
def log() -> SignedLog:
    made = SignedLog("relay.example/log/1")
    made.grow(10)
    return made


def _kinds(state: State) -> list[tuple[Kind, bool]]:
    return [(item.kind, item.settled) for item in state.evidence()]


def test_what_was_cosigned_is_there_after_a_restart(tmp_path: Path, log: SignedLog) -> None:
    first = State(tmp_path / "witness.sqlite")
    first.advance(log.request(0, 4), [log.key], NOW)
    first.advance(log.request(4, 10), [log.key], NOW + 1)
    first.close()

    with closing(State(tmp_path / "witness.sqlite")) as second:
        again = second.latest(log.origin)

    assert again is not None
    assert again.checkpoint == Checkpoint.parse(log.note().text)
    assert again.note == log.note().encode()
    assert again.time == NOW + 1


def test_every_step_is_on_the_disk_before_it_counts(state: State) -> None:
    full = 2

    assert state._db.execute("PRAGMA synchronous").fetchone() == (full,)


def test_only_the_owner_reads_the_state(tmp_path: Path, state: State) -> None:
    assert (tmp_path / "witness.sqlite").stat().st_mode & 0o777 == 0o600


def test_the_time_of_a_cosignature_never_goes_back(state: State, log: SignedLog) -> None:
    state.advance(log.request(0, 4), [log.key], NOW)

    assert state.advance(log.request(4, 10), [log.key], NOW - 50) == NOW


def test_only_the_logs_own_signatures_are_remembered(state: State, log: SignedLog) -> None:
    other = log.forked([b"x"] * 10)
    stranger = SignedLog("stranger.example")

    def crowded(request: AddCheckpoint) -> AddCheckpoint:
        # Its own line twice, and one that says nothing here.
        twice = request.note.with_signature(*request.note.signatures)
        return replace(request, note=twice.signed_by(stranger.key, stranger.signer))

    state.advance(crowded(log.request(0)), [log.key], NOW)
    with pytest.raises(ForkError):
        state.advance(crowded(other.request(10)), [log.key], NOW)

    last, (held,) = state.latest(log.origin), state.evidence()
    assert last is not None
    assert last.note == log.note().encode()
    assert (held.ours, held.theirs) == (log.note().encode(), other.note().encode())
    assert held.request == other.request(10).encode()


def test_what_the_log_has_not_signed_is_not_remembered(state: State, log: SignedLog) -> None:
    stranger = SignedLog(log.origin, log.entries)

    with pytest.raises(NoteUnsignedError):
        state.advance(stranger.request(0), [log.key], NOW)

    assert state.latest(log.origin) is None
    assert state.evidence() == []


def test_a_second_root_for_the_last_size_is_proof_of_a_fork(state: State, log: SignedLog) -> None:
    other = log.forked([*log.entries[:9], b"another"])
    state.advance(log.request(0), [log.key], NOW)

    with pytest.raises(ForkError):
        state.advance(other.request(10), [log.key], NOW + 5)

    (held,) = state.evidence()
    assert (held.kind, held.size, held.time) == (Kind.FORK, 10, NOW + 5)
    assert (held.ours, held.theirs) == (log.note().encode(), other.note().encode())


def test_a_second_root_for_an_older_size_is_proof_of_a_fork_too(
    state: State, log: SignedLog
) -> None:
    other = log.forked([b"another", *log.entries[1:4]])
    state.advance(log.request(0, 4), [log.key], NOW)
    state.advance(log.request(4), [log.key], NOW)

    with pytest.raises(WitnessBehindError):
        state.advance(other.request(2), [log.key], NOW)

    (held,) = state.evidence()
    assert held.kind is Kind.FORK
    assert held.ours == log.note(4).encode()


def test_a_fork_is_never_settled(state: State, log: SignedLog) -> None:
    state.advance(log.request(0, 5), [log.key], NOW)
    with pytest.raises(ForkError):
        state.advance(log.forked([b"x"] * 5).request(5), [log.key], NOW)

    state.advance(log.request(5), [log.key], NOW)

    assert _kinds(state) == [(Kind.FORK, False)]


def test_a_log_that_has_become_shorter_is_held_against_it_until_it_has_grown(
    state: State, log: SignedLog
) -> None:
    state.advance(log.request(0), [log.key], NOW)

    with pytest.raises(WitnessBehindError) as caught:
        state.advance(log.request(5, 7), [log.key], NOW)

    assert caught.value.size == 10
    assert _kinds(state) == [(Kind.SHRUNK, False)]
    log.grow(1)
    state.advance(log.request(10), [log.key], NOW)
    assert _kinds(state) == [(Kind.SHRUNK, True)]


def test_a_checkpoint_that_was_cosigned_once_is_no_evidence(state: State, log: SignedLog) -> None:
    state.advance(log.request(0, 4), [log.key], NOW)
    state.advance(log.request(4), [log.key], NOW)

    with pytest.raises(WitnessBehindError):
        state.advance(log.request(0, 4), [log.key], NOW)

    assert state.evidence() == []


def test_a_log_that_has_other_entries_and_grew_is_suspected(state: State, log: SignedLog) -> None:
    state.advance(log.request(0, 5), [log.key], NOW)
    other = log.forked([b"x"] * 9)

    with pytest.raises(ProofError):
        state.advance(other.request(5), [log.key], NOW)

    assert _kinds(state) == [(Kind.UNPROVED, False)]


def test_a_witness_that_is_asked_from_another_size_suspects_nothing(
    state: State, log: SignedLog
) -> None:
    state.advance(log.request(0, 5), [log.key], NOW)

    with pytest.raises(WitnessBehindError):
        state.advance(log.request(3), [log.key], NOW)

    assert state.evidence() == []


def test_evidence_does_not_fill_the_disk(
    state: State, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "MAX_FORKS", 3)
    state.advance(log.request(0), [log.key], NOW)

    for number in range(6):
        with pytest.raises(ForkError):
            state.advance(log.forked([bytes([number])] * 10).request(10), [log.key], NOW)
        with pytest.raises(WitnessBehindError):
            state.advance(log.request(number, 7), [log.key], NOW)

    assert sorted(kind for kind, _ in _kinds(state)) == [Kind.FORK] * 3 + [Kind.SHRUNK]


def test_old_checkpoints_are_forgotten_but_for_one_an_hour(
    state: State, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "REMEMBERED", 3)

    for size in range(1, 11):
        state.advance(log.request(size - 1, size), [log.key], NOW + 600 * size)

    sizes = state._db.execute("SELECT size FROM history ORDER BY size").fetchall()
    # NOW is at an hour's beginning: the 6th comes an hour later, and the newest three stay.
    assert [size for (size,) in sizes] == [1, 6, 8, 9, 10]


def _fill(state: State) -> None:
    for number in range(100):
        log = SignedLog(f"relay.example/log/{number:0200}", [b"entry"])
        state.advance(log.request(0), [log.key], NOW)


def test_a_full_disk_is_told_and_changes_nothing(state: State, log: SignedLog) -> None:
    state.advance(log.request(0, 4), [log.key], NOW)
    (pages,) = state._db.execute("PRAGMA page_count").fetchone()
    state._db.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(WitnessStateError, match="full"):
        _fill(state)

    state._db.execute("PRAGMA max_page_count = 100000")
    latest = state.latest(log.origin)
    assert latest is not None
    assert latest.checkpoint.size == 4
    state.advance(log.request(4), [log.key], NOW)


def test_another_file_is_not_taken_for_a_state(tmp_path: Path) -> None:
    file = tmp_path / "witness.sqlite"
    file.write_bytes(b"no database at all" * 100)

    with pytest.raises(WitnessStateError):
        State(file)


def test_a_later_programs_state_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "witness.sqlite"
    State(file).close()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()

    with pytest.raises(WitnessStateError, match="version 9"):
        State(file)


# Two histories that part at the third entry, and requests for either from any size.
_REQUESTS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30
)


@given(asked=_REQUESTS)
def test_no_two_roots_are_ever_cosigned_for_one_size(asked: list[tuple[bool, int, int]]) -> None:
    log = SignedLog("relay.example/log/1")
    log.grow(8)
    other = log.forked([*log.entries[:3], *(b"another" for _ in range(5))])
    cosigned: dict[int, bytes] = {}

    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder) / "witness.sqlite")
        for honest, old, size in asked:
            request = (log if honest else other).request(min(old, size), size)
            try:
                state.advance(request, [log.key], NOW)
            except (ForkError, ProofError, WitnessBehindError):
                continue
            assert cosigned.setdefault(size, request.checkpoint.root) == request.checkpoint.root
            assert max(cosigned) == size
        state.close()
