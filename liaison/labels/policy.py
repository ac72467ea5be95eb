"""Label policies ready for use: what they know, check, and say of labels and clearances.

A `LabelPolicy` is compiled from a SPIF (`compile_policy`); after that nothing is
parsed or resolved again. Two checks stand apart: whether bytes are a label
(`stanag4774.parse`), and whether a label is one of its policy (here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from liaison.labels.clearance import Clearance, ConfidentialityClearance
from liaison.labels.decision import NOTHING, Holding, Requirement
from liaison.labels.errors import ClearanceError, LabelError
from liaison.labels.label import Label
from liaison.labels.rules import Level, Pair, Requirements, Rules, Tag, Value, compile_rules
from liaison.labels.spif import Applied, Spif
from liaison.labels.stanag4774 import (
    Category,
    CategoryType,
    ConfidentialityLabel,
    PolicyIdentifier,
    Role,
    Sensitivity,
)

V = TypeVar("V")


class LabelPolicy:
    """One policy, resolved; immutable, and safe to share.

    `policy_id` names it in headers and agreements: the OID, or a short name for
    policies that are built in.
    """

    def __init__(self, spif: Spif, rules: Rules, policy_id: str) -> None:
        self.spif = spif
        self.rules = rules
        self.policy_id = policy_id
        self.oid = spif.policy.oid
        self.name = spif.policy.name
        self.classifications = tuple(rules.levels)
        self._named = frozenset({policy_id, self.oid})
        self._default = _default_level(spif, rules)
        self._folded_levels = _folded(rules.levels)
        self._folded_tags = _folded({tag.tag_set: tag.tag_set for tag in rules.tags})
        by_set: dict[str, dict[str, Value]] = {}
        for (tag_set, name), value in rules.values.items():
            by_set.setdefault(tag_set, {})[name] = value
        self._folded_values = {tag_set: _folded(named) for tag_set, named in by_set.items()}

    def __repr__(self) -> str:
        return f"LabelPolicy({self.policy_id!r})"

    def is_named(self, policy_id: str) -> bool:
        """Whether an id or OID is this policy's."""
        return policy_id in self._named

    def is_valid_at(self, now: int | None) -> bool:
        """Whether the policy holds at `now`, Unix seconds; None leaves time out."""
        return now is None or _is_within(now, self.spif.not_before, self.spif.not_after)

    def rank(self, classification: str) -> int:
        """Return a level's place, the lowest being 0.

        Raises:
            LabelError: the policy has no such level.
        """
        return self._level(classification).rank

    def is_within(self, label: Label, ceiling: str) -> bool:
        """Whether a label of this policy is at most `ceiling`."""
        return self.rank(label.classification) <= self.rank(ceiling)

    def default_label(self) -> Label | None:
        """Return the label of unlabelled information, or None where it has none.

        It is the level that the policy calls equivalent to its default policy.
        """
        return None if self._default is None else Label(self.policy_id, self._default)

    # --- validity -------------------------------------------------------------------------------

    def check(self, label: Label, *, now: int | None = None, new: bool = False) -> None:
        """Check that a label is of this policy and keeps its rules.

        Args:
            label: in the policy's own spelling.
            now: Unix seconds, for categories that are valid for a time only; None
                leaves that out.
            new: the label is being given; then nothing obsolete may be in it.

        Raises:
            LabelError: it is not; the message says which rule it breaks.
        """
        if not self.is_named(label.policy):
            raise LabelError(f"the label is of {label.policy[:60]!r}, not of {self.policy_id}")
        level = self._level(label.classification)
        values = [self._value(pair) for pair in dict.fromkeys(label.categories)]
        if new and level.obsolete:
            raise LabelError(f"{level.name} is obsolete: new labels do not use it")
        _check_selection(self.rules.at_least, values)
        if not values and not level.required:
            return
        pairs = frozenset(label.categories)
        _check_required(level.name, level.required, pairs)
        for value in values:
            _check_value(value, level, pairs)
            _check_use(value, now, new=new)

    def requirement(self, label: Label, *, now: int | None = None) -> Requirement:
        """Return what a label demands of whoever is to have the information.

        Raises:
            LabelError: the label is not one of this policy; see `check`.
        """
        self.check(label, now=now)
        restrictive: list[Pair] = []
        permissive: dict[int, list[Pair]] = {}
        for pair in label.categories:
            tag = self.rules.values[pair].tag
            if tag.kind is CategoryType.RESTRICTIVE:
                restrictive.append(pair)
            elif tag.kind is CategoryType.PERMISSIVE:
                permissive.setdefault(tag.number, []).append(pair)
        return Requirement(
            label.classification,
            self.rules.levels[label.classification].rank,
            frozenset(restrictive),
            tuple(
                (self.rules.tags[number].name, frozenset(pairs))
                for number, pairs in permissive.items()
            ),
        )

    def holding(self, clearance: Clearance) -> Holding:
        """Return what a clearance gives; what the policy does not know gives nothing.

        Raises:
            ClearanceError: the clearance is of another policy.
        """
        if not self.is_named(clearance.policy):
            raise ClearanceError(
                f"the clearance is of {clearance.policy[:60]!r}, not of {self.policy_id}"
            )
        known = [self.rules.levels.get(name) for name in clearance.classifications]
        highest = max((level.rank for level in known if level is not None), default=NOTHING)
        level = "" if highest == NOTHING else self.classifications[highest]
        pairs = frozenset(pair for pair in clearance.categories if pair in self.rules.values)
        return Holding(level, highest, pairs)

    # --- the long forms -------------------------------------------------------------------------

    def compact(self, full: ConfidentialityLabel) -> Label:
        """Return the short form of a label, in the policy's own spelling.

        Names are compared without regard to case, as ADatP-4774 asks for.

        Raises:
            LabelError: it is of another policy, or says what the policy does not know.
        """
        said = full.sensitivity
        if not self.is_meant(said.policy):
            raise LabelError(f"the label is of {_identity(said.policy)}, not of {self.name!r}")
        self._check_privacy_mark(said.privacy_mark)
        level = self._resolve_level(said.classification)
        if level is None:
            raise LabelError(
                f"the policy {self.name!r} has no classification {said.classification[:60]!r}"
            )
        pairs = [self._resolve(each, value) for each in said.categories for value in each.values]
        return Label.of(self.policy_id, level, pairs)

    def clearance(self, full: ConfidentialityClearance) -> Clearance:
        """Return the short form of a clearance; what the policy does not know is left out.

        Raises:
            ClearanceError: it is of another policy.
        """
        if not self.is_meant(full.policy):
            raise ClearanceError(
                f"the clearance is of {_identity(full.policy)}, not of {self.name!r}"
            )
        levels = [self._resolve_level(name) for name in full.classifications]
        pairs = []
        for each in full.categories:
            for value in each.values:
                try:
                    pairs.append(self._resolve(each, value))
                except LabelError:
                    # To give nothing for it is the safe reading, and keeps the rest.
                    continue
        return Clearance.of(self.policy_id, filter(None, levels), pairs)

    def expand(
        self,
        label: Label,
        *,
        created: int,
        review: int | None = None,
        role: Role = Role.ORIGINATOR,
    ) -> ConfidentialityLabel:
        """Return the long form of a label, its categories in the policy's order.

        Raises:
            LabelError: the label is not one of this policy; see `check`.
        """
        self.check(label)
        values = sorted((self._value(each) for each in label.categories), key=lambda v: v.number)
        by_tag: dict[tuple[str, str, CategoryType], list[str]] = {}
        for value in values:
            tag = value.tag
            by_tag.setdefault((tag.tag_set, tag.tag_set_oid, tag.kind), []).append(value.pair[1])
        categories = tuple(
            Category(tag_set, kind, tuple(names), oid)
            for (tag_set, oid, kind), names in by_tag.items()
        )
        said = Sensitivity(
            PolicyIdentifier(self.name, self.oid), label.classification, categories=categories
        )
        return ConfidentialityLabel(said, created, review, role=role)

    def is_meant(self, said: PolicyIdentifier) -> bool:
        """Whether a label or clearance names this policy: by OID where it gives one."""
        if said.oid is not None:
            return said.oid == self.oid
        return said.name.casefold() == self.name.casefold()

    # --- look-ups -------------------------------------------------------------------------------

    def _level(self, name: str) -> Level:
        level = self.rules.levels.get(name)
        if level is None:
            raise LabelError(f"the policy {self.name!r} has no classification {name[:60]!r}")
        return level

    def _value(self, pair: Pair) -> Value:
        value = self.rules.values.get(pair)
        if value is None:
            raise LabelError(
                f"the policy {self.name!r} has no category {pair[0][:60]!r}: {pair[1][:60]!r}"
            )
        return value

    def _resolve_level(self, name: str) -> str | None:
        if name in self.rules.levels:
            return name
        level = self._folded_levels.get(name.casefold())
        return None if level is None else level.name

    def _resolve(self, category: Category, value: str) -> Pair:
        tag_set = self._folded_tags.get(category.tag.casefold(), category.tag)
        found = self.rules.values.get((tag_set, value))
        found = found or self._folded_values.get(tag_set, {}).get(value.casefold())
        if found is None:
            raise LabelError(
                f"the policy {self.name!r} has no category {category.tag[:60]!r}: {value[:60]!r}"
            )
        if found.tag.kind is not category.type:
            raise LabelError(
                f"{category.tag[:60]} {value[:60]} is {found.tag.kind} in {self.name!r}"
            )
        if category.oid not in {None, found.tag.tag_set_oid}:
            raise LabelError(f"the tag set {category.tag[:60]} has another id in {self.name!r}")
        return found.pair

    def _check_privacy_mark(self, mark: str | None) -> None:
        privacy = self.spif.privacy
        if mark is None or privacy is None:
            return
        if mark not in {each.name for each in privacy.items}:
            raise LabelError(f"the policy {self.name!r} has no privacy mark {mark[:60]!r}")


