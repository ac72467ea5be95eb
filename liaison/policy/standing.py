"""Who takes part in an agreement at a given time: its versions aside, what is known of its parties.

A value built from verified statements. Before a party's first statement its
signature under the agreement is its word: it takes part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any, Final

from liaison.model import PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.errors import StatementOrderError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Participation, Phase
from liaison.policy.participation import Statement
from liaison.values import dataclass

_LEFT: Final = frozenset({Participation.WITHDRAWN, Participation.EXCLUDED})
_AT_LEAST: Final = 2


def _nothing() -> Mapping[PartyCode, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the parties' participation.

    Args:
        statements: each party's, in the order of their numbers.
        exclusions: the others' word.
    """

    statements: Mapping[PartyCode, tuple[Statement, ...]] = field(default_factory=_nothing)
    exclusions: Mapping[PartyCode, Exclusion] = field(default_factory=_nothing)

    @classmethod
    def of(cls, statements: Iterable[Statement], exclusions: Iterable[Exclusion] = ()) -> Standing:
        """Build it from verified documents in any order.

        Raises:
            StatementOrderError: two of a party's statements contradict each other.
        """
        standing = cls()
        for statement in sorted(statements, key=lambda one: (one.party, one.number)):
            standing = standing.with_statement(statement)
        # Last: what a party said before it was excluded stays known.
        for exclusion in exclusions:
            standing = standing.with_exclusion(exclusion)
        return standing

    def with_statement(self, statement: Statement) -> Standing:
        """Return the standing with a newer statement; the same again changes nothing.

        Raises:
            StatementOrderError: it does not follow the newest that is known.
        """
        known = self.statements.get(statement.party, ())
        if known and known[-1] == statement:
            return self
        if known:
            statement.check_succeeds(known[-1])
        if statement.party in self.exclusions:
            raise StatementOrderError(f"{statement.party} was excluded and has no say any more")
        grown = {**self.statements, statement.party: (*known, statement)}
        return replace(self, statements=MappingProxyType(grown))

    def with_exclusion(self, exclusion: Exclusion) -> Standing:
        """Return the standing with a party excluded; of several exclusions the earliest counts."""
        known = self.exclusions.get(exclusion.party)
        if known is not None and known.issued_at <= exclusion.issued_at:
            return self
        grown = {**self.exclusions, exclusion.party: exclusion}
        return replace(self, exclusions=MappingProxyType(grown))

    def newest(self, party: PartyCode) -> Statement | None:
        """Return a party's newest statement, or None."""
        known = self.statements.get(party, ())
        return known[-1] if known else None

    def participation(self, party: PartyCode, at: int) -> Participation:
        """Return how a party takes part at a time, Unix seconds."""
        excluded = self.exclusions.get(party)
        if excluded is not None and excluded.issued_at <= at:
            return Participation.EXCLUDED
        for statement in reversed(self.statements.get(party, ())):
            if statement.since <= at:
                return statement.state
        return Participation.ACTIVE

    def takes_part(self, party: PartyCode, at: int) -> bool:
        """Whether a party is active at a time."""
        return self.participation(party, at) is Participation.ACTIVE

    def left(self, agreement: Agreement, at: int) -> frozenset[PartyCode]:
        """Return the parties that are gone for good."""
        return frozenset(code for code in agreement.codes if self.participation(code, at) in _LEFT)

    def absent(self, agreement: Agreement, at: int) -> frozenset[PartyCode]:
        """Return the parties none of whose devices may be in a group."""
        return frozenset(code for code in agreement.codes if not self.takes_part(code, at))

    def phase(self, agreement: Agreement, at: int) -> Phase:
        """Return where a fully signed agreement is in its life."""
        if at < agreement.valid_from:
            return Phase.PENDING
        present = len(agreement.parties) - len(self.left(agreement, at))
        if at > agreement.valid_until or present < _AT_LEAST:
            return Phase.TERMINATED
        active = len(agreement.parties) - len(self.absent(agreement, at))
        return Phase.ACTIVE if active >= _AT_LEAST else Phase.SUSPENDED

    def fresh_until(self, agreement: Agreement, party: PartyCode) -> int:
        """Return until when what is known of a party counts as fresh, Unix seconds."""
        newest = self.newest(party)
        if newest is not None:
            return newest.next_update
        return agreement.valid_from + agreement.status.max_age

    def overdue(self, agreement: Agreement, now: int) -> tuple[PartyCode, ...]:
        """Return the parties that take part and whose word is older than it may be.

        Somebody may be hiding a withdrawal; or the party's authority is late.
        """
        return tuple(
            code
            for code in agreement.codes
            if self.takes_part(code, now) and now > self.fresh_until(agreement, code)
        )


EVERYONE: Final = Standing()
"""Nobody has said anything yet: whoever signed takes part."""
