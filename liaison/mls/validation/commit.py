"""Checks of a commit's path and of what stands around a commit.

Source: RFC 9420 §7.5, §7.6, §12.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from liaison.crypto.errors import KeyFormatError
from liaison.mls import proposals as kinds
from liaison.mls.effects import QueuedProposal
from liaison.mls.errors import InvalidCommitError
from liaison.mls.messages import UpdatePath
from liaison.mls.tree import PathStep, RatchetTree


def path_required(queued: Sequence[QueuedProposal]) -> bool:
    """Tell whether a commit of these proposals must have a path. Source: RFC 9420 §12.4."""
    return not queued or any(q.proposal.type in kinds.PATH_REQUIRED_TYPES for q in queued)


def check_path_present(queued: Sequence[QueuedProposal], path: UpdatePath | None) -> None:
    """A commit that needs a path has one. Source: RFC 9420 §12.4, §12.4.2. Check: VAL-0701."""
    if path is None and path_required(queued):
        raise InvalidCommitError("the commit has no path but needs one", check="VAL-0701")


def check_path_keys_fresh(tree: RatchetTree, path: UpdatePath) -> None:
    """The path's keys are new to the tree. Source: RFC 9420 §12.4.2. Check: VAL-0704.

    Args:
        tree: with the proposals applied, the path not yet merged.
    """
    keys = [path.leaf_node.encryption_key, *(node.encryption_key for node in path.nodes)]
    if len(set(keys)) != len(keys) or not tree.encryption_keys().isdisjoint(keys):
        raise InvalidCommitError(
            "a key of the path stands in the tree already, or twice in the path", check="VAL-0704"
        )


def check_path_keys(tree: RatchetTree, path: UpdatePath) -> None:
    """The path's keys are keys of the suite. Source: RFC 9420 §5.1.1. Check: VAL-0709."""
    for node in path.nodes:
        try:
            tree.suite.validate_hpke_public(node.encryption_key)
        except KeyFormatError as error:
            raise InvalidCommitError(
                "a key of the path is not a key of the cipher suite", check="VAL-0709"
            ) from error


def check_path_length(steps: Sequence[PathStep], path: UpdatePath) -> None:
    """The path covers the filtered direct path. Source: RFC 9420 §7.6. Check: VAL-0705."""
    if len(path.nodes) != len(steps):
        raise InvalidCommitError(
            "the path does not have the length of the committer's filtered direct path",
            check="VAL-0705",
        )


def check_ciphertext_counts(
    steps: Sequence[PathStep], path: UpdatePath, excluded: frozenset[int]
) -> None:
    """Each path secret goes to all who need it and to no others. Source: RFC 9420 §7.6.

    Args:
        excluded: the nodes of leaves that the same commit adds.

    Check: VAL-0706.
    """
    for step, node in zip(steps, path.nodes, strict=True):
        if len(node.secrets) != sum(index not in excluded for index in step.resolution):
            raise InvalidCommitError(
                "the path's ciphertexts do not match the tree", check="VAL-0706"
            )


def check_parent_hash(path: UpdatePath, expected: bytes) -> None:
    """The committer's leaf signs the path. Source: RFC 9420 §7.9.2. Check: VAL-0707."""
    if path.leaf_node.parent_hash != expected:
        raise InvalidCommitError(
            "the parent hash in the committer's leaf node is wrong", check="VAL-0707"
        )
