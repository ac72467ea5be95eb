"""Versions of agreements on their way: proposed, signed by one party after another, activated.

An amendment that every party has signed activates itself, if it may follow the
newest version. A new agreement waits for the operator: that is who decides whom
the relay serves. Which version follows is settled by the first that is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Final, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison import words
from liaison.fanout import Bus
from liaison.model import PartyCode
from liaison.policy import dsse, signing
from liaison.policy.agreement import Agreement
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services import admission, log_successors, signatures
from liaison.relay.services.admission import Activated
from liaison.relay.services.book import Book
from liaison.relay.services.callers import OfficeCaller
from liaison.relay.services.entries import agreements as entries
from liaison.relay.services.entries import keys
from liaison.relay.services.errors import (
    AgreementVersionError,
    ForeignPartyError,
    TooManyDocumentsError,
    UnknownProposalError,
)
from liaison.relay.services.limits import Limits
from liaison.relay.services.lives import Life
from liaison.relay.services.removals import Removals
from liaison.relay.services.retractions import RetractProposal
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import agreements, proposals
from liaison.storage.engine import Database
from liaison.storage.proposals import ProposalRow
from liaison.values import dataclass
from liaison.wire import v1

_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class _Signers:
    """Who has to sign a version, and by which keys."""

    codes: frozenset[PartyCode]
    owners: Mapping[str, PartyCode]

    @classmethod
    def of(cls, agreement: Agreement) -> Self:
        parties = agreement.parties
        owners = {key.key_id: party.code for party in parties for key in party.authority_keys}
        return cls(frozenset(agreement.codes), owners)

    def status(self, row: ProposalRow, *, active: bool) -> v1.ProposalStatus:
        """Describe a proposal; every signature under it was checked before it was stored."""
        listed = dsse.Envelope.decode(row.envelope).signatures
        signed = {self.owners[one.key_id] for one in listed if one.key_id in self.owners}
        return v1.ProposalStatus(
            id=row.agreement,
            version=row.version,
            digest=row.digest,
            signed=sorted(map(str, signed)),
            missing=sorted(map(str, self.codes - signed)),
            active=active,
        )


class _Statuses:
    """Describes what waits. Reading an agreement may take a second, so each is read once."""

    def __init__(self) -> None:
        self._known: Final[dict[bytes, _Signers]] = {}

    def of(self, rows: Iterable[ProposalRow]) -> list[v1.ProposalStatus]:
        """Return what there is to say of each proposal; to be run in a thread."""
        return [self._signers(row).status(row, active=False) for row in rows]

    def _signers(self, row: ProposalRow) -> _Signers:
        known = self._known.get(row.digest)
        if known is None:
            known = _Signers.of(signing.read(row.envelope)[1])
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[row.digest] = known
        return known


@dataclass(frozen=True)
class Proposals:
    """Takes proposals and signatures, and shows them to the parties' offices."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    removals: Removals
    clock: Callable[[], int]
    identity: RelayIdentity
    limits: Limits
    successors: log_successors.Check = log_successors.no_check
    _statuses: _Statuses = field(default_factory=_Statuses)

    async def propose(self, office: OfficeCaller, envelope: bytes) -> v1.ProposalStatus:
        """Take a version of an agreement, or more signatures under it.

        Raises:
            DocumentError: not an agreement.
            SignatureMissingError: nobody has signed, or a signature does not hold.
            ForeignPartyError: the caller's party has nothing to do with it.
            UnknownPartyError, AgreementRefusedError: the operator's checks.
            AgreementVersionError: it is not made from the newest version.
            SuccessionError: it is complete and may not follow.
            TooManyDocumentsError: the caller's party has enough waiting.
        """
        _, agreement = await asyncio.to_thread(signing.read, envelope)
        await asyncio.to_thread(
            signatures.check_all, envelope, signing.PAYLOAD_TYPE, agreement.parties
        )
        admission.check_relay(agreement, self.identity)
        await self.successors(agreement)
        status, closed = await self.writer.submit(
            _Propose(self.book, self.bus, self.limits, office, agreement, envelope, self.clock())
        )
        await self.removals.propose_all(closed)
        return status

    async def listing(self, office: OfficeCaller) -> v1.Proposals:
        """List what is proposed to the caller's party and waits."""
        async with self.database.read() as tx:
            rows = await proposals.listing(tx, office.party_key)
        return v1.Proposals(proposals=await asyncio.to_thread(self._statuses.of, rows))

    async def get(self, office: OfficeCaller, digest: bytes) -> v1.Document:
        """Return a version that waits, with the signatures so far.

        Raises:
            UnknownProposalError: there is none of the caller's.
        """
        async with self.database.read() as tx:
            row = await proposals.find(tx, digest)
            if row is None or not await proposals.concerns(tx, row.key, office.party_key):
                raise UnknownProposalError(hint="`liaison agreement proposals` lists what waits")
        return v1.Document(envelope=row.envelope)

    async def retract(self, office: OfficeCaller, digest: bytes) -> None:
        """Take back a version that the caller's party has brought and that still waits.

        Raises:
            UnknownProposalError: there is none of the caller's.
            ForeignPartyError: another party has brought it.
        """
        async with self.database.read() as tx:
            row = await proposals.find(tx, digest)
            if row is None or not await proposals.concerns(tx, row.key, office.party_key):
                raise UnknownProposalError(hint="`liaison agreement proposals` lists what waits")
        await self.writer.submit(RetractProposal(self.book, office, row.agreement, digest))

    async def admit(self, id_: str) -> Agreement:
        """Admit the new agreement that all its parties have signed; by the operator.

        Raises:
            UnknownProposalError: none with this id waits for the operator.
            AgreementVersionError: several do; add the right one from its file.
            LiaisonError: as `propose`.
        """
        async with self.database.read() as tx:
            rows = await proposals.of_agreement(tx, id_)
        first = [row for row in rows if row.version == 1]
        listed = await asyncio.to_thread(self._statuses.of, first)
        whole = [row for row, one in zip(first, listed, strict=True) if not one.missing]
        if not whole:
            raise UnknownProposalError(f"no complete new agreement {id_[:80]!r} waits")
        if len(whole) > 1:
            raise AgreementVersionError(
                f"{len(whole)} different agreements {id_[:80]!r} wait",
                hint="`liaison-relay agreement add FILE` takes the one that is meant",
            )
        agreement = await asyncio.to_thread(signing.verify, whole[0].envelope)
        admission.check_relay(agreement, self.identity)
        done = await self.writer.submit(
            admission.Admit(self.book, self.bus, agreement, whole[0].envelope, self.clock())
        )
        await self.removals.propose_all(done.closed)
        return agreement


