"""Labels of one policy in terms of another.

The sender's policy says what its labels are elsewhere (`encrypt`); where it
says nothing, the receiver's policy says what foreign labels are here
(`decrypt`). What has no equivalent is an error and never silently dropped,
except values that say nothing about access.

Source: ADatP-4774.1 §3.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.labels.errors import LabelError, NoEquivalentError
from liaison.labels.label import Label
from liaison.labels.policy import LabelPolicy
from liaison.labels.rules import Pair, Value, lacv_key, speaks_of
from liaison.labels.spif import (
    Applied,
    Classification,
    EquivalencyAction,
    EquivalentCategory,
    EquivalentClassification,
    Operation,
    RequiredCategory,
    kind_of,
)
from liaison.labels.stanag4774 import CategoryType


def translate(label: Label, source: LabelPolicy, target: LabelPolicy) -> Label:
    """Return the label of `target` that means the same as a label of `source`.

    Raises:
        LabelError: the label is not one of its policy.
        NoEquivalentError: the policies name no equivalent, or the result would
            not be a label that the target allows.
    """
    source.check(label)
    if source.is_named(target.policy_id):
        return Label.of(target.policy_id, label.classification, label.categories)
    level, required = _level(label, source, target)
    pairs: set[Pair] = set()
    for pair in label.categories:
        pairs |= _category(source.rules.values[pair], source, target)
    required += _of_tag_sets(label, source, target)
    required += _of_policy(source, target)
    pairs |= _added(required, target, pairs)
    made = Label.of(target.policy_id, level, pairs)
    try:
        target.check(made)
    except LabelError as error:
        raise NoEquivalentError(
            f"{label.marking()} would be {made.marking()} in {target.name!r}: {error.message}"
        ) from None
    return made


def _level(
    label: Label, source: LabelPolicy, target: LabelPolicy
) -> tuple[str, tuple[RequiredCategory, ...]]:
    own = _classification(source, label.classification)
    for each in own.equivalents:
        if each.policy == target.name and each.applied is not Applied.DECRYPT:
            name = _by_lacv(target, each.lacv)
            if name is not None:
                return name, each.required
    # What the receiver's policy says may fit several of its levels; the highest is the safe one.
    found = [
        level
        for level in target.spif.classifications.items
        for each in level.equivalents
        if _is_from(each, source, own)
    ]
    if not found:
        raise NoEquivalentError(f"{label.classification} has no equivalent in {target.name!r}")
    return max(found, key=lambda level: level.hierarchy).name, ()


def _is_from(each: EquivalentClassification, source: LabelPolicy, own: Classification) -> bool:
    applies = each.applied is not Applied.ENCRYPT
    return applies and each.policy == source.name and each.lacv == own.lacv


def _classification(policy: LabelPolicy, name: str) -> Classification:
    return next(each for each in policy.spif.classifications.items if each.name == name)


def _by_lacv(policy: LabelPolicy, lacv: int) -> str | None:
    items = policy.spif.classifications.items
    return next((each.name for each in items if each.lacv == lacv), None)


def _category(value: Value, source: LabelPolicy, target: LabelPolicy) -> set[Pair]:
    sent = [
        each
        for each in value.source.equivalents
        if each.policy == target.name and each.applied is not Applied.DECRYPT
    ]
    found = {pair for each in sent for pair in _named(each, target)}
    if found:
        return found
    if any(each.action is EquivalencyAction.DISCARD for each in sent):
        return set()
    # The receiver's policy may say what this value is called here.
    found = {
        other.pair
        for other in target.rules.values.values()
        for each in other.source.equivalents
        if each.policy == source.name and each.applied is not Applied.ENCRYPT
        if _is_named(each, value)
    }
    if not found and value.tag.kind is not CategoryType.INFORMATIVE:
        tag, name = value.pair
        raise NoEquivalentError(f"{tag}: {name} has no equivalent in {target.name!r}")
    return found


def _named(each: EquivalentCategory, policy: LabelPolicy) -> Iterable[Pair]:
    """Return the categories of `policy` that an equivalence names."""
    found = policy.rules.by_lacv.get((each.tag_set_oid, lacv_key(each.lacv)), ())
    return [value.pair for value in found if _is_named(each, value)]


def _is_named(each: EquivalentCategory, value: Value) -> bool:
    return (
        each.action is not EquivalencyAction.DISCARD
        and each.tag_set_oid == value.tag.tag_set_oid
        and lacv_key(each.lacv) == lacv_key(value.source.lacv)
        and kind_of(each.tag_type, each.enum_type) in {None, value.tag.kind}
    )


def _of_tag_sets(
    label: Label, source: LabelPolicy, target: LabelPolicy
) -> tuple[RequiredCategory, ...]:
    used = {tag_set for tag_set, _ in label.categories}
    return tuple(
        rule
        for tag_set in source.spif.tag_sets
        if tag_set.name in used
        for each in tag_set.equivalents
        if each.policy == target.name
        for rule in each.required
    )


def _of_policy(source: LabelPolicy, target: LabelPolicy) -> tuple[RequiredCategory, ...]:
    return tuple(
        rule
        for each in source.spif.equivalents
        if each.name == target.name
        for rule in each.required
    )


def _added(rules: Iterable[RequiredCategory], target: LabelPolicy, pairs: set[Pair]) -> set[Pair]:
    """Return what equivalences demand in the target's label besides."""
    added: set[Pair] = set()
    for rule in rules:
        groups = [
            {
                value.pair
                for value in target.rules.values.values()
                if value.tag.tag_set == group.tag_set
                and speaks_of(group, value.tag.source)
                and (group.lacv is None or lacv_key(group.lacv) == lacv_key(value.source.lacv))
            }
            for group in rule.groups
        ]
        if rule.operation in {None, Operation.ALL}:
            if not all(groups):
                raise NoEquivalentError(
                    f"the policy {target.name!r} lacks a category that the equivalence adds"
                )
            added.update(*groups)
        elif not pairs & set().union(*groups):
            raise NoEquivalentError("the equivalence leaves a choice of categories to people")
    return added
