"""The agreement: what its parties have signed, as a value.

Its canonical JSON is the payload of a DSSE envelope signed by the authority of
every party (`liaison.policy.signing`); people write it as YAML
(`liaison.policy.agreement_yaml`). It embeds the anchors of all its parties and
of the relay: whoever trusts one signature under it trusts those. A value of
this class says nothing about signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

from liaison.crypto import kdf, suites
from liaison.errors import LiaisonError, UnknownError
from liaison.labels import Clearance, Holding, LabelPolicy
from liaison.model import EndpointId, PartyCode
from liaison.policy import canonical, who
from liaison.policy.agreement_rules import (
    ClearanceRule,
    ExclusionRule,
    LabelRules,
    StatusRules,
    TimeRules,
    Witness,
    party_texts,
)
from liaison.policy.canonical import JSON
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.fields import Node, format_instant
from liaison.policy.log_rules import LogRules
from liaison.policy.party import FIELDS as PARTY_FIELDS
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.who import Who, who_document, who_from_node
from liaison.values import dataclass

FORMAT: Final = "liaison.agreement/1"
MAX_AGREEMENT_BYTES: Final = 512 * 1024
"""Twice in base64 and with its signatures it still fits a request of a mebibyte."""
MAX_PARTIES: Final = 64
MAX_CHANNELS: Final = 64
MAX_ROLES: Final = 64
MAX_CLEARANCES: Final = 256
MAX_WITNESSES: Final = 56
"""With the relay's keys and a group for each party they still fit a log's trust policy."""
_MAX_HOLDINGS: Final = 4096
_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ROLE: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SUITE: Final = re.compile(r"0x[0-9A-F]{4}")
_REQUIRED: Final = (
    "format",
    "id",
    "version",
    "previous",
    "kind",
    "title",
    "legal_basis",
    "valid_from",
    "valid_until",
    "parties",
    "relay",
    "witnesses",
    "log",
    "cipher_suite",
    "labels",
    "clearances",
    "times",
    "status",
    "exclusion",
    "duties",
    "residual_duties",
    "retention_days",
    "roles",
    "channels",
)


class AgreementKind(StrEnum):
    """The relation that an agreement establishes."""

    BILATERAL = "bilateral"
    MULTILATERAL = "multilateral"
    HUMANITARIAN = "humanitarian"
    EXERCISE = "exercise"


class UnknownChannelPolicyError(UnknownError):
    """The agreement has no channel policy of this name."""

    code = "agreement.channel_policy_unknown"


class UnknownPartyError(UnknownError):
    """The party does not belong to the agreement."""

    code = "agreement.party_unknown"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the parties have agreed.

    Args:
        agreement_id: names the agreement over all its versions.
        version: from 1.
        previous: 32-byte digest of the version before; None for the first.
        kind: the relation it establishes.
        title: for people.
        legal_basis: for people.
        valid_from: Unix seconds.
        valid_until: Unix seconds; the last second that counts.
        parties: with their anchors.
        relay: with its keys.
        witnesses: whose cosignatures count.
        log: what happens while the log lags behind, and which log it is.
        cipher_suite: of every channel's group.
        labels: confidentiality.
        clearances: who is cleared for what; whoever is in none of them for nothing.
        times: bounds on DTGs.
        status: how fresh the parties' statements of participation must be.
        exclusion: what it takes to exclude a party.
        duties: of each party, for people.
        residual_duties: what binds the parties after the end, for people.
        retention_days: how long the relay keeps what it must not lose sooner.
        roles: names for sets of endpoints.
        channels: the channel policies.
    """

    agreement_id: str
    version: int
    previous: bytes | None
    kind: AgreementKind
    title: str
    legal_basis: str
    valid_from: int
    valid_until: int
    parties: tuple[Party, ...]
    relay: RelayIdentity
    witnesses: tuple[Witness, ...]
    log: LogRules
    cipher_suite: int
    labels: LabelRules
    clearances: tuple[ClearanceRule, ...]
    times: TimeRules
    status: StatusRules
    exclusion: ExclusionRule
    duties: Mapping[PartyCode, str]
    residual_duties: str
    retention_days: int
    roles: Mapping[str, Who]
    channels: tuple[ChannelPolicy, ...]
    label_policy: LabelPolicy | None = field(init=False, repr=False, compare=False)
    _payload: bytes = field(init=False, repr=False, compare=False)
    _digest: bytes = field(init=False, repr=False, compare=False)
    _holdings: dict[EndpointId, Holding] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Encode once: the digest is asked for with every group and many messages."""
        object.__setattr__(self, "_payload", canonical.encode(self.document()))
        object.__setattr__(self, "_digest", kdf.sha256(self._payload))
        object.__setattr__(self, "label_policy", self.labels.meaning())

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Read the canonical JSON that was signed.

        Raises:
            DocumentError: not canonical, or a field is missing, unknown or wrong.
        """
        node = Node.of(canonical.decode_canonical(payload, limit=MAX_AGREEMENT_BYTES))
        agreement = cls.from_node(node)
        if agreement.payload() != payload:
            # A second spelling ("24h" for "1d") would give one agreement two digests.
            node.fail("is not spelled as this program would spell it")
        return agreement

    @classmethod
    def from_node(cls, node: Node) -> Self:
        """Read the document, from whichever source.

        Raises:
            DocumentError: a field is missing, unknown or wrong; the message says
                which, and in which line where the source has lines.
        """
        fields = node.fields(_REQUIRED)
        if fields["format"].value != FORMAT:
            fields["format"].fail(f"must be {FORMAT}")
        agreement = cls(
            agreement_id=_matching(fields["id"], _ID, "small letters, digits and hyphens"),
            version=fields["version"].integer(1, 2**32 - 1),
            previous=_previous(fields["previous"]),
            kind=fields["kind"].choice(AgreementKind),
            title=fields["title"].text(most=200),
            legal_basis=fields["legal_basis"].text(),
            valid_from=fields["valid_from"].instant(),
            valid_until=fields["valid_until"].instant(),
            parties=tuple(
                Party.from_node(n) for n in fields["parties"].items(least=2, most=MAX_PARTIES)
            ),
            relay=RelayIdentity.from_node(fields["relay"]),
            witnesses=tuple(
                Witness.from_node(n) for n in fields["witnesses"].items(most=MAX_WITNESSES)
            ),
            log=LogRules.from_node(fields["log"]),
            cipher_suite=int(_matching(fields["cipher_suite"], _SUITE, "such as 0xF002"), 16),
            labels=LabelRules.from_node(fields["labels"]),
            clearances=tuple(
                ClearanceRule.from_node(n) for n in fields["clearances"].items(most=MAX_CLEARANCES)
            ),
            times=TimeRules.from_node(fields["times"]),
            status=StatusRules.from_node(fields["status"]),
            exclusion=fields["exclusion"].choice(ExclusionRule),
            duties=MappingProxyType(party_texts(fields["duties"], _codes(fields["parties"]))),
            residual_duties=fields["residual_duties"].text(least=0),
            retention_days=fields["retention_days"].integer(1, 3660),
            roles=_roles(fields["roles"]),
            channels=tuple(
                ChannelPolicy.from_node(n) for n in fields["channels"].items(most=MAX_CHANNELS)
            ),
        )
        _check_together(agreement, fields)
        return agreement

    @property
    def codes(self) -> tuple[PartyCode, ...]:
        """The parties' codes, in the document's order."""
        return tuple(party.code for party in self.parties)

    def has_party(self, code: PartyCode) -> bool:
        """Whether a party belongs to the agreement."""
        return code in self.codes

    def party(self, code: PartyCode) -> Party:
        """Return a party with its anchors.

        Raises:
            UnknownPartyError: it does not belong to the agreement.
        """
        for party in self.parties:
            if party.code == code:
                return party
        raise UnknownPartyError(f"{code} is not a party of {self.agreement_id}")

    def channel(self, name: str) -> ChannelPolicy:
        """Return a channel policy.

        Raises:
            UnknownChannelPolicyError: no such policy.
        """
        for policy in self.channels:
            if policy.name == name:
                return policy
        known = ", ".join(policy.name for policy in self.channels)
        raise UnknownChannelPolicyError(
            f"{self.agreement_id} has no channel policy {name[:40]!r}", hint=f"it has: {known}"
        )

    def is_in_force(self, now: int) -> bool:
        """Whether `now` lies in the agreed period; says nothing about signatures."""
        return self.valid_from <= now <= self.valid_until

    def includes(self, people: Who, endpoint: EndpointId) -> bool:
        """Whether a list of people of this agreement includes an endpoint of one of its parties."""
        return self.has_party(endpoint.party) and who.matches(people, endpoint, self.roles)

    def clearance(self, endpoint: EndpointId) -> Clearance | None:
        """Return the sum of the clearances that an endpoint holds, or None where it holds none."""
        total: Clearance | None = None
        for rule in self.clearances:
            if self.includes(rule.who, endpoint):
                held = Clearance.of(self.labels.policy, rule.highest, rule.categories)
                total = held if total is None else total.union(held)
        return total

    def holding(self, policy: LabelPolicy, endpoint: EndpointId) -> Holding:
        """Return what an endpoint's clearance gives it under the agreement's label policy."""
        held = self._holdings.get(endpoint)
        if held is None:
            # Members ask again with every message; who is asked about once costs a place.
            if len(self._holdings) >= _MAX_HOLDINGS:
                self._holdings.clear()
            clearance = self.clearance(endpoint)
            none = Clearance.of(self.labels.policy, ())
            held = policy.holding(clearance or none)
            self._holdings[endpoint] = held
        return held

    def payload(self) -> bytes:
        """Return the canonical JSON that the authorities sign."""
        return self._payload

    def digest(self) -> bytes:
        """Return what names exactly this version: SHA-256 of the payload, 32 bytes."""
        return self._digest

    def document(self) -> dict[str, JSON]:
        """Return the agreement as it stands in JSON and in YAML."""
        return {
            "format": FORMAT,
            "id": self.agreement_id,
            "version": self.version,
            "previous": None if self.previous is None else f"sha256:{self.previous.hex()}",
            "kind": self.kind.value,
            "title": self.title,
            "legal_basis": self.legal_basis,
            "valid_from": format_instant(self.valid_from),
            "valid_until": format_instant(self.valid_until),
            "cipher_suite": f"0x{self.cipher_suite:04X}",
            "labels": self.labels.document(),
            "clearances": [rule.document() for rule in self.clearances],
            "times": self.times.document(),
            "status": self.status.document(),
            "exclusion": self.exclusion.value,
            "duties": {str(code): text for code, text in self.duties.items()},
            "residual_duties": self.residual_duties,
            "retention_days": self.retention_days,
            "roles": {name: who_document(members) for name, members in self.roles.items()},
            "channels": [policy.document() for policy in self.channels],
            "log": self.log.document(),
            "witnesses": [witness.document() for witness in self.witnesses],
            "parties": [party.document() for party in self.parties],
            "relay": self.relay.document(),
        }