@dataclass
class _Propose(Operation[tuple[v1.ProposalStatus, list[bytes]]]):
    """Returns the status, and the ids of the channels where somebody has to go."""

    book: Book
    bus: Bus
    limits: Limits
    office: OfficeCaller
    agreement: Agreement
    envelope: bytes
    now_ms: int

    async def apply(self, work: Work) -> tuple[v1.ProposalStatus, list[bytes]]:
        agreement = self.agreement
        await agreements.lock(work.tx, agreement.agreement_id)
        life = await self.book.read_life(work.tx, agreement.agreement_id)
        concerned = self._concerned(life)
        if self.office.party not in concerned:
            raise ForeignPartyError(f"{self.office.party} is no party to {agreement.agreement_id}")
        digest = agreement.digest()
        known = await agreements.find(work.tx, agreement.agreement_id, agreement.version)
        if known is not None and known.digest == digest:
            return self._status(known.envelope, active=True), []
        admission.check_follows(agreement, life)
        await admission.party_keys(work.tx, self.book, agreement)
        waiting = await proposals.find(work.tx, digest)
        whole = self.envelope
        if waiting is not None:
            whole = signatures.united(waiting.envelope, self.envelope)
        # A version that gives up the log is told in the one that it begins, with all signatures.
        goes_on = not await log_successors.is_next(work, agreement)
        if life.newest is not None and goes_on:
            self._record(work, None if waiting is None else waiting.envelope)
        status = self._status(whole, active=False)
        if agreement.version > 1 and not status.missing:
            done = await self._activate(work, whole)
            return status.model_copy(update={"active": True}), done.closed
        if waiting is not None:
            await proposals.sign(work.tx, waiting.key, whole)
        else:
            await self._wait(work, digest, life)
        return status, []

    def _record(self, work: Work, before: bytes | None) -> None:
        """Tell it in the log; before the first version is admitted there is none."""
        signed = keys.signatures(self.agreement, self.envelope, before)
        if signed:
            first = before is None
            work.record(entries.proposed(self.agreement, self.office.party, first=first))
            work.record(*signed)

    def _status(self, envelope: bytes, *, active: bool) -> v1.ProposalStatus:
        # Others wait for this transaction: nothing in it is read or verified a second time.
        agreement = self.agreement
        row = ProposalRow(
            0, agreement.agreement_id, agreement.version, agreement.digest(), envelope
        )
        return _Signers.of(agreement).status(row, active=active)

    def _concerned(self, life: Life) -> set[object]:
        before = life.newest
        return {*self.agreement.codes, *(before.agreement.codes if before else ())}

    async def _activate(self, work: Work, whole: bytes) -> Activated:
        admit = admission.Admit(self.book, self.bus, self.agreement, whole, self.now_ms, told=whole)
        return await admit.apply(work)

    async def _wait(self, work: Work, digest: bytes, life: Life) -> None:
        id_, proposer = self.agreement.agreement_id, self.office.party_key
        waiting = await proposals.count(work.tx, id_, proposer)
        if (
            waiting.agreement >= self.limits.open_documents
            or waiting.all >= self.limits.open_proposals
        ):
            raise TooManyDocumentsError(
                f"{words.count(waiting.agreement, 'version')} of {id_} and {waiting.all} in all, proposed by"
                f" {self.office.party}, wait for signatures",
                unchanged="nothing was stored",
                hint="complete one of them, or let another party propose",
            )
        row = ProposalRow(0, id_, self.agreement.version, digest, self.envelope)
        keys = await self._keys(work.tx, life)
        await proposals.add(work.tx, row, proposer, keys, now_ms=self.now_ms)

    async def _keys(self, tx: AsyncConnection, life: Life) -> list[int]:
        """Return the rows of all who are to see it; who is dropped sees it too."""
        keys = await admission.party_keys(tx, self.book, self.agreement)
        if life.newest is not None:
            keys += await agreements.parties_of(tx, life.newest.key)
        return keys
