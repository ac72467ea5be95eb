"""Who may be in a channel's group, who may bring them in and who must go."""

from __future__ import annotations

from liaison import words
from liaison.model import EndpointId
from liaison.policy import lifecycle
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import GuestRule
from liaison.policy.fields import format_duration, format_instant
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
        return allow("member.excluded", f"{endpoint.party} is not a party to the agreement")
    state = standing.participation(endpoint.party, now)
    if state is not Participation.ACTIVE:
        return allow("member.excluded", f"{endpoint.party} {lifecycle.in_words(state)}")
    member = may_be_member(agreement, policy, endpoint, now)
    return None if member.allow else allow("member.excluded", member.reason)


def is_unseen(policy: ChannelPolicy, renewed: int, now: int) -> bool:
    """Return whether a device has not renewed its keys for longer than the policy bears.

    Args:
        policy: the channel's.
        renewed: Unix seconds at which the commit was accepted that brought its keys in.
        now: Unix seconds.
    """
    return now - renewed > policy.keys.unseen_max_age


def create(
    request: CreateChannel, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision:
    """Decide who opens a channel."""
    decision = grant(agreement, policy, "create", request.actor, "open this channel")
    if not decision.allow:
        return decision
    # Whoever opens a channel is its first member.
    if not agreement.includes(policy.read, request.actor):
        return deny(rule(policy, "read"), f"{request.actor} may not be a member of this channel")
    return _check_numbers(request.actor, (request.actor,), agreement, policy, now) or decision


def add(request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy, now: int) -> Decision:
    """Decide who is added by whom."""
    member = may_be_member(agreement, policy, request.added, now)
    if not member.allow:
        return member
    refusal = _check_numbers(request.added, request.present, agreement, policy, now)
    if refusal is not None:
        return refusal
    if request.added == request.actor:
        # A second device of the same post adds no reader.
        return allow(member.rule, f"{request.actor} adds a device of its own")
    if agreement.includes(policy.read, request.added):
        decision = grant(agreement, policy, "add", request.actor, f"add {request.added}")
    else:
        decision = _invite(request, agreement, policy, now)
    if not decision.allow:
        return decision
    # A right to add is none to be there: a guest's ends with the stay.
    actor = may_be_member(agreement, policy, request.actor, now)
    return decision if actor.allow else actor


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
    if request.unseen:
        # What nobody renews heals nobody: whoever is there may do it, like an administrator.
        age = format_duration(policy.keys.unseen_max_age)
        unseen = f"a device of {request.removed} has not renewed its keys for {age}"
        decision = allow(rule(policy, "keys.unseen_max_age"), unseen)
    else:
        decision = grant(agreement, policy, "remove", request.actor, f"remove {request.removed}")
    if not decision.allow:
        return decision
    # Who is on the way out must not throw out those who stay.
    own = excluded(agreement, policy, request.actor, standing, now)
    return decision if own is None else deny(own.rule, own.reason)


def _invite(
    request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision:
    deed = f"invite {request.added}"
    for guest in guest_rules(agreement, policy, request.added):
        if now <= guest.until and agreement.includes(guest.invited_by, request.actor):
            return allow(rule(policy, "guests"), f"{request.actor} may {deed}")
    return deny(rule(policy, "guests"), f"{request.actor} may not {deed}")


def _check_numbers(
    added: EndpointId,
    present: tuple[EndpointId, ...],
    agreement: Agreement,
    policy: ChannelPolicy,
    now: int,
) -> Decision | None:
    if len(present) > policy.max_members:
        most = policy.max_members
        return deny(
            rule(policy, "max_members"), f"the channel has at most {words.count(most, 'device')}"
        )
    if policy.quotas is None:
        return None
    theirs = [endpoint for endpoint in present if endpoint.party == added.party]
    if len(theirs) > policy.quotas.devices:
        most = policy.quotas.devices
        return deny(
            rule(policy, "quotas.devices"),
            f"{added.party} has at most {words.count(most, 'device')} here",
        )
    administrators = {one for one in theirs if _administers(one, agreement, policy, now)}
    if added in administrators and len(administrators) > policy.quotas.administrators:
        most = policy.quotas.administrators
        return deny(
            rule(policy, "quotas.administrators"),
            f"{added.party} has at most {words.count(most, 'endpoint')} here that may add or remove others",
        )
    return None


def _administers(
    endpoint: EndpointId, agreement: Agreement, policy: ChannelPolicy, now: int
) -> bool:
    inviters = (guest.invited_by for guest in policy.guests if now <= guest.until)
    lists = (policy.add, policy.remove, *inviters)
    return any(agreement.includes(people, endpoint) for people in lists)