def _check_together(agreement: Agreement, fields: dict[str, Node]) -> None:
    if agreement.valid_until <= agreement.valid_from:
        fields["valid_until"].fail("must be after valid_from")
    if (agreement.previous is None) != (agreement.version == 1):
        fields["previous"].fail("must name the version before, and be null in version 1 only")
    if len(set(agreement.codes)) != len(agreement.parties):
        fields["parties"].fail("names a party twice")
    if agreement.kind is AgreementKind.BILATERAL and len(agreement.parties) != 2:
        fields["parties"].fail("must be two in a bilateral agreement")
    names = [policy.name for policy in agreement.channels]
    if len(set(names)) != len(names):
        fields["channels"].fail("has two policies of one name")
    agreement.log.check(agreement.relay.origin, agreement.agreement_id, fields["log"])
    if agreement.version == 1 and agreement.log.generation > 1:
        fields["log"].fail("can't follow another log in version 1: an amendment names a successor")
    _check_witnesses(agreement, fields)
    _check_keys(agreement, fields)
    _check_suite(agreement, fields)
    _check_people(agreement, fields)


def _check_witnesses(agreement: Agreement, fields: dict[str, Node]) -> None:
    # A log's trust policy has one room of names for witnesses and for what they are grouped by.
    taken = {str(code) for code in agreement.codes}
    keys: set[bytes] = set()
    for node, witness in zip(fields["witnesses"].items(), agreement.witnesses, strict=True):
        if not agreement.has_party(witness.party):
            node.fail(f"is of {witness.party}, which is not a party here")
        if witness.name in taken:
            node.fail(f"has the name {witness.name}, which is taken")
        if witness.key.public in keys:
            node.fail("has the key of another one")
        taken.add(witness.name)
        keys.add(witness.key.public)


