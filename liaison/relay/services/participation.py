"""Who takes part: parties' own statements, and exclusions by the others.

A statement is in force when the transaction that stores it is durable. From then
on the party's devices send nothing, and channels with one of them take no message
until a member has removed it. So is an exclusion, once enough of the others have
signed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from liaison import words
from liaison.fanout import Bus
from liaison.policy import dsse, exclusion, participation
from liaison.policy.agreement import Agreement
from liaison.policy.errors import StatementOrderError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Participation
from liaison.policy.participation import Statement
from liaison.relay.services import enforcement, signatures, votes
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller, OfficeCaller
from liaison.relay.services.entries import agreements as entries
from liaison.relay.services.errors import (
    AlreadyExcludedError,
    ForeignPartyError,
    StatementAheadError,
    StatementOutdatedError,
    TooManyDocumentsError,
    UnknownAgreementError,
)
from liaison.relay.services.limits import Limits
from liaison.relay.services.lives import Life
from liaison.relay.services.removals import Removals
from liaison.relay.services.retractions import RetractExclusion
from liaison.relay.services.telling import tell
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import agreements, members, statements
from liaison.storage.engine import Database
from liaison.values import dataclass
from liaison.wire import v1

_MINUTE_MS: Final = 60_000


@dataclass(frozen=True)
class Participations:
    """Accepts and serves statements and exclusions."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    removals: Removals
    clock: Callable[[], int]
    limits: Limits

    # --- a party's own word -------------------------------------------------------------

    async def state(self, office: OfficeCaller, id_: str, envelope: bytes) -> v1.Document:
        """Put a party's newer statement into force; the same one again changes nothing.

        Raises:
            DocumentError, SignatureMissingError: not a statement that the party's
                authority signed, or about another agreement.
            UnknownAgreementError: the party has no such agreement.
            ForeignPartyError: it is another party's word.
            StatementOrderError: it is not newer, or can't follow.
            StatementAheadError, StatementOutdatedError: its time can't be.
            TooManyDocumentsError: the party says too much in too short a time.
        """
        async with self.database.read() as tx:
            life = await self.book.life(tx, id_)
        known = life.naming(office.party)
        if known is None:
            raise UnknownAgreementError(f"{office.party} has no such agreement {id_[:80]!r}")
        statement = await asyncio.to_thread(participation.verify, envelope, known.agreement)
        if statement.party != office.party:
            raise ForeignPartyError(f"only {statement.party} itself says how it takes part")
        now = self.clock()
        _check_time(statement.issued_at, known.agreement, now)
        closed = await self.writer.submit(
            _State(
                self.book,
                self.bus,
                self.limits,
                office.party_key,
                known.agreement,
                statement,
                envelope,
                now,
            )
        )
        await self.removals.propose_all(closed)
        return v1.Document(envelope=envelope)

    async def listing(self, caller: Caller, id_: str) -> v1.Documents:
        """Return what was said about an agreement: statements, and exclusions in force.

        Raises:
            UnknownAgreementError: the caller's party was never in such an agreement.
        """
        async with self.database.read() as tx:
            if caller.party_key not in await agreements.parties_ever(tx, id_):
                raise UnknownAgreementError(f"{caller.party} has no such agreement {id_[:80]!r}")
            rows = await statements.of_agreement(tx, id_)
        return v1.Documents(documents=[v1.Document(envelope=row.envelope) for row in rows])

    # --- the others' word ---------------------------------------------------------------

    async def exclude(self, office: OfficeCaller, id_: str, envelope: bytes) -> v1.ExclusionStatus:
        """Take signatures under an exclusion; it is in force when there are enough.

        Raises:
            DocumentError: not an exclusion, about another agreement, or the
                agreement excludes nobody.
            SignatureMissingError: nobody has signed, or a signature does not hold.
            UnknownAgreementError: the caller's party has no such agreement.
            ForeignPartyError: the caller's own party is to be excluded.
            UnknownPartyError: the party is not in the agreement.
            StatementAheadError, StatementOutdatedError: its time can't be.
            AlreadyExcludedError: the party is excluded.
            TooManyDocumentsError: the caller's party has enough waiting.
        """
        word = exclusion.read(envelope)
        async with self.database.read() as tx:
            life = await self.book.life(tx, id_)
            excluded = (await self.book.party(tx, word.party)).key
        known = life.naming(word.party)
        if known is None or not known.agreement.has_party(office.party):
            raise UnknownAgreementError(
                f"{office.party} has no agreement {id_[:80]!r} with {word.party}"
            )
        if word.party == office.party:
            raise ForeignPartyError("a party does not sign its own exclusion")
        agreement, now = known.agreement, self.clock()
        parties = [one for one in agreement.parties if one.code != word.party]
        await asyncio.to_thread(signatures.check_all, envelope, exclusion.PAYLOAD_TYPE, parties)
        _check_time(word.issued_at, agreement, now)
        if word.issued_at < now // 1000 - agreement.status.max_age:
            raise StatementOutdatedError(
                "the exclusion was signed too long ago",
                unchanged="nothing was stored",
                hint="sign it again now",
            )
        status, closed = await self.writer.submit(
            _Exclude(
                self.book,
                self.bus,
                self.limits,
                office.party_key,
                excluded,
                agreement,
                word,
                envelope,
                now,
            )
        )
        await self.removals.propose_all(closed)
        return status

    async def exclusions(self, office: OfficeCaller, id_: str) -> v1.Documents:
        """Return the exclusions of other parties that wait for signatures.

        Raises:
            UnknownAgreementError: the caller's party was never in such an agreement.
        """
        async with self.database.read() as tx:
            if office.party_key not in await agreements.parties_ever(tx, id_):
                raise UnknownAgreementError(f"{office.party} has no such agreement {id_[:80]!r}")
            rows = await statements.waiting(tx, id_, office.party_key)
        return v1.Documents(documents=[v1.Document(envelope=row.envelope) for row in rows])

    async def retract(self, office: OfficeCaller, id_: str, digest: bytes) -> None:
        """Take back an exclusion that the caller's party has begun and that still waits.

        Raises:
            UnknownAgreementError: the caller's party was never in such an agreement.
            UnknownProposalError: no such exclusion waits.
            ForeignPartyError: another party has begun it.
        """
        async with self.database.read() as tx:
            if office.party_key not in await agreements.parties_ever(tx, id_):
                raise UnknownAgreementError(f"{office.party} has no such agreement {id_[:80]!r}")
        await self.writer.submit(RetractExclusion(office, id_, digest))


