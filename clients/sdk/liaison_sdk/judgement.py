"""Is what the relay delivered allowed? The agreement's answer, from the receiver's side.

The relay asks the same questions before it accepts anything; asking again here
is what makes its answer worth nothing to an attacker. Pure but for what it
reads from the store's verified documents.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison import trust
from liaison.envelope.content import Content
from liaison.envelope.header import Header
from liaison.errors import LiaisonError, VerificationError
from liaison.mls import extensions as ext
from liaison.mls.effects import CommitEffect, Member, QueuedProposal, Removed
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.group import Group
from liaison.mls.proposals import Add, Remove, Update
from liaison.model import DeviceId, EndpointId
from liaison.policy import contents, labelling, statement
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.evaluate import (
    AddEndpoint,
    Decision,
    ReadMessage,
    Released,
    RemoveEndpoint,
    SendMessage,
    evaluate,
)
from liaison.policy.requests import Request
from liaison.policy.standing import EVERYONE, Standing
from liaison.policy.statement import Reason, UnseenReason
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.values import dataclass
from liaison_sdk import duties, renewals
from liaison_sdk.environment import Environment
from liaison_sdk.groups import certified
from liaison_sdk.store import Transaction
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.trust_store import certificate_of, device_of


class ForeignJoinError(VerificationError):
    """Someone joined from outside without replacing a leaf of their own."""

    code = "channel.foreign_join"


class BindingChangedError(VerificationError):
    """A commit would tie the channel to something else than a later version of its agreement.

    Or to a later version without removing everyone whom that version excludes.
    """

    code = "channel.binding_changed"


def judge_message(
    agreement: Agreement,
    request: SendMessage,
    content: Content,
    reader: EndpointId,
    *,
    standing: Standing,
    accepted_at: int,
    now: int,
) -> Decision:
    """Decide whether a message may be shown.

    Args:
        agreement: in the version of the message's epoch.
        request: the message as it was sent; the sender is from the leaf.
        content: what the relay did not see.
        reader: this device's endpoint.
        standing: what is known of the parties; what held at `accepted_at` counts.
        accepted_at: Unix seconds, the relay's: when sending was judged.
        now: Unix seconds, the reader's own: only expiry looks at it.
    """
    sending = evaluate(request, agreement, accepted_at, standing=standing)
    if not sending.allow:
        return sending
    reading = ReadMessage(reader, request.channel, request.header)
    decision = evaluate(reading, agreement, now, standing=standing)
    if not decision.allow:
        return decision
    return contents.judge(content, agreement, request.channel) or decision


def check_content(header: Header, content: Content, plaintext: bytes) -> None:
    """Check that the relay was shown the label, and the releasers the text, that the reader is.

    Raises:
        LabelMismatchError, ReleaseInvalidError: they were not.
    """
    labelling.check_label(header, content)
    trust.check_content(header, plaintext)


def released(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    header: Header,
    at: int,
) -> tuple[Released, ...]:
    """Return who has released a message, by the certificates that were good then.

    Raises:
        ReleaseInvalidError: a signature does not hold.
    """
    if header.release is None:
        return ()
    validator = env.trust.validator_at(tx, agreement, at)
    return trust.verify_release(header, record.channel, validator, at)


def decide(env: Environment, tx: Transaction, request: Request, agreement: Agreement) -> Decision:
    """Decide what this device may do now, by all that it knows."""
    standing = env.trust.standing(tx, agreement.agreement_id)
    return evaluate(request, agreement, env.now, standing=standing)


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

    Args:
        env: what is known here.
        tx: the transaction.
        record: the channel.
        agreement: that it was bound to so far.
        before: the group that the commit changes.
        effect: what the commit does.
        now: Unix seconds, the relay's time of acceptance.

    Raises:
        PolicyRefusedError: the agreement does not allow an addition or a removal.
        ForeignJoinError: an external commit that is not a resync.
        BindingChangedError: the group context's extensions changed otherwise than to
            bring in a later version of the agreement.
        AgreementMissingError: that version is not here.
    """
    following = _following(env, tx, record, agreement, effect, now)
    if effect.external:
        _check_resync(effect)
    committer = None if effect.external else _device_at(before, effect.committer)
    after = _members_after(before, effect)
    present = tuple(device_of(one.leaf_node.credential).endpoint for one in after)
    for added in effect.added:
        actor = _actor(before, added.by, committer)
        device = device_of(added.leaf_node.credential)
        request = AddEndpoint(actor.endpoint, record.policy, device.endpoint, present)
        # Who takes part is not asked: a statement can be dated before the relay had it, and
        # then this commit was rightly accepted. The absent go before anything is encrypted.
        evaluate(request, agreement, now, standing=EVERYONE).require()
    judging = _Judging(env, tx, record, following or agreement, before, committer, now)
    for removed in effect.removed:
        if not effect.external:
            judging.judge_removal(removed)
    if following is not None:
        _check_amended(env, tx, record, following, after, now)