def _check_keys(agreement: Agreement, fields: dict[str, Node]) -> None:
    # A key that two parties share would let one sign for both.
    for node, party in zip(fields["parties"].items(), agreement.parties, strict=True):
        for other in agreement.parties:
            shared = {*party.authority_keys, *party.registrar_keys} & {
                *other.authority_keys,
                *other.registrar_keys,
            }
            if other is not party and shared:
                node.fail(f"shares a key with {other.code}")


def _check_suite(agreement: Agreement, fields: dict[str, Node]) -> None:
    try:
        suite = suites.suite(agreement.cipher_suite)
        agreement.relay.sender_key(suite.signature)
    except LiaisonError as error:
        fields["cipher_suite"].fail(f"can't be used: {error.message}")


def _check_people(agreement: Agreement, fields: dict[str, Node]) -> None:
    for name, members in agreement.roles.items():
        _check_who(agreement, members, fields["roles"].mapping()[name])
    for node, rule in zip(fields["clearances"].items(), agreement.clearances, strict=True):
        _check_who(agreement, rule.who, node)
        _check_clearance(agreement, rule, node)
    for node, policy in zip(fields["channels"].items(), agreement.channels, strict=True):
        for people in policy.every_who():
            _check_who(agreement, people, node)


def _check_clearance(agreement: Agreement, rule: ClearanceRule, node: Node) -> None:
    # Clearances that a policy does not know give nothing; in an agreement that is a typing error.
    policy = agreement.label_policy
    if policy is None:
        return
    if rule.highest not in policy.classifications:
        node.fail(
            f"names {rule.highest!r}, which is not a level of {policy.name!r}",
            hint=f"levels are {', '.join(policy.classifications)}",
        )
    for pair in rule.categories:
        if pair not in policy.rules.values:
            node.fail(
                f"names the category {pair[0]}={pair[1]}, which {policy.name!r} does not have"
            )


