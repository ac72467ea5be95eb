"""Index arithmetic on complete binary trees in an array.

Leaves stand at even positions, parents at odd ones: leaf L at node 2 * L. Trees
always have 2**d leaves and 2**(d+1) - 1 nodes. "node" means a node index here,
"leaf" a leaf index; `size` counts leaves.

Source: RFC 9420 Appendix C.
"""

from __future__ import annotations


def level(node: int) -> int:
    """Give the height of a node: 0 for leaves."""
    return (~node & (node + 1)).bit_length() - 1


def node_width(size: int) -> int:
    """Give how many nodes a tree with `size` leaves has."""
    return 2 * size - 1


def root(size: int) -> int:
    """Give the root's index in a tree with `size` leaves (a power of two)."""
    return size - 1


def left(node: int) -> int:
    """Give the left child of a parent node."""
    return node ^ (1 << (level(node) - 1))


def right(node: int) -> int:
    """Give the right child of a parent node."""
    return node ^ (3 << (level(node) - 1))


def parent(node: int) -> int:
    """Give the node above; the caller makes sure that `node` is not the root."""
    k = level(node)
    return (node | (1 << k)) & ~(2 << k)


def sibling(node: int) -> int:
    """Give the other child of the node's parent; `node` is not the root."""
    above = parent(node)
    return right(above) if node < above else left(above)


def direct_path(node: int, size: int) -> list[int]:
    """List the nodes above `node`, from its parent to the root."""
    top = root(size)
    path = []
    while node != top:
        node = parent(node)
        path.append(node)
    return path


def copath(node: int, size: int) -> list[int]:
    """List the siblings of `node` and of its direct path, lowest first, without the root's."""
    top = root(size)
    path = []
    while node != top:
        path.append(sibling(node))
        node = parent(node)
    return path


def is_under(node: int, ancestor: int) -> bool:
    """Tell whether `node` is `ancestor` or below it."""
    return abs(node - ancestor) < 1 << level(ancestor)


def common_ancestor(a: int, b: int) -> int:
    """Give the lowest node that has both nodes at or below it."""
    while not is_under(b, a):
        a = parent(a)
    return a


def leaf_range(node: int) -> range:
    """Give the leaf indices at or below a node."""
    half = 1 << level(node)
    first = (node - half + 1) // 2
    return range(first, first + half)


def size_for(leaf: int) -> int:
    """Give the least power of two of leaves that has room for leaf index `leaf`."""
    return 1 << leaf.bit_length()
