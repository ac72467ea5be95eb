"""Taking back what waits for signatures: by the party that has brought it, while it waits.

What was signed stays signed in the hands of whoever has a copy; it is off the relay, and
out of the bound on what a party may have waiting.
"""

from __future__ import annotations

from liaison.relay.services.book import Book
from liaison.relay.services.callers import OfficeCaller
from liaison.relay.services.entries import administration
from liaison.relay.services.errors import ForeignPartyError, UnknownProposalError
from liaison.relay.work import Operation, Work
from liaison.storage import agreements, proposals, statements
from liaison.values import dataclass


@dataclass
class RetractProposal(Operation[None]):
    """Delete a version that waits."""

    book: Book
    office: OfficeCaller
    agreement: str
    digest: bytes

    async def apply(self, work: Work) -> None:
        """Delete it, unless it has come into force or was taken back meanwhile.

        Raises:
            UnknownProposalError: it does not wait.
            ForeignPartyError: another party has brought it.
        """
        await agreements.lock(work.tx, self.agreement)
        row = await proposals.find(work.tx, self.digest)
        if row is None:
            raise UnknownProposalError("the version does not wait any more")
        _check_own(await proposals.proposer(work.tx, row.key), self.office)
        await proposals.drop(work.tx, row.key)
        life = await self.book.read_life(work.tx, self.agreement)
        if life.newest is not None:
            _record(work, "proposal.retracted", self.agreement, self.digest, self.office)


@dataclass
class RetractExclusion(Operation[None]):
    """Delete an exclusion that waits."""

    office: OfficeCaller
    agreement: str
    digest: bytes

    async def apply(self, work: Work) -> None:
        """Delete it, unless it has come into force or was taken back meanwhile.

        Raises:
            UnknownProposalError: it does not wait.
            ForeignPartyError: another party has begun it.
        """
        await agreements.lock(work.tx, self.agreement)
        row = await statements.find_waiting(work.tx, self.agreement, self.digest)
        if row is None:
            raise UnknownProposalError("no such exclusion waits")
        _check_own(row.proposer, self.office)
        await statements.retract(work.tx, row.key)
        _record(work, "exclusion.retracted", self.agreement, self.digest, self.office)


def _check_own(proposer: int, office: OfficeCaller) -> None:
    if proposer != office.party_key:
        raise ForeignPartyError(
            "another party has brought it, and only that one takes it back",
            unchanged="it still waits",
        )


def _record(work: Work, act: str, agreement: str, digest: bytes, office: OfficeCaller) -> None:
    party = str(office.party)
    work.record(*administration.done(act, agreement, digest, party, logs=[agreement]))
