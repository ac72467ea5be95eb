"""The life of an agreement: which state follows which, all in one place.

An agreement is proposed until every party has signed, active from then, and
terminated at its end or when too few take part. Each party takes part on its own
account: it suspends, resumes and withdraws itself at once; the others exclude it
by the agreement's own rule. Nothing leads back from withdrawn and excluded.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from liaison.errors import RefusedError


class Participation(StrEnum):
    """How a party takes part in an agreement that it has signed."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"
    EXCLUDED = "excluded"


class Event(StrEnum):
    """What happens to a party's participation; all but `EXCLUDE` are the party's own acts."""

    AFFIRM = "affirm"
    SUSPEND = "suspend"
    RESUME = "resume"
    WITHDRAW = "withdraw"
    EXCLUDE = "exclude"


class Phase(StrEnum):
    """Where an agreement is in its life."""

    PROPOSED = "proposed"
    """Not every party has signed."""
    PENDING = "pending"
    """Signed by all; its first day has not come."""
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Fewer than two parties take part now, and one may come back."""
    TERMINATED = "terminated"
    """Past its end, or fewer than two parties are left for good."""


class LifecycleError(RefusedError):
    """This can't follow what was before."""

    code = "agreement.lifecycle"


TRANSITIONS: Final = MappingProxyType(
    {
        (Participation.ACTIVE, Event.AFFIRM): Participation.ACTIVE,
        (Participation.ACTIVE, Event.SUSPEND): Participation.SUSPENDED,
        (Participation.ACTIVE, Event.WITHDRAW): Participation.WITHDRAWN,
        (Participation.ACTIVE, Event.EXCLUDE): Participation.EXCLUDED,
        (Participation.SUSPENDED, Event.AFFIRM): Participation.SUSPENDED,
        (Participation.SUSPENDED, Event.RESUME): Participation.ACTIVE,
        (Participation.SUSPENDED, Event.WITHDRAW): Participation.WITHDRAWN,
        (Participation.SUSPENDED, Event.EXCLUDE): Participation.EXCLUDED,
        # A statement that says so again, for those who ask for a fresh one.
        (Participation.WITHDRAWN, Event.AFFIRM): Participation.WITHDRAWN,
    }
)

_PAST: Final = MappingProxyType(
    {
        Participation.ACTIVE: "takes part",
        Participation.SUSPENDED: "has suspended its participation",
        Participation.WITHDRAWN: "has withdrawn for good",
        Participation.EXCLUDED: "was excluded by the others",
    }
)


def after(state: Participation, event: Event) -> Participation:
    """Return the state that an event leads to.

    Raises:
        LifecycleError: the event can't happen in this state.
    """
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise LifecycleError(
            f"a party that {_PAST[state]} can't {event.value}",
            hint="" if state is not Participation.WITHDRAWN else "agree on a new agreement",
        )
    return found


def can_reach(state: Participation, later: Participation) -> bool:
    """Whether some sequence of events leads from one state to the other."""
    reached = {state}
    while True:
        more = {to for (source, _), to in TRANSITIONS.items() if source in reached} | reached
        if more == reached:
            # Staying is no event for the excluded: nobody says it again.
            return later in reached
        reached = more


def in_words(state: Participation) -> str:
    """Return the state as the end of a sentence that begins with the party's name."""
    return _PAST[state]
