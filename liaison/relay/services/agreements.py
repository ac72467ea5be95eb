"""Agreements as the parties signed them: admitted by the operator, served to the parties."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liaison.fanout import Bus
from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.errors import SignatureMissingError
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services import admission, log_successors
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller
from liaison.relay.services.errors import UnknownAgreementError
from liaison.relay.services.pages import FIRST, Page, cut, following
from liaison.relay.services.removals import Removals
from liaison.relay.writer import Writer
from liaison.storage import agreements
from liaison.storage.engine import Database
from liaison.values import dataclass
from liaison.wire import v1


@dataclass(frozen=True)
class Agreements:
    """Admission and lookup."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    removals: Removals
    clock: Callable[[], int]
    identity: RelayIdentity
    successors: log_successors.Check = log_successors.no_check

    async def admit(self, envelope: bytes) -> Agreement:
        """Admit an agreement, or its next version; by the operator. Again changes nothing.

        Raises:
            DocumentError: not an agreement.
            SignatureMissingError: a party's authority has not signed.
            UnknownPartyError: a party was not admitted.
            AgreementRefusedError: it names other keys of a party, another relay, or a log's
                successor that the log does not need.
            AgreementVersionError: it does not follow the newest version here.
            SuccessionError: it drops a party that takes part, or changes what can't be.
        """
        # A large agreement takes a second to read: others are not to wait for that.
        agreement = await asyncio.to_thread(_signed_by_all, envelope)
        admission.check_relay(agreement, self.identity)
        await self.successors(agreement)
        done = await self.writer.submit(
            admission.Admit(
                self.book, self.bus, agreement, envelope, self.clock(), is_operators=True
            )
        )
        await self.removals.propose_all(done.closed)
        return agreement

    async def listing(self, caller: Caller, page: Page = FIRST) -> v1.Agreements:
        """List the agreements of the caller's party, with the newest versions that name it."""
        async with self.database.read() as tx:
            found = await agreements.summaries(
                tx, caller.party_key, after=page.after or "", limit=page.limit + 1
            )
        shown = cut(found, page)
        listed = [
            v1.AgreementSummary(id=row.id, version=row.version, digest=row.digest) for row in shown
        ]
        last = shown[-1].id if shown else ""
        return v1.Agreements(agreements=listed, next=following(found, shown, last))

    async def get(self, caller: Caller, id_: str, version: int | None = None) -> v1.Document:
        """Return a signed agreement, by default the newest version that names the caller's party.

        Raises:
            UnknownAgreementError: there is none.
        """
        if version is not None and version >= 1 << 63:
            raise UnknownAgreementError
        async with self.database.read() as tx:
            row = await agreements.find(tx, id_, version, party=caller.party_key)
        if row is None:
            raise UnknownAgreementError(f"{caller.party} has no such agreement {id_[:80]!r}")
        return v1.Document(envelope=row.envelope, accepted_ms=row.admitted_at)

    async def all(self) -> list[Agreement]:
        """Return every admitted version, by id and version; for the operator."""
        async with self.database.read() as tx:
            return [self.book.admitted(row).agreement for row in await agreements.listing(tx)]


def _signed_by_all(envelope: bytes) -> Agreement:
    _, agreement = signing.read(envelope)
    signed = signing.signers(envelope)
    missing = [str(party.code) for party in agreement.parties if party.code not in signed]
    if missing:
        raise SignatureMissingError(
            f"version {agreement.version} of {agreement.agreement_id} is not signed by"
            f" {' and '.join(missing)}",
            unchanged="it was not admitted",
            hint="their authorities sign it too (`liaison agreement sign`), then add that file",
        )
    return signing.verify(envelope)
