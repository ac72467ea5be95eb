"""Whether exclusions have enough votes: now, and for whoever reads them later.

A reader works out who had a vote from the statements as they were signed, by the
exclusion's date. So what counts here must count there, and nothing that comes
later may change who had a vote then: a dated-back withdrawal would undo for later
readers what the others have acted upon.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from liaison.model import PartyCode
from liaison.policy import exclusion, participation
from liaison.policy.agreement import Agreement
from liaison.policy.errors import SignatureMissingError
from liaison.policy.exclusion import Exclusion
from liaison.policy.participation import Statement
from liaison.policy.standing import Standing
from liaison.relay.services.errors import StatementOutdatedError
from liaison.relay.services.lives import Life
from liaison.storage import statements
from liaison.storage.statements import StatementRow


def as_signed(rows: Iterable[StatementRow]) -> Standing:
    """Return the standing by the documents' own dates, as a reader has it."""
    said: dict[PartyCode, tuple[Statement, ...]] = {}
    decided: dict[PartyCode, Exclusion] = {}
    for row in rows:
        if row.number == statements.EXCLUSION:
            word = exclusion.read(row.envelope)
            decided[word.party] = word
        else:
            one = participation.read(row.envelope)
            said[one.party] = (*said.get(one.party, ()), one)
    return Standing(MappingProxyType(said), MappingProxyType(decided))


def with_statement(standing: Standing, statement: Statement) -> Standing:
    """Return the standing with one more statement, whose order was checked."""
    known = standing.statements.get(statement.party, ())
    grown = {**standing.statements, statement.party: (*known, statement)}
    return Standing(MappingProxyType(grown), standing.exclusions)


def are_enough(envelope: bytes, agreement: Agreement, standing: Standing, now: int) -> bool:
    """Return whether enough have signed an exclusion.

    Of those who had a vote by its date, and of those who have one now: who has left can
    date what it signs to the time before.

    Args:
        envelope: with all signatures so far.
        agreement: the newest version that the party to be excluded belongs to.
        standing: from `as_signed`.
        now: Unix seconds.

    Raises:
        DocumentError: the agreement excludes nobody.
    """
    dated = exclusion.read(envelope).issued_at
    return all(_verifies(envelope, agreement, standing, at) for at in (dated, max(dated, now)))


def check_kept(rows: Iterable[StatementRow], life: Life, standing: Standing) -> None:
    """Check that each exclusion in force keeps its votes in another standing.

    Args:
        rows: what was said and decided so far.
        life: of the agreement.
        standing: as a reader would have it with what is new.

    Raises:
        StatementOutdatedError: one loses a vote that it needs.
    """
    for row in rows:
        if row.number != statements.EXCLUSION:
            continue
        word = exclusion.read(row.envelope)
        named = life.naming(word.party)
        if named is None or _verifies(row.envelope, named.agreement, standing, word.issued_at):
            continue
        raise StatementOutdatedError(
            f"it is dated before the exclusion of {word.party}, which needs the vote",
            unchanged="nothing was stored",
            hint="sign it again now",
        )


def _verifies(envelope: bytes, agreement: Agreement, standing: Standing, at: int) -> bool:
    try:
        exclusion.verify(envelope, agreement, standing.left(agreement, at))
    except SignatureMissingError:
        return False
    return True
