"""Before a message is sent: who would get it, who would not, and why.

Everyone in a channel's group can decrypt, so a message goes to all of them or to
nobody: one member without clearance stops it for all, and the remedy is a
channel of fewer people. Who must not be in the group any more is removed first
and stops nobody. Addressees outside the group get nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType

from liaison.model import EndpointId
from liaison.policy import clearances, membership
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.evaluate import evaluate
from liaison.policy.requests import Decision, SendMessage
from liaison.policy.standing import Standing
from liaison.values import dataclass


class Fate(StrEnum):
    """What becomes of the message for one endpoint."""

    GETS = "gets"
    BLOCKS = "blocks"
    """It is in the group, must not read this, and so stops it for everyone."""
    LEAVES = "leaves"
    """It is in the group and must not be: it is removed before anything is encrypted."""
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
    request: SendMessage,
    agreement: Agreement,
    now: int,
    *,
    standing: Standing,
    leaving: Mapping[EndpointId, str] = MappingProxyType({}),
) -> Simulation:
    """Decide about a message and say for every endpoint what would become of it.

    Args:
        request: the message as it would be sent; `size` may be an estimate.
        agreement: in the version of the channel's epoch.
        now: Unix seconds.
        standing: what is known of the parties.
        leaving: who else goes before anything is encrypted, and why: those whose last device is
            revoked, or bidden to go.

    Raises:
        UnknownChannelPolicyError: the agreement has no such channel policy.
    """
    policy = agreement.channel(request.channel)
    header = request.header
    concerned = {*request.audience, *header.to, *header.copy}
    barred = {one: why for one, why in leaving.items() if one in request.audience} | {
        one: gone.reason
        for one in concerned
        if (gone := membership.excluded(agreement, policy, one, standing, now)) is not None
    }
    staying = tuple(one for one in request.audience if one not in barred)
    asked = replace(request, audience=staying)
    decision = evaluate(asked, agreement, now, standing=standing)
    outcomes = []
    for one in sorted(concerned):
        if one in barred:
            fate = Fate.LEAVES if one in request.audience else Fate.OUTSIDE
            reason = barred[one]
        else:
            fate, reason = _fate(one, asked, agreement, decision, now)
        addressed = "to" if one in header.to else "copy" if one in header.copy else ""
        desk = manned(agreement, policy, one, now)
        outcomes.append(Outcome(one, fate, addressed, reason, desk))
    return Simulation(decision, tuple(outcomes))


def refused_by(simulation: Simulation, decision: Decision) -> Simulation:
    """Return what becomes of a message after one more decision, such as about its content."""
    if decision.allow or not simulation.decision.allow:
        return simulation
    outcomes = tuple(
        replace(one, fate=Fate.REFUSED, reason=decision.reason) if one.fate is Fate.GETS else one
        for one in simulation.outcomes
    )
    return Simulation(decision, outcomes)


def _fate(
    endpoint: EndpointId, request: SendMessage, agreement: Agreement, decision: Decision, now: int
) -> tuple[Fate, str]:
    if endpoint not in request.audience:
        return Fate.OUTSIDE, f"{endpoint} is not in this channel"
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
