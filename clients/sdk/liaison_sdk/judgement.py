"""Is what the relay delivered allowed? The agreement's answer, from the receiver's side.

The relay asks the same questions before it accepts anything; asking again here
is what makes its answer worth nothing to an attacker. Pure but for what it
reads from the store's verified documents.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.envelope.content import Content
from liaison.envelope.header import Header
from liaison.errors import LiaisonError, VerificationError
from liaison.mls.effects import CommitEffect, QueuedProposal, Removed
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.group import Group
from liaison.mls.proposals import Add, Remove, Update
from liaison.model import DeviceId, EndpointId
from liaison.policy import labelling, statement
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.evaluate import (
    AddEndpoint,
    Decision,
    ReadMessage,
    RemoveEndpoint,
    SendMessage,
    evaluate,
)
from liaison_sdk.environment import Environment
from liaison_sdk.store import Transaction
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.trust_store import certificate_of, device_of


class ForeignJoinError(VerificationError):
    """Someone joined from outside without replacing a leaf of their own."""

    code = "channel.foreign_join"


class BindingChangedError(VerificationError):
    """A commit would tie the channel to something else than its agreement."""

    code = "channel.binding_changed"


def judge_message(
    agreement: Agreement, request: SendMessage, reader: EndpointId, *, accepted_at: int, now: int
) -> Decision:
    """Decide whether a message may be shown.

    Args:
        agreement: in the version of the message's epoch.
        request: the message as it was sent; the sender is from the leaf.
        reader: this device's endpoint.
        accepted_at: Unix seconds, the relay's: when sending was judged.
        now: Unix seconds, the reader's own: only expiry looks at it.
    """
    sending = evaluate(request, agreement, accepted_at)
    if not sending.allow:
        return sending
    return evaluate(ReadMessage(reader, request.channel, request.header), agreement, now)


def check_label(header: Header, content: Content) -> None:
    """Check that the relay was shown the label that the reader is shown.

    Raises:
        LabelMismatchError: it was not.
    """
    labelling.check_label(header, content)


def judge_commit(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    before: Group,
    effect: CommitEffect,
    now: int,
) -> None:
    """Check that everything that a commit does is allowed.

    Raises:
        PolicyRefusedError: the agreement does not allow an addition or a removal.
        ForeignJoinError: an external commit that is not a resync.
        BindingChangedError: the group context's extensions changed.
    """
    if effect.extensions_before != effect.extensions_after:
        # Amendments of agreements come with a later version of this program.
        raise BindingChangedError
    if effect.external:
        _check_resync(effect)
    present = _endpoints_after(before, effect)
    committer = None if effect.external else _device_at(before, effect.committer)
    for added in effect.added:
        actor = _actor(before, added.by, committer)
        device = device_of(added.leaf_node.credential)
        request = AddEndpoint(actor.endpoint, record.policy, device.endpoint, present)
        evaluate(request, agreement, now).require()
    for removed in effect.removed:
        if effect.external:
            continue
        _judge_removal(env, tx, record, agreement, before, removed, committer, now)


def judge_proposal(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    group: Group,
    queued: QueuedProposal,
    now: int,
) -> None:
    """Check that a proposal may wait for a commit.

    Raises:
        PolicyRefusedError: the agreement does not allow it.
        RemovalReasonError: the relay's reason for a removal does not hold.
    """
    proposal, sender = queued.proposal, queued.sender
    if sender.kind is SenderKind.EXTERNAL:
        if not isinstance(proposal, Remove):
            raise PolicyRefusedError("the relay may propose removals only", rule="relay.proposal")
        keep_removal_reason(env, tx, agreement, group, proposal.leaf, queued.authenticated_data)
        return
    if sender.kind is not SenderKind.MEMBER:
        raise PolicyRefusedError("strangers may propose nothing", rule="stranger.proposal")
    actor = _device_at(group, sender.index).endpoint
    match proposal:
        case Update():
            return
        case Remove(leaf=leaf):
            removed = _device_at(group, leaf).endpoint
            request = RemoveEndpoint(actor, record.policy, removed)
            evaluate(request, agreement, now).require()
        case Add(key_package=key_package):
            added = device_of(key_package.leaf_node.credential).endpoint
            present = (*endpoints(group), added)
            evaluate(AddEndpoint(actor, record.policy, added, present), agreement, now).require()
        case _:
            raise PolicyRefusedError("members propose members only", rule="member.proposal")


def keep_removal_reason(
    env: Environment,
    tx: Transaction,
    agreement: Agreement,
    group: Group,
    leaf: int,
    authenticated_data: bytes,
) -> None:
    """Check the relay's reason for a removal, and keep the revocation list in it.

    Raises:
        RemovalReasonError: it does not justify removing this leaf.
    """
    code, serial = certificate_of(group.member(leaf).leaf_node.credential)
    statement.verify_removal(authenticated_data, agreement.party(code), serial)
    signed = statement.read_removal(authenticated_data)
    env.trust.keep_revocations(tx, agreement, code, signed)


def excluded_leaves(
    env: Environment, tx: Transaction, agreement: Agreement, group: Group
) -> list[int]:
    """Return the leaves that must be removed before anything is encrypted."""
    revoked = env.trust.revoked(tx, agreement)
    return [
        member.leaf
        for member in group.members()
        if _is_excluded(certificate_of(member.leaf_node.credential), agreement, revoked)
    ]


def device_at(group: Group, leaf: int) -> DeviceId:
    """Return the device at a leaf of the current epoch."""
    return _device_at(group, leaf)


def _is_excluded(
    certificate: tuple[object, str], agreement: Agreement, revoked: frozenset[tuple[object, str]]
) -> bool:
    return certificate in revoked or certificate[0] not in agreement.codes


def _check_resync(effect: CommitEffect) -> None:
    if effect.joined is None or len(effect.removed) != 1 or effect.added:
        raise ForeignJoinError
    # The engine has checked that the removed leaf is of the joiner's identity;
    # without a removal there was nothing to check.


def _judge_removal(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    before: Group,
    removed: Removed,
    committer: DeviceId | None,
    now: int,
) -> None:
    device = device_of(removed.leaf_node.credential)
    justified = certificate_of(removed.leaf_node.credential) in env.trust.revoked(tx, agreement)
    if removed.by.kind is SenderKind.EXTERNAL or (not justified and removed.authenticated_data):
        justified = _bears_reason(env, tx, agreement, before, removed) or justified
    if removed.by.kind is SenderKind.EXTERNAL:
        if not justified:
            raise PolicyRefusedError("the relay removed a member", rule="relay.proposal")
        return
    actor = _actor(before, removed.by, committer)
    request = RemoveEndpoint(actor.endpoint, record.policy, device.endpoint, justified)
    evaluate(request, agreement, now).require()


def _bears_reason(
    env: Environment, tx: Transaction, agreement: Agreement, before: Group, removed: Removed
) -> bool:
    try:
        keep_removal_reason(env, tx, agreement, before, removed.leaf, removed.authenticated_data)
    except LiaisonError:
        # No reason, or none that holds: then the removal is judged without one.
        return False
    return True


def _actor(before: Group, by: Sender, committer: DeviceId | None) -> DeviceId:
    if by.kind is SenderKind.MEMBER:
        return _device_at(before, by.index)
    if committer is None:
        raise ForeignJoinError
    return committer


def _device_at(group: Group, leaf: int) -> DeviceId:
    return device_of(group.member(leaf).leaf_node.credential)


def endpoints(group: Group) -> tuple[EndpointId, ...]:
    """Return the endpoint of each leaf: whoever can decrypt."""
    return tuple(device_of(m.leaf_node.credential).endpoint for m in group.members())


def _endpoints_after(before: Group, effect: CommitEffect) -> tuple[EndpointId, ...]:
    gone = {removed.leaf for removed in effect.removed}
    stay = [m.leaf_node for m in before.members() if m.leaf not in gone]
    return tuple(
        device_of(leaf.credential).endpoint
        for leaf in (*stay, *(added.leaf_node for added in effect.added))
    )


def devices(group: Group) -> dict[int, DeviceId]:
    """Return the device of each leaf."""
    return {m.leaf: device_of(m.leaf_node.credential) for m in group.members()}


def leaves_of(group: Group, wanted: Iterable[DeviceId | EndpointId]) -> list[int]:
    """Return the leaves of devices, or of all devices of endpoints."""
    names = set(wanted)
    return [
        leaf
        for leaf, device in devices(group).items()
        if device in names or device.endpoint in names
    ]
