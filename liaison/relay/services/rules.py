"""What the relay demands of a commit or a proposal, beyond MLS itself.

Pure and synchronous; run in a thread, because signatures and trees take time.
The result is a plan: what to write, once the database has confirmed that
nothing has changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from liaison.errors import LiaisonError
from liaison.mls import extensions as ext
from liaison.mls import peek
from liaison.mls.effects import CommitEffect, Removed
from liaison.mls.errors import FutureEpochError, StaleEpochError, WrongGroupError
from liaison.mls.framing import ContentType, Sender, SenderKind, WireFormat
from liaison.mls.proposals import Add, Remove, Update
from liaison.mls.public_group import (
    PublicCommit,
    PublicGroup,
    PublicProposal,
    PublicResult,
    welcome_recipients,
)
from liaison.model import EndpointId
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.evaluate import AddEndpoint, RemoveEndpoint
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services import renewals
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import (
    AgreementNotActiveError,
    AmendmentPendingError,
    CommitInvalidError,
    EpochConflictError,
    GroupMismatchError,
    NotMemberError,
    RemovalLapsedError,
    RemovalPendingError,
    TooManyProposalsError,
)
from liaison.relay.services.judging import Judge
from liaison.relay.services.leaves import Leaf, device_at, endpoints_of
from liaison.relay.services.lives import Admitted, Due
from liaison.relay.services.new_groups import check_external_senders
from liaison.relay.services.states import ChannelState
from liaison.trust import (
    CHANNEL_BINDING_EXTENSION,
    AgreementValidator,
    ChannelBinding,
    certified_leaf,
)
from liaison.trust.rejection import Rejection
from liaison.values import dataclass
from liaison.wire import v1

_PROPOSABLE: Final = (Add, Remove, Update)


# --- commits ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """A commit that may be accepted, and what it does to the channel's rows."""

    group: PublicGroup
    snapshot: bytes
    tree: bytes | None
    added: tuple[Leaf, ...]
    removed: tuple[int, ...]
    joined: Leaf | None
    updated: tuple[Leaf, ...]
    removals: tuple[int, ...]
    """Leaves that have to go and are still there."""
    amended: Admitted | None
    """The version of the agreement that the commit binds the channel to, where it is another."""
    rejection: Rejection | None = None
    """What a member that comes back says that it could not follow."""


def check_commit(
    state: ChannelState,
    caller: DeviceCaller,
    body: v1.Commit,
    identity: RelayIdentity,
    judge: Judge,
    now: int,
) -> CommitPlan:
    """Check that a device may end the current epoch with this commit.

    Raises:
        GroupMismatchError, EpochConflictError: it does not belong to the current epoch.
        CommitInvalidError: MLS, or the way the relay uses it, does not allow it.
        AmendmentPendingError, AgreementNotActiveError: it binds the channel to
            another version of the agreement than the one in force.
        RemovalPendingError: it leaves somebody in the group who has to go.
        RemovalLapsedError: it removes somebody by a proposal that does not hold any more.
        PolicyRefusedError: the agreement does not allow it.
    """
    header = _check_header(state, body.commit, ContentType.COMMIT)
    result = _apply(state, body.commit, now)
    if not isinstance(result, PublicCommit):
        raise CommitInvalidError("the message holds no commit")
    effect, group = result.effect, result.group
    _check_upload(body, result)
    added = tuple(Leaf.of(one.leaf, one.leaf_node) for one in effect.added)
    due = state.due(now)
    joined = None
    if effect.joined is not None:
        joined = Leaf.of(effect.joined, group.member(effect.joined).leaf_node)
        _check_return(effect, joined, caller, due)
    else:
        _check_sender(state.group, header.sender, caller)
    amended = _check_binding(state, group, effect, identity, now)
    if amended is not None and added:
        # Members read a commit by the version that the group is bound to so far. Would they
        # refuse somebody whom the later one allows, the channel were lost to them.
        raise CommitInvalidError(
            "a commit that brings in a later version of the agreement adds nobody",
            hint="add them by the next commit",
        )
    agreement = state.agreement if amended is None else amended.agreement
    _check_people(state, agreement, effect, added, group, due, judge, now)
    removed = tuple(one.leaf for one in effect.removed)
    left = tuple(one for leaf, one in due.items() if leaf not in removed)
    if left and not effect.external:
        raise RemovalPendingError(
            f"the commit leaves {left[0].device} in the group, which has to go",
            hint="commit its removal too",
        )
    return CommitPlan(
        group=group,
        snapshot=group.snapshot(),
        tree=group.ratchet_tree() if added else None,
        added=added,
        removed=removed,
        joined=joined,
        updated=tuple(Leaf.of(one.leaf, one.after) for one in effect.updated),
        removals=tuple(one.leaf for one in left),
        amended=amended,
        rejection=_rejection(result) if effect.external else None,
    )


