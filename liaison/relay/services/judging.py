"""Who answers whether an agreement allows something: `evaluate`, in every relay that runs.

Tests put another one in its place, to see what honest clients make of a relay
that forbids nothing. No setting leads here.
"""

from __future__ import annotations

from typing import Protocol

from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import Decision, Request, evaluate
from liaison.policy.standing import Standing


class Judge(Protocol):
    """Decides as `liaison.policy.evaluate.evaluate` does."""

    def __call__(
        self, request: Request, agreement: Agreement, now: int, *, standing: Standing
    ) -> Decision:
        """Return the decision."""
        ...


JUDGE: Judge = evaluate
"""The one that counts."""
