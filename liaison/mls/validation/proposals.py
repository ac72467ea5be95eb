"""Checks of single proposals and of the list that a commit covers.

Source: RFC 9420 §12.1, §12.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from liaison.mls import extensions as ext
from liaison.mls import proposals as kinds
from liaison.mls.effects import QueuedProposal
from liaison.mls.errors import InvalidLeafNodeError, InvalidProposalError
from liaison.mls.extensions import Extension
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.leaf import MLS10, LeafNode
from liaison.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from liaison.mls.tree import RatchetTree
from liaison.mls.validation.leaf import check_context_extensions, check_required_capabilities

# --- single proposals -----------------------------------------------------------------------


def check_remove(tree: RatchetTree, proposal: Remove) -> None:
    """There is a member to remove. Source: RFC 9420 §12.1.3. Check: VAL-0501."""
    if tree.leaf(proposal.leaf) is None:
        raise InvalidProposalError(
            f"there is no member at leaf {proposal.leaf} to remove", check="VAL-0501"
        )


def check_psk_usage(psk: PreSharedKeyID, epoch: int) -> None:
    """Reinit and branch PSKs only begin groups. Source: RFC 9420 §12.1.4. Check: VAL-0502.

    Args:
        epoch: in which the proposal is made; only the founder is in epoch 0.
    """
    if psk.links and epoch != 0:
        raise InvalidProposalError(
            "a resumption PSK for reinit or branch has no place in this group", check="VAL-0502"
        )


def check_psk_nonce(psk: PreSharedKeyID, nh: int) -> None:
    """A PSK nonce has Nh bytes. Source: RFC 9420 §12.1.4. Check: VAL-0503."""
    if len(psk.nonce) != nh:
        raise InvalidProposalError("a PSK nonce is not of the hash's length", check="VAL-0503")


def check_reinit_version(proposal: ReInit) -> None:
    """A group does not go back in version. Source: RFC 9420 §12.1.5. Check: VAL-0504."""
    if proposal.version < MLS10:
        raise InvalidProposalError("a ReInit names a lower protocol version", check="VAL-0504")


def check_extensions_supported(
    members: Iterable[tuple[int, LeafNode]], extensions: Sequence[Extension]
) -> None:
    """All members support the new extensions. Source: RFC 9420 §12.1.7, §13.4. Check: VAL-0505."""
    required = ext.required_capabilities(extensions)
    for leaf, node in members:
        try:
            check_context_extensions(node, extensions)
            check_required_capabilities(node, required)
        except InvalidLeafNodeError as error:
            raise InvalidProposalError(
                f"the member at leaf {leaf} does not support the group's new extensions",
                check="VAL-0505",
            ) from error


def check_update_key(before: LeafNode, after: LeafNode) -> None:
    """A new leaf has a new encryption key. Source: RFC 9420 §7.3, §12.4.2. Check: VAL-0209."""
    if before.encryption_key == after.encryption_key:
        raise InvalidLeafNodeError("the new leaf node has the old encryption key", check="VAL-0209")


def check_successor(before: bytes, after: bytes) -> None:
    """Whoever replaces a leaf is its owner. Source: RFC 9420 §5.3.1. Check: VAL-0215."""
    if before != after:
        raise InvalidLeafNodeError(
            "the new leaf node's credential stands for another client", check="VAL-0215"
        )


def check_sender_may_propose(sender: Sender, proposal: Proposal) -> None:
    """Senders outside propose only what they may. Source: RFC 9420 §6.1, §12.1.8. Check: VAL-0105."""
    kind = proposal.type
    allowed = {
        SenderKind.MEMBER: kind is not kinds.ProposalType.EXTERNAL_INIT,
        SenderKind.EXTERNAL: kind in kinds.EXTERNAL_SENDER_TYPES,
        SenderKind.NEW_MEMBER_PROPOSAL: kind is kinds.ProposalType.ADD,
        SenderKind.NEW_MEMBER_COMMIT: False,
    }
    if not allowed[sender.kind]:
        raise InvalidProposalError(
            f"a sender of kind {sender.kind.name} may not propose {kind.name}", check="VAL-0105"
        )


# --- the list of a member's commit ----------------------------------------------------------


def check_no_own_update(queued: Sequence[QueuedProposal], committer: int) -> None:
    """Nobody commits an own Update. Source: RFC 9420 §12.2. Check: VAL-0601."""
    if any(isinstance(q.proposal, Update) and q.sender.index == committer for q in queued):
        raise InvalidProposalError("the commit covers an Update of the committer", check="VAL-0601")


def check_no_own_remove(queued: Sequence[QueuedProposal], committer: int) -> None:
    """Nobody commits their own removal. Source: RFC 9420 §12.2. Check: VAL-0602."""
    if any(isinstance(q.proposal, Remove) and q.proposal.leaf == committer for q in queued):
        raise InvalidProposalError("the commit removes the committer", check="VAL-0602")


def check_one_change_per_leaf(queued: Sequence[QueuedProposal]) -> None:
    """A leaf is updated or removed once. Source: RFC 9420 §12.2. Check: VAL-0603."""
    changed = [q.sender.index for q in queued if isinstance(q.proposal, Update)]
    changed += [q.proposal.leaf for q in queued if isinstance(q.proposal, Remove)]
    if len(set(changed)) != len(changed):
        raise InvalidProposalError("the commit changes one leaf twice", check="VAL-0603")


def check_adds_differ(queued: Sequence[QueuedProposal]) -> None:
    """No key package, nor client, is added twice. Source: RFC 9420 §12.2. Check: VAL-0604."""
    keys = [
        q.proposal.key_package.leaf_node.signature_key
        for q in queued
        if isinstance(q.proposal, Add)
    ]
    if len(set(keys)) != len(keys):
        raise InvalidProposalError("the commit adds one client twice", check="VAL-0604")


def check_init_keys_differ(queued: Sequence[QueuedProposal]) -> None:
    """No two new members are welcomed with one key. Source: RFC 9420 §10. Check: VAL-0615."""
    keys = [q.proposal.key_package.init_key for q in queued if isinstance(q.proposal, Add)]
    if len(set(keys)) != len(keys):
        raise InvalidProposalError("the commit adds two with one init key", check="VAL-0615")


def check_psks_differ(queued: Sequence[QueuedProposal]) -> None:
    """No PSK is named twice. Source: RFC 9420 §12.2. Check: VAL-0606."""
    ids = [q.proposal.psk.encode() for q in queued if isinstance(q.proposal, PreSharedKey)]
    if len(set(ids)) != len(ids):
        raise InvalidProposalError("the commit names one PSK twice", check="VAL-0606")


def check_one_link(queued: Sequence[QueuedProposal]) -> None:
    """A group goes on from one other at most. Source: RFC 9420 §12.4.3.1. Check: VAL-0605."""
    if sum(isinstance(q.proposal, PreSharedKey) and q.proposal.psk.links for q in queued) > 1:
        raise InvalidProposalError("the commit links the group to two others", check="VAL-0605")


def check_one_extensions_change(queued: Sequence[QueuedProposal]) -> None:
    """The extensions change once. Source: RFC 9420 §12.2. Check: VAL-0607."""
    if sum(isinstance(q.proposal, GroupContextExtensions) for q in queued) > 1:
        raise InvalidProposalError("the commit changes the extensions twice", check="VAL-0607")


def check_reinit_alone(queued: Sequence[QueuedProposal]) -> None:
    """A ReInit stands alone. Source: RFC 9420 §12.2. Check: VAL-0608."""
    if len(queued) > 1 and any(isinstance(q.proposal, ReInit) for q in queued):
        raise InvalidProposalError(
            "the commit covers a ReInit beside other proposals", check="VAL-0608"
        )


def check_no_external_init(queued: Sequence[QueuedProposal]) -> None:
    """Members do not join. Source: RFC 9420 §12.2. Check: VAL-0609."""
    if any(isinstance(q.proposal, ExternalInit) for q in queued):
        raise InvalidProposalError("a member's commit covers an ExternalInit", check="VAL-0609")


def check_member_list(queued: Sequence[QueuedProposal], committer: int) -> None:
    """Check the proposals of a member's commit against each other.

    Raises:
        InvalidProposalError: a check failed; `check` says which.

    Source: RFC 9420 §12.2.
    """
    check_no_own_update(queued, committer)
    check_no_own_remove(queued, committer)
    check_one_change_per_leaf(queued)
    check_adds_differ(queued)
    check_init_keys_differ(queued)
    check_psks_differ(queued)
    check_one_link(queued)
    check_one_extensions_change(queued)
    check_reinit_alone(queued)
    check_no_external_init(queued)


# --- the list of an external commit ---------------------------------------------------------


def check_one_external_init(queued: Sequence[QueuedProposal]) -> None:
    """A joiner brings exactly one ExternalInit. Source: RFC 9420 §12.2. Check: VAL-0611."""
    if sum(isinstance(q.proposal, ExternalInit) for q in queued) != 1:
        raise InvalidProposalError(
            "an external commit does not cover exactly one ExternalInit", check="VAL-0611"
        )


def check_one_external_remove(queued: Sequence[QueuedProposal]) -> None:
    """A joiner replaces at most one leaf. Source: RFC 9420 §12.2. Check: VAL-0612."""
    if sum(isinstance(q.proposal, Remove) for q in queued) > 1:
        raise InvalidProposalError(
            "an external commit removes more than one member", check="VAL-0612"
        )


def check_external_kinds(queued: Sequence[QueuedProposal]) -> None:
    """A joiner proposes nothing else. Source: RFC 9420 §12.2. Check: VAL-0613."""
    if not all(isinstance(q.proposal, ExternalInit | Remove | PreSharedKey) for q in queued):
        raise InvalidProposalError(
            "an external commit covers a proposal that it may not", check="VAL-0613"
        )


def check_external_by_value(queued: Sequence[QueuedProposal]) -> None:
    """A joiner refers to nothing sent before. Source: RFC 9420 §12.4.3.2. Check: VAL-0614."""
    if any(q.ref for q in queued):
        raise InvalidProposalError(
            "an external commit refers to a proposal by reference", check="VAL-0614"
        )


def check_external_list(queued: Sequence[QueuedProposal]) -> None:
    """Check the proposals of an external commit against each other.

    Raises:
        InvalidProposalError: a check failed; `check` says which.

    Source: RFC 9420 §12.2, §12.4.3.2.
    """
    check_one_external_init(queued)
    check_one_external_remove(queued)
    check_external_kinds(queued)
    check_external_by_value(queued)
    check_psks_differ(queued)
