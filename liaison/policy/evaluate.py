"""The decision: does the agreement allow this?

Pure and total: the same request, agreement and time give the same answer on the
relay and on every client, and there is an answer to everything. Denied unless a
rule allows it; an empty list is nobody. The first check that fails decides, and
the decision names its rule and the reason in words.

Whether an agreement is signed, a certificate good or a removal reason genuine
is settled before (`liaison.trust`, `liaison.policy.statement`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from liaison.envelope.header import Header, Kind
from liaison.errors import LiaisonError
from liaison.labels import LabelPolicies
from liaison.labels.builtin import BUILT_IN
from liaison.model import EndpointId, Precedence
from liaison.policy import lifecycle
from liaison.policy.agreement import Agreement, UnknownChannelPolicyError
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.fields import format_instant
from liaison.policy.labelling import label_of
from liaison.policy.lifecycle import Participation, Phase
from liaison.policy.standing import EVERYONE, Standing


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: whether, by which rule, and why in a sentence."""

    allow: bool
    rule: str
    reason: str

    def require(self) -> None:
        """Raise unless allowed.

        Raises:
            PolicyRefusedError: it is not.
        """
        if not self.allow:
            raise PolicyRefusedError(self.reason, rule=self.rule)


@dataclass(frozen=True, slots=True)
class CreateChannel:
    """`actor` opens a channel under the policy named `channel`."""

    actor: EndpointId
    channel: str


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """`actor` adds a device of `added`; the group then has `members` devices."""

    actor: EndpointId
    channel: str
    added: EndpointId
    members: int


@dataclass(frozen=True, slots=True)
class RemoveEndpoint:
    """`actor` removes a device of `removed`.

    Args:
        justified: the caller has verified a reason that every member must act
            on, such as a revocation.
    """

    actor: EndpointId
    channel: str
    removed: EndpointId
    justified: bool = False


@dataclass(frozen=True, slots=True)
class SendMessage:
    """`actor` sends a message; `size` is that of the encrypted message in bytes."""

    actor: EndpointId
    channel: str
    header: Header
    size: int


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """`reader` is shown a message; `now` is the reader's own clock."""

    reader: EndpointId
    channel: str
    header: Header


Request: TypeAlias = CreateChannel | AddEndpoint | RemoveEndpoint | SendMessage | ReadMessage


def evaluate(
    request: Request,
    agreement: Agreement,
    now: int,
    *,
    standing: Standing = EVERYONE,
    label_policies: LabelPolicies = BUILT_IN,
) -> Decision:
    """Decide whether the agreement allows the request.

    Args:
        request: who wants to do what.
        agreement: a verified one, in the version that the channel's epoch names.
        now: Unix seconds; for sending, the relay's time of acceptance.
        standing: what is known of the parties' participation.
        label_policies: what gives labels their meaning.
    """
    try:
        policy = agreement.channel(request.channel)
    except UnknownChannelPolicyError as error:
        return _deny("channel.unknown", error.message)
    refusal = _check_life(request, agreement, standing, now)
    if refusal is not None:
        return refusal
    match request:
        case CreateChannel():
            return _create(request, agreement, policy)
        case AddEndpoint():
            return _add(request, agreement, policy)
        case RemoveEndpoint():
            return _remove(request, agreement, policy, standing, now)
        case SendMessage():
            return _send(request, agreement, policy, now, label_policies)
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
        return _deny("agreement.validity", f"the agreement begins at {since}")
    if now > agreement.valid_until:
        until = format_instant(agreement.valid_until)
        return _deny("agreement.validity", f"the agreement ended at {until}")
    for endpoint in _concerned(request):
        state = standing.participation(endpoint.party, now)
        if agreement.has_party(endpoint.party) and state is not Participation.ACTIVE:
            return _deny(f"party.{state.value}", f"{endpoint.party} {lifecycle.in_words(state)}")
    phase = standing.phase(agreement, now)
    if phase is not Phase.ACTIVE:
        return _deny(f"agreement.{phase.value}", "fewer than two parties take part")
    return None


