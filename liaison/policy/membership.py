"""Who may be in a channel's group, who may bring them in and who must go."""

from __future__ import annotations

from collections.abc import Iterable

from liaison.model import EndpointId, PartyCode
from liaison.policy import lifecycle
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import GuestRule
from liaison.policy.fields import format_instant
from liaison.policy.lifecycle import Participation
from liaison.policy.requests import (
    AddEndpoint,
    CreateChannel,
    Decision,
    RemoveEndpoint,
    allow,
    deny,
)
from liaison.policy.standing import Standing


def rule(policy: ChannelPolicy, name: str) -> str:
    """Return the name of a rule of a channel policy."""
    return f"channels.{policy.name}.{name}"


def grant(
    agreement: Agreement, policy: ChannelPolicy, name: str, actor: EndpointId, deed: str
) -> Decision:
    """Decide by one of the policy's lists of people."""
    if agreement.includes(getattr(policy, name), actor):
        return allow(rule(policy, name), f"{actor} may {deed}")
    return deny(rule(policy, name), f"{actor} may not {deed}")


def may_be_member(
    agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId, now: int
) -> Decision:
    """Decide whether an endpoint may be in the group: as a regular reader or as a guest."""
    if agreement.includes(policy.read, endpoint):
        return allow(rule(policy, "read"), f"{endpoint} may be a member of this channel")
    invited = guest_rules(agreement, policy, endpoint)
    if any(now <= guest.until for guest in invited):
        return allow(rule(policy, "guests"), f"{endpoint} may be a guest in this channel")
    if invited:
        until = format_instant(max(guest.until for guest in invited))
        return deny(rule(policy, "guests"), f"{endpoint} was a guest until {until}")
    return deny(rule(policy, "read"), f"{endpoint} may not be a member of this channel")


def guest_rules(
    agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId
) -> list[GuestRule]:
    """Return the rules by which an endpoint may be a guest at some time."""
    return [guest for guest in policy.guests if agreement.includes(guest.who, endpoint)]


def excluded(
    agreement: Agreement,
    policy: ChannelPolicy,
    endpoint: EndpointId,
    standing: Standing,
    now: int,
) -> Decision | None:
    """Return why a device of this endpoint must not stay in the group, or None where it may.

    Certificates are judged elsewhere (`liaison.trust`).
    """
    if not agreement.has_party(endpoint.party):
        return allow("member.excluded", f"{endpoint.party} is not a party any more")
    state = standing.participation(endpoint.party, now)
    if state is not Participation.ACTIVE:
        return allow("member.excluded", f"{endpoint.party} {lifecycle.in_words(state)}")
    member = may_be_member(agreement, policy, endpoint, now)
    return None if member.allow else allow("member.excluded", member.reason)


def create(request: CreateChannel, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    """Decide who opens a channel."""
    decision = grant(agreement, policy, "create", request.actor, "open this channel")
    # Whoever opens a channel is its first member.
    if decision.allow and not agreement.includes(policy.read, request.actor):
        return deny(rule(policy, "read"), f"{request.actor} may not be a member of this channel")
    return decision


def add(request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy, now: int) -> Decision:
    """Decide who is added by whom."""
    member = may_be_member(agreement, policy, request.added, now)
    if not member.allow:
        return member
    refusal = _check_numbers(request, agreement, policy)
    if refusal is not None:
        return refusal
    if request.added == request.actor:
        # A second device of the same post adds no reader.
        return allow(rule(policy, "read"), f"{request.actor} adds a device of its own")
    if not agreement.includes(policy.read, request.added):
        return _invite(request, agreement, policy, now)
    return grant(agreement, policy, "add", request.actor, f"add {request.added}")


def remove(
    request: RemoveEndpoint,
    agreement: Agreement,
    policy: ChannelPolicy,
    standing: Standing,
    now: int,
) -> Decision:
    """Decide who is removed by whom."""
    if request.removed == request.actor:
        return allow("member.leave", f"{request.actor} removes a device of its own")
    if request.justified:
        return allow("member.excluded", f"{request.removed} must not be a member any more")
    reason = excluded(agreement, policy, request.removed, standing, now)
    if reason is not None:
        return reason
    return grant(agreement, policy, "remove", request.actor, f"remove {request.removed}")


def _invite(
    request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision:
    deed = f"invite {request.added}"
    for guest in guest_rules(agreement, policy, request.added):
        if now <= guest.until and agreement.includes(guest.invited_by, request.actor):
            return allow(rule(policy, "guests"), f"{request.actor} may {deed}")
    return deny(rule(policy, "guests"), f"{request.actor} may not {deed}")


def _check_numbers(
    request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy
) -> Decision | None:
    if len(request.present) > policy.max_members:
        most = policy.max_members
        return deny(rule(policy, "max_members"), f"the channel has at most {most} devices")
    if policy.quotas is None:
        return None
    party = request.added.party
    theirs = [endpoint for endpoint in request.present if endpoint.party == party]
    if len(theirs) > policy.quotas.devices:
        most = policy.quotas.devices
        return deny(rule(policy, "quotas.devices"), f"{party} has at most {most} devices here")
    administrators = _administrators(agreement, policy, theirs, party)
    if request.added in administrators and len(administrators) > policy.quotas.administrators:
        most = policy.quotas.administrators
        return deny(
            rule(policy, "quotas.administrators"),
            f"{party} has at most {most} endpoints here that may add or remove others",
        )
    return None


def _administrators(
    agreement: Agreement, policy: ChannelPolicy, present: Iterable[EndpointId], party: PartyCode
) -> set[EndpointId]:
    return {
        endpoint
        for endpoint in present
        if endpoint.party == party
        and (
            agreement.includes(policy.add, endpoint) or agreement.includes(policy.remove, endpoint)
        )
    }
