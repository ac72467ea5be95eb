"""The parts of a channel policy: who sends what, attachments, keys, release, guests, watch.

Values that read and write themselves; what they mean for a request is decided in
`liaison.policy.evaluate`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Self

from liaison.envelope.header import Kind
from liaison.errors import MalformedError
from liaison.model import Precedence
from liaison.policy.canonical import JSON
from liaison.policy.fields import Node, format_duration, format_instant
from liaison.policy.who import Who, who_document, who_from_node
from liaison.values import dataclass

MAX_RULES: Final = 64
MAX_ATTACHMENT_BYTES: Final = 16 * 1024**3
_MEDIA_TYPE: Final = re.compile(r"(\*|[a-z0-9.+-]+)/(\*|[a-z0-9.+-]+)")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 86400
_LEAST_UNSEEN: Final = 3600
_KEY_FIELDS: Final = (
    "past_epochs",
    "past_max_age",
    "epoch_max_age",
    "leaf_max_age",
    "unseen_max_age",
)


@dataclass(frozen=True, slots=True)
class SendRule:
    """Who may send which kinds of message, at which precedences, addressed to whom.

    Args:
        who: the senders.
        kinds: of message.
        lowest: of both precedences.
        highest: of both precedences.
        to: who may be addressed for action.
        copy: who may be addressed for information.
    """

    who: Who
    kinds: tuple[Kind, ...]
    lowest: Precedence
    highest: Precedence
    to: Who
    copy: Who

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one rule."""
        fields = node.fields(("who", "kinds", "lowest", "highest", "to", "copy"))
        rule = cls(
            who_from_node(fields["who"]),
            _kinds(fields["kinds"]),
            fields["lowest"].parsed(_precedence),
            fields["highest"].parsed(_precedence),
            who_from_node(fields["to"]),
            who_from_node(fields["copy"]),
        )
        if rule.lowest > rule.highest:
            fields["highest"].fail("is below lowest")
        return rule

    def document(self) -> dict[str, JSON]:
        """Return the rule as it stands in the document."""
        return {
            "who": who_document(self.who),
            "kinds": [str(kind) for kind in self.kinds],
            "lowest": self.lowest.name,
            "highest": self.highest.name,
            "to": who_document(self.to),
            "copy": who_document(self.copy),
        }


@dataclass(frozen=True, slots=True)
class AttachmentRules:
    """What may be attached; media types may have `*`, as in `image/*`."""

    max_count: int
    max_bytes: int
    media_types: tuple[str, ...]

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read the limits."""
        fields = node.fields(("max_count", "max_bytes", "media_types"))
        types = fields["media_types"].items(most=MAX_RULES)
        return cls(
            fields["max_count"].integer(0, 1000),
            fields["max_bytes"].integer(0, MAX_ATTACHMENT_BYTES),
            tuple(item.parsed(_media_type) for item in types),
        )

    def allows(self, media_type: str) -> bool:
        """Whether a media type (without parameters) is among those allowed."""
        kind = media_type.partition(";")[0].strip().lower()
        major = kind.partition("/")[0]
        return any(allowed in ("*/*", f"{major}/*", kind) for allowed in self.media_types)

    def document(self) -> dict[str, JSON]:
        """Return the limits as they stand in the document."""
        return {
            "max_count": self.max_count,
            "max_bytes": self.max_bytes,
            "media_types": list(self.media_types),
        }


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How long keys live.

    Args:
        past_epochs: whose keys members keep, for messages that were under way.
        past_max_age: and for how long at most.
        epoch_max_age: after so many seconds someone commits.
        leaf_max_age: after so many seconds a device renews its leaf.
        unseen_max_age: a device that has not renewed its leaf for so long is removed; not
            shorter than `leaf_max_age`, or who renews in time would be too late.
    """

    past_epochs: int
    past_max_age: int
    epoch_max_age: int
    leaf_max_age: int
    unseen_max_age: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read the limits."""
        fields = node.fields(_KEY_FIELDS)
        rules = cls(
            fields["past_epochs"].integer(0, 1000),
            fields["past_max_age"].duration(),
            fields["epoch_max_age"].duration(),
            fields["leaf_max_age"].duration(),
            fields["unseen_max_age"].duration(),
        )
        if rules.unseen_max_age < max(rules.leaf_max_age, _LEAST_UNSEEN):
            fields["unseen_max_age"].fail(
                "is shorter than leaf_max_age or an hour: devices would be removed in use"
            )
        return rules

    def document(self) -> dict[str, JSON]:
        """Return the limits as they stand in the document."""
        return {
            "past_epochs": self.past_epochs,
            "past_max_age": format_duration(self.past_max_age),
            "epoch_max_age": format_duration(self.epoch_max_age),
            "leaf_max_age": format_duration(self.leaf_max_age),
            "unseen_max_age": format_duration(self.unseen_max_age),
        }


@dataclass(frozen=True, slots=True)
class GuestRule:
    """Endpoints that are no regular readers and may be members until a date.

    Args:
        who: the guests; endpoints of parties to the agreement.
        invited_by: who may add them.
        until: Unix seconds; the last one at which they may be members.
    """

    who: Who
    invited_by: Who
    until: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one rule."""
        fields = node.fields(("who", "invited_by", "until"))
        return cls(
            who_from_node(fields["who"]),
            who_from_node(fields["invited_by"]),
            fields["until"].instant(),
        )

    def document(self) -> dict[str, JSON]:
        """Return the rule as it stands in the document."""
        return {
            "who": who_document(self.who),
            "invited_by": who_document(self.invited_by),
            "until": format_instant(self.until),
        }


