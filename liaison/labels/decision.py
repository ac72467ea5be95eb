"""The decision: may a holder of this clearance have information with this label?

Total and denied by default. What a label demands (`Requirement`) and what a
clearance gives (`Holding`) are worked out by the policy once; holding one
against the other is a comparison of numbers and sets. More clearance never
means less access.

Source: ADatP-4774.1 chapters 3 and 5: the classification by its hierarchy, of
restrictive categories all, of permissive ones one of each tag, informative
ones not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from liaison.labels.clearance import Clearance
from liaison.labels.errors import LabelError
from liaison.labels.label import Label
from liaison.labels.rules import Pair
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.labels.policy import LabelPolicy

NOTHING: Final = -1
"""The rank of a clearance without any level."""
_SHOWN: Final = 12
"""How many values a reason names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: whether, by which rule, and why in a sentence."""

    grant: bool
    rule: str
    reason: str

    @property
    def decision(self) -> str:
        """The answer as a word: `grant` or `deny`."""
        return "grant" if self.grant else "deny"


@dataclass(frozen=True, slots=True)
class Holding:
    """What a clearance gives under one policy.

    Args:
        level: the name of the highest level; empty for none.
        rank: its place, `NOTHING` for none.
        pairs: the categories.
    """

    level: str
    rank: int
    pairs: frozenset[Pair]


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a label demands of a clearance under one policy.

    Args:
        level: its classification.
        rank: the place of that.
        restrictive: categories of which all must be held.
        permissive: per tag its name and the categories of which one must be held.
    """

    level: str
    rank: int
    restrictive: frozenset[Pair]
    permissive: tuple[tuple[str, frozenset[Pair]], ...]

    def decide(self, holding: Holding) -> Decision:
        """Decide for one clearance."""
        if holding.rank < self.rank:
            held = f"goes up to {holding.level}" if holding.level else "gives no classification"
            return _deny("classification", f"the label is {self.level}, the clearance {held}")
        missing = self.restrictive - holding.pairs
        if missing:
            words = _some(f"{tag}: {value}" for tag, value in missing)
            return _deny("category.restrictive", f"the clearance lacks {words}")
        for tag, pairs in self.permissive:
            if pairs.isdisjoint(holding.pairs):
                values = _some(value for _, value in pairs)
                return _deny("category.permissive", f"the clearance has none of {tag}: {values}")
        return Decision(
            grant=True,
            rule="cleared",
            reason=f"the clearance covers {self.level} and its categories",
        )


def decide(
    policy: LabelPolicy, clearance: Clearance | None, label: Label | None, *, now: int | None
) -> Decision:
    """Decide whether a clearance covers a label.

    Args:
        policy: what gives both their meaning.
        clearance: None where there is none, which covers nothing.
        label: None where there is none; then the policy's default counts, if it has one.
        now: Unix seconds, for what is valid for a time only; None leaves that out.
    """
    if not policy.is_valid_at(now):
        return _deny("policy.validity", f"the policy {policy.name!r} is not valid at this time")
    if clearance is None:
        return _deny("clearance.nil", "there is no clearance")
    if not policy.is_named(clearance.policy):
        reason = f"the clearance is of {clearance.policy[:60]}, not of {policy.policy_id}"
        return _deny("clearance.policy", reason)
    label = policy.default_label() if label is None else label
    if label is None:
        return _deny("label.nil", "there is no label, and the policy has no default")
    if not policy.is_named(label.policy):
        reason = f"the label is of {label.policy[:60]}, not of {policy.policy_id}"
        return _deny("label.policy", reason)
    try:
        requirement = policy.requirement(label, now=now)
    except LabelError as error:
        return _deny("label.invalid", error.message)
    return requirement.decide(policy.holding(clearance))


def decide_all(
    policy: LabelPolicy,
    clearance: Clearance | None,
    labels: Iterable[Label | None],
    *,
    now: int | None,
) -> Decision:
    """Decide on a whole of several parts: all of them, or none.

    The dominant label must not take this place: it drops permissive categories
    that one part lacks, and so may be open to more readers than a part is. The
    first refusal is the answer; a whole without parts has no label.
    """
    decision = None
    for label in labels:
        decision = decide(policy, clearance, label, now=now)
        if not decision.grant:
            return decision
    return decision or _deny("label.nil", "there is nothing to decide on")


def _some(words: Iterable[str]) -> str:
    first, *rest = sorted(words)
    shown = ", ".join([first, *rest[: _SHOWN - 1]])
    return f"{shown} and {len(rest) - _SHOWN + 1} more" if len(rest) >= _SHOWN else shown


def _deny(rule: str, reason: str) -> Decision:
    return Decision(grant=False, rule=rule, reason=reason)