def _following(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    agreement: Agreement,
    effect: CommitEffect,
    now: int,
) -> Agreement | None:
    """Return the version that a commit brings in, or None where it brings in none."""
    if effect.extensions_before == effect.extensions_after:
        return None
    if duties.without_binding(effect.extensions_before) != duties.without_binding(
        effect.extensions_after
    ):
        raise BindingChangedError
    binding = ChannelBinding.decode(ext.find(effect.extensions_after, CHANNEL_BINDING_EXTENSION))
    named = (binding.channel, binding.agreement_id, binding.policy)
    if named != (record.channel, record.agreement_id, record.policy):
        raise BindingChangedError("the commit ties the channel to something else")
    if binding.version <= agreement.version:
        raise BindingChangedError("the commit ties the channel to an earlier version")
    following = env.trust.agreement(tx, record.agreement_id, binding.version)
    binding.check(following)
    if following.valid_from > now + agreement.times.ahead:
        raise BindingChangedError(f"version {following.version} has not begun yet")
    return following


def _check_amended(
    env: Environment,
    tx: Transaction,
    record: ChannelRecord,
    following: Agreement,
    after: Iterable[Member],
    now: int,
) -> None:
    stay = certified(after)
    gone = duties.must_go(env, tx, record.policy, following, stay, now)
    for leaf, member in stay:
        if leaf in gone:
            raise BindingChangedError(
                f"{member.device} stays under version {following.version}: {gone[leaf].reason}"
            )


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
        judging = _Judging(env, tx, record, agreement, group, None, now)
        reason = judging.keep_reason(proposal.leaf, queued.authenticated_data)
        if isinstance(reason, UnseenReason):
            # Members have seen it themselves, or not.
            raise PolicyRefusedError("the relay says who was not seen", rule="relay.proposal")
        return
    if sender.kind is not SenderKind.MEMBER:
        raise PolicyRefusedError("strangers may propose nothing", rule="stranger.proposal")
    actor = _device_at(group, sender.index).endpoint
    request: Request
    match proposal:
        case Update():
            return
        case Remove(leaf=leaf):
            request = RemoveEndpoint(actor, record.policy, _device_at(group, leaf).endpoint)
        case Add(key_package=key_package):
            added = device_of(key_package.leaf_node.credential).endpoint
            request = AddEndpoint(actor, record.policy, added, (*endpoints(group), added))
        case _:
            raise PolicyRefusedError("members propose members only", rule="member.proposal")
    evaluate(request, agreement, now, standing=EVERYONE).require()


@dataclass(frozen=True, slots=True)
class _Judging:
    """Judges removals from one group.

    Args:
        agreement: the version that the change leads to.
        committer: who commits; None where that counts for nothing.
        now: Unix seconds, the relay's time of acceptance.
    """

    env: Environment
    tx: Transaction
    record: ChannelRecord
    agreement: Agreement
    before: Group
    committer: DeviceId | None
    now: int

    def judge_removal(self, removed: Removed) -> None:
        """Check one removal of a commit.

        Raises:
            PolicyRefusedError: nothing justifies it, and its author may not remove.
        """
        reason = self._reason(removed)
        unseen = isinstance(reason, UnseenReason)
        justified = self._must_go(removed) or (reason is not None and not unseen)
        if removed.by.kind is SenderKind.EXTERNAL:
            if not justified:
                raise PolicyRefusedError("the relay removed a member", rule="relay.proposal")
            return
        actor = _actor(self.before, removed.by, self.committer).endpoint
        gone = device_of(removed.leaf_node.credential).endpoint
        request = RemoveEndpoint(actor, self.record.policy, gone, justified, unseen)
        evaluate(request, self.agreement, self.now, standing=EVERYONE).require()

    def keep_reason(self, leaf: int, authenticated_data: bytes) -> Reason:
        """Check the reason for a removal, keep the document in it, and return it.

        Raises:
            RemovalReasonError: it does not justify removing this leaf.
        """
        env, tx, name = self.env, self.tx, self.record.agreement_id
        credential = self.before.member(leaf).leaf_node.credential
        device, (_, serial) = device_of(credential), certificate_of(credential)
        least = self.agreement.version
        agreement = env.trust.in_force(tx, name, self.now, least=least)
        reason = statement.verify_removal(
            authenticated_data,
            agreement=agreement,
            policy=agreement.channel(self.record.policy),
            device=device,
            serial=serial,
            standing=env.trust.standing(tx, name),
            renewed=renewals.known(self.record).get(leaf),
            now=self.now,
        )
        env.trust.keep_reason(tx, agreement, device.party, reason)
        return reason

    def _must_go(self, removed: Removed) -> bool:
        member, name = Member(removed.leaf, removed.leaf_node), self.record.policy
        return bool(
            duties.must_go(self.env, self.tx, name, self.agreement, certified((member,)), self.now)
        )

    def _reason(self, removed: Removed) -> Reason | None:
        if not removed.authenticated_data:
            return None
        try:
            return self.keep_reason(removed.leaf, removed.authenticated_data)
        except LiaisonError:
            # No reason, or none that holds: then the removal is judged without one.
            return None


def device_at(group: Group, leaf: int) -> DeviceId:
    """Return the device at a leaf of the current epoch."""
    return _device_at(group, leaf)


def _check_resync(effect: CommitEffect) -> None:
    if effect.joined is None or len(effect.removed) != 1 or effect.added:
        raise ForeignJoinError
    # The engine has checked that the removed leaf is of the joiner's identity;
    # without a removal there was nothing to check.


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


def _members_after(before: Group, effect: CommitEffect) -> tuple[Member, ...]:
    """Return who is in the group once a commit of a member is in effect."""
    gone = {removed.leaf for removed in effect.removed}
    stay = (member for member in before.members() if member.leaf not in gone)
    return (*stay, *(Member(added.leaf, added.leaf_node) for added in effect.added))


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
