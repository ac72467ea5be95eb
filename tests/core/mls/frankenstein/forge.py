"""Members who make what the engine would refuse to make, with every secret right.

Inside `unchecked` the engine makes commits, proposals and key packages without
checking them. What it makes then is consistent: signatures, tags, path secrets
and confirmation tag all hold, so that nothing but the rule itself is broken and
nothing but its check can refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from liaison.mls import commit, evolution, framing, protection
from liaison.mls.framing import FramedContent, Sender, SenderKind
from liaison.mls.group import StagedCommit
from liaison.mls.leaf import LeafNode
from liaison.mls.messages import UpdatePath
from liaison.mls.proposals import Proposal
from liaison.mls.validation import commit as commit_checks
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation import proposals as proposal_checks
from liaison.mls.validation import tree as tree_checks
from tests.core.mls.support import Client

MODULES = (commit_checks, leaf_checks, proposal_checks, tree_checks)

# They put checks together and give an identity; what they call is what is switched off.
KEPT = frozenset({"check_leaf", "check_key_package", "check_tree"})


def _checks(module: ModuleType) -> Iterator[str]:
    for name, found in vars(module).items():
        own = callable(found) and getattr(found, "__module__", "") == module.__name__
        if own and name.startswith("check_") and name not in KEPT:
            yield name


@contextmanager
def unchecked(**replaced: Callable[..., Any]) -> Iterator[None]:
    """Let the engine make what it likes, until the end of the block.

    Args:
        replaced: functions of `liaison.mls.commit` that are others meanwhile.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            for name in _checks(module):
                patch.setattr(module, name, lambda *_, **__: None)
        patch.setattr(LeafNode, "verify_signature", lambda *_, **__: None)
        for name, function in replaced.items():
            patch.setattr(commit, name, function)
        yield


def forged_commit(client: Client, *proposals: Proposal, **options: Any) -> StagedCommit:
    """Make a commit that nobody checked, with a confirmation tag that holds."""
    with unchecked():
        return client.commit(*proposals, **options)


def commit_without_path(client: Client, *proposals: Proposal) -> StagedCommit:
    """Make a commit without the path that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit_checks, "path_required", lambda _: False)
        return client.commit(*proposals, path=False)


def commit_with_leaf(client: Client, change: Callable[[LeafNode], LeafNode]) -> StagedCommit:
    """Make a commit whose path has another leaf, signed by its client."""
    made = commit._next_leaf

    def next_leaf(*arguments: Any) -> LeafNode:
        return change(made(*arguments))

    with unchecked(_next_leaf=next_leaf):
        return client.commit()


def commit_with_path(client: Client, change: Callable[[UpdatePath], UpdatePath]) -> StagedCommit:
    """Make a commit whose path is another than the one that its secrets came from."""
    made = commit._make_path

    def make_path(*arguments: Any) -> Any:
        path, *rest = made(*arguments)
        return (change(path), *rest)

    with unchecked(_make_path=make_path):
        return client.commit()


def forged_external_commit(
    client: Client, info: bytes, tree: bytes, *proposals: Proposal, **options: Any
) -> StagedCommit:
    """Join by an external commit that covers more than it may."""
    apply = evolution.apply_proposals

    def with_more(*arguments: Any) -> Any:
        context, before, identities, queued, sender, judge = arguments
        more = [replace(queued[0], proposal=proposal) for proposal in proposals]
        queued.extend(more)
        return apply(context, before, identities, queued, sender, judge)

    with unchecked(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(evolution, "apply_proposals", with_more)
        return client.join_externally(info, tree, **options)


def sealed(
    client: Client, plain: bytes, content: framing.Content = b"", *, leaf: int | None = None
) -> bytes:
    """Encrypt any bytes as a PrivateMessage of a member, with the next key of its ratchet.

    Args:
        content: of the type that the message claims to have.
        leaf: whom the sender data names.
    """
    state = client.group
    sender = Sender(SenderKind.MEMBER, state.own_leaf if leaf is None else leaf)
    framed = FramedContent(state.group_id, state.epoch, sender, b"", content)
    _, message, _ = protection.seal(state.keys, framed, plain, client.rng)
    return framing.encode_message(message)
