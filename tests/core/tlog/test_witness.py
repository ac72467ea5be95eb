"""A witness cosigns what only grew, answers as the standard says, and keeps no log from healing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.tlog import witness
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.errors import (
    ForkError,
    NoteSignatureError,
    NoteUnsignedError,
    OriginError,
    ProofError,
    ShrunkError,
    WitnessBehindError,
    WitnessRequestError,
)
from liaison.tlog.note import Note, NoteSignature
from liaison.tlog.tiles import TileTree
from liaison.tlog.witness import AddCheckpoint
from tests.core.tlog.support import NOW, ORIGIN, Log, flipped, key_pair


def log_of(size: int, word: str = "entry") -> Log:
    log = Log()
    log.append(*(f"{word} {n}".encode() for n in range(size)))
    return log


def request_of(log: Log, old: int) -> AddCheckpoint:
    tree = TileTree(len(log.entries), log.tiles.__getitem__)
    proof = tuple(tree.prove_consistency(old)) if old else ()
    return AddCheckpoint(old, proof, log.signed())


@settings(max_examples=20)
@given(old=st.integers(0, 20), more=st.integers(0, 20))
def test_every_growth_is_cosigned(old: int, more: int) -> None:
    log = log_of(old + more)
    latest = log.checkpoint(old) if old else None

    request = AddCheckpoint.decode(request_of(log, old).encode())
    new = witness.judge(request, [log.key], latest)

    assert new == log.checkpoint()
    answer = witness.cosign(request, log.witnesses.values(), NOW)
    keys = [key for key, _ in log.witnesses.values()]
    note = witness.accept(request.note, answer, keys)
    assert [signed.key for signed in note.verify([log.key, *keys])] == [log.key, *keys]


def test_every_changed_bit_of_a_request_is_refused() -> None:
    log = log_of(5)
    data, latest = request_of(log, 3).encode(), log.checkpoint(3)

    for changed in flipped(data):
        with pytest.raises(LiaisonError) as refusal:
            witness.judge(AddCheckpoint.decode(changed), [log.key], latest)
        assert type(refusal.value) in witness.STATUS


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WitnessRequestError, 400),
        (NoteUnsignedError, 403),
        (NoteSignatureError, 403),
        (OriginError, 404),
        (WitnessBehindError, 409),
        (ProofError, 422),
        (ForkError, 422),
    ],
)
def test_each_refusal_has_the_standards_status(error: type[LiaisonError], status: int) -> None:
    assert witness.STATUS[error] == status


def test_a_witness_that_is_behind_says_where_it_is() -> None:
    log = log_of(9)

    with pytest.raises(WitnessBehindError) as behind:
        witness.judge(request_of(log, 5), [log.key], log.checkpoint(3))

    assert behind.value.size == 3
    assert witness.decode_size(witness.encode_size(3)) == 3
    with pytest.raises(WitnessBehindError):
        witness.judge(request_of(log, 5), [log.key], None)


def test_another_history_is_not_cosigned() -> None:
    ours, theirs = log_of(5), log_of(5, "other")
    more = log_of(9, "other")

    with pytest.raises(ForkError):
        witness.judge(request_of(theirs, 5), [ours.key], ours.checkpoint())
    with pytest.raises(ProofError):
        witness.judge(request_of(more, 5), [ours.key], ours.checkpoint())


def test_an_unknown_log_is_not_cosigned() -> None:
    log = log_of(2)
    other, _ = key_pair("another.example")
    namesake, _ = key_pair(ORIGIN, seed=1)

    with pytest.raises(OriginError):
        witness.judge(request_of(log, 0), [other], None)
    with pytest.raises(OriginError):
        witness.judge(request_of(log, 0), [], None)
    with pytest.raises(NoteUnsignedError):
        witness.judge(request_of(log, 0), [namesake], None)


def test_a_signature_of_the_log_that_does_not_hold_is_refused() -> None:
    log = log_of(2)
    line = NoteSignature(log.key.name, log.key.id, bytes(64))
    request = AddCheckpoint(0, (), Note(log.checkpoint().text, (line,)))

    with pytest.raises(NoteSignatureError):
        witness.judge(request, [log.key], None)


def test_from_an_empty_log_nothing_is_proved() -> None:
    log = log_of(2)
    request = AddCheckpoint(0, (bytes(32),), log.signed())

    with pytest.raises(ProofError):
        witness.judge(request, [log.key], None)
    empty = Log().checkpoint()
    assert witness.judge(request_of(log, 0), [log.key], empty) == log.checkpoint()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"old 3", b"old 03"),
        lambda data: data.replace(b"old 3", b"old 6"),
        lambda data: data.replace(b"old 3", b"old -3"),
        lambda data: data.replace(b"old 3", b"new 3"),
        lambda data: data.replace(b"old 3\n", b"old 3\nAA==\n"),
        lambda data: data.replace(b"old 3\n", b"old 3\n" + (b"A" * 43 + b"=\n") * 64),
        lambda data: data.replace(b"\n\n", b"\n", 1),
        lambda data: data.replace(ORIGIN.encode(), b"", 1),
        lambda data: data.replace(b"\n5\n", b"\nfive\n"),
        lambda data: b"",
        lambda data: bytes(10**6),
    ],
    ids=[f"change {n}" for n in range(11)],
)
def test_what_is_no_request_is_refused(change: object) -> None:
    assert callable(change)

    with pytest.raises(WitnessRequestError):
        AddCheckpoint.decode(change(request_of(log_of(5), 3).encode()))


def test_an_answer_about_another_checkpoint_is_refused() -> None:
    log = log_of(5)
    key, signer = log.witnesses["nor"]
    answer = witness.cosign(AddCheckpoint(0, (), log.signed(3)), [(key, signer)], NOW)

    with pytest.raises(NoteSignatureError):
        witness.accept(log.signed(), answer, [key])


def test_of_an_answer_only_the_witness_s_own_lines_are_taken() -> None:
    log = log_of(5)
    (key, signer), other = log.witnesses["nor"], log.witnesses["deu"]
    answer = witness.cosign(request_of(log, 0), [(key, signer), other], NOW)

    note = witness.accept(log.signed(), answer, [key])

    assert note == log.cosigned("nor")
    with pytest.raises(NoteUnsignedError):
        witness.accept(log.signed(), witness.cosign(request_of(log, 0), [other], NOW), [key])


def test_a_line_by_a_namesake_of_the_witness_is_not_taken() -> None:
    log = log_of(5)
    key, signer = log.witnesses["nor"]
    namesake = NoteSignature(key.name, b"abcd", bytes(72))
    answer = witness.cosign(request_of(log, 0), [(key, signer)], NOW)

    note = witness.accept(log.signed(), answer + witness.encode_signatures([namesake]), [key])

    assert note == log.cosigned("nor")


def test_a_witness_fills_no_note_with_lines_of_its_own() -> None:
    log = log_of(5)
    key, signer = log.witnesses["nor"]
    lines = [
        witness.cosign(request_of(log, 0), [(key, signer)], NOW + second) for second in range(64)
    ]

    note = witness.accept(log.signed(), b"".join(lines), [key])

    assert note == log.cosigned("nor")


def test_a_cosignature_of_a_time_that_no_calendar_has_is_not_taken() -> None:
    log = log_of(5)
    key, signer = log.witnesses["nor"]
    answer = witness.cosign(request_of(log, 0), [(key, signer)], 2**63 - 1)

    with pytest.raises(WitnessRequestError):
        witness.accept(log.signed(), answer, [key])


@pytest.mark.parametrize("answer", [b"", b"\n", b"sorry", b"\xff\n", bytes(10**6)], ids=len)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    log = log_of(1)

    with pytest.raises(WitnessRequestError):
        witness.accept(log.signed(), answer, [log.witnesses["nor"][0]])


@pytest.mark.parametrize(
    "data", [b"", b"3", b"03\n", b"3\n\n", b"-3\n", b"\xff\n", b"3" * 50], ids=repr
)
def test_what_is_no_size_is_refused(data: bytes) -> None:
    with pytest.raises(WitnessRequestError):
        witness.decode_size(data)


def test_a_log_restored_from_an_old_backup_is_recognised() -> None:
    log = log_of(9)
    seen = log.checkpoint(7)

    witness.verify_not_behind(log.checkpoint(), log.checkpoint(7).root, seen)
    with pytest.raises(ShrunkError):
        witness.verify_not_behind(log.checkpoint(5), bytes(32), seen)
    with pytest.raises(ForkError):
        witness.verify_not_behind(log.checkpoint(), log_of(7, "other").checkpoint().root, seen)
    with pytest.raises(ForkError):
        witness.verify_not_behind(log.checkpoint(), seen.root, Checkpoint("x", 7, seen.root))
