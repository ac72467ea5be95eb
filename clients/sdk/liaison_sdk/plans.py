"""What a commit shall do, decided on the state that it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Final, TypeAlias

from liaison.mls.effects import QueuedProposal
from liaison.mls.framing import SenderKind
from liaison.mls.group import Group
from liaison.mls.proposals import Proposal, Remove
from liaison.policy import statement
from liaison.policy.agreement import Agreement
from liaison.policy.channel_rules import KeyRules
from liaison.values import dataclass
from liaison_sdk import duties, renewals
from liaison_sdk.duties import Due
from liaison_sdk.environment import Environment
from liaison_sdk.errors import ChannelClosedError
from liaison_sdk.store import Transaction
from liaison_sdk.store.channels import ChannelRecord

MOST_IN_EPOCH: Final = 2_048
"""Messages of one device in one epoch; half of the keys that readers keep (`secret_tree.Limits`)."""
_GRACE: Final = 3600
"""Seconds since the own keys were renewed, before others are removed for theirs."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a commit shall do, beside what waits anyway.

    Args:
        proposals: carried by value.
        name: the channel's name, for those who join by it; None where nobody does.
        reason: for the removals in it, as `statement` encodes it.
    """

    proposals: Sequence[Proposal] = ()
    name: str | None = field(default=None, repr=False)
    reason: bytes = b""


Plan: TypeAlias = Callable[[Transaction, ChannelRecord, Agreement, Group], Order | None]
"""Decides on the present state; None where there is nothing to do (any more)."""


def urgent(env: Environment) -> Plan:
    """Return the plan that commits what must not wait for an encryption.

    That is every proposal that waits (RFC 9420 §12.4: no application message
    while there are proposals), the removal of everyone who is excluded, and the end
    of an epoch in which this device has said very much.
    """

    def plan(
        tx: Transaction, record: ChannelRecord, agreement: Agreement, group: Group
    ) -> Order | None:
        del agreement
        due = duties.due(env, tx, record, group)
        # Only others can remove this device, and will.
        if due.own is not None or not (due or is_spent(group)):
            return None
        if own_removal(group):
            raise ChannelClosedError("this device is about to be removed")
        return Order()

    return plan


def is_spent(group: Group) -> bool:
    """Whether this device has said as much in an epoch as every reader can keep keys for.

    Who was away gets the urgent messages first and keeps the keys of those that it skips, a limited
    number for each sender and epoch: beyond that, messages would be lost to it.
    """
    return group.sent_generation >= MOST_IN_EPOCH


def is_leaf_old(env: Environment, record: ChannelRecord, keys: KeyRules) -> bool:
    """Return whether the own keys are due: before the limit, so that nothing has to wait for it."""
    return env.now - record.leaf_at > keys.leaf_max_age * 3 // 4


def aged(env: Environment) -> Plan:
    """Return the plan that gives fresh keys where the policy says that they are too old."""

    def plan(
        tx: Transaction, record: ChannelRecord, agreement: Agreement, group: Group
    ) -> Order | None:
        del tx, group
        keys = agreement.channel(record.policy).keys
        leaf_is_old = is_leaf_old(env, record, keys)
        epoch_is_old = env.now - record.epoch_at > keys.epoch_max_age * 3 // 4
        return Order() if leaf_is_old or epoch_is_old else None

    return plan


def unseen(env: Environment) -> Plan:
    """Return the plan that removes devices whose keys are older than the policy bears."""

    def plan(
        tx: Transaction, record: ChannelRecord, agreement: Agreement, group: Group
    ) -> Order | None:
        # What is due comes first: a commit has room for one reason.
        if duties.due(env, tx, record, group):
            return None
        policy = agreement.channel(record.policy)
        # After the holidays everybody has been away: who is back first renews its own keys, and
        # gives the others time to come back too.
        if not _GRACE <= env.now - record.leaf_at <= policy.keys.unseen_max_age // 2:
            return None
        # The relay's clock decides, and may be behind this one.
        leaves = renewals.unseen(record, group, policy, env.now - agreement.times.ahead)
        if not leaves:
            return None
        return Order(duties.removals(leaves), reason=statement.encode_unseen())

    return plan


def own_removal(group: Group) -> bool:
    """Tell whether members want this device removed, which others must commit.

    What the relay has proposed counts only while its reason holds, and `Due.own` tells that:
    where everybody was to go for a while, somebody has to end the epoch in which it was so.
    """
    return any(
        isinstance(queued.proposal, Remove)
        and queued.proposal.leaf == group.own_leaf
        and queued.sender.kind is not SenderKind.EXTERNAL
        for queued in group.pending
    )


def to_commit(group: Group, due: Due, *, bare: bool = False) -> list[QueuedProposal]:
    """Return the proposals that are still to be committed.

    What the relay proposed for a reason that is over, such as a suspension, is left out.

    Args:
        group: in which they wait.
        due: what the channel waits for.
        bare: whether to leave out what members want of others; only that somebody leaves
            stays. Nothing obliges a committer to take more.
    """
    return [queued for queued in group.pending if _holds(queued, due, bare=bare)]


def _holds(queued: QueuedProposal, due: Due, *, bare: bool) -> bool:
    removed = queued.proposal.leaf if isinstance(queued.proposal, Remove) else None
    if queued.sender.kind is SenderKind.EXTERNAL:
        return removed in due.leaves
    return not bare or removed == queued.sender.index
