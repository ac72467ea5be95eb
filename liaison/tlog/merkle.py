"""Merkle tree hashing, proofs, and their verification.

The tree is RFC 6962's, so any Certificate Transparency tool can check our log. Hashes are SHA-256,
32 bytes; positions and sizes count leaves from zero. A node is named by its level (0 for leaves)
and its index within the level; only nodes with a full set of leaves below them are ever named, and
a proof's maker asks for them through a callback. Nothing here knows what a leaf means:
`liaison.tlog.entries` does.

Half-open ranges of leaves that are a node of some tree of the log are called subtrees, as in
draft-ietf-plants-merkle-tree-certs §4; a tree of its first `n` leaves is the subtree [0, n).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from liaison.tlog.errors import ProofError, StateError
from liaison.values import dataclass

HASH_BYTES: Final = 32
MAX_SIZE: Final = 2**63 - 1
"""Leaves of a log; every reader of the field's formats keeps this number exact."""
MAX_PROOF: Final = 64
"""Hashes in a proof about any tree."""

EMPTY_ROOT: Final = hashlib.sha256().digest()
"""The root of the tree without leaves. Source: RFC 6962 §2.1."""

_sha256 = hashlib.sha256


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose subtree is full: the leaves [index << level, (index + 1) << level)."""

    level: int
    index: int


ReadNode = Callable[[Node], bytes]
"""Gives the hash of a node; may raise what its source raises."""


def hash_leaf(data: bytes) -> bytes:
    """Hash an entry to its leaf. Source: RFC 6962 §2.1."""
    return _sha256(b"\x00" + data).digest()


def hash_leaves(entries: Iterable[bytes]) -> list[bytes]:
    """Hash many entries."""
    new = _sha256
    return [new(b"\x00" + data).digest() for data in entries]


def hash_children(left: bytes, right: bytes) -> bytes:
    """Hash two nodes to their parent. Source: RFC 6962 §2.1."""
    return _sha256(b"\x01" + left + right).digest()


def hash_full(hashes: Sequence[bytes]) -> bytes:
    """Hash a row of nodes to the one above them all.

    Args:
        hashes: 1, 2, 4, 8, ... of them.
    """
    new = _sha256
    row = list(hashes)
    while len(row) > 1:
        pairs = iter(row)
        row = [new(b"\x01" + a + b).digest() for a, b in zip(pairs, pairs, strict=True)]
    return row[0]


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The least that has to be kept of a tree to append to it and to know its root.

    Args:
        size: number of leaves.
        hashes: of the full subtrees that the tree falls into, the largest first: one for each
            bit of `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Check that the hashes can belong to a tree of that size.

        Raises:
            StateError: too many or too few, or of another length.
        """
        if not 0 <= self.size <= MAX_SIZE or len(self.hashes) != self.size.bit_count():
            raise StateError(f"a tree of {self.size} leaves has another number of subtrees")
        if any(len(each) != HASH_BYTES for each in self.hashes):
            raise StateError("a hash has 32 bytes")

    def extend(self, hashes: Iterable[bytes], level: int = 0) -> CompactRange:
        """Append leaves, or full subtrees of leaves.

        Args:
            hashes: of what is appended, in order.
            level: 0 for leaves; each hash is of 2**level leaves, and the tree has a multiple of
                that number.

        Raises:
            StateError: the tree has another number of leaves.
        """
        new, size, stack = _sha256, self.size >> level, list(self.hashes)
        if size << level != self.size:
            raise StateError(f"no subtree of level {level} can follow {self.size} leaves")
        for leaf in hashes:
            node, bits = leaf, size
            while bits & 1:
                node = new(b"\x01" + stack.pop() + node).digest()
                bits >>= 1
            stack.append(node)
            size += 1
        return CompactRange(size << level, tuple(stack))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return _fold(self.hashes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Compute the root over leaf hashes, in one pass and little memory."""
    return CompactRange().extend(leaf_hashes).root


# --- making proofs --------------------------------------------------------------------------------


def read_root(begin: int, end: int, read: ReadNode) -> bytes:
    """Compute the hash of the subtree [begin, end) from its full nodes.

    Args:
        begin: a multiple of the least power of two that is not below the subtree's length.
        end: one past the last leaf.
        read: gives the hashes.
    """
    return _fold([read(node) for node in full_nodes(begin, end)])


def full_nodes(begin: int, end: int) -> Iterator[Node]:
    """Give the fewest full nodes that make up the subtree [begin, end), the largest first."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield Node(level, begin >> level)
        begin += 1 << level


def prove_inclusion(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Make the proof that a leaf stands at `index` in the tree of `size` leaves.

    Raises:
        ValueError: there is no such leaf.

    Source: RFC 6962 §2.1.1.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    return prove_subtree(index, index + 1, size, read)


def prove_consistency(old: int, new: int, read: ReadNode) -> list[bytes]:
    """Make the proof that the tree of `old` leaves is the beginning of the tree of `new`.

    Raises:
        ValueError: `old` is zero, for which there is no proof, or larger than `new`.

    Source: RFC 6962 §2.1.2.
    """
    return prove_subtree(0, old, new, read)


def prove_subtree(begin: int, end: int, size: int, read: ReadNode) -> list[bytes]:
    """Make the proof that the subtree [begin, end) stands in the tree of `size` leaves.

    Raises:
        ValueError: it is not a subtree of that tree, or it is empty.

    Source: draft-ietf-plants-merkle-tree-certs §4.4.1.
    """
    if begin == end or end > size or not is_subtree(begin, end):
        raise ValueError(f"[{begin}, {end}) is not a subtree of a tree of {size} leaves")
    low, high, siblings = 0, size, []
    # A node to the right of a whole one begins within the subtree: its hash is not known yet.
    known = True
    while (low, high) != (begin, end):
        middle = low + _split(high - low)
        if end <= middle:
            siblings.append((middle, high))
            high = middle
        else:
            siblings.append((low, middle))
            known = known and begin >= middle
            low = middle
            begin = max(begin, middle)
    if not known:
        siblings.append((low, high))
    return [read_root(first, last, read) for first, last in reversed(siblings)]


# --- verifying proofs -----------------------------------------------------------------------------


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf stands at `index` in the tree that `root` commits to.

    Args:
        leaf_hash: 32 bytes, from `hash_leaf`.
        index: the leaf's position, 0 <= index < size.
        size: number of leaves under `root`.
        proof: sibling hashes from the leaf upwards, 32 bytes each.
        root: 32 bytes, from a checkpoint whose signatures the caller checked.

    Raises:
        ProofError: the proof is of the wrong length or leads to another root.

    Source: RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    _check_hashes((leaf_hash, *proof))
    own, last, node = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        if own & 1 or own == last:
            node = hash_children(sibling, node)
            # A last node without a sibling is its own parent.
            while own and not own & 1:
                own, last = own >> 1, last >> 1
        else:
            node = hash_children(node, sibling)
        own, last = own >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")
    if node != root:
        raise ProofError("the proof leads to another root")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that a tree only grew.

    Args:
        old_size: leaves under `old_root`, at least 1: the empty tree is the beginning of every
            other and proves nothing.
        new_size: leaves under `new_root`, at least `old_size`.
        proof: of 32 bytes each; empty where both sizes are one.
        old_root: from a checkpoint whose signatures the caller checked.
        new_root: likewise.

    Raises:
        ProofError: the proof is of the wrong length or leads to another root.

    Source: RFC 9162 §2.1.4.2.
    """
    if old_size < 1:
        raise ProofError("nothing can be proved from an empty tree")
    verify_subtree(0, old_size, new_size, proof, old_root, new_root)


def verify_subtree_inclusion(
    leaf_hash: bytes, index: int, begin: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf stands at `index` of the log, within the subtree [begin, end).

    Raises:
        ProofError: not a subtree, or the proof does not lead to its hash.

    Source: draft-ietf-plants-merkle-tree-certs §4.3.
    """
    if not is_subtree(begin, end) or not begin <= index < end:
        raise ProofError(f"leaf {index} is not in a subtree [{begin}, {end})")
    verify_inclusion(leaf_hash, index - begin, end - begin, proof, root)


def verify_subtree(
    begin: int, end: int, size: int, proof: Sequence[bytes], subtree: bytes, root: bytes
) -> None:
    """Check that the subtree [begin, end) stands in the tree that `root` commits to.

    An empty subtree stands in every tree: its hash is `EMPTY_ROOT` and its proof is empty.

    Raises:
        ProofError: not a subtree of such a tree, or the proof leads to other hashes.

    Source: draft-ietf-plants-merkle-tree-certs §4.4.3.
    """
    if end > size or not is_subtree(begin, end):
        raise ProofError(f"[{begin}, {end}) is not a subtree of a tree of {size} leaves")
    _check_hashes(proof)
    if begin == end:
        if proof or subtree != EMPTY_ROOT:
            raise ProofError("the proof of an empty subtree is empty")
        return
    node, last, top = begin, end - 1, size - 1
    # Up to the highest node that ends where the subtree ends; a subtree at the tree's right edge
    # is one itself.
    while node != last and (last == top or last & 1):
        node, last, top = node >> 1, last >> 1, top >> 1
    rest = iter(proof)
    seed = subtree if node == last else next(rest, b"")
    inner = outer = seed
    for sibling in rest:
        if top == 0:
            raise ProofError("the proof is too long")
        if last & 1 or last == top:
            if node < last:
                inner = hash_children(sibling, inner)
            outer = hash_children(sibling, outer)
            while not last & 1:
                node, last, top = node >> 1, last >> 1, top >> 1
        else:
            outer = hash_children(outer, sibling)
        node, last, top = node >> 1, last >> 1, top >> 1
    if top:
        raise ProofError("the proof is too short")
    if inner != subtree or outer != root:
        raise ProofError("the proof leads to other hashes")


def is_subtree(begin: int, end: int) -> bool:
    """Whether [begin, end) can be a node of a tree.

    Source: draft-ietf-plants-merkle-tree-certs §4.1.
    """
    if not 0 <= begin <= end:
        return False
    ceiling = 1 << max(end - begin - 1, 0).bit_length()
    return begin % ceiling == 0


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF + 1:
        raise ProofError("the proof is too long")
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError("a hash in the proof has another length than 32 bytes")


def _split(count: int) -> int:
    """Give the largest power of two below a count of at least two."""
    return 1 << (count - 1).bit_length() - 1


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = hash_children(left, node)
    return node
