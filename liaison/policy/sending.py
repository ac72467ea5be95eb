"""Whether a message may be sent: version, time, size, label, addressees, rule, release."""

from __future__ import annotations

from liaison.envelope.header import Header, Kind
from liaison.envelope.release import Part
from liaison.model import EndpointId, Precedence
from liaison.policy import clearances
from liaison.policy.agreement import Agreement
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import ReleaseRule, SendRule
from liaison.policy.membership import grant, may_be_member, rule
from liaison.policy.requests import Decision, Released, SendMessage, allow, deny


def send(
    request: SendMessage,
    agreement: Agreement,
    policy: ChannelPolicy,
    now: int,
) -> Decision:
    """Decide whether a message may be sent; the first check that fails decides."""
    header = request.header
    refusal = (
        _check_version(header, agreement)
        or _check_time(header, agreement, policy, now)
        or _check_size(request, policy)
        or clearances.check_label(header, agreement, now)
        or _check_addressees(header, agreement, policy, now)
    )
    if refusal is not None:
        return refusal
    decision = _by_kind(request, agreement, policy, now)
    if not decision.allow:
        return decision
    # A right to send is none to be there: a guest's ends with the stay.
    member = may_be_member(agreement, policy, request.actor, now)
    if not member.allow:
        return member
    readers = {request.actor, *request.audience}
    return clearances.check_readers(header, readers, agreement, now) or decision


