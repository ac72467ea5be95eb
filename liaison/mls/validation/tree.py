"""Checks of a whole ratchet tree.

Source: RFC 9420 §7.3, §7.9.2, §12.4.3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from liaison.crypto.errors import KeyFormatError
from liaison.mls import tree_math
from liaison.mls.errors import InvalidLeafNodeError, InvalidTreeError
from liaison.mls.extensions import Extension
from liaison.mls.leaf import LeafNode, ParentNode
from liaison.mls.tree import RatchetTree
from liaison.mls.validation import leaf as leaves
from liaison.mls.validation.judge import Judge


def check_tree_hash(tree: RatchetTree, expected: bytes) -> None:
    """The tree is the one that was committed to. Source: RFC 9420 §12.4.3.1. Check: VAL-0401."""
    if tree.root_hash() != expected:
        raise InvalidTreeError("the ratchet tree is not the group's", check="VAL-0401")


def check_parent_hashes(tree: RatchetTree) -> None:
    """Every parent was set by a member below it. Source: RFC 9420 §7.9.2. Check: VAL-0402."""
    for index, parent in tree.parents():
        left, right = tree_math.left(index), tree_math.right(index)
        links = _links(tree, parent, left, right) + _links(tree, parent, right, left)
        if links != 1:
            raise InvalidTreeError(f"node {index} is not parent-hash valid", check="VAL-0402")


def _links(tree: RatchetTree, parent: ParentNode, child: int, sibling: int) -> int:
    """Count the nodes under `child` that were set together with `parent`."""
    resolution = set(tree.resolution(child))
    under = {2 * leaf for leaf in parent.unmerged_leaves if tree_math.is_under(2 * leaf, child)}
    # All of the resolution but one node must be unmerged at the parent.
    if not under <= resolution or len(resolution) != len(under) + 1:
        return 0
    (candidate,) = resolution - under
    node = tree.node(candidate)
    expected = tree.parent_hash(parent, sibling)
    return int(node is not None and node.parent_hash == expected)


def check_unmerged_leaves(tree: RatchetTree) -> None:
    """Unmerged leaves are members below, rising, and known on the way. Source: RFC 9420 §12.4.3.1.

    Check: VAL-0403.
    """
    for index, parent in tree.parents():
        below = tree_math.leaf_range(index)
        former = -1
        for leaf in parent.unmerged_leaves:
            if leaf <= former or leaf not in below or tree.leaf(leaf) is None:
                raise InvalidTreeError(
                    f"node {index} names an unmerged leaf that it can't have", check="VAL-0403"
                )
            former = leaf


def check_unmerged_on_the_way(tree: RatchetTree) -> None:
    """Nodes in between name it too. Source: RFC 9420 §12.4.3.1. Check: VAL-0404."""
    # As sets: a stranger's tree may name thousands at each node.
    unmerged = {index: frozenset(parent.unmerged_leaves) for index, parent in tree.parents()}
    for index, named in unmerged.items():
        for leaf in named:
            between = 2 * leaf
            while (between := tree_math.parent(between)) != index:
                if between in unmerged and leaf not in unmerged[between]:
                    raise InvalidTreeError(
                        f"leaf {leaf} is unmerged at node {index} but not at {between}",
                        check="VAL-0404",
                    )


def check_unique_encryption_keys(tree: RatchetTree) -> None:
    """No HPKE key stands twice. Source: RFC 9420 §7.3, §12.4.3.1. Check: VAL-0211."""
    seen = set()
    for index in range(tree.width):
        node = tree.node(index)
        if node is None:
            continue
        if node.encryption_key in seen:
            raise InvalidTreeError("an encryption key stands twice in the tree", check="VAL-0211")
        seen.add(node.encryption_key)


def check_unique_signature_keys(tree: RatchetTree) -> None:
    """No two members have one signature key. Source: RFC 9420 §7.3. Check: VAL-0210."""
    keys = [node.signature_key for _, node in tree.leaves()]
    if len(set(keys)) != len(keys):
        raise InvalidTreeError("a signature key stands twice in the tree", check="VAL-0210")


def check_unique_identities(identities: Mapping[int, bytes]) -> None:
    """No client is in a group twice. Source: RFC 9420 §12.2. Check: VAL-0216."""
    if len(set(identities.values())) != len(identities):
        raise InvalidTreeError("one client stands twice in the tree", check="VAL-0216")


def check_credential_types(members: Iterable[LeafNode]) -> None:
    """Every member supports every credential type in use. Source: RFC 9420 §7.3. Check: VAL-0204."""
    nodes = list(members)
    in_use = {node.credential.type for node in nodes}
    if not all(in_use.issubset(node.capabilities.credentials) for node in nodes):
        raise InvalidLeafNodeError(
            "a member does not support a credential type in use in the group", check="VAL-0204"
        )


def check_parent_keys(tree: RatchetTree) -> None:
    """The parents' keys are keys of the suite. Source: RFC 9420 §5.1.1. Check: VAL-0405."""
    for index, parent in tree.parents():
        try:
            tree.suite.validate_hpke_public(parent.encryption_key)
        except KeyFormatError as error:
            raise InvalidTreeError(
                f"the key of node {index} is not a key of the cipher suite", check="VAL-0405"
            ) from error


def check_members_together(tree: RatchetTree, identities: Mapping[int, bytes]) -> None:
    """Check what the members of a tree must be to each other.

    Raises:
        InvalidTreeError, InvalidLeafNodeError: a check failed; `check` says which.

    Source: RFC 9420 §7.3.
    """
    check_unique_encryption_keys(tree)
    check_unique_signature_keys(tree)
    check_unique_identities(identities)
    check_credential_types(node for _, node in tree.leaves())


def check_tree(
    tree: RatchetTree, group_id: bytes, extensions: Iterable[Extension], judge: Judge
) -> dict[int, bytes]:
    """Check a tree that a joiner was given, and give the identity at each leaf.

    The caller has compared the tree hash (`check_tree_hash`).

    Raises:
        InvalidTreeError, InvalidLeafNodeError: a check failed; `check` says which.
        SignatureInvalidError, CredentialInvalidError: of one of the leaves.

    Source: RFC 9420 §12.4.3.1.
    """
    check_unmerged_leaves(tree)
    check_unmerged_on_the_way(tree)
    check_parent_keys(tree)
    check_parent_hashes(tree)
    extensions = tuple(extensions)
    identities = {
        leaf: leaves.check_leaf(node, tree.suite, extensions, judge, place=(group_id, leaf))
        for leaf, node in tree.leaves()
    }
    check_members_together(tree, identities)
    return identities