def _check_who(agreement: Agreement, people: Who, node: Node) -> None:
    for pattern in people:
        if pattern.role is not None and pattern.role not in agreement.roles:
            node.fail(f"names the role {pattern.role}, which is not defined under roles")
        if pattern.party is not None and not agreement.has_party(pattern.party):
            node.fail(f"names {pattern}, but {pattern.party} is not a party here")


def _matching(node: Node, pattern: re.Pattern[str], form: str) -> str:
    text = node.text(most=100)
    if not pattern.fullmatch(text):
        node.fail(f"must be {form}")
    return text


def _codes(node: Node) -> list[PartyCode]:
    return [n.fields(PARTY_FIELDS)["code"].parsed(PartyCode.parse) for n in node.items()]


def _previous(node: Node) -> bytes | None:
    if node.is_null:
        return None
    text = _matching(node, _DIGEST, "null or sha256: and 64 hex digits")
    return bytes.fromhex(text.removeprefix("sha256:"))


def _roles(node: Node) -> Mapping[str, Who]:
    roles: dict[str, Who] = {}
    for name, child in node.mapping(MAX_ROLES).items():
        if not _ROLE.fullmatch(name):
            child.fail("is not a role's name: small letters, digits and hyphens")
        roles[name] = who_from_node(child)
        if any(pattern.role is not None for pattern in roles[name]):
            child.fail("names a role inside a role")
    return MappingProxyType(roles)
