"""The decision: does the agreement allow this?

Pure and total: the same request, agreement and time give the same answer on the
relay and on every client, and there is an answer to everything. Denied unless a
rule allows it; an empty list is nobody. The first check that fails decides, and
the decision names its rule and the reason in words.

Whether an agreement is signed, a certificate good or a removal reason genuine
is settled before (`liaison.trust`, `liaison.policy.statement`).
"""

from __future__ import annotations

from liaison.model import EndpointId
from liaison.policy import clearances, lifecycle, membership, sending
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.fields import format_instant
from liaison.policy.lifecycle import Participation, Phase
from liaison.policy.requests import (
    AddEndpoint,
    CreateChannel,
    Decision,
    ReadMessage,
    Released,
    RemoveEndpoint,
    Request,
    SendMessage,
    allow,
    deny,
)
from liaison.policy.standing import Standing

__all__ = [
    "AddEndpoint",
    "CreateChannel",
    "Decision",
    "ReadMessage",
    "Released",
    "RemoveEndpoint",
    "Request",
    "SendMessage",
    "evaluate",
]


def evaluate(
    request: Request,
    agreement: Agreement,
    now: int,
    *,
    standing: Standing,
) -> Decision:
    """Decide whether the agreement allows the request.

    Args:
        request: who wants to do what.
        agreement: a verified one, in the version that the channel's epoch names.
        now: Unix seconds; for sending, the relay's time of acceptance.
        standing: what is known of the parties' participation.
    """
    try:
        policy = agreement.channel(request.channel)
    except UnknownChannelPolicyError as error:
        return deny("channel.unknown", error.message)
    refusal = _check_life(request, agreement, standing, now)
    if refusal is not None:
        return refusal
    match request:
        case CreateChannel():
            return membership.create(request, agreement, policy, now)
        case AddEndpoint():
            return membership.add(request, agreement, policy, now)
        case RemoveEndpoint():
            return membership.remove(request, agreement, policy, standing, now)
        case SendMessage():
            return sending.send(request, agreement, policy, now)
        case ReadMessage():
            return _read(request, agreement, policy, now)


def _check_life(
    request: Request, agreement: Agreement, standing: Standing, now: int
) -> Decision | None:
    # Reading old messages and removing members go on after the agreement's end.
    if isinstance(request, ReadMessage | RemoveEndpoint):
        return None
    if now < agreement.valid_from:
        since = format_instant(agreement.valid_from)
        return deny("agreement.validity", f"the agreement begins at {since}")
    if now > agreement.valid_until:
        until = format_instant(agreement.valid_until)
        return deny("agreement.validity", f"the agreement ended at {until}")
    for endpoint in _concerned(request):
        state = standing.participation(endpoint.party, now)
        if agreement.has_party(endpoint.party) and state is not Participation.ACTIVE:
            return deny(f"party.{state.value}", f"{endpoint.party} {lifecycle.in_words(state)}")
    phase = standing.phase(agreement, now)
    if phase is not Phase.ACTIVE:
        return deny(
            f"agreement.{phase.value}",
            f"fewer than two parties take part: {_absent(agreement, standing, now)}",
        )
    return None


def _absent(agreement: Agreement, standing: Standing, now: int) -> str:
    states = {code: standing.participation(code, now) for code in agreement.codes}
    return ", ".join(
        f"{code} {lifecycle.in_words(state)}"
        for code, state in states.items()
        if state is not Participation.ACTIVE
    )


def _concerned(request: CreateChannel | AddEndpoint | SendMessage) -> tuple[EndpointId, ...]:
    match request:
        case CreateChannel():
            return (request.actor,)
        case AddEndpoint():
            return (request.actor, request.added)
        case SendMessage():
            return (request.actor, *request.header.to, *request.header.copy)


def _read(request: ReadMessage, agreement: Agreement, policy: ChannelPolicy, now: int) -> Decision:
    expires = request.header.expires
    if expires is not None and expires <= now:
        return deny("message.expired", f"the message expired at {format_instant(expires)}")
    member = membership.may_be_member(agreement, policy, request.reader, now)
    if not member.allow:
        return deny(member.rule, f"{request.reader} may not read this channel")
    # The label was judged at the time of acceptance; what was valid for a time only then
    # does not become unreadable for whoever comes late.
    uncleared = clearances.check_readers(request.header, (request.reader,), agreement, None)
    return uncleared or allow(member.rule, f"{request.reader} may read this channel")
