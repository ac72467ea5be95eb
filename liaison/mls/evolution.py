"""From one epoch's public state to the next: applying proposals and merging a path.

Members and relay run the same code here; nothing in it is secret. A `Candidate`
is the next epoch in the making: it has its own copy of the tree, so that a
failure anywhere leaves the old epoch as it was.

Source: RFC 9420 §12.2, §12.3, §12.4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from liaison.mls.effects import Added, CommitEffect, QueuedProposal, Removed, Updated
from liaison.mls.errors import ForbiddenOperationError, InvalidProposalError
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.leaf import LeafNode, LeafSource
from liaison.mls.messages import MAX_EPOCH, GroupContext, UpdatePath
from liaison.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    ReInit,
    Remove,
    Update,
)
from liaison.mls.tree import PathStep, RatchetTree
from liaison.mls.validation import commit as commit_checks
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation import proposals as proposal_checks
from liaison.mls.validation import tree as tree_checks
from liaison.mls.validation.judge import Judge
from liaison.values import dataclass


@dataclass(slots=True)
class Candidate:
    """The next epoch in the making; changed step by step, then read.

    Args:
        old: the group context that is ending.
        tree: a copy, with the proposals applied.
        identities: of each leaf of `tree`.
        extensions: of the next group context.
        committer: leaf of the committer in `tree`.
        external: whether the committer joins by this commit.
        replaced: identity of the member that an external joiner removes.
        path_steps: the committer's filtered direct path, once the path is merged.
    """

    old: GroupContext
    tree: RatchetTree
    identities: dict[int, bytes]
    extensions: tuple[Extension, ...]
    proposals: tuple[QueuedProposal, ...]
    committer: int
    external: bool
    replaced: bytes | None = None
    added: list[Added] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    updated: list[Updated] = field(default_factory=list)
    psks: list[PreSharedKeyID] = field(default_factory=list)
    external_init: ExternalInit | None = None
    reinit: ReInit | None = None
    path_steps: list[PathStep] = field(default_factory=list)

    @property
    def new_nodes(self) -> frozenset[int]:
        """The nodes of the leaves that this commit adds: they get no path secrets."""
        return frozenset(2 * added.leaf for added in self.added)

    def context(self, confirmed_transcript_hash: bytes | None = None) -> GroupContext:
        """Give the next group context, or the provisional one with the old transcript hash."""
        old = self.old
        return GroupContext(
            cipher_suite=old.cipher_suite,
            group_id=old.group_id,
            epoch=old.epoch + 1,
            tree_hash=self.tree.root_hash(),
            confirmed_transcript_hash=(
                old.confirmed_transcript_hash
                if confirmed_transcript_hash is None
                else confirmed_transcript_hash
            ),
            extensions=self.extensions,
        )

    def effect(self, *, removed_self: bool = False) -> CommitEffect:
        """Tell what the commit changes."""
        return CommitEffect(
            epoch=self.old.epoch + 1,
            committer=self.committer,
            external=self.external,
            added=tuple(self.added),
            removed=tuple(self.removed),
            updated=tuple(self.updated),
            joined=self.committer if self.external else None,
            extensions_before=self.old.extensions,
            extensions_after=self.extensions,
            psks=tuple(self.psks),
            reinit=self.reinit,
            proposals=self.proposals,
            removed_self=removed_self,
        )


def apply_proposals(
    old: GroupContext,
    tree: RatchetTree,
    identities: Mapping[int, bytes],
    queued: Sequence[QueuedProposal],
    committer: Sender,
    judge: Judge,
) -> Candidate:
    """Check a commit's proposals and apply them to copies.

    Args:
        old: the group context that is ending.
        tree: of that epoch; left as it is.
        identities: of its leaves.
        queued: in the order of the commit.
        committer: a member, or a new member for an external commit.
        judge: for the leaves that come in.

    Raises:
        InvalidProposalError, InvalidLeafNodeError, InvalidKeyPackageError, InvalidTreeError:
            a check failed; `check` says which.
        SignatureInvalidError, CredentialInvalidError: of a leaf that comes in.
        ForbiddenOperationError: no epoch comes after this one.

    Source: RFC 9420 §12.2, §12.3.
    """
    if old.epoch == MAX_EPOCH:
        raise ForbiddenOperationError("the group has used up the numbers of its epochs")
    external = committer.kind is SenderKind.NEW_MEMBER_COMMIT
    if external:
        proposal_checks.check_external_list(queued)
    else:
        proposal_checks.check_member_list(queued, committer.index)
    candidate = Candidate(
        old=old,
        tree=tree.copy(),
        identities=dict(identities),
        extensions=_next_extensions(old, queued, judge),
        proposals=tuple(queued),
        committer=committer.index,
        external=external,
    )
    # The order of §12.3: updates, removes, adds; the new extensions hold for all of them.
    for kind in (Update, Remove, Add):
        for item in queued:
            if isinstance(item.proposal, kind):
                _apply(candidate, item, judge)
    for item in queued:
        _note(candidate, item)
    if external:
        candidate.committer = _joiners_leaf(candidate)
    _check_together(candidate)
    return candidate


def _next_extensions(
    old: GroupContext, queued: Sequence[QueuedProposal], judge: Judge
) -> tuple[Extension, ...]:
    for item in queued:
        if isinstance(item.proposal, GroupContextExtensions):
            judge.check_external_senders(item.proposal.extensions)
            return item.proposal.extensions
    return old.extensions


def _apply(candidate: Candidate, item: QueuedProposal, judge: Judge) -> None:
    match item.proposal:
        case Update(leaf_node=leaf_node):
            _apply_update(candidate, item.sender, leaf_node, judge)
        case Remove() as remove:
            _apply_remove(candidate, item, remove)
        case Add() as add:
            _apply_add(candidate, item.sender, add, judge)


def _apply_update(candidate: Candidate, sender: Sender, leaf_node: LeafNode, judge: Judge) -> None:
    if sender.kind is not SenderKind.MEMBER:
        raise InvalidProposalError("only a member can update its leaf", check="VAL-0105")
    check_replacement(candidate, sender.index, leaf_node, LeafSource.UPDATE, judge)
    before = candidate.tree.member(sender.index)
    candidate.tree.update(sender.index, leaf_node)
    candidate.updated.append(Updated(sender.index, before, leaf_node))


def check_replacement(
    candidate: Candidate, leaf: int, leaf_node: LeafNode, source: LeafSource, judge: Judge
) -> None:
    """Check a leaf node that is to stand in the place of a member's present one.

    Raises:
        InvalidLeafNodeError, SignatureInvalidError, CredentialInvalidError: it may not.

    Source: RFC 9420 §7.3, §7.5, §5.3.1.
    """
    before = candidate.tree.member(leaf)
    leaf_checks.check_source(leaf_node, source)
    proposal_checks.check_update_key(before, leaf_node)
    identity = leaf_checks.check_leaf(
        leaf_node,
        candidate.tree.suite,
        candidate.extensions,
        judge,
        place=(candidate.old.group_id, leaf),
    )
    proposal_checks.check_successor(candidate.identities[leaf], identity)


def _apply_remove(candidate: Candidate, item: QueuedProposal, remove: Remove) -> None:
    proposal_checks.check_remove(candidate.tree, remove)
    leaf_node = candidate.tree.member(remove.leaf)
    candidate.tree.remove(remove.leaf)
    identity = candidate.identities.pop(remove.leaf)
    if candidate.external:
        candidate.replaced = identity
    candidate.removed.append(Removed(remove.leaf, leaf_node, item.sender, item.authenticated_data))


def _apply_add(candidate: Candidate, sender: Sender, add: Add, judge: Judge) -> None:
    key_package = add.key_package
    identity = leaf_checks.check_key_package(
        key_package, candidate.tree.suite, candidate.extensions, judge
    )
    leaf = candidate.tree.add(key_package.leaf_node)
    candidate.identities[leaf] = identity
    candidate.added.append(Added(leaf, key_package.leaf_node, key_package.ref(), sender))


def _note(candidate: Candidate, item: QueuedProposal) -> None:
    match item.proposal:
        case PreSharedKey(psk=psk):
            # A joiner is never in epoch 0: only the founder may link the group to another.
            epoch = candidate.old.epoch + candidate.external
            proposal_checks.check_psk_usage(psk, epoch)
            proposal_checks.check_psk_nonce(psk, candidate.tree.suite.nh)
            candidate.psks.append(psk)
        case ExternalInit() as external_init:
            candidate.external_init = external_init
        case ReInit() as reinit:
            proposal_checks.check_reinit_version(reinit)
            candidate.reinit = reinit


def _joiners_leaf(candidate: Candidate) -> int:
    leaf = candidate.tree.free_leaf()
    candidate.tree.extend_to(leaf)
    return leaf


def _check_together(candidate: Candidate) -> None:
    if candidate.added or candidate.updated:
        tree_checks.check_members_together(candidate.tree, candidate.identities)
    if candidate.extensions != candidate.old.extensions:
        proposal_checks.check_extensions_supported(candidate.tree.leaves(), candidate.extensions)


def merge_path(candidate: Candidate, path: UpdatePath, judge: Judge) -> None:
    """Check a commit's path and put it into the candidate's tree.

    Raises:
        InvalidCommitError, InvalidLeafNodeError, InvalidTreeError: a check failed; `check` says
            which.
        SignatureInvalidError, CredentialInvalidError: of the path's leaf.

    Source: RFC 9420 §7.5, §12.4.2.
    """
    leaf, leaf_node = candidate.committer, path.leaf_node
    if candidate.external:
        identity = _check_joiner(candidate, leaf_node, judge)
    else:
        check_replacement(candidate, leaf, leaf_node, LeafSource.COMMIT, judge)
        identity = candidate.identities[leaf]
    commit_checks.check_path_keys_fresh(candidate.tree, path)
    commit_checks.check_path_keys(candidate.tree, path)
    steps = candidate.tree.filtered_path(leaf)
    commit_checks.check_path_length(steps, path)
    commit_checks.check_ciphertext_counts(steps, path, candidate.new_nodes)
    keys = [node.encryption_key for node in path.nodes]
    commit_checks.check_parent_hash(path, candidate.tree.set_path(leaf, steps, keys))
    put_committer(candidate, leaf_node, identity, steps)
    tree_checks.check_unique_signature_keys(candidate.tree)
    tree_checks.check_unique_identities(candidate.identities)
    tree_checks.check_credential_types(node for _, node in candidate.tree.leaves())


def _check_joiner(candidate: Candidate, leaf_node: LeafNode, judge: Judge) -> bytes:
    leaf_checks.check_source(leaf_node, LeafSource.COMMIT)
    identity = leaf_checks.check_leaf(
        leaf_node,
        candidate.tree.suite,
        candidate.extensions,
        judge,
        place=(candidate.old.group_id, candidate.committer),
    )
    if candidate.replaced is not None:
        proposal_checks.check_successor(candidate.replaced, identity)
    return identity


def put_committer(
    candidate: Candidate, leaf_node: LeafNode, identity: bytes, steps: list[PathStep]
) -> None:
    """Put the committer's new leaf into the tree, the path being set already."""
    before = candidate.tree.leaf(candidate.committer)
    candidate.tree.set_leaf(candidate.committer, leaf_node)
    candidate.identities[candidate.committer] = identity
    candidate.path_steps = steps
    if before is not None:
        candidate.updated.append(Updated(candidate.committer, before, leaf_node))
