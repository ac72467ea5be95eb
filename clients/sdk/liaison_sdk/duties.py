"""What has to happen in a channel before anything is encrypted in it.

Whoever must not be a member any more goes first, and a newer version of the
agreement is brought in. Both are computed from what this device has verified,
never from what the relay says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from liaison.mls.extensions import Extension
from liaison.mls.group import Group
from liaison.mls.proposals import GroupContextExtensions, Remove
from liaison.model import EndpointId, PartyCode
from liaison.policy import lifecycle, membership
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.agreement_rules import Overdue
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.fields import format_instant
from liaison.policy.requests import Decision
from liaison.policy.standing import Standing
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.values import dataclass
from liaison_sdk.environment import Environment
from liaison_sdk.errors import StatusOverdueError
from liaison_sdk.groups import CertifiedLeaf
from liaison_sdk.store import Transaction
from liaison_sdk.store.channels import ChannelRecord

_EXCLUDED: Final = "member.excluded"


@dataclass(frozen=True, slots=True)
class Due:
    """What a channel waits for.

    Args:
        agreement: the newest version in force.
        amends: whether the channel is bound to an earlier one.
        leaves: who has to go, and why; also this device's own leaf.
        waiting: whether proposals wait to be committed.
        own_leaf: this device's.
    """

    agreement: Agreement
    amends: bool
    leaves: Mapping[int, Decision]
    waiting: bool
    own_leaf: int

    def __bool__(self) -> bool:
        return self.amends or self.waiting or bool(self.others)

    @property
    def others(self) -> list[int]:
        """The leaves that this device can and has to remove."""
        return [leaf for leaf in self.leaves if leaf != self.own_leaf]

    @property
    def own(self) -> Decision | None:
        """Why this device itself has to go; only others can remove it."""
        return self.leaves.get(self.own_leaf)


def due(env: Environment, tx: Transaction, record: ChannelRecord, group: Group) -> Due:
    """Return what has to be committed before anything is encrypted.

    Raises:
        PolicyRefusedError: the version in force has no channels of this kind.
    """
    agreement = version_in_force(env, tx, record)
    return Due(
        agreement=agreement,
        amends=agreement.version != record.agreement_version,
        leaves=must_go(
            env, tx, record.policy, agreement, env.groups.certified(tx, record), env.now
        ),
        waiting=bool(group.pending),
        own_leaf=group.own_leaf,
    )


def version_in_force(env: Environment, tx: Transaction, record: ChannelRecord) -> Agreement:
    """Return the newest version of a channel's agreement that has begun.

    Where the relay has said that a later one has begun by its clock, that one, unless it
    lies further ahead than clocks may differ.
    """
    name, least = record.agreement_id, record.agreement_version
    ahead = 0
    if least <= env.superseded.get(name, 0):
        ahead = env.trust.agreement(tx, name, least).times.ahead
    return env.trust.in_force(tx, name, env.now + ahead, least=least)


def must_go(
    env: Environment,
    tx: Transaction,
    policy: str,
    agreement: Agreement,
    members: Iterable[CertifiedLeaf],
    now: int,
) -> dict[int, Decision]:
    """Return the leaves that must not stay in a group, and why.

    Args:
        env: what is known here.
        tx: the transaction.
        policy: the channel's.
        agreement: the version to judge by.
        members: of the group.
        now: Unix seconds.

    Raises:
        PolicyRefusedError: the agreement has no channels of this kind.
    """
    try:
        rules = agreement.channel(policy)
    except UnknownChannelPolicyError as e:
        raise PolicyRefusedError(
            f"version {agreement.version} of {agreement.agreement_id} has no channels"
            f" of the kind {policy} any more",
            rule="channel.unknown",
            hint="open a channel of a kind that it has",
        ) from e
    revoked = env.trust.revocations.revoked(tx, agreement)
    standing = env.trust.standing(tx, agreement.agreement_id)
    soon = now + agreement.times.ahead
    found: dict[int, Decision] = {}
    judged: dict[EndpointId, Decision | None] = {}
    for leaf, certified in members:
        device, endpoint = certified.device, certified.device.endpoint
        if (device.party, certified.serial) in revoked:
            reason = f"the certificate of {device} is revoked"
            found[leaf] = Decision(allow=True, rule=_EXCLUDED, reason=reason)
            continue
        if endpoint not in judged:
            gone = membership.excluded(agreement, rules, endpoint, standing, now)
            # What is dated a moment ahead is in force already: clocks differ.
            judged[endpoint] = gone or _absent(standing, device.party, soon)
        because = judged[endpoint]
        if because is not None:
            found[leaf] = because
    return found


def leaving(
    env: Environment, tx: Transaction, record: ChannelRecord, agreement: Agreement
) -> dict[EndpointId, str]:
    """Return the endpoints whose last device goes before anything is encrypted, and why.

    Raises:
        PolicyRefusedError: the agreement has no channels of this kind.
        ChannelClosedError: this device is not a member.
    """
    members = env.groups.certified(tx, record)
    due_ = must_go(env, tx, record.policy, agreement, members, env.now)
    gone = {leaf: decision.reason for leaf, decision in due_.items()}
    for waiting in env.groups.load(tx, record).pending:
        if isinstance(waiting.proposal, Remove):
            gone.setdefault(waiting.proposal.leaf, "it is to be removed from the channel")
    staying = {one.device.endpoint for leaf, one in members if leaf not in gone}
    return {
        one.device.endpoint: gone[leaf]
        for leaf, one in members
        if leaf in gone and one.device.endpoint not in staying
    }


def _absent(standing: Standing, party: PartyCode, at: int) -> Decision | None:
    if standing.takes_part(party, at):
        return None
    words = lifecycle.in_words(standing.participation(party, at))
    return Decision(allow=True, rule=_EXCLUDED, reason=f"{party} {words}")


def amendment(record: ChannelRecord, agreement: Agreement, group: Group) -> GroupContextExtensions:
    """Return the proposal that binds a channel to another version of its agreement."""
    binding = ChannelBinding.of(record.channel, agreement, record.policy)
    return GroupContextExtensions(
        tuple(
            binding.extension() if one.type == CHANNEL_BINDING_EXTENSION else one
            for one in group.context.extensions
        )
    )


def removals(leaves: Iterable[int]) -> list[Remove]:
    """Return the proposals that remove these leaves."""
    return [Remove(leaf) for leaf in leaves]


def without_binding(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """Return a group context's extensions but the one that binds it to an agreement."""
    return tuple(one for one in extensions if one.type != CHANNEL_BINDING_EXTENSION)


def check_fresh(env: Environment, tx: Transaction, agreement: Agreement) -> None:
    """Check that no party's word on its participation is older than the agreement bears.

    Raises:
        StatusOverdueError: it is, and the agreement says that nothing is said then.
    """
    if agreement.status.overdue is not Overdue.STOP:
        return
    standing = env.trust.standing(tx, agreement.agreement_id)
    for party in standing.overdue(agreement, env.now):
        since = format_instant(standing.fresh_until(agreement, party))
        raise StatusOverdueError(
            f"what {party} says of its participation is overdue since {since};"
            " a withdrawal may be kept from us",
            hint=f"the authority of {party} has to affirm that it takes part;"
            " the message waits until then",
        )
