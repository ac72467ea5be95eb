"""The small parts of an agreement: the log, labels and clearances, times, statements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Self

from liaison.crypto.signing import SignatureScheme
from liaison.errors import LiaisonError
from liaison.labels import LabelPolicy, compile_policy, spif_xml
from liaison.labels.builtin import BUILT_IN
from liaison.model import PartyCode
from liaison.policy.canonical import JSON
from liaison.policy.fields import Node, format_duration
from liaison.policy.keys import VerifyKey
from liaison.policy.who import Who, who_document, who_from_node
from liaison.values import dataclass

MAX_CATEGORIES: Final = 256
MAX_SPIF_BYTES: Final = 200_000
RESERVED_NAMES: Final = frozenset({"none", "quorum"})
"""Words of a log's trust policy, which no witness is called."""
_HOUR: Final = 3600
# What a signed note and a trust policy can both hold as one word.
_WITNESS_NAME: Final = re.compile(r"[!-*,-~]{1,200}")
_WITNESS_KEYS: Final = (SignatureScheme.ED25519, SignatureScheme.MLDSA44)


@dataclass(frozen=True, slots=True)
class Witness:
    """A party's witness: the name and key of its cosignatures.

    Source: C2SP tlog-cosignature, for which keys there are.
    """

    party: PartyCode
    name: str
    key: VerifyKey

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one."""
        fields = node.fields(("party", "name", "key"))
        name = fields["name"].text(most=200)
        if not _WITNESS_NAME.fullmatch(name) or name in RESERVED_NAMES:
            fields["name"].fail("is not a witness's name", hint="such as witness.example.org/1")
        key = VerifyKey.from_node(fields["key"])
        if key.scheme not in _WITNESS_KEYS:
            schemes = " and ".join(scheme.value for scheme in _WITNESS_KEYS)
            fields["key"].fail(f"is of a scheme that witnesses do not use: {schemes} are")
        return cls(fields["party"].parsed(PartyCode.parse), name, key)

    def document(self) -> dict[str, JSON]:
        """Return it as it stands in the document."""
        return {"party": str(self.party), "name": self.name, "key": self.key.document()}


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The label policy in force, the highest level allowed, the level when none is chosen.

    Args:
        policy: its id.
        ceiling: a classification of it.
        default: a classification of it, at most the ceiling.
        spif: the policy itself as XML, for one that is not built in; all parties
            sign it, so all mean the same by a label.
    """

    policy: str
    ceiling: str
    default: str
    spif: str | None = None

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("policy", "ceiling", "default"), ("spif",))
        spif = fields["spif"].text(most=MAX_SPIF_BYTES) if "spif" in fields else None
        rules = cls(
            fields["policy"].text(most=100),
            fields["ceiling"].text(most=100),
            fields["default"].text(most=100),
            spif,
        )
        meaning = _resolve(rules, fields)
        try:
            ceiling, default = meaning.rank(rules.ceiling), meaning.rank(rules.default)
        except LiaisonError as error:
            node.fail(f"is wrong: {error.message}")
        if default > ceiling:
            fields["default"].fail("is above the ceiling")
        return rules

    def meaning(self) -> LabelPolicy | None:
        """Return the policy, ready for use; None where it is not known.

        Raises:
            XMLError, SpifError: the policy that stands here is none.
        """
        if self.spif is None:
            return BUILT_IN.find(self.policy)
        made = compile_policy(spif_xml.parse(self.spif.encode()))
        return made if made.policy_id == self.policy else None

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        document: dict[str, JSON] = {
            "policy": self.policy,
            "ceiling": self.ceiling,
            "default": self.default,
        }
        return document if self.spif is None else document | {"spif": self.spif}


def _resolve(rules: LabelRules, fields: dict[str, Node]) -> LabelPolicy:
    try:
        meaning = rules.meaning()
    except LiaisonError as error:
        fields["spif"].fail(f"is not a label policy: {error.message}", hint=error.hint)
    if meaning is None and rules.spif is not None:
        fields["policy"].fail("is not the id of the policy that stands in spif")
    if meaning is None:
        fields["policy"].fail(
            "is not a label policy known here",
            hint=f"known are {', '.join(BUILT_IN.ids)}; others stand in spif",
        )
    return meaning


@dataclass(frozen=True, slots=True)
class ClearanceRule:
    """What some people are cleared for; whoever is in several rules holds the sum of them.

    Args:
        who: whom it clears.
        highest: the highest classification, by its name in the label policy.
        categories: (tag name, value), each once, sorted.
    """

    who: Who
    highest: str
    categories: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read one."""
        fields = node.fields(("who", "highest", "categories"))
        listed = [_category(item) for item in fields["categories"].items(most=MAX_CATEGORIES)]
        if listed != sorted(set(listed)):
            fields["categories"].fail("must be ordered by tag and value, each once")
        return cls(who_from_node(fields["who"]), fields["highest"].text(most=100), tuple(listed))

    def document(self) -> dict[str, JSON]:
        """Return it as it stands in the document."""
        return {
            "who": who_document(self.who),
            "highest": self.highest,
            "categories": [{"tag": tag, "value": value} for tag, value in self.categories],
        }


@dataclass(frozen=True, slots=True)
class TimeRules:
    """How far a message's DTG may be ahead of its acceptance and behind it, seconds."""

    ahead: int
    behind: int

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("dtg_ahead", "dtg_behind"))
        return cls(fields["dtg_ahead"].duration(), fields["dtg_behind"].duration())

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        return {
            "dtg_ahead": format_duration(self.ahead),
            "dtg_behind": format_duration(self.behind),
        }


class Overdue(StrEnum):
    """What clients do when a party's word on its participation is older than it may be."""

    WARN = "warn"
    """Say so and go on: for channels that must stay open whatever happens."""
    STOP = "stop"
    """Encrypt nothing more until a fresh word comes."""


@dataclass(frozen=True, slots=True)
class StatusRules:
    """How long a party's statement of participation holds, seconds, and what happens later."""

    max_age: int
    overdue: Overdue

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read them."""
        fields = node.fields(("max_age", "overdue"))
        if fields["max_age"].duration() < _HOUR:
            fields["max_age"].fail("must be an hour at least")
        return cls(fields["max_age"].duration(), fields["overdue"].choice(Overdue))

    def document(self) -> dict[str, JSON]:
        """Return them as they stand in the document."""
        return {"max_age": format_duration(self.max_age), "overdue": self.overdue.value}


class ExclusionRule(StrEnum):
    """How many of the others it takes to exclude a party."""

    NEVER = "never"
    MAJORITY = "majority"
    ALL_OTHERS = "all-others"


def party_texts(node: Node, codes: Iterable[PartyCode]) -> dict[PartyCode, str]:
    """Read a text for some of the parties, such as their duties."""
    known = {str(code): code for code in codes}
    texts = {}
    for name, child in node.mapping().items():
        if name not in known:
            child.fail("is not a party here")
        texts[known[name]] = child.text()
    return texts


def _category(node: Node) -> tuple[str, str]:
    fields = node.fields(("tag", "value"))
    return fields["tag"].text(most=200), fields["value"].text(most=200)
