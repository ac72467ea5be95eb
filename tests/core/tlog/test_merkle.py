"""The tree against RFC 6962's own definitions, and every changed proof refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.tlog import merkle
from liaison.tlog.errors import ProofError, StateError
from liaison.tlog.merkle import CompactRange, Node
from tests.core.tlog.support import flipped
from tests.support import merkle_naive as naive

trees = st.lists(st.binary(max_size=3), min_size=1, max_size=70)


def reader(entries: list[bytes]) -> merkle.ReadNode:
    def read(node: Node) -> bytes:
        first = node.index << node.level
        members = entries[first : first + (1 << node.level)]
        assert len(members) == 1 << node.level, "a node was asked for that is not full"
        return naive.root(members)

    return read


@given(entries=st.lists(st.binary(max_size=3), max_size=70), data=st.data())
def test_roots_are_the_standards_however_the_tree_grew(
    entries: list[bytes], data: st.DataObject
) -> None:
    tree, at = CompactRange(), 0
    while at < len(entries):
        step = data.draw(st.integers(1, len(entries) - at))
        tree = tree.extend(merkle.hash_leaves(entries[at : at + step]))
        at += step
        assert tree.root == naive.root(entries[:at])

    assert tree.root == naive.root(entries)
    assert tree.size == len(entries)
    assert merkle.root_of(map(merkle.hash_leaf, entries)) == tree.root


@given(entries=trees, data=st.data())
def test_every_leaf_of_every_tree_is_provable(entries: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))

    proof = merkle.prove_inclusion(index, len(entries), reader(entries))

    assert proof == naive.inclusion(index, entries)
    leaf = merkle.hash_leaf(entries[index])
    merkle.verify_inclusion(leaf, index, len(entries), proof, naive.root(entries))


@given(entries=trees, data=st.data())
def test_every_growth_of_every_tree_is_provable(entries: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(entries)))

    proof = merkle.prove_consistency(old, len(entries), reader(entries))

    assert proof == naive.consistency(old, entries)
    old_root, new_root = naive.root(entries[:old]), naive.root(entries)
    merkle.verify_consistency(old, len(entries), proof, old_root, new_root)


@given(entries=trees, data=st.data())
def test_every_subtree_of_every_tree_is_provable(entries: list[bytes], data: st.DataObject) -> None:
    size = len(entries)
    ranges = [(a, b) for a in range(size) for b in range(a + 1, size + 1)]
    begin, end = data.draw(st.sampled_from([r for r in ranges if merkle.is_subtree(*r)]))

    proof = merkle.prove_subtree(begin, end, size, reader(entries))

    assert proof == naive.subtree(begin, end, entries)
    own, root = naive.root(entries[begin:end]), naive.root(entries)
    assert merkle.read_root(begin, end, reader(entries)) == own
    merkle.verify_subtree(begin, end, size, proof, own, root)
    other = naive.root([b"another", *entries])
    with pytest.raises(ProofError):
        merkle.verify_subtree(begin, end, size, proof, other, root)
    with pytest.raises(ProofError):
        merkle.verify_subtree(begin, end, size, proof, own, other)


@settings(max_examples=20)
@given(size=st.integers(1, 12), data=st.data())
def test_every_changed_bit_of_an_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    entries = [bytes([n]) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root, leaf = naive.root(entries), merkle.hash_leaf(entries[index])
    proof = naive.inclusion(index, entries)

    for changed in flipped(leaf):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(changed, index, size, proof, root)
    for changed in flipped(root):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, index, size, proof, changed)
    for at, sibling in enumerate(proof):
        for changed in flipped(sibling):
            broken = [*proof[:at], changed, *proof[at + 1 :]]
            with pytest.raises(ProofError):
                merkle.verify_inclusion(leaf, index, size, broken, root)
    for other in set(range(size)) - {index}:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, other, size, proof, root)
    for broken in shortened_and_lengthened(proof):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, index, size, broken, root)


@settings(max_examples=20)
@given(size=st.integers(1, 12), data=st.data())
def test_every_changed_bit_of_a_consistency_proof_is_refused(
    size: int, data: st.DataObject
) -> None:
    entries = [bytes([n]) for n in range(size)]
    old = data.draw(st.integers(1, size))
    first, second = naive.root(entries[:old]), naive.root(entries)
    proof = naive.consistency(old, entries)

    for changed in flipped(first):
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, size, proof, changed, second)
    for changed in flipped(second):
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, size, proof, first, changed)
    for at, sibling in enumerate(proof):
        for changed in flipped(sibling):
            broken = [*proof[:at], changed, *proof[at + 1 :]]
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, size, broken, first, second)
    for broken in shortened_and_lengthened(proof):
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, size, broken, first, second)


def test_a_proof_of_another_size_is_no_proof() -> None:
    entries = [bytes([n]) for n in range(8)]
    leaves = merkle.hash_leaves(entries)
    two, four = naive.root(entries[:2]), naive.root(entries[:4])

    with pytest.raises(ProofError, match="too long"):
        merkle.verify_inclusion(leaves[1], 0, 1, [leaves[0]], two)
    with pytest.raises(ProofError, match="too short"):
        merkle.verify_inclusion(leaves[0], 0, 4, [leaves[1]], two)
    with pytest.raises(ProofError, match="too short"):
        merkle.verify_consistency(2, 8, naive.consistency(2, entries[:4]), two, four)
    with pytest.raises(ProofError, match="too long"):
        merkle.verify_consistency(2, 2, naive.consistency(2, entries[:4]), two, four)


def test_bytes_do_not_move_from_one_hash_into_the_next() -> None:
    one, other = merkle.hash_leaves([b"one", b"other"])
    root = merkle.hash_children(one, other)

    with pytest.raises(ProofError):
        merkle.verify_inclusion(one[:-1], 0, 2, [one[-1:] + other], root)
    with pytest.raises(ProofError):
        merkle.verify_consistency(1, 2, [one[-1:] + other], one[:-1], root)


def shortened_and_lengthened(proof: list[bytes]) -> list[list[bytes]]:
    shorter = [proof[:-1], proof[1:], [proof[0][:-1], *proof[1:]]] if proof else []
    return [*shorter, [*proof, bytes(32)], [bytes(32), *proof], [*proof, b""], proof + [b""] * 70]


def test_from_an_empty_log_nothing_is_proved() -> None:
    root = merkle.root_of([bytes(32)])

    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 1, [], merkle.EMPTY_ROOT, root)
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 0, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    with pytest.raises(ValueError, match="not a subtree"):
        merkle.prove_consistency(0, 1, reader([b""]))


@pytest.mark.parametrize(("index", "size"), [(1, 1), (-1, 1), (0, 0), (7, 7)])
def test_what_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="there is no leaf"):
        merkle.prove_inclusion(index, size, reader([b""] * size))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(bytes(32), index, size, [], bytes(32))


@pytest.mark.parametrize(
    ("size", "hashes"),
    [(1, ()), (0, (bytes(32),)), (3, (bytes(32),)), (1, (bytes(31),)), (-1, ()), (2**63, ())],
)
def test_a_compact_range_that_fits_no_tree_is_refused(size: int, hashes: tuple[bytes, ...]) -> None:
    with pytest.raises(StateError):
        CompactRange(size, hashes)


@given(size=st.integers(0, 40), level=st.integers(0, 4), more=st.integers(0, 5))
def test_full_subtrees_are_appended_as_their_leaves_are(size: int, level: int, more: int) -> None:
    leaves = merkle.hash_leaves(b"%d" % n for n in range((size + more) << level))
    rows = [leaves[at : at + (1 << level)] for at in range(size << level, len(leaves), 1 << level)]
    before = CompactRange().extend(leaves[: size << level])

    assert before.extend(map(merkle.hash_full, rows), level) == CompactRange().extend(leaves)


def test_a_subtree_does_not_follow_leaves_that_leave_no_room_for_it() -> None:
    with pytest.raises(StateError):
        CompactRange().extend([bytes(32)]).extend([bytes(32)], 1)
