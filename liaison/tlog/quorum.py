"""Quorums: when cosignatures are enough, and whether two quorums must share a witness.

If a log shows two histories and each is cosigned by a quorum, a witness in both has cosigned both.
An honest one does not. So where every two quorums share an honest witness, a split view is
impossible, not only forbidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from liaison.tlog.errors import QuorumsDisjointError
from liaison.values import dataclass

if TYPE_CHECKING:
    from liaison.tlog.policy import Policy

_NEVER: Final = 1 << 62

_Costs: TypeAlias = dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Group:
    """A group that has cosigned if `threshold` of its members have.

    Args:
        threshold: 1 up to the number of members.
        members: names of witnesses and of groups defined before.
    """

    threshold: int
    members: tuple[str, ...]


def holds(name: str, groups: Mapping[str, Group], witnesses: Collection[str]) -> bool:
    """Whether a witness, or a group, has cosigned."""
    group = groups.get(name)
    if group is None:
        return name in witnesses
    count = sum(holds(member, groups, witnesses) for member in group.members)
    return count >= group.threshold


def overlap(policy: Policy, dishonest: Collection[str] = ()) -> int:
    """Count the honest witnesses that any two quorums of a policy share at least.

    Args:
        policy: whose quorum counts; without one the answer is 0.
        dishonest: witnesses that may cosign anything.
    """
    if policy.quorum is None:
        return 0
    return _costs(policy.quorum, policy.groups, dishonest)[1, 1]


def verify_intersecting(policy: Policy, suspects: Iterable[Collection[str]] = ((),)) -> None:
    """Check that no split view can be cosigned, whichever of the suspects help the log.

    Args:
        policy: of one log.
        suspects: sets of witnesses that may be dishonest together, such as each party's own.
            Just the empty set asks whether quorums share any witness.

    Raises:
        QuorumsDisjointError: two quorums need not share a witness outside one of the sets.
    """
    for together in suspects:
        if overlap(policy, together) < 1:
            names = ", ".join(sorted(together)) or "nobody"
            raise QuorumsDisjointError(
                f"if {names} cosigned falsely, two quorums would share no honest witness"
            )


def _costs(name: str, groups: Mapping[str, Group], dishonest: Collection[str]) -> _Costs:
    """Count the shared honest witnesses for two sets of them, by whether each set fulfils a name.

    Each witness stands in one group only, so what is least for the members is least for the group.
    """
    group = groups.get(name)
    if group is None:
        return {(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): int(name not in dishonest)}
    # The least for so many members that the first set fulfils, and the second; more than the
    # threshold is as good as the threshold.
    most = group.threshold
    table: _Costs = {(0, 0): 0}
    for member in group.members:
        costs = _costs(member, groups, dishonest)
        grown: _Costs = {}
        for (first, second), so_far in table.items():
            for (one, other), cost in costs.items():
                at = (min(first + one, most), min(second + other, most))
                grown[at] = min(grown.get(at, _NEVER), so_far + cost)
        table = grown
    least: _Costs = {}
    for (first, second), cost in table.items():
        at = (int(first == most), int(second == most))
        least[at] = min(least.get(at, _NEVER), cost)
    return least
