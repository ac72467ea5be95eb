"""Who takes part in which agreement: statements and exclusions, verified and kept.

A party's statements are kept, but for what a renewal says again, since each says
what held at some time; an old message is judged by what held when the relay
accepted it. A statement older than the newest one that is here is never taken:
somebody may be showing it again to hide the newer one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

from liaison.errors import LiaisonError
from liaison.model import PartyCode
from liaison.policy import exclusion, participation
from liaison.policy.agreement import Agreement
from liaison.policy.errors import SignatureMissingError
from liaison.policy.exclusion import Exclusion
from liaison.policy.participation import Statement
from liaison.policy.standing import EVERYONE, Standing
from liaison.values import dataclass
from liaison_sdk.store import Transaction, documents

_T = TypeVar("_T")
_Marks: TypeAlias = tuple[tuple[str, int], ...]
Naming: TypeAlias = Callable[[PartyCode], Sequence[Agreement]]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a look at the relay's documents brought.

    Args:
        news: whether anything is known that was not known before.
        problems: what was served and not believed, in words.
    """

    news: bool = False
    problems: tuple[str, ...] = ()

    def __or__(self, other: Refreshed) -> Refreshed:
        return Refreshed(self.news or other.news, (*self.problems, *other.problems))


class Standings:
    """What is known of the parties' participation, from the store and into it."""

    def __init__(self) -> None:
        # What is in the store changes by other processes, too: the marks tell.
        self._known: Final[dict[str, tuple[_Marks, Standing]]] = {}

    def of(self, tx: Transaction, agreement_id: str) -> Standing:
        """Return what is known of an agreement's parties."""
        said = documents.about(tx, documents.PARTICIPATION, agreement_id)
        decided = documents.about(tx, documents.EXCLUSION, agreement_id)
        marks = (*said, *decided)
        known = self._known.get(agreement_id)
        if known is not None and known[0] == marks:
            return known[1]
        standing = EVERYONE
        for name, number in said:
            standing = standing.with_statement(_statement(tx, name, number))
        # After the statements: the excluded has said things while it was a party.
        for name, number in decided:
            standing = standing.with_exclusion(_exclusion(tx, name, number))
        self._known[agreement_id] = (marks, standing)
        return standing

    def keep_statement(self, tx: Transaction, versions: Sequence[Agreement], data: bytes) -> bool:
        """Verify a party's statement and keep it; return whether it was new.

        Args:
            tx: the transaction.
            versions: of the agreement that the party belongs to; the newest first, since
                a later one may name other keys.
            data: the DSSE envelope.

        Raises:
            VerificationError: not signed by the party's authority, older than what is
                known, or in contradiction to it.
        """
        statement = _verified(versions, lambda one: participation.verify(data, one))
        standing = self.of(tx, statement.agreement_id)
        if standing.with_statement(statement) is standing:
            return False
        name = documents.party_name(statement.agreement_id, statement.party)
        documents.save(tx, documents.PARTICIPATION, name, statement.number, data)
        before = standing.newest(statement.party)
        if before is not None and (before.state, before.since) == (
            statement.state,
            statement.since,
        ):
            # It says all that the one before has said, for longer: a party that affirms every
            # hour, or every second, fills nobody's store.
            documents.forget(tx, documents.PARTICIPATION, name, before.number)
        return True

    def keep_exclusion(self, tx: Transaction, versions: Sequence[Agreement], data: bytes) -> bool:
        """Verify an exclusion and keep it; return whether it was new.

        Args:
            tx: the transaction.
            versions: as in `keep_statement`; the newest one decides.
            data: the DSSE envelope with all signatures that it needs.

        Raises:
            VerificationError: too few of the others have signed.
        """
        said = exclusion.read(data)
        standing = self.of(tx, said.agreement_id)
        if said.party in standing.exclusions:
            return False

        # By the newest version that names the party, and by no other: an older one may have
        # asked for fewer signatures. No version names a party once it is excluded. Who left
        # later had a vote then: it counts for every later reader alike.
        newest = versions[0]
        exclusion.verify(data, newest, standing.left(newest, said.issued_at))
        name = documents.party_name(said.agreement_id, said.party)
        documents.save(tx, documents.EXCLUSION, name, 1, data)
        return True

    def knows(self, tx: Transaction, agreement_id: str, served: list[bytes]) -> bool:
        """Whether the relay shows nothing new, and hides nothing that is newest here."""
        said = documents.about(tx, documents.PARTICIPATION, agreement_id)
        decided = documents.about(tx, documents.EXCLUSION, agreement_id)
        newest = {documents.load(tx, documents.PARTICIPATION, *one) for one in dict(said).items()}
        older = {documents.load(tx, documents.PARTICIPATION, *one) for one in said}
        words = {documents.load(tx, documents.EXCLUSION, *one) for one in decided}
        return newest <= set(served) <= older | words

    def take_all(
        self, tx: Transaction, agreement_id: str, served: list[bytes], naming: Naming
    ) -> Refreshed:
        """Keep what is new of what the relay shows; tell what it should not show, or hides.

        Args:
            tx: the transaction.
            agreement_id: what all of it is about.
            served: statements and exclusions, as the relay gave them.
            naming: gives the versions that a party belongs to, the newest first.
        """
        said: dict[PartyCode, list[tuple[int, bytes]]] = {}
        result = Refreshed()
        decided: list[bytes] = []
        for data in served:
            try:
                statement = participation.read(data)
            except LiaisonError:
                decided.append(data)
                continue
            said.setdefault(statement.party, []).append((statement.number, data))
        standing = self.of(tx, agreement_id)
        for party, theirs in said.items():
            if party not in standing.exclusions:
                result |= self._take_statements(tx, agreement_id, party, sorted(theirs), naming)
        for party in standing.statements.keys() - said.keys():
            result |= Refreshed(problems=(f"the relay does not show what {party} has said",))
        return result | self._take_exclusions(tx, decided, naming)

    def _take_exclusions(self, tx: Transaction, decided: list[bytes], naming: Naming) -> Refreshed:
        """Keep exclusions; one may hold only when another is known, by which somebody has left."""
        result = Refreshed()
        while decided:
            tried = [_tried(partial(self._take_exclusion, tx, data, naming)) for data in decided]
            refused = [d for d, one in zip(decided, tried, strict=True) if one.problems]
            for one in tried:
                result |= Refreshed(news=one.news)
            if len(refused) == len(decided):
                return Refreshed(result.news, sum((one.problems for one in tried), ()))
            decided = refused
        return result

    def _take_exclusion(self, tx: Transaction, data: bytes, naming: Naming) -> bool:
        return self.keep_exclusion(tx, naming(exclusion.read(data).party), data)

    def _take_statements(
        self,
        tx: Transaction,
        agreement_id: str,
        party: PartyCode,
        theirs: list[tuple[int, bytes]],
        naming: Naming,
    ) -> Refreshed:
        newest = self.of(tx, agreement_id).newest(party)
        known = 0 if newest is None else newest.number
        if theirs[-1][0] < known:
            served = theirs[-1][0]
            text = f"the relay shows statement {served} of {party} as its newest, not {known}"
            return Refreshed(problems=(text,))
        result = Refreshed()
        # From the newest one known: of one number there can't be two.
        for number, data in theirs:
            if number >= known:
                result |= _tried(partial(self.keep_statement, tx, naming(party), data))
        return result

    def newest_statement(
        self, tx: Transaction, agreement_id: str, party: PartyCode
    ) -> bytes | None:
        """Return the signed bytes of a party's newest statement, or None."""
        name = documents.party_name(agreement_id, party)
        return documents.load(tx, documents.PARTICIPATION, name)

    def exclusion(self, tx: Transaction, agreement_id: str, party: PartyCode) -> bytes | None:
        """Return the signed bytes of a party's exclusion, or None."""
        name = documents.party_name(agreement_id, party)
        return documents.load(tx, documents.EXCLUSION, name)


def _tried(keep: Callable[[], bool]) -> Refreshed:
    try:
        return Refreshed(news=keep())
    except LiaisonError as e:
        return Refreshed(problems=(e.message,))


def _verified(versions: Sequence[Agreement], verify: Callable[[Agreement], _T]) -> _T:
    """Verify under the newest version under which that succeeds."""
    for newer in versions[:-1]:
        with contextlib.suppress(SignatureMissingError):
            return verify(newer)
    return verify(versions[-1])


def _statement(tx: Transaction, name: str, number: int) -> Statement:
    data = documents.load(tx, documents.PARTICIPATION, name, number)
    if data is None:
        raise KeyError(name)
    return participation.read(data)


def _exclusion(tx: Transaction, name: str, number: int) -> Exclusion:
    data = documents.load(tx, documents.EXCLUSION, name, number)
    if data is None:
        raise KeyError(name)
    return exclusion.read(data)