def _rejection(commit: PublicCommit) -> Rejection | None:
    """Return a member's report, where it makes one; what else it may say is not for the relay."""
    try:
        return Rejection.decode(commit.authenticated_data)
    except LiaisonError:
        return None


def _check_header(state: ChannelState, message: bytes, kind: ContentType) -> peek.Header:
    header = _read(lambda: peek.parse_header(message))
    if header.wire_format is not WireFormat.PUBLIC_MESSAGE or header.content_type is not kind:
        raise CommitInvalidError(f"the message is not a public {kind.name.lower()}")
    if header.group_id != state.row.group_id:
        raise GroupMismatchError(f"the message is for another group than channel {_name(state)}")
    if header.epoch != state.group.epoch:
        raise EpochConflictError(
            f"the channel is at epoch {state.group.epoch}, the message is of epoch {header.epoch}",
            hint="process what came since and make it again",
        )
    return header


def _name(state: ChannelState) -> str:
    return state.row.id.hex()


def _read(work: Callable[[], peek.Header]) -> peek.Header:
    try:
        return work()
    except LiaisonError as error:
        raise CommitInvalidError(error.message, hint=error.hint) from error


def _apply(state: ChannelState, message: bytes, now: int) -> PublicResult:
    # Under the roots that members know the group by; whom an amendment brings in comes after it.
    validator = AgreementValidator(state.agreement, state.revoked)
    try:
        return state.group.apply(message, validator=validator, now=now)
    except WrongGroupError as error:
        raise GroupMismatchError(error.message) from error
    except (StaleEpochError, FutureEpochError) as error:
        raise EpochConflictError(error.message) from error
    except LiaisonError as error:
        raise CommitInvalidError(error.message, hint=error.hint) from error


def _check_upload(body: v1.Commit, result: PublicCommit) -> None:
    """The GroupInfo is of the new epoch, and the Welcome for exactly those who were added."""
    added = {one.key_package_ref for one in result.effect.added}
    try:
        result.group.check_group_info(body.group_info)
        welcomed = set(welcome_recipients(body.welcome)) if body.welcome is not None else set()
    except LiaisonError as error:
        raise CommitInvalidError(error.message, hint=error.hint) from error
    if added != welcomed:
        raise CommitInvalidError("the Welcome is not for exactly the devices that are added")
    if result.effect.reinit is not None:
        raise CommitInvalidError("the relay does not take a re-initialisation")


def _added(proposal: Add) -> EndpointId:
    return certified_leaf(proposal.key_package.leaf_node.credential).device.endpoint


def _check_not_superseded(state: ChannelState, now: int) -> None:
    newest = state.life.supersedes(state.agreement, now)
    if newest is not None:
        raise AmendmentPendingError(
            f"version {newest.agreement.version} of {newest.agreement.agreement_id} is in force",
            hint="bind the channel to it first",
        )


def _check_sender(group: PublicGroup, sender: Sender | None, caller: DeviceCaller) -> None:
    if sender is None or sender.kind is not SenderKind.MEMBER:
        raise CommitInvalidError("the message does not come from a member")
    if device_at(group, sender.index) != caller.id:
        raise CommitInvalidError("the message comes from another device than the session's")


def _check_return(
    effect: CommitEffect, joined: Leaf, caller: DeviceCaller, due: dict[int, Due]
) -> None:
    """An external commit only brings a member back: it replaces the device's own leaf."""
    if joined.device != caller.id:
        raise CommitInvalidError("the external commit comes from another device")
    if any(one.device == caller.id for one in due.values()):
        raise PolicyRefusedError(
            f"{caller.id} has to leave this channel and does not come back to it",
            rule="member.excluded",
        )
    if [Leaf.of(one.leaf, one.leaf_node).device for one in effect.removed] != [caller.id]:
        raise NotMemberError(
            f"{caller.id} has no leaf in the group to come back to",
            hint="ask a member to add this device",
        )


def _check_people(
    state: ChannelState,
    agreement: Agreement,
    effect: CommitEffect,
    added: tuple[Leaf, ...],
    after: PublicGroup,
    due: dict[int, Due],
    judge: Judge,
    now: int,
) -> None:
    standing = state.life.standing
    present = endpoints_of(after) if added else ()
    for one, leaf in zip(effect.added, added, strict=True):
        actor = device_at(state.group, one.by.index).endpoint
        request = AddEndpoint(actor, state.row.policy, leaf.device.endpoint, present)
        judge(request, agreement, now, standing=standing).require()
    for gone in effect.removed:
        if not effect.external:
            _check_removal(state, agreement, gone, due, judge, now)