@dataclass(frozen=True, slots=True)
class ReleaseRule:
    """Which messages leave only with the signatures of several persons of the sender's party.

    Args:
        kinds: of message that it is about.
        lowest: messages of this action precedence and above.
        review: one of them must have reviewed; an empty list asks for no review.
        release: one of them must have released; never the drafter.
        persons: different endpoints that must have signed, 2 or 3.
    """

    kinds: tuple[Kind, ...]
    lowest: Precedence
    review: Who
    release: Who
    persons: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read the rule."""
        fields = node.fields(("kinds", "lowest", "review", "release", "persons"))
        rule = cls(
            _kinds(fields["kinds"], least=1),
            fields["lowest"].parsed(_precedence),
            who_from_node(fields["review"]),
            who_from_node(fields["release"]),
            fields["persons"].integer(2, 3),
        )
        if rule.persons == len(("draft", "review", "release")) and not rule.review:
            fields["review"].fail("is nobody, so a third person can't sign")
        return rule

    def document(self) -> dict[str, JSON]:
        """Return the rule as it stands in the document."""
        return {
            "kinds": [str(kind) for kind in self.kinds],
            "lowest": self.lowest.name,
            "review": who_document(self.review),
            "release": who_document(self.release),
            "persons": self.persons,
        }


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """How soon readers acknowledge and reply, seconds after acceptance; 0: no demand."""

    acknowledge: int
    reply: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("acknowledge", "reply"))
        return cls(fields["acknowledge"].duration(), fields["reply"].duration())

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        return {
            "acknowledge": format_duration(self.acknowledge),
            "reply": format_duration(self.reply),
        }


def answers_from_node(node: Node) -> Mapping[Precedence, AnswerTimes]:
    """Read the times by precedence."""
    times: dict[Precedence, AnswerTimes] = {}
    for name, child in node.mapping(len(Precedence)).items():
        try:
            level = _precedence(name)
        except MalformedError as error:
            child.fail(f"is wrong: {error.message}")
        times[level] = AnswerTimes.from_node(child)
        if not (times[level].acknowledge or times[level].reply):
            child.fail("demands nothing", hint="leave it out")
    return MappingProxyType(times)


@dataclass(frozen=True, slots=True)
class WatchHours:
    """When a desk is manned, every week, in UTC.

    Args:
        who: whose desks.
        days: 0 for Monday to 6, sorted.
        begins: second of the day.
        ends: second of the day, after `begins`; 86400 for midnight.
    """

    who: Who
    days: tuple[int, ...]
    begins: int
    ends: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one watch: days such as `mon`, times such as `08:00`."""
        fields = node.fields(("who", "days", "begins", "ends"))
        days = tuple(item.parsed(_weekday) for item in fields["days"].items(least=1, most=7))
        if list(days) != sorted(set(days)):
            fields["days"].fail("must be in the order of the week, each once")
        watch = cls(
            who_from_node(fields["who"]),
            days,
            fields["begins"].parsed(_second_of_day),
            fields["ends"].parsed(_second_of_day),
        )
        if watch.ends <= watch.begins:
            fields["ends"].fail("must be after begins; split a watch at midnight")
        return watch

    def is_manned(self, at: int) -> bool:
        """Whether the watch covers a moment, Unix seconds."""
        return (
            datetime.fromtimestamp(at, UTC).weekday() in self.days
            and self.begins <= at % _DAY < self.ends
        )

    def document(self) -> dict[str, JSON]:
        """Return the watch as it stands in the document."""
        return {
            "who": who_document(self.who),
            "days": [_DAYS[day] for day in self.days],
            "begins": _clock(self.begins),
            "ends": _clock(self.ends),
        }


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much of a channel one party may take up.

    Args:
        devices: of one party in the group.
        administrators: endpoints of one party in the group that may add or remove others.
    """

    devices: int
    administrators: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("devices", "administrators"))
        return cls(fields["devices"].integer(1, 2000), fields["administrators"].integer(0, 2000))

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        return {"devices": self.devices, "administrators": self.administrators}


def _kinds(node: Node, *, least: int = 0) -> tuple[Kind, ...]:
    kinds = tuple(item.parsed(Kind.parse) for item in node.items(least=least, most=len(Kind)))
    if len(set(kinds)) != len(kinds):
        node.fail("names a kind twice")
    # What stands in a document must hold: these two are judged without such rules.
    if beyond := {Kind.RECEIPT, Kind.CONTROL} & set(kinds):
        names = " and ".join(sorted(map(str, beyond)))
        node.fail(f"names {names}, which needs no rule here", hint="see acknowledge and read")
    return kinds


def _precedence(text: str) -> Precedence:
    # One spelling in documents, so that one policy has one digest.
    precedence = Precedence.parse(text)
    if precedence.name != text:
        raise MalformedError(f"write {precedence.name}")
    return precedence


def _media_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise MalformedError(f"{text[:60]!r} is not a media type such as image/* or text/plain")
    return text


def _weekday(text: str) -> int:
    if text not in _DAYS:
        raise MalformedError(f"{text[:20]!r} is not a day ({', '.join(_DAYS)})")
    return _DAYS.index(text)


def _second_of_day(text: str) -> int:
    if not _CLOCK.fullmatch(text):
        raise MalformedError(f"{text[:20]!r} is not a time of day in UTC such as 08:00")
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"