class LabelPolicies:
    """The policies that one program knows, by id and by OID."""

    def __init__(self, policies: Iterable[LabelPolicy]) -> None:
        self._known = {policy.policy_id: policy for policy in policies}
        self._by_oid = {policy.oid: policy for policy in self._known.values()}

    def find(self, policy_id: str) -> LabelPolicy | None:
        """Return a policy by its id or OID, or None where it is unknown."""
        return self._known.get(policy_id) or self._by_oid.get(policy_id)

    def named(self, said: PolicyIdentifier) -> LabelPolicy | None:
        """Return the policy that a label or clearance names, or None."""
        return next((each for each in self._known.values() if each.is_meant(said)), None)

    def including(self, *policies: LabelPolicy) -> LabelPolicies:
        """Return these and more; a later one takes the place of an older one of its id."""
        return LabelPolicies((*self._known.values(), *policies))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all known policies."""
        return tuple(self._known)


def compile_policy(spif: Spif, *, policy_id: str = "") -> LabelPolicy:
    """Return a policy ready for use.

    Args:
        spif: the policy as data.
        policy_id: what headers and agreements call it; empty for its OID.

    Raises:
        SpifError: the policy contradicts itself.
    """
    return LabelPolicy(spif, compile_rules(spif), policy_id or spif.policy.oid)


def _check_selection(at_least: Iterable[Tag], values: Iterable[Value]) -> None:
    counts = Counter(value.tag.number for value in values)
    if counts:
        for value in values:
            most = value.tag.maximum
            if most is not None and counts[value.tag.number] > most:
                raise LabelError(f"a label has at most {most} of {value.tag.name}")
    for tag in at_least:
        if counts[tag.number] < tag.minimum:
            raise LabelError(f"a label has at least {tag.minimum} of {tag.name}")


def _check_required(name: str, rules: Iterable[Requirements], pairs: frozenset[Pair]) -> None:
    for rule in rules:
        if not rule.holds(pairs):
            raise LabelError(f"{name} stands with {rule.words()}")


def _check_value(value: Value, level: Level, pairs: frozenset[Pair]) -> None:
    name = value.pair[1]
    wanted = value.required_level
    if level.name in value.excluded_levels or wanted not in {None, level.name}:
        raise LabelError(f"{name} does not stand with {level.name}")
    beside = value.excludes(pairs)
    if beside:
        raise LabelError(f"{name} does not stand with {min(beside)[1]}")
    _check_required(name, value.required, pairs)


def _check_use(value: Value, now: int | None, *, new: bool) -> None:
    source = value.source
    if new and source.obsolete:
        raise LabelError(f"{source.name} is obsolete: new labels do not use it")
    if now is not None and not _is_within(now, source.not_before, source.not_after):
        raise LabelError(f"{source.name} is not valid at this time")


def _is_within(now: int, not_before: int | None, not_after: int | None) -> bool:
    return (not_before is None or not_before <= now) and (not_after is None or now <= not_after)


def _default_level(spif: Spif, rules: Rules) -> str | None:
    if spif.default_policy is None:
        return None
    names = [
        level.name
        for level in spif.classifications.items
        for same in level.equivalents
        if same.policy == spif.default_policy.name and same.applied is not Applied.ENCRYPT
    ]
    # Several are no contradiction; the highest of them is the safe one.
    return max(names, key=lambda name: rules.levels[name].rank, default=None)


def _folded(named: Mapping[str, V]) -> dict[str, V]:
    """Index by name without case; names that differ in case only are left out."""
    counts = Counter(name.casefold() for name in named)
    return {name.casefold(): value for name, value in named.items() if counts[name.casefold()] == 1}


def _identity(said: PolicyIdentifier) -> str:
    return f"{said.name[:60]!r}" + (f" ({said.oid})" if said.oid else "")
