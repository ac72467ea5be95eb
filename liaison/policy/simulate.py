"""Before a message is sent: who would get it, who would not, and why.

Everyone in a channel's group can decrypt, so a message goes to all of them or to
nobody: one member without clearance stops it for all, and the remedy is a
channel of fewer people. Addressees outside the group get nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from liaison.model import EndpointId
from liaison.policy import clearances, membership
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.evaluate import evaluate
from liaison.policy.requests import Decision, SendMessage
from liaison.policy.standing import Standing


class Fate(StrEnum):
    """What becomes of the message for one endpoint."""

    GETS = "gets"
    BLOCKS = "blocks"
    """It is in the group, must not read this, and so stops it for everyone."""
    OUTSIDE = "outside"
    """It is addressed and not in the group."""
    REFUSED = "refused"
    """It would get the message if that were allowed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One endpoint's fate and the reason in words.

    Args:
        manned: whether its desk is manned now; None where the policy names no hours.
    """

    endpoint: EndpointId
    fate: Fate
    addressed: str
    reason: str
    manned: bool | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """The decision about the message, and each endpoint's outcome, sorted by name."""

    decision: Decision
    outcomes: tuple[Outcome, ...]

    @property
    def missing(self) -> tuple[Outcome, ...]:
        """Those who are addressed and would not get it."""
        return tuple(one for one in self.outcomes if one.addressed and one.fate is not Fate.GETS)

    @property
    def blocking(self) -> tuple[EndpointId, ...]:
        """Those without whom the message could be sent."""
        return tuple(one.endpoint for one in self.outcomes if one.fate is Fate.BLOCKS)


def simulate(
    request: SendMessage, agreement: Agreement, now: int, *, standing: Standing
) -> Simulation:
    """Decide about a message and say for every endpoint what would become of it.

    Args:
        request: the message as it would be sent; `size` may be an estimate.
        agreement: in the version of the channel's epoch.
        now: Unix seconds.
        standing: what is known of the parties.

    Raises:
        UnknownChannelPolicyError: the agreement has no such channel policy.
    """
    policy = agreement.channel(request.channel)
    decision = evaluate(request, agreement, now, standing=standing)
    header = request.header
    concerned = {*request.audience, *header.to, *header.copy}
    outcomes = [
        _outcome(one, request, agreement, policy, decision, standing, now)
        for one in sorted(concerned)
    ]
    return Simulation(decision, tuple(outcomes))


def _outcome(
    endpoint: EndpointId,
    request: SendMessage,
    agreement: Agreement,
    policy: ChannelPolicy,
    decision: Decision,
    standing: Standing,
    now: int,
) -> Outcome:
    fate, reason = _fate(endpoint, request, agreement, policy, decision, standing, now)
    header = request.header
    addressed = "to" if endpoint in header.to else "copy" if endpoint in header.copy else ""
    return Outcome(endpoint, fate, addressed, reason, manned(agreement, policy, endpoint, now))


def _fate(
    endpoint: EndpointId,
    request: SendMessage,
    agreement: Agreement,
    policy: ChannelPolicy,
    decision: Decision,
    standing: Standing,
    now: int,
) -> tuple[Fate, str]:
    if endpoint not in request.audience:
        member = membership.may_be_member(agreement, policy, endpoint, now)
        hint = "is not in this channel" if member.allow else "may not be in this channel"
        return Fate.OUTSIDE, f"{endpoint} {hint}"
    gone = membership.excluded(agreement, policy, endpoint, standing, now)
    if gone is not None:
        return Fate.BLOCKS, gone.reason
    uncleared = clearances.check_readers(request.header, (endpoint,), agreement, now)
    if uncleared is not None and uncleared.rule == clearances.RULE:
        return Fate.BLOCKS, uncleared.reason
    if not decision.allow:
        return Fate.REFUSED, decision.reason
    return Fate.GETS, "is in the channel and cleared"


def manned(
    agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId, now: int
) -> bool | None:
    """Return whether an endpoint's desk is manned, or None where no hours are agreed for it."""
    hours = [watch for watch in policy.watch if agreement.includes(watch.who, endpoint)]
    return any(watch.is_manned(now) for watch in hours) if hours else None


def unmanned(
    agreement: Agreement, policy: ChannelPolicy, endpoints: Collection[EndpointId], now: int
) -> tuple[EndpointId, ...]:
    """Return those whose desk is known to be empty now."""
    return tuple(one for one in endpoints if manned(agreement, policy, one, now) is False)
