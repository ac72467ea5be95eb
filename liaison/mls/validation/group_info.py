"""Checks of a GroupInfo and of what a joiner is told.

Source: RFC 9420 §12.4.3.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from liaison.crypto.errors import KeyFormatError
from liaison.crypto.suites import CipherSuite
from liaison.mls import extensions as ext
from liaison.mls import tree_math
from liaison.mls.errors import InvalidGroupInfoError, InvalidWelcomeError
from liaison.mls.leaf import LeafNode, ParentNode
from liaison.mls.messages import GroupContext, GroupInfo
from liaison.mls.proposals import PreSharedKeyID
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


# --- what a Welcome tells; only members come here -----------------------------------------------


def check_secret_lengths(joiner_secret: bytes, path_secret: bytes | None, nh: int) -> None:
    """A Welcome's secrets have Nh bytes. Source: RFC 9420 §8, §12.4.3. Check: VAL-0816.

    HMAC takes zeros after a key for nothing: a second spelling of a secret would let two
    Welcomes lead to one group.
    """
    if len(joiner_secret) != nh or (path_secret is not None and len(path_secret) != nh):
        raise InvalidWelcomeError("a secret in the Welcome is of another length", check="VAL-0816")


def check_psks(psks: Sequence[PreSharedKeyID], nh: int) -> None:
    """At most one PSK begins a group, none comes twice. Source: RFC 9420 §12.4.3.1.

    Check: VAL-0804.
    """
    linking = sum(psk.links for psk in psks)
    encoded = {psk.encode() for psk in psks}
    if linking > 1 or len(encoded) != len(psks) or any(len(psk.nonce) != nh for psk in psks):
        raise InvalidWelcomeError("the Welcome's PSKs are not valid together", check="VAL-0804")


def check_own_leaf(tree: RatchetTree, own: LeafNode) -> int:
    """The joiner's leaf is in the tree; give its index. Source: RFC 9420 §12.4.3.1.

    Check: VAL-0407.
    """
    for leaf, node in tree.leaves():
        if node == own:
            return leaf
    raise InvalidWelcomeError("the own leaf node is not in the tree", check="VAL-0407")


def check_keys_held(tree: RatchetTree, own_leaf: int, held: Container[int]) -> None:
    """The joiner gets every key that the tree says it holds. Source: RFC 9420 §12.4.3.1.

    Without one it could not open the commits that are encrypted to that node.

    Args:
        held: the nodes whose private keys it has.

    Check: VAL-0817.
    """
    for index in tree_math.direct_path(2 * own_leaf, tree.size):
        node = tree.node(index)
        if not isinstance(node, ParentNode) or index in held:
            continue
        if own_leaf not in node.unmerged_leaves:
            raise InvalidWelcomeError(
                f"the Welcome keeps the key of node {index} back", check="VAL-0817"
            )