def _concerned(request: CreateChannel | AddEndpoint | SendMessage) -> tuple[EndpointId, ...]:
    match request:
        case CreateChannel():
            return (request.actor,)
        case AddEndpoint():
            return (request.actor, request.added)
        case SendMessage():
            return (request.actor, *request.header.to, *request.header.copy)


def _create(request: CreateChannel, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    decision = _grant(agreement, policy, "create", request.actor, "open this channel")
    # Whoever opens a channel is its first member.
    if decision.allow and not agreement.includes(policy.read, request.actor):
        return _deny(_rule(policy, "read"), f"{request.actor} may not be a member of this channel")
    return decision


def _add(request: AddEndpoint, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    if not agreement.includes(policy.read, request.added):
        return _deny(_rule(policy, "read"), f"{request.added} may not be a member of this channel")
    if request.members > policy.max_members:
        most = policy.max_members
        return _deny(_rule(policy, "max_members"), f"the channel has at most {most} devices")
    if request.added == request.actor:
        # A second device of the same post adds no reader.
        return _allow(_rule(policy, "read"), f"{request.actor} adds a device of its own")
    return _grant(agreement, policy, "add", request.actor, f"add {request.added}")


def _remove(
    request: RemoveEndpoint,
    agreement: Agreement,
    policy: ChannelPolicy,
    standing: Standing,
    now: int,
) -> Decision:
    if request.removed == request.actor:
        return _allow("member.leave", f"{request.actor} removes a device of its own")
    if request.justified:
        return _allow("member.excluded", f"{request.removed} must not be a member any more")
    if not agreement.has_party(request.removed.party):
        return _allow("member.excluded", f"{request.removed.party} is not a party any more")
    state = standing.participation(request.removed.party, now)
    if state is not Participation.ACTIVE:
        party = request.removed.party
        return _allow("member.excluded", f"{party} {lifecycle.in_words(state)}")
    return _grant(agreement, policy, "remove", request.actor, f"remove {request.removed}")


def _send(
    request: SendMessage,
    agreement: Agreement,
    policy: ChannelPolicy,
    now: int,
    label_policies: LabelPolicies,
) -> Decision:
    header = request.header
    refusal = (
        _check_version(header, agreement)
        or _check_time(header, agreement, policy, now)
        or _check_size(request, policy)
        or _check_label(header, agreement, label_policies)
        or _check_addressees(header, agreement, policy)
    )
    if refusal is not None:
        return refusal
    if header.kind is Kind.RECEIPT:
        return _report(request, agreement, policy, "acknowledge", "send receipts")
    if header.kind is Kind.CONTROL:
        # Reports about the group itself; whoever is in it may make them.
        return _report(request, agreement, policy, "read", "report on this channel")
    return _send_by_rule(request, agreement, policy)


def _check_version(header: Header, agreement: Agreement) -> Decision | None:
    named = (header.agreement_id, header.agreement_version)
    if named == (agreement.agreement_id, agreement.version):
        return None
    return _deny(
        "agreement.version",
        f"the message was made under {named[0]} version {named[1]},"
        f" in force is {agreement.agreement_id} version {agreement.version}",
    )


def _check_time(
    header: Header, agreement: Agreement, policy: ChannelPolicy, now: int
) -> Decision | None:
    if header.dtg > now + agreement.times.ahead:
        return _deny("times.dtg_ahead", "the message's date-time group is too far in the future")
    if header.dtg < now - agreement.times.behind:
        return _deny("times.dtg_behind", "the message's date-time group is too long ago")
    if header.expires is None:
        return None
    if header.expires <= now:
        return _deny("message.expired", "the message has expired already")
    if policy.max_expiry and header.expires - header.dtg > policy.max_expiry:
        return _deny(_rule(policy, "max_expiry"), "the message would live longer than is allowed")
    return None


def _check_size(request: SendMessage, policy: ChannelPolicy) -> Decision | None:
    if request.size <= policy.max_message_bytes:
        return None
    return _deny(
        _rule(policy, "max_message_bytes"),
        f"the message has {request.size} bytes, allowed are {policy.max_message_bytes}",
    )


def _check_label(
    header: Header, agreement: Agreement, label_policies: LabelPolicies
) -> Decision | None:
    meaning = label_policies.find(agreement.labels.policy)
    if meaning is None:
        return _deny("labels.policy", f"label policy {agreement.labels.policy} is not known here")
    label = label_of(header)
    try:
        meaning.check(label)
        within = meaning.is_within(label, agreement.labels.ceiling)
    except LiaisonError as error:
        return _deny("labels.policy", error.message)
    if within:
        return None
    ceiling = agreement.labels.ceiling
    return _deny("labels.ceiling", f"{label.marking()} is above {ceiling}, the highest allowed")


def _check_addressees(
    header: Header, agreement: Agreement, policy: ChannelPolicy
) -> Decision | None:
    for endpoint in (*header.to, *header.copy):
        if not agreement.includes(policy.read, endpoint):
            return _deny(_rule(policy, "read"), f"{endpoint} may not be addressed in this channel")
    return None


def _report(
    request: SendMessage, agreement: Agreement, policy: ChannelPolicy, grant: str, deed: str
) -> Decision:
    # No rule under `send` covers these kinds; without a bound they would overtake
    # everything that has one.
    highest = max((rule.highest for rule in policy.send), default=Precedence.ROUTINE)
    header = request.header
    if header.action > highest:
        return _deny(
            _rule(policy, grant),
            f"a {header.kind} may be {highest.name} at most, this is {header.action.name}",
        )
    return _grant(agreement, policy, grant, request.actor, deed)


def _send_by_rule(request: SendMessage, agreement: Agreement, policy: ChannelPolicy) -> Decision:
    header = request.header
    actor = request.actor
    mine = [
        (number, rule)
        for number, rule in enumerate(policy.send)
        if agreement.includes(rule.who, actor)
    ]
    if not mine:
        return _deny(_rule(policy, "send"), f"{actor} may not send in this channel")
    kinds = [(number, rule) for number, rule in mine if header.kind in rule.kinds]
    if not kinds:
        return _deny(_rule(policy, "send.kinds"), f"{actor} may not send a {header.kind} here")
    for number, rule in kinds:
        if rule.lowest <= header.info and header.action <= rule.highest:
            return _allow(_rule(policy, f"send[{number}]"), f"{actor} may send a {header.kind}")
    return _deny(
        _rule(policy, "send.precedence"),
        f"{actor} may not send a {header.kind} at {header.action.name}",
    )


def _read(request: ReadMessage, agreement: Agreement, policy: ChannelPolicy, now: int) -> Decision:
    expires = request.header.expires
    if expires is not None and expires <= now:
        return _deny("message.expired", f"the message expired at {format_instant(expires)}")
    return _grant(agreement, policy, "read", request.reader, "read this channel")


def _grant(
    agreement: Agreement, policy: ChannelPolicy, grant: str, actor: EndpointId, deed: str
) -> Decision:
    people = getattr(policy, grant)
    rule = _rule(policy, grant)
    if agreement.includes(people, actor):
        return _allow(rule, f"{actor} may {deed}")
    return _deny(rule, f"{actor} may not {deed}")


def _rule(policy: ChannelPolicy, name: str) -> str:
    return f"channels.{policy.name}.{name}"


def _allow(rule: str, reason: str) -> Decision:
    return Decision(allow=True, rule=rule, reason=reason)


def _deny(rule: str, reason: str) -> Decision:
    return Decision(allow=False, rule=rule, reason=reason)
