"""Which of the waiting proposals a commit covers: as many as are valid together.

Nothing here is secret. Removes beat Updates, the latest Update of a leaf and the
latest change of extensions count, and what the committer adds by value comes
before what waits.

Source: RFC 9420 §12.2, §12.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from liaison.errors import LiaisonError
from liaison.mls.effects import QueuedProposal
from liaison.mls.errors import UnknownProposalError
from liaison.mls.extensions import Extension
from liaison.mls.framing import SenderKind
from liaison.mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from liaison.mls.public_group import PublicGroup
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation.judge import Judge


def choose(
    group: PublicGroup,
    committer: int,
    include: bool | Sequence[bytes],  # noqa: FBT001 - True means all that are valid together
    by_value: Sequence[Proposal],
    judge: Judge,
) -> list[QueuedProposal]:
    """Give the waiting proposals that a commit should cover.

    Args:
        include: True: as many as are valid together; False: none; else these references.
        by_value: what the commit brings itself.

    Raises:
        UnknownProposalError: a named reference is not waiting.
    """
    if include is True:
        return _compatible(group, committer, by_value, judge)
    if include is False:
        return []
    found = []
    for ref in include:
        queued = group.proposals.get(ref)
        if queued is None:
            raise UnknownProposalError
        found.append(queued)
    return found


def _compatible(
    group: PublicGroup, committer: int, by_value: Sequence[Proposal], judge: Judge
) -> list[QueuedProposal]:
    waiting = list(group.proposals.values())
    if any(isinstance(proposal, ReInit) for proposal in by_value):
        return []
    removes = _removes(group, committer, waiting, by_value)
    gone = {p.leaf for p in by_value if isinstance(p, Remove)} | set(removes)
    updates = _updates(group, committer, waiting, gone)
    changes = _extension_changes(waiting, by_value)
    extensions = group.context.extensions
    for proposal in (*(q.proposal for q in changes), *by_value):
        if isinstance(proposal, GroupContextExtensions):
            extensions = proposal.extensions
    adds = _adds(group, waiting, by_value, gone, extensions, judge)
    kept = [*changes, *updates, *removes.values(), *adds, *_psks(waiting, by_value)]
    if kept or by_value:
        return kept
    # A ReInit stands alone, and only where nothing else waits.
    return [q for q in waiting if isinstance(q.proposal, ReInit)][:1]


def _removes(
    group: PublicGroup,
    committer: int,
    waiting: Iterable[QueuedProposal],
    by_value: Iterable[Proposal],
) -> dict[int, QueuedProposal]:
    taken = {p.leaf for p in by_value if isinstance(p, Remove)} | {committer}
    found: dict[int, QueuedProposal] = {}
    for queued in waiting:
        if isinstance(queued.proposal, Remove):
            leaf = queued.proposal.leaf
            if leaf not in taken and group.tree.leaf(leaf) is not None:
                found.setdefault(leaf, queued)
    return found


def _updates(
    group: PublicGroup, committer: int, waiting: Iterable[QueuedProposal], gone: set[int]
) -> list[QueuedProposal]:
    latest = {
        queued.sender.index: queued
        for queued in waiting
        if isinstance(queued.proposal, Update) and queued.sender.kind is SenderKind.MEMBER
    }
    return [
        queued
        for leaf, queued in latest.items()
        if leaf != committer and leaf not in gone and group.tree.leaf(leaf) is not None
    ]


def _extension_changes(
    waiting: Iterable[QueuedProposal], by_value: Iterable[Proposal]
) -> list[QueuedProposal]:
    if any(isinstance(proposal, GroupContextExtensions) for proposal in by_value):
        return []
    return [q for q in waiting if isinstance(q.proposal, GroupContextExtensions)][-1:]


def _adds(
    group: PublicGroup,
    waiting: Iterable[QueuedProposal],
    by_value: Iterable[Proposal],
    gone: set[int],
    extensions: Sequence[Extension],
    judge: Judge,
) -> list[QueuedProposal]:
    identities = {name for leaf, name in group.identities.items() if leaf not in gone}
    keys = {node.signature_key for leaf, node in group.tree.leaves() if leaf not in gone} | {
        p.key_package.leaf_node.signature_key for p in by_value if isinstance(p, Add)
    }
    found = []
    for queued in waiting:
        if not isinstance(queued.proposal, Add):
            continue
        key_package = queued.proposal.key_package
        try:
            name = leaf_checks.check_key_package(key_package, group.suite, extensions, judge)
        except LiaisonError:
            # It was valid when it came (or the group's extensions change now): a commit
            # with it would be refused, so it is left out, which is the whole answer.
            continue
        key = key_package.leaf_node.signature_key
        if name not in identities and key not in keys:
            identities.add(name)
            keys.add(key)
            found.append(queued)
    return found


def _psks(waiting: Iterable[QueuedProposal], by_value: Iterable[Proposal]) -> list[QueuedProposal]:
    seen = {p.psk.encode() for p in by_value if isinstance(p, PreSharedKey)}
    found = []
    for queued in waiting:
        if isinstance(queued.proposal, PreSharedKey):
            encoded = queued.proposal.psk.encode()
            if encoded not in seen:
                seen.add(encoded)
                found.append(queued)
    return found
