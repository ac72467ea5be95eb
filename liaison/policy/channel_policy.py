"""The rules of one kind of channel: who, what, how urgent, how large, how long.

Every list of people is closed: whoever is not in it may not. Durations are
seconds, sizes bytes; in the document durations are written `7d`, `12h`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from liaison.envelope.header import Kind
from liaison.errors import MalformedError
from liaison.model import Precedence
from liaison.policy.canonical import JSON
from liaison.policy.fields import Node, format_duration
from liaison.policy.who import Who, who_document, who_from_node

MAX_RULES: Final = 64
MAX_MEMBERS: Final = 2000
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_ATTACHMENT_BYTES: Final = 16 * 1024**3
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_MEDIA_TYPE: Final = re.compile(r"(\*|[a-z0-9.+-]+)/(\*|[a-z0-9.+-]+)")

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


@dataclass(frozen=True, slots=True)
class SendRule:
    """Who may send which kinds of message at which precedences."""

    who: Who
    kinds: tuple[Kind, ...]
    lowest: Precedence
    highest: Precedence

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one rule."""
        fields = node.fields(("who", "kinds", "lowest", "highest"))
        rule = cls(
            who_from_node(fields["who"]),
            tuple(item.parsed(Kind.parse) for item in fields["kinds"].items(most=len(Kind))),
            fields["lowest"].parsed(_precedence),
            fields["highest"].parsed(_precedence),
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
        epoch_max_age: after so many seconds someone commits.
        leaf_max_age: after so many seconds a device renews its leaf.
        unseen_max_age: a device not seen for so long is removed.
    """

    past_epochs: int
    epoch_max_age: int
    leaf_max_age: int
    unseen_max_age: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read the limits."""
        fields = node.fields(("past_epochs", "epoch_max_age", "leaf_max_age", "unseen_max_age"))
        return cls(
            fields["past_epochs"].integer(0, 1000),
            fields["epoch_max_age"].duration(),
            fields["leaf_max_age"].duration(),
            fields["unseen_max_age"].duration(),
        )

    def document(self) -> dict[str, JSON]:
        """Return the limits as they stand in the document."""
        return {
            "past_epochs": self.past_epochs,
            "epoch_max_age": format_duration(self.epoch_max_age),
            "leaf_max_age": format_duration(self.leaf_max_age),
            "unseen_max_age": format_duration(self.unseen_max_age),
        }


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

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one channel policy.

        Raises:
            DocumentError: a field is missing, unknown or wrong; the message says which.
        """
        fields = node.fields(_FIELDS)
        if not _NAME.fullmatch(fields["name"].text(most=40)):
            fields["name"].fail("must be small letters, digits and hyphens")
        grants = {name: who_from_node(fields[name]) for name in _GRANTS}
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
        )

    def document(self) -> dict[str, JSON]:
        """Return the policy as it stands in the document."""
        return {
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

    def every_who(self) -> tuple[Who, ...]:
        """Return all lists of people, for whoever checks that they exist."""
        grants = (self.create, self.add, self.remove, self.read, self.acknowledge)
        return (*grants, *(rule.who for rule in self.send))


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
