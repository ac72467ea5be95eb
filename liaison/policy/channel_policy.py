"""The rules of one kind of channel: who, what, how urgent, how large, how long.

Every list of people is closed: whoever is not in it may not. Durations are
seconds, sizes bytes; in the document durations are written `7d`, `12h`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Final, Self

from liaison.model import Precedence
from liaison.policy.canonical import JSON
from liaison.policy.channel_rules import (
    MAX_RULES,
    AnswerTimes,
    AttachmentRules,
    GuestRule,
    KeyRules,
    Quotas,
    ReleaseRule,
    SendRule,
    WatchHours,
    answers_from_node,
)
from liaison.policy.fields import Node, format_duration
from liaison.policy.who import Who, who_document, who_from_node
from liaison.values import dataclass

MAX_MEMBERS: Final = 2000
MAX_MESSAGE_BYTES: Final = 960 * 1024
"""Of the encrypted message: a frame of the wire has a mebibyte, and more than the message in it."""
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")

_GRANTS: Final = ("create", "add", "remove", "read", "acknowledge")
_FIELDS: Final = (
    "name",
    "description",
    *_GRANTS,
    "send",
    "max_members",
    "max_message_bytes",
    "attachments",
    "retention_days",
    "keys",
    "max_expiry",
)
# What is left out of the document is left out on purpose: no guests, no release needed, no
# demand for answers, any language, no hours, no quota.
_OPTIONAL: Final = ("guests", "release", "answers", "languages", "watch", "quotas")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """The rules of the channels that name this policy.

    Args:
        name: what channels name it by.
        description: for people.
        create: who may open such a channel; as its first member also in `read`.
        add: who may add endpoints; those added must be in `read`.
        remove: who may remove endpoints.
        read: who may be a member at all.
        acknowledge: who may send receipts.
        send: who may send what; any one rule is enough.
        max_members: devices in the group.
        max_message_bytes: of the encrypted message as the relay stores it.
        attachments: what may be attached.
        retention_days: how long the relay keeps what was not fetched.
        keys: how long keys live.
        max_expiry: the longest life of a message that expires; 0 for no limit.
        guests: who may be a member until a date without being in `read`.
        release: which messages need the signatures of several persons.
        answers: how soon readers answer, by action precedence.
        languages: tags (RFC 5646) of the languages in use; empty for any.
        watch: when desks are manned, for people.
        quotas: what one party may take up.
    """

    name: str
    description: str
    create: Who
    add: Who
    remove: Who
    read: Who
    acknowledge: Who
    send: tuple[SendRule, ...]
    max_members: int
    max_message_bytes: int
    attachments: AttachmentRules
    retention_days: int
    keys: KeyRules
    max_expiry: int
    guests: tuple[GuestRule, ...] = ()
    release: ReleaseRule | None = None
    answers: Mapping[Precedence, AnswerTimes] = field(default_factory=lambda: MappingProxyType({}))
    languages: tuple[str, ...] = ()
    watch: tuple[WatchHours, ...] = ()
    quotas: Quotas | None = None

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one channel policy.

        Raises:
            DocumentError: a field is missing, unknown or wrong; the message says which.
        """
        fields = node.fields(_FIELDS, _OPTIONAL)
        if not _NAME.fullmatch(fields["name"].text(most=40)):
            fields["name"].fail("must be small letters, digits and hyphens")
        grants: dict[str, Any] = {name: who_from_node(fields[name]) for name in _GRANTS}
        rules = fields["send"].items(most=MAX_RULES)
        return cls(
            name=fields["name"].text(),
            description=fields["description"].text(least=0),
            **grants,
            send=tuple(SendRule.from_node(item) for item in rules),
            max_members=fields["max_members"].integer(1, MAX_MEMBERS),
            max_message_bytes=fields["max_message_bytes"].integer(1, MAX_MESSAGE_BYTES),
            attachments=AttachmentRules.from_node(fields["attachments"]),
            retention_days=fields["retention_days"].integer(1, 3660),
            keys=KeyRules.from_node(fields["keys"]),
            max_expiry=fields["max_expiry"].duration(),
            **_optional(fields),
        )

    def document(self) -> dict[str, JSON]:
        """Return the policy as it stands in the document."""
        document: dict[str, JSON] = {
            "name": self.name,
            "description": self.description,
            "create": who_document(self.create),
            "add": who_document(self.add),
            "remove": who_document(self.remove),
            "read": who_document(self.read),
            "acknowledge": who_document(self.acknowledge),
            "send": [rule.document() for rule in self.send],
            "max_members": self.max_members,
            "max_message_bytes": self.max_message_bytes,
            "attachments": self.attachments.document(),
            "retention_days": self.retention_days,
            "keys": self.keys.document(),
            "max_expiry": format_duration(self.max_expiry),
        }
        optional: dict[str, JSON] = {
            "guests": [guest.document() for guest in self.guests],
            "release": None if self.release is None else self.release.document(),
            "answers": {level.name: times.document() for level, times in self.answers.items()},
            "languages": list(self.languages),
            "watch": [watch.document() for watch in self.watch],
            "quotas": None if self.quotas is None else self.quotas.document(),
        }
        return document | {name: value for name, value in optional.items() if value}

    def every_who(self) -> tuple[Who, ...]:
        """Return all lists of people, for whoever checks that they exist."""
        grants = (self.create, self.add, self.remove, self.read, self.acknowledge)
        senders = (people for rule in self.send for people in (rule.who, rule.to, rule.copy))
        guests = (people for rule in self.guests for people in (rule.who, rule.invited_by))
        release = () if self.release is None else (self.release.review, self.release.release)
        return (*grants, *senders, *guests, *release, *(watch.who for watch in self.watch))


def _optional(fields: dict[str, Node]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in fields.items():
        if name not in _OPTIONAL:
            continue
        # One spelling for one meaning: nothing at all is said by leaving the field out.
        if not node.value:
            node.fail("is empty", hint="leave it out")
        match name:
            case "guests":
                found[name] = tuple(GuestRule.from_node(n) for n in node.items(most=MAX_RULES))
            case "release":
                found[name] = ReleaseRule.from_node(node)
            case "answers":
                found[name] = answers_from_node(node)
            case "languages":
                found[name] = _languages(node)
            case "watch":
                found[name] = tuple(WatchHours.from_node(n) for n in node.items(most=MAX_RULES))
            case "quotas":
                found[name] = Quotas.from_node(node)
    return found


def _languages(node: Node) -> tuple[str, ...]:
    tags = tuple(_language(item) for item in node.items(most=MAX_RULES))
    # RFC 5646 §2.1.1: case says nothing.
    if len({tag.lower() for tag in tags}) != len(tags):
        node.fail("names a language twice")
    return tags


def _language(node: Node) -> str:
    tag = node.text(most=40)
    if not _LANGUAGE.fullmatch(tag):
        node.fail("is not a language tag such as en or pt-BR")
    return tag
