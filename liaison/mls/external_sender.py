"""Proposals from outside the group, by a sender that its context admits.

The relay is such a sender: it proposes to remove a revoked device, with the
registrar's signed revocation as authenticated data. Members commit it or not.

Source: RFC 9420 §12.1.8.
"""

from __future__ import annotations

from liaison.crypto.signing import Signer
from liaison.mls import framing
from liaison.mls.framing import FramedContent, PublicMessage, Sender, SenderKind, WireFormat
from liaison.mls.proposals import Proposal, Remove
from liaison.mls.public_group import PublicGroup


def propose(
    group: PublicGroup,
    proposal: Proposal,
    *,
    signer: Signer,
    sender_index: int,
    authenticated_data: bytes = b"",
) -> bytes:
    """Make a proposal from outside, as an MLSMessage.

    Args:
        signer: the key that stands at `sender_index` in the external_senders extension.
        authenticated_data: readable by all, covered by the signature.
    """
    framed = FramedContent(
        group.group_id,
        group.epoch,
        Sender(SenderKind.EXTERNAL, sender_index),
        authenticated_data,
        proposal,
    )
    content = framing.sign(group.suite, signer, WireFormat.PUBLIC_MESSAGE, framed, b"")
    return framing.encode_message(PublicMessage(content))


def propose_remove(
    group: PublicGroup,
    leaf: int,
    *,
    signer: Signer,
    sender_index: int,
    authenticated_data: bytes = b"",
) -> bytes:
    """Propose from outside to remove the member at a leaf, as an MLSMessage.

    Raises:
        NotAMemberError: there is none.
    """
    group.tree.member(leaf)
    return propose(
        group,
        Remove(leaf),
        signer=signer,
        sender_index=sender_index,
        authenticated_data=authenticated_data,
    )
