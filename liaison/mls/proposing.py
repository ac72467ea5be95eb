"""Proposing changes by reference: what one member says and another may commit.

Members only; part of the verbs of `liaison.mls.group`, which offers them. A proposal
is checked before it is sent, and waits in the proposer's own state too.

Source: RFC 9420 §12.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from liaison.crypto.signing import Signer
from liaison.mls import framing, protection
from liaison.mls.credentials import Credential, CredentialValidator
from liaison.mls.extensions import Extension
from liaison.mls.framing import FramedContent, Sender, SenderKind, WireFormat
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import LeafSource
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
from liaison.mls.public_group import check_proposal, enqueue
from liaison.mls.state import Group
from liaison.mls.validation import leaf as leaf_checks
from liaison.mls.validation import proposals as proposal_checks
from liaison.mls.validation.judge import Judge


def _propose(
    group: Group, proposal: Proposal, signer: Signer, authenticated_data: bytes
) -> tuple[Group, bytes, bytes]:
    """Sign a checked proposal and keep it as pending; give state, message and reference."""
    group.check_active()
    group.check_signer(signer)
    framed = FramedContent(
        group.group_id,
        group.epoch,
        Sender(SenderKind.MEMBER, group.own_leaf),
        authenticated_data,
        proposal,
    )
    content = framing.sign(
        group.suite, signer, WireFormat.PUBLIC_MESSAGE, framed, group.keys.context
    )
    public, queued = enqueue(group.public, content, proposal)
    message = protection.protect_public(
        group.suite, group.secrets.membership_key, content, group.keys.context
    )
    return replace(group, public=public), framing.encode_message(message), queued.ref


def propose_add(
    group: Group,
    key_package: bytes,
    *,
    signer: Signer,
    validator: CredentialValidator,
    now: int,
    authenticated_data: bytes = b"",
) -> tuple[Group, bytes]:
    """Propose to add the client of a key package (MLSMessage).

    Raises:
        InvalidKeyPackageError, InvalidLeafNodeError, SignatureInvalidError,
        CredentialInvalidError: the key package is not valid for this group.
    """
    package = KeyPackage.parse(key_package)
    extensions = group.context.extensions
    leaf_checks.check_key_package(package, group.suite, extensions, Judge(validator, now))
    return _propose(group, Add(package), signer, authenticated_data)[:2]


def propose_remove(
    group: Group, leaf: int, *, signer: Signer, authenticated_data: bytes = b""
) -> tuple[Group, bytes]:
    """Propose to remove the member at a leaf.

    Raises:
        InvalidProposalError: there is none.
    """
    proposal = Remove(leaf)
    proposal_checks.check_remove(group.public.tree, proposal)
    return _propose(group, proposal, signer, authenticated_data)[:2]


def propose_self_remove(
    group: Group, *, signer: Signer, authenticated_data: bytes = b""
) -> tuple[Group, bytes]:
    """Propose the own removal; another member has to commit it."""
    return propose_remove(
        group, group.own_leaf, signer=signer, authenticated_data=authenticated_data
    )


def propose_update(
    group: Group,
    *,
    signer: Signer,
    rng: Callable[[int], bytes],
    validator: CredentialValidator,
    now: int,
    credential: Credential | None = None,
    new_signer: Signer | None = None,
    authenticated_data: bytes = b"",
) -> tuple[Group, bytes]:
    """Propose to replace the own leaf with fresh keys.

    Args:
        signer: of the present leaf.
        credential: the new leaf's, if it changes.
        new_signer: of the new leaf, if it changes.

    Raises:
        InvalidLeafNodeError, CredentialInvalidError: the new leaf would not be valid.
    """
    suite = group.suite
    pair = suite.derive_key_pair(rng(suite.nh))
    leaf_signer = new_signer or signer
    leaf = replace(
        group.own_leaf_node,
        encryption_key=pair.public,
        signature_key=leaf_signer.public_bytes,
        credential=credential or group.own_leaf_node.credential,
        source=LeafSource.UPDATE,
        lifetime=None,
        parent_hash=b"",
    ).signed(suite, leaf_signer, group.group_id, group.own_leaf)
    proposal = Update(leaf)
    own = Sender(SenderKind.MEMBER, group.own_leaf)
    check_proposal(group.public, own, proposal, Judge(validator, now))
    after, message, ref = _propose(group, proposal, signer, authenticated_data)
    updates = {**group.own_updates, ref: pair.private}
    return replace(after, own_updates=updates), message


def propose_extensions(
    group: Group,
    extensions: Iterable[Extension],
    *,
    signer: Signer,
    validator: CredentialValidator,
    now: int,
    authenticated_data: bytes = b"",
) -> tuple[Group, bytes]:
    """Propose to replace all extensions of the group context.

    Raises:
        InvalidProposalError: a member does not support one of them.
        CredentialInvalidError: an external sender among them is not valid.
    """
    proposal = GroupContextExtensions(tuple(extensions))
    proposal_checks.check_extensions_supported(group.public.tree.leaves(), proposal.extensions)
    Judge(validator, now).check_external_senders(proposal.extensions)
    return _propose(group, proposal, signer, authenticated_data)[:2]


def propose_psk(
    group: Group, psk: PreSharedKeyID, *, signer: Signer, authenticated_data: bytes = b""
) -> tuple[Group, bytes]:
    """Propose to mix a pre-shared key into the next epoch.

    Raises:
        InvalidProposalError: the id's usage or nonce is not valid.
    """
    proposal_checks.check_psk_usage(psk, group.epoch)
    proposal_checks.check_psk_nonce(psk, group.suite.nh)
    return _propose(group, PreSharedKey(psk), signer, authenticated_data)[:2]


def propose_reinit(
    group: Group, proposal: ReInit, *, signer: Signer, authenticated_data: bytes = b""
) -> tuple[Group, bytes]:
    """Propose to end the group in favour of a new one.

    Raises:
        InvalidProposalError: it names a lower protocol version.
    """
    proposal_checks.check_reinit_version(proposal)
    return _propose(group, proposal, signer, authenticated_data)[:2]


def clear_pending(group: Group) -> Group:
    """Forget the proposals that wait for a commit, the own ones too."""
    return replace(group, public=group.public.clear_pending(), own_updates={})
