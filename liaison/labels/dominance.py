"""The one label that stands for several, such as those of a thread or an export.

It is for marking the whole. Access to the whole is decided on every part
(`decision.decide_all`): a permissive category that one part lacks is not in the
dominant label, which is then open to more readers than the other parts are.

Source: ADatP-4774.1 §4.4, rules 1 to 9.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.labels.equivalence import translate
from liaison.labels.errors import LabelError, NoDominantError, NoEquivalentError
from liaison.labels.label import Label
from liaison.labels.policy import LabelPolicies, LabelPolicy
from liaison.labels.rules import Pair
from liaison.labels.stanag4774 import CategoryType


def dominant(
    policy: LabelPolicy, labels: Iterable[Label], known: LabelPolicies | None = None
) -> Label:
    """Return the dominant label of several, under one policy.

    Args:
        policy: the one that governs the whole.
        labels: those of the parts, of this policy or of one with an equivalent.
        known: other policies, for labels of theirs.

    Raises:
        NoDominantError: there are no labels, one of them can't be brought under
            the policy, or together they make no label that the policy allows.
    """
    parts = [_under(policy, label, known) for label in labels]
    if not parts:
        raise NoDominantError("there is no label")
    highest = max(parts, key=lambda label: policy.rank(label.classification))
    made = Label.of(policy.policy_id, highest.classification, _categories(policy, parts))
    try:
        policy.check(made)
    except LabelError as error:
        raise NoDominantError(
            f"together the labels make {made.marking()}, but {error.message}"
        ) from None
    return made


def _under(policy: LabelPolicy, label: Label, known: LabelPolicies | None) -> Label:
    """Bring a label under the policy. Rules 1 and 2."""
    try:
        if policy.is_named(label.policy):
            policy.check(label)
            return label
        source = None if known is None else known.find(label.policy)
        if source is None:
            raise NoDominantError(f"the policy {label.policy[:60]} of a label is not known here")
        return translate(label, source, policy)
    except (LabelError, NoEquivalentError) as error:
        raise NoDominantError(error.message) from None


def _categories(policy: LabelPolicy, parts: Iterable[Label]) -> Iterable[Pair]:
    sets = [frozenset(label.categories) for label in parts]
    every = frozenset().union(*sets)
    for tag in policy.rules.tags:
        of_tag = [
            frozenset(pair for pair in each if policy.rules.values[pair].tag is tag)
            for each in sets
        ]
        if tag.kind is CategoryType.PERMISSIVE:
            # Rules 4 to 6; where one part has none the intersection is empty.
            yield from frozenset.intersection(*of_tag)
        else:
            yield from (pair for pair in every if policy.rules.values[pair].tag is tag)