def _check_removal(
    state: ChannelState,
    agreement: Agreement,
    gone: Removed,
    due: dict[int, Due],
    judge: Judge,
    now: int,
) -> None:
    leaf = Leaf.of(gone.leaf, gone.leaf_node)
    if gone.by.kind is not SenderKind.MEMBER:
        # Of those outside the group only this relay may propose, and did so when the device
        # had to go. Members who hear later that it need not would refuse the commit.
        if gone.leaf not in due:
            raise RemovalLapsedError(
                f"{leaf.device} need not go any more", hint="commit without the relay's proposal"
            )
        return
    actor = device_at(state.group, gone.by.index).endpoint
    justified = gone.leaf in due or (leaf.device.party, leaf.serial) in state.revoked
    unseen = renewals.is_unseen(state, agreement, gone, now)
    request = RemoveEndpoint(actor, state.row.policy, leaf.device.endpoint, justified, unseen)
    judge(request, agreement, now, standing=state.life.standing).require()


def _check_binding(
    state: ChannelState,
    group: PublicGroup,
    effect: CommitEffect,
    identity: RelayIdentity,
    now: int,
) -> Admitted | None:
    """Check which version of the agreement the new epoch is bound to; return it if it is another.

    Who may stay under it is checked with everybody who has to go.
    """
    binding = _changed_binding(state, group, effect, identity)
    newest = state.life.supersedes(state.agreement, now)
    if binding is None:
        # A member that comes back from outside can't change what the group is bound to.
        if not effect.external:
            _check_not_superseded(state, now)
        return None
    if newest is None or binding.version != newest.agreement.version:
        raise AgreementNotActiveError(
            f"version {binding.version} of {binding.agreement_id} is not the one in force"
        )
    binding.check(newest.agreement)
    if group.suite.code != newest.agreement.cipher_suite:
        raise CommitInvalidError("the new version of the agreement has another cipher suite")
    return newest


def _changed_binding(
    state: ChannelState, group: PublicGroup, effect: CommitEffect, identity: RelayIdentity
) -> ChannelBinding | None:
    if effect.extensions_before == effect.extensions_after:
        return None
    try:
        before = ChannelBinding.decode(state.group.extension(CHANNEL_BINDING_EXTENSION))
        after = ChannelBinding.decode(group.extension(CHANNEL_BINDING_EXTENSION))
        check_external_senders(group, identity)
    except LiaisonError as error:
        raise CommitInvalidError(error.message) from error
    if _others(effect.extensions_before) != _others(effect.extensions_after):
        raise CommitInvalidError("a commit changes nothing of the group but what it is bound to")
    if (after.channel, after.agreement_id, after.policy) != (
        before.channel,
        before.agreement_id,
        before.policy,
    ) or after.version <= before.version:
        raise CommitInvalidError("a channel moves only to a later version of its own agreement")
    return after


def _others(extensions: Sequence[ext.Extension]) -> list[ext.Extension]:
    return [one for one in extensions if one.type != CHANNEL_BINDING_EXTENSION]


# --- proposals --------------------------------------------------------------------------


def check_proposal(
    state: ChannelState,
    caller: DeviceCaller,
    message: bytes,
    limit: int,
    judge: Judge,
    now: int,
) -> PublicGroup:
    """Check that a member may propose this; return the group with the proposal waiting.

    Raises:
        GroupMismatchError, EpochConflictError: it does not belong to the current epoch.
        CommitInvalidError: MLS, or the way the relay uses it, does not allow it.
        TooManyProposalsError: enough wait already.
        AmendmentPendingError: it adds somebody under a version that is over.
        PolicyRefusedError: the agreement does not allow it.
    """
    header = _check_header(state, message, ContentType.PROPOSAL)
    _check_sender(state.group, header.sender, caller)
    if len(state.group.pending) >= limit:
        raise TooManyProposalsError("too many proposals wait", hint="commit them")
    result = _apply(state, message, now)
    if not isinstance(result, PublicProposal):
        raise CommitInvalidError("the message holds no proposal")
    proposal = result.queued.proposal
    # Members commit what waits. A proposal that no commit can be accepted with would
    # stop the channel, so it is judged now.
    if not isinstance(proposal, _PROPOSABLE):
        raise CommitInvalidError("a proposal of this kind is made inside a commit")
    if isinstance(proposal, Add):
        _check_not_superseded(state, now)
        added = _added(proposal)
        # With all that wait: each alone may be within a limit that they exceed together.
        waiting = [one.proposal for one in state.group.pending]
        others = [_added(one) for one in waiting if isinstance(one, Add)]
        present = (*endpoints_of(state.group), *others, added)
        request = AddEndpoint(caller.id.endpoint, state.row.policy, added, present)
        judge(request, state.agreement, now, standing=state.life.standing).require()
    if isinstance(proposal, Remove):
        leaf = Leaf.of(proposal.leaf, state.group.member(proposal.leaf).leaf_node)
        gone = leaf.device.endpoint
        removal = RemoveEndpoint(caller.id.endpoint, state.row.policy, gone)
        judge(removal, state.agreement, now, standing=state.life.standing).require()
    return result.group
