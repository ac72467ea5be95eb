"""Checks of what frames a message: where it belongs, who may send it.

Source: RFC 9420 §6.
"""

from __future__ import annotations

from liaison.crypto.errors import CryptoError
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls.errors import (
    ConfirmationTagError,
    FutureEpochError,
    InvalidMessageError,
    MembershipTagError,
    StaleEpochError,
    WrongGroupError,
)
from liaison.mls.framing import ContentType, FramedContent, SenderKind
from liaison.mls.messages import Commit, GroupContext
from liaison.mls.proposals import Add
from liaison.mls.tree import RatchetTree
from liaison.mls.validation.proposals import check_sender_may_propose


def check_group(context: GroupContext, group_id: bytes) -> None:
    """A message is of this group. Source: RFC 9420 §6. Check: VAL-0102."""
    if group_id != context.group_id:
        raise WrongGroupError("the message belongs to another group", check="VAL-0102")


def check_epoch(context: GroupContext, epoch: int) -> None:
    """A handshake message is of this epoch. Source: RFC 9420 §12.1, §12.4.2. Check: VAL-0103."""
    if epoch < context.epoch:
        raise StaleEpochError(
            f"the message is of epoch {epoch}, the group in {context.epoch}", check="VAL-0103"
        )
    if epoch > context.epoch:
        raise FutureEpochError(
            f"the message is of epoch {epoch}, the group only in {context.epoch}",
            check="VAL-0103",
            hint="process the commits in between first",
        )


def signature_key(context: GroupContext, tree: RatchetTree, framed: FramedContent) -> bytes:
    """Find the key that a message's sender signs with.

    Raises:
        InvalidMessageError: there is no such sender (VAL-0104).

    Source: RFC 9420 §6.1.
    """
    sender = framed.sender
    if sender.kind is SenderKind.MEMBER:
        leaf = tree.leaf(sender.index)
        if leaf is not None:
            return leaf.signature_key
    elif sender.kind is SenderKind.EXTERNAL:
        senders = ext.external_senders(context.extensions)
        if sender.index < len(senders):
            return senders[sender.index].signature_key
    elif isinstance(framed.content, Commit):
        if framed.content.path is not None:
            return framed.content.path.leaf_node.signature_key
    elif isinstance(framed.content, Add):
        return framed.content.key_package.leaf_node.signature_key
    raise InvalidMessageError("the message's sender is not known", check="VAL-0104")


def check_sender_and_content(framed: FramedContent) -> None:
    """A sender sends only what its kind may. Source: RFC 9420 §6.1, §6.2. Check: VAL-0105, VAL-0106.

    Handshake messages only: application data has no place in a PublicMessage.
    """
    kind = framed.content_type
    if kind is ContentType.APPLICATION:
        raise InvalidMessageError("application data is not encrypted", check="VAL-0106")
    sender = framed.sender.kind
    if not isinstance(framed.content, bytes | Commit):
        check_sender_may_propose(framed.sender, framed.content)
    elif sender not in {SenderKind.MEMBER, SenderKind.NEW_MEMBER_COMMIT}:
        raise InvalidMessageError(
            f"a sender of kind {sender.name} may not commit", check="VAL-0105"
        )


def check_membership_tag(suite: CipherSuite, key: bytes, content: bytes, tag: bytes | None) -> None:
    """A member's PublicMessage carries the epoch's MAC. Source: RFC 9420 §6.2. Check: VAL-0107."""
    try:
        suite.verify_mac(key, content, tag or b"")
    except CryptoError as error:
        raise MembershipTagError("the membership tag does not hold", check="VAL-0107") from error


def check_confirmation_tag(
    suite: CipherSuite, key: bytes, confirmed_transcript_hash: bytes, tag: bytes | None
) -> None:
    """Committer and receiver are in one state. Source: RFC 9420 §6.1, §12.4.2. Check: VAL-0108."""
    try:
        suite.verify_mac(key, confirmed_transcript_hash, tag or b"")
    except CryptoError as error:
        raise ConfirmationTagError(
            "the confirmation tag does not hold", check="VAL-0108"
        ) from error


def check_padding(padding: bytes) -> None:
    """Padding is zeros. Source: RFC 9420 §6.3.1. Check: VAL-0109."""
    if padding.count(0) != len(padding):
        raise InvalidMessageError("the padding is not all zeros", check="VAL-0109")
