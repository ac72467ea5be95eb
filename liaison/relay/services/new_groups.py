"""What the relay demands of the group that a channel is opened with."""

from __future__ import annotations

from liaison.codec import Reader
from liaison.errors import LiaisonError
from liaison.mls import extensions as ext
from liaison.mls import framing
from liaison.mls.leaf import LeafNode
from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import CreateChannel
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.standing import Standing
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import GroupRefusedError
from liaison.relay.services.judging import Judge
from liaison.relay.services.leaves import Leaf
from liaison.trust import CHANNEL_BINDING_EXTENSION, AgreementValidator, ChannelBinding
from liaison.trust.credentials import relay_sender
from liaison.values import dataclass
from liaison.wire import v1


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group that a channel may be opened with."""

    group: PublicGroup
    snapshot: bytes
    binding: ChannelBinding
    leaf: Leaf


def read_binding(group_info: bytes) -> ChannelBinding:
    """Read which agreement a GroupInfo is bound to; nothing of it is verified yet.

    Raises:
        GroupRefusedError: not a GroupInfo, or not bound to anything.
    """
    try:
        info = framing.decode_group_info(group_info)
        return ChannelBinding.decode(ext.find(info.context.extensions, CHANNEL_BINDING_EXTENSION))
    except LiaisonError as error:
        raise GroupRefusedError(error.message) from error


def check_new_group(
    caller: DeviceCaller,
    body: v1.NewChannel,
    agreement: Agreement,
    standing: Standing,
    revoked: frozenset[tuple[PartyCode, str]],
    identity: RelayIdentity,
    judge: Judge,
    now: int,
) -> NewGroup:
    """Check that a channel may be opened with this group by this device.

    Raises:
        GroupRefusedError: the group is not valid, or not what a channel needs.
        PolicyRefusedError: the agreement does not let the caller open it.
    """
    _check_alone(body.tree)
    validator = AgreementValidator(agreement, revoked)
    try:
        group = PublicGroup.from_group_info(
            body.group_info, body.tree, validator=validator, now=now
        )
        group.check_group_info(body.group_info)
        binding = ChannelBinding.decode(group.extension(CHANNEL_BINDING_EXTENSION))
        binding.check(agreement)
    except LiaisonError as error:
        raise GroupRefusedError(error.message, hint=error.hint) from error
    leaves = [Leaf.of(member.leaf, member.leaf_node) for member in group.members()]
    if group.epoch != 0 or [leaf.device for leaf in leaves] != [caller.id]:
        raise GroupRefusedError("a channel begins at epoch 0 with its creator as the only member")
    if binding.channel != ChannelId.parse(body.channel):
        raise GroupRefusedError("the group is bound to another channel id")
    if group.suite.code != agreement.cipher_suite:
        raise GroupRefusedError("the group has another cipher suite than the agreement")
    check_external_senders(group, identity)
    request = CreateChannel(caller.id.endpoint, binding.policy)
    judge(request, agreement, now, standing=standing).require()
    return NewGroup(group, group.snapshot(), binding, leaves[0])


def _check_alone(tree: bytes) -> None:
    # Before its hash is computed: a tree of blanks that has 100 KB takes most of a second.
    try:
        outer = Reader(tree)
        inner = outer.nested()
        outer.end()
        # That it is there and a leaf; whoever decodes the tree looks.
        inner.take(2)
        LeafNode.read(inner)
    except LiaisonError as error:
        raise GroupRefusedError(error.message, hint=error.hint) from error
    if inner.remaining:
        raise GroupRefusedError("a channel begins with its creator as the only member")


def check_external_senders(group: PublicGroup, identity: RelayIdentity) -> None:
    """Check that whoever may propose from outside is exactly this relay.

    Raises:
        GroupRefusedError: it is not.
    """
    expected = (relay_sender(identity, identity.sender_key(group.suite.signature)),)
    if ext.external_senders(group.context.extensions) != expected:
        raise GroupRefusedError(
            "the group's external senders are not exactly this relay's key for its suite"
        )
