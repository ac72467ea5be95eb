"""TreeKEM: making and opening the path of a commit.

Members only. `private` maps node indices to HPKE private keys: the own leaf's
and those of the nodes above it that this member knows.

Source: RFC 9420 §7.4, §7.5, §7.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from liaison.crypto.errors import CryptoError
from liaison.crypto.suites import CipherSuite
from liaison.mls import tree_math
from liaison.mls.errors import InvalidCommitError
from liaison.mls.leaf import ParentNode
from liaison.mls.messages import HPKECiphertext, UpdatePath, UpdatePathNode
from liaison.mls.tree import PathStep, RatchetTree
from liaison.values import dataclass

LABEL = b"UpdatePathNode"


@dataclass(frozen=True, slots=True)
class PathKeys:
    """Fresh keys for a filtered direct path.

    Args:
        secrets: the path secret of each node, lowest first.
        private: the HPKE private key of each node, by node index.
        public: the HPKE public keys, in the order of `secrets`.
        commit_secret: one step beyond the last path secret.
    """

    secrets: tuple[bytes, ...] = field(repr=False)
    private: Mapping[int, bytes] = field(repr=False)
    public: tuple[bytes, ...]
    commit_secret: bytes = field(repr=False)


def ratchet_up(suite: CipherSuite, path_secret: bytes, nodes: Sequence[int]) -> PathKeys:
    """Derive the keys of consecutive nodes of a path from the lowest one's path secret.

    Source: RFC 9420 §7.4.
    """
    secrets, public, private = [], [], {}
    for node in nodes:
        secrets.append(path_secret)
        pair = suite.derive_key_pair(suite.derive_secret(path_secret, b"node"))
        private[node] = pair.private
        public.append(pair.public)
        path_secret = suite.derive_secret(path_secret, b"path")
    return PathKeys(tuple(secrets), private, tuple(public), path_secret)


def fresh_path(
    suite: CipherSuite, steps: Sequence[PathStep], rng: Callable[[int], bytes]
) -> PathKeys:
    """Make fresh keys for a filtered direct path."""
    return ratchet_up(suite, rng(suite.nh), [step.node for step in steps])


def encrypt_path(
    tree: RatchetTree,
    steps: Sequence[PathStep],
    keys: PathKeys,
    context: bytes,
    excluded: frozenset[int],
) -> tuple[UpdatePathNode, ...]:
    """Encrypt each path secret to everyone below the other child.

    Args:
        tree: the new one, with the path merged: resolutions are the copath's, unchanged.
        context: the provisional group context, encoded.
        excluded: nodes of the leaves that the same commit adds.

    Source: RFC 9420 §7.6.
    """
    nodes = []
    for step, secret, public in zip(steps, keys.secrets, keys.public, strict=True):
        ciphertexts = []
        for index in step.resolution:
            node = tree.node(index)
            if index in excluded or node is None:
                continue
            sealed = tree.suite.encrypt_with_label(node.encryption_key, LABEL, context, secret)
            ciphertexts.append(HPKECiphertext(*sealed))
        nodes.append(UpdatePathNode(public, tuple(ciphertexts)))
    return tuple(nodes)


def open_path(
    tree: RatchetTree,
    steps: Sequence[PathStep],
    path: UpdatePath,
    own_leaf: int,
    private: Mapping[int, bytes],
    context: bytes,
    excluded: frozenset[int],
) -> PathKeys:
    """Decrypt the path secret that is for this member, and derive the keys above it.

    Args:
        tree: the new one, with the path merged.
        steps: the committer's filtered direct path.
        private: as before the commit, without keys of nodes that its proposals blanked.
        context: the provisional group context, encoded.
        excluded: nodes of the leaves that the same commit adds.

    Raises:
        InvalidCommitError: nothing in it is for this member, it can't be decrypted
            (VAL-0712), or leads to other keys than the path's (VAL-0713).

    Source: RFC 9420 §7.5, §7.6.
    """
    start = _first_common(steps, own_leaf)
    step = steps[start]
    recipients = [index for index in step.resolution if index not in excluded]
    for place, index in enumerate(recipients):
        if index in private:
            sealed = path.nodes[start].secrets[place]
            break
    else:
        raise InvalidCommitError("no path secret is for this member", check="VAL-0712")
    try:
        secret = tree.suite.decrypt_with_label(
            private[index], LABEL, context, sealed.kem_output, sealed.ciphertext
        )
    except CryptoError as error:
        raise InvalidCommitError("the path secret can't be decrypted", check="VAL-0712") from error
    if len(secret) != tree.suite.nh:
        raise InvalidCommitError("the path secret is of another length", check="VAL-0712")
    keys = ratchet_up(tree.suite, secret, [above.node for above in steps[start:]])
    if keys.public != tuple(node.encryption_key for node in path.nodes[start:]):
        raise InvalidCommitError(
            "the path secret leads to other keys than the path's", check="VAL-0713"
        )
    return keys


def _first_common(steps: Sequence[PathStep], own_leaf: int) -> int:
    for place, step in enumerate(steps):
        if is_above(step, own_leaf):
            return place
    raise InvalidCommitError("no path secret is for this member", check="VAL-0712")


def is_above(step: PathStep, leaf: int) -> bool:
    """Tell whether a node of a path is above a leaf."""
    return tree_math.is_under(2 * leaf, step.node)


def open_welcome_path(
    tree: RatchetTree, signer: int, own_leaf: int, path_secret: bytes
) -> Mapping[int, bytes]:
    """Derive the private keys that a new member shares with the committer.

    Raises:
        InvalidCommitError: the secret does not lead to the tree's keys (VAL-0806).

    Source: RFC 9420 §12.4.3.1.
    """
    ancestor = tree_math.common_ancestor(2 * own_leaf, 2 * signer)
    above = [ancestor, *tree_math.direct_path(ancestor, tree.size)]
    # The committer's path was filtered: blank nodes above are not on it.
    on_path = [index for index in above if tree.node(index) is not None]
    keys = ratchet_up(tree.suite, path_secret, on_path)
    expected = [tree.node(index) for index in on_path]
    if (
        not on_path
        or on_path[0] != ancestor
        or any(
            not isinstance(node, ParentNode) or node.encryption_key != public
            for node, public in zip(expected, keys.public, strict=True)
        )
    ):
        raise InvalidCommitError(
            "the Welcome's path secret leads to other keys than the tree's", check="VAL-0806"
        )
    return keys.private


def prune(tree: RatchetTree, own_leaf: int, private: Mapping[int, bytes]) -> dict[int, bytes]:
    """Drop the private keys of nodes that are blank now or no longer above the own leaf."""
    above = {2 * own_leaf, *tree_math.direct_path(2 * own_leaf, tree.size)}
    return {
        index: key
        for index, key in private.items()
        if index in above and tree.node(index) is not None
    }