def _check_time(issued_at: int, agreement: Agreement, now_ms: int) -> None:
    if issued_at > now_ms // 1000 + agreement.times.ahead:
        raise StatementAheadError(
            "the document is dated in the future by the relay's clock",
            unchanged="nothing was stored",
            hint="set the clock of the authority's machine and sign it again",
        )


@dataclass
class _State(Operation[list[bytes]]):
    """Returns the ids of the channels where somebody has to go."""

    book: Book
    bus: Bus
    limits: Limits
    party: int
    agreement: Agreement
    statement: Statement
    envelope: bytes
    now_ms: int

    async def apply(self, work: Work) -> list[bytes]:
        id_, new = self.agreement.agreement_id, self.statement
        # One document about an agreement at a time over all nodes, from here to the commit.
        await agreements.lock(work.tx, id_)
        rows = await statements.of_agreement(work.tx, id_)
        mine = [row for row in rows if row.party == self.party]
        if not self._is_known(mine):
            self._check_follows(mine)
            self._check_rate(mine)
            self._check_leaves_now(mine)
            votes.check_kept(
                rows,
                await self.book.read_life(work.tx, id_),
                votes.with_statement(votes.as_signed(rows), new),
            )
            await self._check_in_time(work, mine)
            await statements.add(
                work.tx, id_, self.party, new.number, self.envelope, now_ms=self.now_ms
            )
            tell(work, [entries.stated(self.agreement, new, self.envelope)])
            await agreements.touch(work.tx, id_)
            enforcement.tell(work, self.bus, await agreements.parties_ever(work.tx, id_))
        life = await self.book.read_life(work.tx, id_)
        return await enforcement.enforce(work, life, id_, self.now_ms)

    def _is_known(self, mine: list[statements.StatementRow]) -> bool:
        return any(
            row.number == self.statement.number
            and participation.read(row.envelope) == self.statement
            for row in mine
            if row.number != statements.EXCLUSION
        )

    def _check_follows(self, mine: list[statements.StatementRow]) -> None:
        if any(row.number == statements.EXCLUSION for row in mine):
            raise StatementOrderError(
                f"{self.statement.party} was excluded and has no say any more"
            )
        if mine:
            self.statement.check_succeeds(participation.read(mine[-1].envelope))

    def _check_rate(self, mine: list[statements.StatementRow]) -> None:
        before = participation.read(mine[-1].envelope).state if mine else Participation.ACTIVE
        limit = self.limits.statements_a_minute
        if self.statement.state not in (Participation.ACTIVE, before) or len(mine) < limit:
            return
        if mine[-limit].accepted_at > self.now_ms - _MINUTE_MS:
            raise TooManyDocumentsError(
                f"{words.count(limit, 'statement')} of {self.statement.party} came within a minute",
                unchanged="nothing was stored",
                hint="publish it again later; leaving is possible at any time",
            )

    def _check_leaves_now(self, mine: list[statements.StatementRow]) -> None:
        """A party leaves now, not long ago: what it did and signed since then would be undone."""
        new, before = self.statement, participation.read(mine[-1].envelope) if mine else None
        renews = before is not None and (before.state, before.since) == (new.state, new.since)
        oldest = self.now_ms // 1000 - self.agreement.times.behind
        if new.state is Participation.ACTIVE or renews or new.since >= oldest:
            return
        raise StatementOutdatedError(
            f"{new.party} would have left too long ago",
            unchanged="nothing was stored",
            hint="sign it again now",
        )

    async def _check_in_time(self, work: Work, mine: list[statements.StatementRow]) -> None:
        """A return must not be dated before a removal that was justified when it was accepted.

        Who reads that commit later, knowing the return, would find no reason for it.
        """
        new = self.statement
        if not mine or new.state is not Participation.ACTIVE:
            return
        if participation.read(mine[-1].envelope).state is Participation.ACTIVE:
            return
        id_ = self.agreement.agreement_id
        removed_at = await members.last_removal(work.tx, id_, self.party)
        if removed_at is not None and new.since <= removed_at // 1000:
            raise StatementOutdatedError(
                f"devices of {new.party} were removed after this was signed",
                unchanged="nothing was stored",
                hint="sign it again now and publish it at once",
            )


