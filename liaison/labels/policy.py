"""Label policies: which levels there are, and which is above which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from liaison.errors import MalformedError
from liaison.labels.label import Label


class LabelError(MalformedError):
    """The label is not one of its policy."""

    code = "label.invalid"


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """The levels of one policy, lowest first."""

    policy_id: str
    name: str
    classifications: tuple[str, ...]

    def rank(self, classification: str) -> int:
        """Return a level's place, the lowest being 0.

        Raises:
            LabelError: the policy has no such level.
        """
        if classification not in self.classifications:
            raise LabelError(f"{self.name} has no classification {classification[:60]!r}")
        return self.classifications.index(classification)

    def check(self, label: Label) -> None:
        """Check that a label is of this policy and says only what the policy knows.

        Raises:
            LabelError: another policy, an unknown level, or categories where there are none.
        """
        if label.policy != self.policy_id:
            raise LabelError(f"the label is of {label.policy[:60]!r}, not of {self.policy_id}")
        self.rank(label.classification)
        if label.categories:
            raise LabelError(f"{self.name} has no categories")

    def is_within(self, label: Label, ceiling: str) -> bool:
        """Whether a label of this policy is at most `ceiling`."""
        return self.rank(label.classification) <= self.rank(ceiling)


class LabelPolicies:
    """The policies that one program knows, by id."""

    def __init__(self, policies: Iterable[LabelPolicy]) -> None:
        self._known = {policy.policy_id: policy for policy in policies}

    def find(self, policy_id: str) -> LabelPolicy | None:
        """Return a policy, or None where it is unknown."""
        return self._known.get(policy_id)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all known policies."""
        return tuple(self._known)
