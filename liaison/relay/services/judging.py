"""Who answers whether an agreement allows something: `evaluate`, in every relay that runs.

Tests put another one in its place, to see what honest clients make of a relay
that forbids nothing. No setting leads here.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Protocol

from liaison.envelope.header import Header
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import Decision, Request, SendMessage, evaluate
from liaison.policy.standing import Standing

_MOST: Final = 4_096
"""Answers that are remembered within one second."""


class Judge(Protocol):
    """Decides as `liaison.policy.evaluate.evaluate` does."""

    def __call__(
        self, request: Request, agreement: Agreement, now: int, *, standing: Standing
    ) -> Decision:
        """Return the decision."""
        ...


JUDGE: Judge = evaluate
"""The one that counts."""


class Remembering:
    """Asks a judge once a second for messages that differ in nothing that a judge looks at.

    A sender in a hurry sends many such. All that the decision depends on is compared: what the
    header says but for the message's id and the label's salted digest, who sends to whom, by which
    version and standing, and the second.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._now = -1
        # The agreement and the standing are kept with the answer: while it is, no other object
        # can have their identity.
        self._known: dict[Hashable, tuple[Decision, Agreement, Standing]] = {}

    def __call__(
        self, request: Request, agreement: Agreement, now: int, *, standing: Standing
    ) -> Decision:
        """Return the decision."""
        if not isinstance(request, SendMessage) or request.header.release is not None:
            return self._judge(request, agreement, now, standing=standing)
        if now != self._now or len(self._known) >= _MOST:
            self._known.clear()
            self._now = now
        key = (id(agreement), id(standing), _shape(request))
        known = self._known.get(key)
        if known is None:
            decision = self._judge(request, agreement, now, standing=standing)
            self._known[key] = (decision, agreement, standing)
            return decision
        return known[0]


def _shape(request: SendMessage) -> Hashable:
    header = request.header
    return (
        request.actor,
        request.channel,
        request.size,
        frozenset(request.audience),
        request.released,
        header.dtg,
        # The same object stands for the same values.
        _rest(header) if header.alike is None else header.alike,
    )


def _rest(header: Header) -> Hashable:
    label = header.label
    return (
        header.kind,
        header.action,
        header.info,
        header.expires,
        header.agreement_id,
        header.agreement_version,
        header.to,
        header.copy,
        header.in_reply_to,
        label.policy,
        label.classification,
        label.categories,
    )
