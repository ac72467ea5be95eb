"""What an amendment changes, in words: for whom, in which channels, and in the text itself."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from liaison import words
from liaison.labels import Label, LabelError
from liaison.model import EndpointId, PartyCode
from liaison.policy import changes
from liaison.policy.agreement import Agreement
from liaison.policy.canonical import JSON
from liaison.policy.changes import Change, FieldChange
from liaison.policy.who import Pattern
from liaison.values import dataclass
from liaison_cli.terminal import clean_line

_NOTHING: Final = frozenset({"no", "for nothing"})
_EVERYWHERE: Final = "cleared"
"""The right that does not depend on the channel."""
_SEND: Final = "send "
_DEEDS: Final = {
    "create": "open such a channel",
    "add": "add others",
    "remove": "remove others",
    "acknowledge": "send receipts",
    "review": "review drafts",
    "release": "release drafts",
}
_SHOWN: Final = 400
_FIRST: Final = string.digits + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Effect:
    """One right that changes for an endpoint, or for all of a party that nobody names.

    Args:
        who: in words.
        endpoint: None where it stands for several.
        change: what changes; of a made-up endpoint where it stands for several.
    """

    who: str
    endpoint: EndpointId | None
    change: Change

    @property
    def channel(self) -> str | None:
        """The channel policy, or None where it is about all of them."""
        return None if self.change.right == _EVERYWHERE else self.change.channel

    @property
    def kind(self) -> str:
        """`gains`, `loses`, or `changes`."""
        if self.change.before in _NOTHING:
            return "gains"
        return "loses" if self.change.after in _NOTHING else "changes"

    def record(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        return {
            "endpoint": None if self.endpoint is None else str(self.endpoint),
            "who": self.who,
            "party": str(self.change.endpoint.party),
            "channel": self.channel,
            "effect": self.kind,
            "right": self.change.right,
            "before": self.change.before,
            "after": self.change.after,
        }


def effects(
    before: Agreement, after: Agreement, endpoints: Iterable[EndpointId], now: int
) -> list[Effect]:
    """Return every right that an amendment changes.

    Besides the endpoints that are named, in either version or by the caller, each
    party's other endpoints are judged together, and so are those under one prefix:
    what the agreement says is then said of everybody.

    Args:
        before: the version in force.
        after: the amendment.
        endpoints: of those who are known besides.
        now: Unix seconds.
    """
    named = {*changes.named_endpoints(before), *changes.named_endpoints(after), *endpoints}
    names: dict[EndpointId, str] = {one: str(one) for one in named}
    others = _others((before, after), named)
    people = sorted({*names, *others})
    found = [
        change
        for change in changes.changed_rights(before, after, people, now)
        if change.right != _EVERYWHERE
    ]
    found += _cleared(before, after, people, now)
    return [
        Effect(others[change.endpoint], None, change)
        if change.endpoint in others
        else Effect(names[change.endpoint], change.endpoint, change)
        for change in sorted(found, key=lambda change: change.endpoint)
    ]


def _cleared(
    before: Agreement, after: Agreement, people: Iterable[EndpointId], now: int
) -> Iterator[Change]:
    # Once for each, and not by channel: a policy that comes new would seem to clear everybody.
    for endpoint in people:
        old, new = (
            changes.rights(version, version.channels[0].name, endpoint, now).cleared
            if version.channels
            else "for nothing"
            for version in (before, after)
        )
        if old != new:
            yield Change(endpoint, "", _EVERYWHERE, old, new)


def label_remarks(agreement: Agreement) -> Iterator[str]:
    """Return what an agreement's labels and clearances would keep people from.

    While somebody is in a channel who is not cleared for its usual label nothing
    can be said there: they could read it.
    """
    meaning, level = agreement.label_policy, agreement.labels.default
    if meaning is None:
        return
    try:
        requirement = meaning.requirement(Label(agreement.labels.policy, level))
    except LabelError as e:
        yield f"every message must name its label, since {level} alone is none: {e.message}"
        return
    named = changes.named_endpoints(agreement)
    people = {one: str(one) for one in named} | dict(_others((agreement,), named))
    for endpoint in sorted(people):
        if not requirement.decide(agreement.holding(meaning, endpoint)).grant:
            for policy in agreement.channels:
                if agreement.includes(policy.read, endpoint):
                    who = people[endpoint]
                    yield f"{who} may be in {policy.name} channels and is not cleared for {level}"


def effect_lines(found: Iterable[Effect]) -> Iterator[str]:
    """Return the effects as people read them, by channel policy.

    Kinds of message about which the same is said stand together; of somebody who
    is no longer a member only that is said.
    """
    listed = list(found)
    width = max((len(effect.who) for effect in listed), default=0)
    for channel in dict.fromkeys(effect.channel for effect in listed):
        yield "in all channels" if channel is None else f"channel policy {channel}"
        here = [effect for effect in listed if effect.channel == channel]
        for who in dict.fromkeys(effect.who for effect in here):
            mine = [effect for effect in here if effect.who == who]
            gone = [one for one in mine if (one.change.right, one.kind) == ("member", "loses")]
            yield from (f"  {who.ljust(width)}  {said}" for said in _sentences(gone or mine))


def _sentences(found: Iterable[Effect]) -> Iterator[str]:
    sends: dict[tuple[str, str], list[str]] = {}
    for effect in found:
        change = effect.change
        if change.right.startswith(_SEND):
            kind = change.right.removeprefix(_SEND)
            sends.setdefault((change.before, change.after), []).append(kind)
        else:
            yield _sentence(effect)
    for (before, after), kinds in sends.items():
        named = " or ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
        deed = f"send a {named}"
        if before in _NOTHING:
            yield f"may now {deed} at {after}"
        elif after in _NOTHING:
            yield f"may no longer {deed}, before at {before}"
        else:
            yield f"may {deed} at {after}, before at {before}"


def _sentence(effect: Effect) -> str:
    right, before, after = effect.change.right, effect.change.before, effect.change.after
    if right in _DEEDS:
        return f"may {'now' if effect.kind == 'gains' else 'no longer'} {_DEEDS[right]}"
    if right == _EVERYWHERE:
        words = ("is now cleared for ", "is no longer cleared for ", "is cleared for ")
    elif right == "member":
        words = ("may now be a ", "may no longer be a ", "may be a ")
        before, after = ("member" if value == "yes" else value for value in (before, after))
    else:
        words = ("may now be addressed ", "may no longer be addressed ", "may be addressed ")
    gained, lost, changed = words
    match effect.kind:
        case "gains":
            return gained + after
        case "loses":
            return lost + before
        case _:
            return f"{changed}{after}, before {before}"


def field_record(change: FieldChange) -> dict[str, Any]:
    """Return what programs are told of a field that differs."""
    return {"path": change.path, "before": change.before, "after": change.after}


def field_lines(found: Iterable[FieldChange]) -> Iterator[str]:
    """Return the differing fields as people read them."""
    for change in found:
        yield change.path
        for title, value in (("was", change.before), ("now", change.after)):
            first, *rest = _value(value)
            yield f"  {title}  {first}"
            yield from (f"       {line}" for line in rest)


def log_lines(before: Agreement, after: Agreement, differences: Iterable[str]) -> list[str]:
    """Return what it means for the log that a version names its successor; nothing where it keeps it.

    Args:
        before: the version before.
        after: the version.
        differences: between what it holds to and what was read here.
    """
    head = after.log.predecessor
    if head is None or after.log.generation == before.log.generation:
        return []
    first = words.count(head.size, "entry counts", "entries count")
    return [
        f"the log ends: its first {first}, and a new one follows",
        *(f"  but {text}" for text in differences),
        "",
    ]


def _others(versions: Iterable[Agreement], named: Iterable[EndpointId]) -> Mapping[EndpointId, str]:
    """Return made-up endpoints that stand for those whom nobody names, and what to call them."""
    taken = set(named)
    listed = list(versions)
    prefixes = {
        (pattern.party, pattern.prefix)
        for agreement in listed
        for pattern in _patterns(agreement)
        if pattern.party is not None and pattern.prefix
    }
    parties: dict[PartyCode, None] = {code: None for one in listed for code in one.codes}
    others: dict[EndpointId, str] = {}
    for party in parties:
        own = sorted(prefix for code, prefix in prefixes if code == party)
        for prefix in ("", *own):
            stand_in = _stand_in(party, prefix, own, taken)
            if stand_in is not None:
                who = f"{party.path}/{prefix}*" if prefix else str(party)
                others[stand_in] = f"everyone else of {who}" if not prefix else f"other {who}"
    return others


def _stand_in(
    party: PartyCode, prefix: str, prefixes: list[str], taken: set[EndpointId]
) -> EndpointId | None:
    longer = [other for other in prefixes if other != prefix and other.startswith(prefix)]
    for char in _FIRST:
        name = prefix + char
        if any(name.startswith(other) or other.startswith(name) for other in longer):
            continue
        if (one := EndpointId(party, name)) not in taken:
            return one
    # All that begin so are named: there is nobody else.
    return None


def _patterns(agreement: Agreement) -> Iterator[Pattern]:
    for people in agreement.roles.values():
        yield from people
    for rule in agreement.clearances:
        yield from rule.who
    for policy in agreement.channels:
        for people in policy.every_who():
            yield from people


def _value(value: JSON) -> list[str]:
    if value is None:
        return ["-"]
    if isinstance(value, str):
        return [_cut(value)]
    if isinstance(value, bool | int):
        return [str(value).lower()]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [_cut(", ".join(map(str, value))) if value else "nobody, nothing"]
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return [_cut(line) for line in text.splitlines()]


def _cut(text: str) -> str:
    line = clean_line(text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}... ({len(text)} characters)"
