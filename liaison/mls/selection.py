"""Which of the waiting proposals a commit covers: as many as are valid together.

Nothing here is secret. Removes beat Updates, the latest Update of a leaf and the
latest change of extensions count, and what the committer adds by value comes
before what waits. What waits was checked by itself only: a proposal that would
spoil the whole commit is left out, or any member could keep all others from
committing.

Source: RFC 9420 §12.2, §12.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from liaison.errors import LiaisonError
from liaison.mls import evolution
from liaison.mls.effects import QueuedProposal
from liaison.mls.errors import UnknownProposalError
from liaison.mls.evolution import Candidate
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from liaison.mls.public_group import PublicGroup
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation.judge import Judge
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Committer:
    """Who commits to what.

    Args:
        group: the epoch that is ending.
        leaf: the committer's.
        by_value: what the commit brings itself.
        authenticated_data: of the commit.
        holds_psk: tells whether the committer has a pre-shared key.
    """

    group: PublicGroup
    leaf: int
    by_value: tuple[Proposal, ...]
    authenticated_data: bytes
    holds_psk: Callable[[PreSharedKeyID], bool]
    judge: Judge

    def apply(self, waiting: Sequence[QueuedProposal]) -> Candidate:
        """Apply the chosen of the waiting proposals, and what the commit brings itself.

        Raises:
            As `evolution.apply_proposals`.
        """
        own = Sender(SenderKind.MEMBER, self.leaf)
        brought = [
            QueuedProposal(proposal, own, b"", self.authenticated_data)
            for proposal in self.by_value
        ]
        group = self.group
        return evolution.apply_proposals(
            group.context, group.tree, group.identities, [*waiting, *brought], own, self.judge
        )


def choose(committer: Committer, include: bool | Sequence[bytes]) -> Candidate:  # noqa: FBT001 - True means all that are valid together
    """Choose the waiting proposals that a commit covers, and apply them.

    Args:
        include: True: as many as are valid together; False: none; else these references.

    Raises:
        UnknownProposalError: a named reference is not waiting.
        InvalidProposalError, InvalidLeafNodeError, ...: those named, or what the commit brings
            itself, are not valid together.
    """
    if include is True:
        return _apply_valid(committer, _compatible(committer))
    found = []
    for ref in include or ():
        queued = committer.group.proposals.get(ref)
        if queued is None:
            raise UnknownProposalError
        found.append(queued)
    return committer.apply(found)


def _apply_valid(committer: Committer, waiting: list[QueuedProposal]) -> Candidate:
    try:
        return committer.apply(waiting)
    except LiaisonError:
        if not waiting:
            raise
    # What is wrong with a proposal shows here only beside the others: its error would be
    # raised by the commit, which is made without it.
    return committer.apply(_valid(committer, [], waiting))


def _valid(
    committer: Committer, kept: list[QueuedProposal], more: list[QueuedProposal]
) -> list[QueuedProposal]:
    """Add to what is valid as much of `more` as stays valid, by halves."""
    together = [*kept, *more]
    try:
        committer.apply(together)
    except LiaisonError:
        if len(more) <= 1:
            return kept
        half = len(more) // 2
        return _valid(committer, _valid(committer, kept, more[:half]), more[half:])
    return together


def _compatible(committer: Committer) -> list[QueuedProposal]:
    """Settle what stands against each other among the waiting proposals."""
    group, leaf, by_value = committer.group, committer.leaf, committer.by_value
    waiting = list(group.proposals.values())
    if any(isinstance(proposal, ReInit) for proposal in by_value):
        return []
    removes = _removes(group, leaf, waiting, by_value)
    gone = {p.leaf for p in by_value if isinstance(p, Remove)} | set(removes)
    updates = _updates(group, leaf, waiting, gone)
    changes = _extension_changes(waiting, by_value)
    extensions = group.context.extensions
    for proposal in (*(q.proposal for q in changes), *by_value):
        if isinstance(proposal, GroupContextExtensions):
            extensions = proposal.extensions
    adds = _adds(group, waiting, by_value, gone, extensions, committer.judge)
    psks = _psks(waiting, by_value, committer.holds_psk)
    kept = [*changes, *updates, *removes.values(), *adds, *psks]
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


def _psks(
    waiting: Iterable[QueuedProposal],
    by_value: Iterable[Proposal],
    holds: Callable[[PreSharedKeyID], bool],
) -> list[QueuedProposal]:
    seen = {p.psk.encode() for p in by_value if isinstance(p, PreSharedKey)}
    found = []
    for queued in waiting:
        if isinstance(queued.proposal, PreSharedKey):
            psk = queued.proposal.psk
            if psk.encode() not in seen and holds(psk):
                seen.add(psk.encode())
                found.append(queued)
    return found