@dataclass
class _Exclude(Operation[tuple[v1.ExclusionStatus, list[bytes]]]):
    """Returns the status, and the ids of the channels where somebody has to go."""

    book: Book
    bus: Bus
    limits: Limits
    caller: int
    party: int
    agreement: Agreement
    word: Exclusion
    envelope: bytes
    now_ms: int

    async def apply(self, work: Work) -> tuple[v1.ExclusionStatus, list[bytes]]:
        id_ = self.agreement.agreement_id
        await agreements.lock(work.tx, id_)
        life = await self.book.read_life(work.tx, id_)
        # A version that came in since may ask for more signatures, and readers go by that.
        named = life.naming(self.word.party)
        self.agreement = self.agreement if named is None else named.agreement
        known = await statements.find(work.tx, id_, self.party, statements.EXCLUSION)
        if known is not None:
            return self._again(known.envelope, life), []
        digest = _payload_digest(self.envelope)
        waiting = await statements.find_waiting(work.tx, id_, digest)
        whole = self.envelope
        if waiting is not None:
            whole = signatures.united(waiting.envelope, self.envelope)
        self._record(work, None if waiting is None else waiting.envelope)
        rows = await statements.of_agreement(work.tx, id_)
        said = votes.as_signed(rows)
        if votes.are_enough(whole, self.agreement, said, self.now_ms // 1000):
            votes.check_kept(rows, life, said.with_exclusion(self.word))
            tell(work, [entries.excluded(self.agreement, self.word, whole)])
            closed = await self._put_into_force(work, whole)
            return self._status(whole, life, in_force=True), closed
        if waiting is not None:
            await statements.sign(work.tx, waiting.key, whole)
        else:
            await self._wait(work, digest)
        return self._status(whole, life, in_force=False), []

    def _record(self, work: Work, before: bytes | None) -> None:
        known = exclusion.signers(before, self.agreement) if before is not None else frozenset()
        for party in sorted(exclusion.signers(self.envelope, self.agreement) - known):
            first = before is None
            said = entries.exclusion_signed(self.agreement, party, self.envelope, first=first)
            tell(work, [said])

    def _again(self, known: bytes, life: Life) -> v1.ExclusionStatus:
        if _payload_digest(known) != _payload_digest(self.envelope):
            raise AlreadyExcludedError(f"{self.word.party} was excluded before")
        return self._status(known, life, in_force=True)

    async def _put_into_force(self, work: Work, envelope: bytes) -> list[bytes]:
        id_ = self.agreement.agreement_id
        await statements.add(
            work.tx, id_, self.party, statements.EXCLUSION, envelope, now_ms=self.now_ms
        )
        await statements.drop_waiting(work.tx, id_, self.party)
        await agreements.touch(work.tx, id_)
        enforcement.tell(work, self.bus, await agreements.parties_ever(work.tx, id_))
        life = await self.book.read_life(work.tx, id_)
        return await enforcement.enforce(work, life, id_, self.now_ms)

    async def _wait(self, work: Work, digest: bytes) -> None:
        id_ = self.agreement.agreement_id
        limit = self.limits.open_documents
        if await statements.count_waiting(work.tx, id_, self.caller) >= limit:
            raise TooManyDocumentsError(
                f"{words.count(limit, 'exclusion of this party waits', 'exclusions of this party wait')}"
                " for signatures",
                unchanged="nothing was stored",
                hint="complete one of them, or take one back",
            )
        await statements.propose(
            work.tx, id_, self.party, self.caller, digest, self.envelope, now_ms=self.now_ms
        )

    def _status(self, envelope: bytes, life: Life, *, in_force: bool) -> v1.ExclusionStatus:
        signed = exclusion.signers(envelope, self.agreement)
        left = life.standing.left(self.agreement, self.word.issued_at)
        others = set(self.agreement.codes) - left - {self.word.party}
        return v1.ExclusionStatus(
            party=str(self.word.party),
            signed=sorted(map(str, signed)),
            missing=sorted(map(str, others - signed)),
            in_force=in_force,
        )


def _payload_digest(envelope: bytes) -> bytes:
    return hashlib.sha256(dsse.Envelope.decode(envelope).payload).digest()
