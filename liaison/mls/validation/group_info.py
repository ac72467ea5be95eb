"""Checks of a GroupInfo and of what a joiner is told.

Source: RFC 9420 §12.4.3.
"""

from __future__ import annotations

from collections.abc import Container

from liaison.crypto.errors import KeyFormatError
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls.errors import InvalidGroupInfoError
from liaison.mls.leaf import LeafNode
from liaison.mls.messages import GroupContext, GroupInfo
from liaison.mls.tree import RatchetTree


def check_signer(group_info: GroupInfo, tree: RatchetTree) -> None:
    """The member that it names signed it. Source: RFC 9420 §12.4.3. Check: VAL-0801."""
    leaf = tree.leaf(group_info.signer)
    if leaf is None:
        raise InvalidGroupInfoError("the GroupInfo's signer is not a member", check="VAL-0801")
    group_info.verify_signature(tree.suite, leaf.signature_key)


def check_suite(context: GroupContext, cipher_suite: int) -> None:
    """All parts are of one suite. Source: RFC 9420 §12.4.3.1. Check: VAL-0802."""
    if context.cipher_suite != cipher_suite:
        raise InvalidGroupInfoError("the GroupInfo is of another cipher suite", check="VAL-0802")


def check_joiner_support(context: GroupContext, own: LeafNode) -> None:
    """The joiner supports the group's extensions. Source: RFC 9420 §13.4. Check: VAL-0805."""
    supported = ext.DEFAULT_TYPES.union(own.capabilities.extensions)
    if any(extension.type not in supported for extension in context.extensions):
        raise InvalidGroupInfoError(
            "the group has an extension that is not supported here", check="VAL-0805"
        )


def check_new_group(group_id: bytes, known: Container[bytes]) -> None:
    """The group is not one of the joiner's already. Source: RFC 9420 §12.4.3.1. Check: VAL-0807."""
    if group_id in known:
        raise InvalidGroupInfoError("the group is known here already", check="VAL-0807")


def check_external_pub(group_info: GroupInfo, suite: CipherSuite) -> bytes:
    """It offers a key for external commits. Source: RFC 9420 §12.4.3.2. Check: VAL-0808."""
    external_pub = group_info.external_pub
    if external_pub is None:
        raise InvalidGroupInfoError(
            "the GroupInfo offers no key for external commits", check="VAL-0808"
        )
    try:
        suite.validate_hpke_public(external_pub)
    except KeyFormatError as error:
        raise InvalidGroupInfoError(
            "the GroupInfo's external key is not a key of the cipher suite", check="VAL-0808"
        ) from error
    return external_pub


def check_same_state(group_info: GroupInfo, context: GroupContext, confirmation_tag: bytes) -> None:
    """It tells of exactly this epoch. Source: RFC 9420 §12.4.3. Check: VAL-0810."""
    if group_info.context != context or group_info.confirmation_tag != confirmation_tag:
        raise InvalidGroupInfoError("the GroupInfo is not of this epoch", check="VAL-0810")