def _by_kind(
    request: SendMessage, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision:
    kind = request.header.kind
    if kind is Kind.RECEIPT:
        granted = grant(agreement, policy, "acknowledge", request.actor, "send receipts")
        return _report(request, policy, granted)
    if kind is Kind.CONTROL:
        # Reports about the group itself; whoever is in it may make them, a guest too.
        return _report(request, policy, may_be_member(agreement, policy, request.actor, now))
    decision = _by_rule(request, agreement, policy)
    if not decision.allow:
        return decision
    return check_release(request, agreement, policy) or decision


def _check_version(header: Header, agreement: Agreement) -> Decision | None:
    named = (header.agreement_id, header.agreement_version)
    if named == (agreement.agreement_id, agreement.version):
        return None
    return deny(
        "agreement.version",
        f"the message was made under {named[0]} version {named[1]},"
        f" in force is {agreement.agreement_id} version {agreement.version}",
    )


def _check_time(
    header: Header, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision | None:
    if header.dtg > now + agreement.times.ahead:
        return deny("times.dtg_ahead", "the message's date-time group is too far in the future")
    if header.dtg < now - agreement.times.behind:
        return deny("times.dtg_behind", "the message's date-time group is too long ago")
    if header.expires is None:
        return None
    if header.expires <= now:
        return deny("message.expired", "the message has expired already")
    if policy.max_expiry and header.expires - header.dtg > policy.max_expiry:
        return deny(rule(policy, "max_expiry"), "the message would live longer than is allowed")
    return None


def _check_size(request: SendMessage, policy: ChannelPolicy) -> Decision | None:
    if request.size <= policy.max_message_bytes:
        return None
    return deny(
        rule(policy, "max_message_bytes"),
        f"the message has {request.size} bytes, allowed are {policy.max_message_bytes}",
    )


def _check_addressees(
    header: Header, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision | None:
    for endpoint in (*header.to, *header.copy):
        member = may_be_member(agreement, policy, endpoint, now)
        if not member.allow:
            return deny(member.rule, f"{endpoint} may not be addressed in this channel")
    return None


def _report(request: SendMessage, policy: ChannelPolicy, granted: Decision) -> Decision:
    # No rule under `send` covers these kinds; without a bound they would overtake
    # everything that has one.
    highest = max((one.highest for one in policy.send), default=Precedence.ROUTINE)
    header = request.header
    if granted.allow and header.action > highest:
        return deny(
            granted.rule,
            f"a {header.kind} may be {highest.name} at most, this is {header.action.name}",
        )
    return granted


def _by_rule(request: SendMessage, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    header, actor = request.header, request.actor
    mine = [
        (number, one)
        for number, one in enumerate(policy.send)
        if agreement.includes(one.who, actor)
    ]
    if not mine:
        return deny(rule(policy, "send"), f"{actor} may not send in this channel")
    kinds = [(number, one) for number, one in mine if header.kind in one.kinds]
    if not kinds:
        return deny(rule(policy, "send.kinds"), f"{actor} may not send a {header.kind} here")
    fit = [
        (n, one) for n, one in kinds if one.lowest <= header.info <= header.action <= one.highest
    ]
    if not fit:
        return deny(
            rule(policy, "send.precedence"),
            f"{actor} may not send a {header.kind} at {header.action.name}",
        )
    strangers = [_not_addressable(request, agreement, one) for _, one in fit]
    for (number, _), stranger in zip(fit, strangers, strict=True):
        if stranger is None:
            return allow(rule(policy, f"send[{number}]"), f"{actor} may send a {header.kind}")
    return deny(
        rule(policy, "send.addressees"),
        f"{actor} may not address a {header.kind} at {header.action.name} to {strangers[0]}"
        f"{'' if header.addresses_somebody else ', and addressing nobody is addressing everyone'}",
    )


def _not_addressable(
    request: SendMessage, agreement: Agreement, one: SendRule
) -> EndpointId | None:
    header = request.header
    # To name no addressee must not be a way around the rule: it is for action by everyone.
    everyone = () if header.addresses_somebody else sorted({*request.audience} - {request.actor})
    for addressees, people in (((*header.to, *everyone), one.to), (header.copy, one.copy)):
        for endpoint in addressees:
            if not agreement.includes(people, endpoint):
                return endpoint
    return None


def attach(actor: EndpointId, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    """Decide whether an endpoint may store attachments: whether it could send any in a message."""
    if not policy.attachments.max_count:
        return deny(
            rule(policy, "attachments.max_count"), "nothing may be attached in this channel"
        )
    if any(agreement.includes(one.who, actor) for one in policy.send):
        return allow(rule(policy, "send"), f"{actor} may send in this channel")
    return deny(rule(policy, "send"), f"{actor} may not send in this channel")


def needs_release(header: Header, policy: ChannelPolicy) -> bool:
    """Whether a message of this kind and precedence leaves only when it is released."""
    wanted = policy.release
    return wanted is not None and header.kind in wanted.kinds and header.action >= wanted.lowest


def check_release(
    request: SendMessage, agreement: Agreement, policy: ChannelPolicy
) -> Decision | None:
    """Return why the signatures under a message are not enough, or None where they are."""
    wanted = policy.release
    if wanted is None or not needs_release(request.header, policy):
        return None
    # Releasing is a nation's own affair: nobody signs for another party.
    own = [one for one in request.released if one.endpoint.party == request.actor.party]
    missing = missing_parts(own, agreement, policy, wanted)
    if missing:
        return deny(rule(policy, "release"), f"not signed yet: {', '.join(missing)}")
    return None


def missing_parts(
    signed: list[Released], agreement: Agreement, policy: ChannelPolicy, wanted: ReleaseRule
) -> list[str]:
    """Return in words what a draft still needs, in the order in which it is done."""
    drafters = {one.endpoint for one in signed if one.part is Part.DRAFT}
    may_draft = [people for one in policy.send for people in one.who]
    missing = []
    if not any(agreement.includes(tuple(may_draft), one) for one in drafters):
        missing.append("a drafter who may send in this channel")
    reviewers = {
        one.endpoint
        for one in signed
        if one.part is Part.REVIEW and agreement.includes(wanted.review, one.endpoint)
    }
    if wanted.review and not reviewers - drafters:
        missing.append("a reviewer other than the drafter")
    releasers = {
        one.endpoint
        for one in signed
        if one.part is Part.RELEASE and agreement.includes(wanted.release, one.endpoint)
    }
    if not releasers - drafters:
        missing.append("a releaser other than the drafter")
    # The drafter is one; who only claims to have drafted, or drafted too, is not another.
    elif len((reviewers | releasers) - drafters) < wanted.persons - 1:
        missing.append(f"{wanted.persons} different persons")
    return missing
