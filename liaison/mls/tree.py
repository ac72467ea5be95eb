"""The public ratchet tree: nodes, hashes, and the ways it changes.

A tree is copied, changed, and from then on only read; copying costs two list
copies, since nodes are immutable and tree hashes are cached per node. "node" is
an index into the array, "leaf" a leaf index (node 2 * leaf).

A decoded tree is data of a stranger until `liaison.mls.validation.tree` has
seen it; only `resolution` and the hashes may be asked for before.

Source: RFC 9420 §4, §7.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final, Self

from liaison import codec
from liaison.codec import MalformedMessageError, Reader
from liaison.crypto.suites import CipherSuite
from liaison.mls import tree_math
from liaison.mls.errors import InvalidTreeError, NotAMemberError
from liaison.mls.leaf import MAX_LEAF, LeafNode, Node, ParentNode
from liaison.values import dataclass

_LEAF: Final = 1
_PARENT: Final = 2


@dataclass(frozen=True, slots=True)
class PathStep:
    """One node of a filtered direct path, and whom its path secret is for.

    Args:
        node: the parent node.
        copath: its child that is not on the path.
        resolution: the resolution of that child, never empty.
    """

    node: int
    copath: int
    resolution: tuple[int, ...]


class RatchetTree:
    """A ratchet tree with 2**d leaves, some of them blank."""

    __slots__ = ("_hashes", "_nodes", "suite")

    def __init__(
        self,
        suite: CipherSuite,
        nodes: Sequence[Node | None],
        hashes: Sequence[bytes | None] = (),
    ) -> None:
        self.suite = suite
        self._nodes = list(nodes)
        self._hashes = list(hashes) or [None] * len(self._nodes)

    @classmethod
    def of_one(cls, suite: CipherSuite, leaf: LeafNode) -> Self:
        """Make the tree of a group with one member."""
        return cls(suite, [leaf])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RatchetTree)
            and self.suite is other.suite
            and self._nodes == other._nodes
        )

    __hash__ = None  # type: ignore[assignment]  # it can be changed, so it is no key

    def copy(self) -> Self:
        """Give a tree that can be changed without changing this one."""
        return type(self)(self.suite, self._nodes, self._hashes)

    # --- reading --------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many leaves there is room for: a power of two."""
        return (len(self._nodes) + 1) // 2

    @property
    def width(self) -> int:
        """How many nodes there are, blanks included."""
        return len(self._nodes)

    def node(self, index: int) -> Node | None:
        """Give the node at an index, None where it is blank."""
        return self._nodes[index]

    def leaf(self, leaf: int) -> LeafNode | None:
        """Give a leaf node; None where it is blank or beyond the tree."""
        if not 0 <= leaf < self.size:
            return None
        node = self._nodes[2 * leaf]
        return node if isinstance(node, LeafNode) else None

    def member(self, leaf: int) -> LeafNode:
        """Give a leaf node that must be there.

        Raises:
            NotAMemberError: the leaf is blank or beyond the tree.
        """
        node = self.leaf(leaf)
        if node is None:
            raise NotAMemberError(f"there is no member at leaf {leaf}")
        return node

    def leaves(self) -> Iterator[tuple[int, LeafNode]]:
        """Iterate over the members, from left to right."""
        for leaf, node in enumerate(self._nodes[::2]):
            if isinstance(node, LeafNode):
                yield leaf, node

    def parents(self) -> Iterator[tuple[int, ParentNode]]:
        """Iterate over the parent nodes that are not blank."""
        for index, node in enumerate(self._nodes):
            if isinstance(node, ParentNode):
                yield index, node

    def encryption_keys(self) -> set[bytes]:
        """Collect the HPKE keys of all nodes."""
        return {node.encryption_key for node in self._nodes if node is not None}

    def resolution(self, index: int) -> list[int]:
        """List the nodes that together reach everyone under a node.

        Source: RFC 9420 §4.1.1.
        """
        node = self._nodes[index]
        if isinstance(node, ParentNode):
            return [index, *(2 * leaf for leaf in node.unmerged_leaves)]
        if node is not None:
            return [index]
        if index % 2 == 0:
            return []
        return self.resolution(tree_math.left(index)) + self.resolution(tree_math.right(index))

    def filtered_path(self, leaf: int) -> list[PathStep]:
        """List a leaf's filtered direct path, lowest node first.

        Nodes whose other side is empty are left out: their key would equal the one below.

        Source: RFC 9420 §4.1.2.
        """
        steps = []
        below = 2 * leaf
        for node in tree_math.direct_path(below, self.size):
            copath = tree_math.right(node) if below < node else tree_math.left(node)
            resolution = self.resolution(copath)
            if resolution:
                steps.append(PathStep(node, copath, tuple(resolution)))
            below = node
        return steps

    # --- hashes ---------------------------------------------------------------------------

    def root_hash(self) -> bytes:
        """Give the tree hash of the whole tree.

        Source: RFC 9420 §7.8.
        """
        return self.tree_hash(tree_math.root(self.size))

    def tree_hash(self, index: int) -> bytes:
        """Give the tree hash of a subtree; computed once per state of that subtree."""
        cached = self._hashes[index]
        if cached is None:
            cached = self._hashes[index] = self._compute_hash(index, frozenset())
        return cached

    def _hash_without(self, index: int, excluded: frozenset[int]) -> bytes:
        if excluded.isdisjoint(tree_math.leaf_range(index)):
            return self.tree_hash(index)
        return self._compute_hash(index, excluded)

    def _compute_hash(self, index: int, excluded: frozenset[int]) -> bytes:
        node = self._nodes[index]
        if index % 2 == 0:
            leaf = index // 2
            present = None if leaf in excluded else node
            return self.suite.hash(
                codec.uint8(_LEAF) + codec.uint32(leaf) + codec.optional(present)
            )
        if excluded and isinstance(node, ParentNode):
            kept = tuple(leaf for leaf in node.unmerged_leaves if leaf not in excluded)
            node = replace(node, unmerged_leaves=kept)
        return self.suite.hash(
            codec.uint8(_PARENT)
            + codec.optional(node)
            + codec.opaque(self._hash_without(tree_math.left(index), excluded))
            + codec.opaque(self._hash_without(tree_math.right(index), excluded))
        )

    def parent_hash(self, parent: ParentNode, copath: int) -> bytes:
        """Give the parent hash of a parent node towards the child opposite of `copath`.

        The sibling's tree hash is the original one: as it was when the parent's key was
        set, before its unmerged leaves came.

        Source: RFC 9420 §7.9.
        """
        original = self._hash_without(copath, frozenset(parent.unmerged_leaves))
        return self.suite.hash(
            codec.opaque(parent.encryption_key)
            + codec.opaque(parent.parent_hash)
            + codec.opaque(original)
        )

    # --- changing: only on a copy -----------------------------------------------------------

    def _set(self, index: int, node: Node | None) -> None:
        self._nodes[index] = node
        self._hashes[index] = None

    def _forget_hashes_above(self, leaf: int) -> None:
        self._hashes[2 * leaf] = None
        for index in tree_math.direct_path(2 * leaf, self.size):
            self._hashes[index] = None

    def free_leaf(self) -> int:
        """Give the leftmost blank leaf, or the first beyond the tree."""
        for leaf, node in enumerate(self._nodes[::2]):
            if node is None:
                return leaf
        return self.size

    def extend_to(self, leaf: int) -> None:
        """Double the tree until it has room for a leaf.

        Raises:
            InvalidTreeError: the tree would be larger than this engine works with.
        """
        if leaf > MAX_LEAF:
            raise InvalidTreeError("the ratchet tree is too large")
        while self.size <= leaf:
            blank = [None] * (self.width + 1)
            self._nodes.extend(blank)
            self._hashes.extend(blank)

    def add(self, leaf_node: LeafNode) -> int:
        """Put a new member on the leftmost blank leaf and give the leaf's index.

        Source: RFC 9420 §12.1.1.
        """
        leaf = self.free_leaf()
        self.extend_to(leaf)
        for index in tree_math.direct_path(2 * leaf, self.size):
            parent = self._nodes[index]
            if isinstance(parent, ParentNode):
                unmerged = tuple(sorted((*parent.unmerged_leaves, leaf)))
                self._nodes[index] = replace(parent, unmerged_leaves=unmerged)
        self._nodes[2 * leaf] = leaf_node
        self._forget_hashes_above(leaf)
        return leaf

    def set_leaf(self, leaf: int, leaf_node: LeafNode | None) -> None:
        """Replace one leaf and nothing else."""
        self._nodes[2 * leaf] = leaf_node
        self._forget_hashes_above(leaf)

    def blank_path(self, leaf: int) -> None:
        """Blank all nodes above a leaf."""
        for index in tree_math.direct_path(2 * leaf, self.size):
            self._set(index, None)

    def update(self, leaf: int, leaf_node: LeafNode) -> None:
        """Apply an Update: replace the leaf, blank the path above it.

        Source: RFC 9420 §12.1.2.
        """
        self.set_leaf(leaf, leaf_node)
        self.blank_path(leaf)

    def remove(self, leaf: int) -> None:
        """Apply a Remove: blank the leaf and its path, cut off an empty right half.

        Source: RFC 9420 §12.1.3.
        """
        self.set_leaf(leaf, None)
        self.blank_path(leaf)
        self.truncate()

    def truncate(self) -> None:
        """Halve the tree while its right half has no member."""
        while self.size > 1 and not any(self._nodes[self.size :: 2]):
            keep = self.size - 1
            del self._nodes[keep:]
            del self._hashes[keep:]

    def set_path(self, leaf: int, steps: Sequence[PathStep], keys: Sequence[bytes]) -> bytes:
        """Put new keys on a filtered direct path, computing the parent hashes.

        Args:
            leaf: the committer's.
            steps: from `filtered_path` of this tree in its present state.
            keys: one HPKE public key for each step.

        Returns:
            The parent hash that the committer's new leaf must carry.

        Source: RFC 9420 §7.5, §7.9.
        """
        self._forget_hashes_above(leaf)
        self.blank_path(leaf)
        above = b""
        # From the root down, so that each hash covers all keys above it.
        for step, key in zip(reversed(steps), reversed(keys), strict=True):
            parent = ParentNode(key, above)
            self._set(step.node, parent)
            above = self.parent_hash(parent, step.copath)
        return above

    # --- bytes ------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Encode as `optional<Node> ratchet_tree<V>`, without blanks at the end.

        Source: RFC 9420 §12.4.3.3.
        """
        nodes = self._nodes
        last = max((index for index, node in enumerate(nodes) if node is not None), default=-1)
        return codec.vector_of(_encode_node, nodes[: last + 1])

    @classmethod
    def decode(cls, suite: CipherSuite, data: bytes) -> Self:
        """Decode a `ratchet_tree<V>`; nothing about the nodes is verified yet.

        Raises:
            MalformedMessageError: another form, a blank last node, a leaf where a parent
                belongs, or more nodes than this engine works with.
        """
        nodes = codec.decode(_read_nodes, data)
        if not nodes or nodes[-1] is None:
            raise MalformedMessageError("the ratchet tree is empty or ends with a blank node")
        for index, node in enumerate(nodes):
            if node is not None and isinstance(node, LeafNode) != (index % 2 == 0):
                raise MalformedMessageError(f"node {index} is of the wrong kind for its place")
        width = tree_math.node_width(tree_math.size_for(len(nodes) // 2))
        nodes.extend([None] * (width - len(nodes)))
        return cls(suite, nodes)


def _read_nodes(reader: Reader) -> list[Node | None]:
    inner = reader.nested()
    nodes: list[Node | None] = []
    while inner.remaining:
        if len(nodes) > 2 * MAX_LEAF:
            raise MalformedMessageError("the ratchet tree is too large")
        nodes.append(inner.optional(_read_node))
    return nodes


def _read_node(reader: Reader) -> Node:
    kind = reader.uint8()
    if kind == _LEAF:
        return LeafNode.read(reader)
    if kind == _PARENT:
        return ParentNode.read(reader)
    raise MalformedMessageError(f"node type {kind} is not known")


def _encode_node(node: Node | None) -> bytes:
    if node is None:
        return b"\x00"
    kind = _LEAF if isinstance(node, LeafNode) else _PARENT
    return b"\x01" + codec.uint8(kind) + node.encode()


def unique(items: Collection[bytes]) -> bool:
    """Tell whether no item stands twice."""
    return len(set(items)) == len(items)
