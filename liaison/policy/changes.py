"""Before an amendment is signed: what it would change, for every endpoint and channel.

Two views: the fields that differ, and the rights that people gain and lose,
worked out by the same rules that decide later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from liaison.envelope.header import Kind
from liaison.model import EndpointId
from liaison.policy import clearances, membership
from liaison.policy.agreement import Agreement
from liaison.policy.canonical import JSON
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.fields import format_instant
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class Rights:
    """What one endpoint may do in channels of one policy, in words that compare.

    Args:
        member: `yes`, `no`, or until when as a guest.
        addressed: whether some rule lets others address it.
        send: for each kind the ranges that the rules allow, such as `ROUTINE-FLASH`.
        cleared: the highest classification and the categories.
    """

    member: str = "no"
    create: str = "no"
    add: str = "no"
    remove: str = "no"
    acknowledge: str = "no"
    addressed: str = "no"
    review: str = "no"
    release: str = "no"
    send: tuple[tuple[str, str], ...] = ()
    cleared: str = "for nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """One right that changes for one endpoint in one channel policy."""

    endpoint: EndpointId
    channel: str
    right: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.endpoint} in {self.channel}: {self.right}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of the document that differs; JSON values, or None where it is absent."""

    path: str
    before: JSON
    after: JSON


def rights(agreement: Agreement, channel: str, endpoint: EndpointId, now: int) -> Rights:
    """Return what an endpoint may do in channels of a policy at a time, Unix seconds.

    A policy that the agreement does not have gives no rights.
    """
    policy = next((one for one in agreement.channels if one.name == channel), None)
    if policy is None or not agreement.has_party(endpoint.party):
        return Rights()
    return Rights(
        member=_member(agreement, policy, endpoint, now),
        create=_yes(agreement.includes(policy.create, endpoint)),
        add=_yes(agreement.includes(policy.add, endpoint)),
        remove=_yes(agreement.includes(policy.remove, endpoint)),
        acknowledge=_yes(agreement.includes(policy.acknowledge, endpoint)),
        addressed=_addressed(agreement, policy, endpoint),
        review=_yes(
            policy.release is not None and agreement.includes(policy.release.review, endpoint)
        ),
        release=_yes(
            policy.release is not None and agreement.includes(policy.release.release, endpoint)
        ),
        send=_sending(agreement, policy, endpoint),
        cleared=_cleared(agreement, endpoint),
    )


def changed_rights(
    before: Agreement, after: Agreement, endpoints: Iterable[EndpointId], now: int
) -> tuple[Change, ...]:
    """Return every right that differs between two versions, by endpoint and channel."""
    names = list(dict.fromkeys(one.name for one in (*before.channels, *after.channels)))
    changes: list[Change] = []
    for endpoint in sorted(set(endpoints)):
        for name in names:
            old, new = (rights(version, name, endpoint, now) for version in (before, after))
            changes.extend(_compare(endpoint, name, old, new))
    return tuple(changes)


def changed_fields(before: Agreement, after: Agreement) -> tuple[FieldChange, ...]:
    """Return every field that differs between two versions, by its path."""
    return tuple(_walk("", before.document(), after.document()))


def named_endpoints(agreement: Agreement) -> frozenset[EndpointId]:
    """Return the endpoints that an agreement names one by one."""
    lists = [
        *agreement.roles.values(),
        *(rule.who for rule in agreement.clearances),
        *(people for policy in agreement.channels for people in policy.every_who()),
    ]
    return frozenset(
        EndpointId(pattern.party, pattern.endpoint)
        for people in lists
        for pattern in people
        if pattern.party is not None and pattern.endpoint is not None
    )


def _compare(endpoint: EndpointId, channel: str, old: Rights, new: Rights) -> list[Change]:
    changes = []
    for name in (field.name for field in fields(Rights) if field.name != "send"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            changes.append(Change(endpoint, channel, name, before, after))
    sends, sends_after = dict(old.send), dict(new.send)
    for kind in sorted({*sends, *sends_after}):
        before, after = sends.get(kind, "no"), sends_after.get(kind, "no")
        if before != after:
            changes.append(Change(endpoint, channel, f"send {kind}", before, after))
    return changes


def _member(agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId, now: int) -> str:
    decision = membership.may_be_member(agreement, policy, endpoint, now)
    if not decision.allow:
        return "no"
    if agreement.includes(policy.read, endpoint):
        return "yes"
    until = max(rule.until for rule in membership.guest_rules(agreement, policy, endpoint))
    return f"guest until {format_instant(until)}"


def _addressed(agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId) -> str:
    ways = {
        "for action": any(agreement.includes(rule.to, endpoint) for rule in policy.send),
        "for information": any(agreement.includes(rule.copy, endpoint) for rule in policy.send),
    }
    return " and ".join(way for way, allowed in ways.items() if allowed) or "no"


def _sending(
    agreement: Agreement, policy: ChannelPolicy, endpoint: EndpointId
) -> tuple[tuple[str, str], ...]:
    mine = [rule for rule in policy.send if agreement.includes(rule.who, endpoint)]
    spans = []
    for kind in Kind:
        ranges = sorted({(rule.lowest, rule.highest) for rule in mine if kind in rule.kinds})
        if ranges:
            spans.append((str(kind), ", ".join(f"{low.name}-{high.name}" for low, high in ranges)))
    return tuple(spans)


def _cleared(agreement: Agreement, endpoint: EndpointId) -> str:
    clearance = agreement.clearance(endpoint)
    if clearance is None or agreement.label_policy is None:
        return "for nothing"
    categories = ", ".join(f"{tag}={value}" for tag, value in clearance.categories)
    highest = clearances.highest(agreement.label_policy, clearance)
    return f"{highest} // {categories}" if categories else highest


def _yes(answer: bool) -> str:  # noqa: FBT001 - a word for a truth value
    return "yes" if answer else "no"


def _walk(path: str, before: JSON, after: JSON) -> Iterable[FieldChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            inner = f"{path}.{name}" if path else name
            yield from _walk(inner, before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _walk_list(path, before, after)
    elif before != after:
        yield FieldChange(path, before, after)


def _walk_list(path: str, before: list[JSON], after: list[JSON]) -> Iterable[FieldChange]:
    if all(isinstance(one, str) for one in (*before, *after)):
        if before != after:
            yield FieldChange(path, before, after)
        return
    # Policies and parties are told apart by their names, not by where they stand.
    old, new = _paired(before, after)
    for name in dict.fromkeys((*old, *new)):
        yield from _walk(f"{path}[{name}]", old.get(name), new.get(name))


def _paired(before: list[JSON], after: list[JSON]) -> tuple[Mapping[str, JSON], Mapping[str, JSON]]:
    for key in ("code", "name"):
        old, new = _named(key, before), _named(key, after)
        # Only where it tells all of them apart: of two with one name, one would hide the other.
        if len(old) == len(before) and len(new) == len(after):
            return old, new
    return (
        {str(number): item for number, item in enumerate(before)},
        {str(number): item for number, item in enumerate(after)},
    )


def _named(key: str, items: list[JSON]) -> Mapping[str, JSON]:
    return {str(item[key]): item for item in items if isinstance(item, dict) and key in item}
