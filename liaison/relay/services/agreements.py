"""Agreements as the parties signed them: admitted by the operator, served to the parties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.errors import SignatureMissingError
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller
from liaison.relay.services.errors import (
    AgreementRefusedError,
    AgreementVersionError,
    UnknownAgreementError,
)
from liaison.relay.writer import Operation, Work, Writer
from liaison.storage import agreements
from liaison.storage.engine import Database
from liaison.wire import v1


@dataclass(frozen=True)
class Agreements:
    """Admission and lookup."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    identity: RelayIdentity

    async def admit(self, envelope: bytes) -> Agreement:
        """Admit an agreement, or its next version; by the operator. Again changes nothing.

        Raises:
            DocumentError: not an agreement.
            SignatureMissingError: a party's authority has not signed.
            UnknownPartyError: a party was not admitted.
            AgreementRefusedError: it names other keys of a party, or another relay.
            AgreementVersionError: it does not follow the newest version here.
        """
        agreement = _signed_by_all(envelope)
        check_relay(agreement, self.identity)
        await self.writer.submit(_Admit(self.book, agreement, envelope, self.clock()))
        return agreement

    async def listing(self, caller: Caller) -> v1.Agreements:
        """List the newest versions of the agreements of the caller's party."""
        async with self.database.read() as tx:
            rows = await agreements.listing(tx, caller.party_key)
        newest = {row.id: row for row in rows}
        return v1.Agreements(
            agreements=[
                v1.AgreementSummary(id=row.id, version=row.version, digest=row.digest)
                for row in newest.values()
            ]
        )

    async def get(self, caller: Caller, id_: str, version: int | None = None) -> v1.Document:
        """Return a signed agreement of the caller's party, the newest version by default.

        Raises:
            UnknownAgreementError: there is none.
        """
        if version is not None and version >= 1 << 63:
            raise UnknownAgreementError
        async with self.database.read() as tx:
            row = await agreements.find(tx, id_, version)
            members = await agreements.parties_of(tx, row.key) if row else []
        if row is None or caller.party_key not in members:
            raise UnknownAgreementError(f"{caller.party} has no such agreement {id_[:80]!r}")
        return v1.Document(envelope=row.envelope)

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


def check_relay(agreement: Agreement, identity: RelayIdentity) -> None:
    """Check that an agreement means this relay.

    Raises:
        AgreementRefusedError: it names another, or other keys of this one.
    """
    named = agreement.relay
    if named.origin != identity.origin:
        raise AgreementRefusedError(
            f"the agreement is for the relay {named.origin}, this is {identity.origin}"
        )
    theirs = (set(named.identity_keys), set(named.sender_keys))
    if theirs != (set(identity.identity_keys), set(identity.sender_keys)):
        raise AgreementRefusedError(
            "the agreement names other keys of this relay",
            hint="give the parties the output of `liaison-relay identity` and let them sign again",
        )


@dataclass
class _Admit(Operation[None]):
    book: Book
    agreement: Agreement
    envelope: bytes
    now_ms: int

    async def apply(self, work: Work) -> None:
        agreement, digest = self.agreement, self.agreement.digest()
        same = await agreements.find(work.tx, agreement.agreement_id, agreement.version)
        if same is not None and same.digest == digest:
            return
        await self._check_follows(work.tx)
        await agreements.add(
            work.tx,
            agreement.agreement_id,
            agreement.version,
            digest,
            self.envelope,
            await self._party_keys(work.tx),
            now_ms=self.now_ms,
        )

    async def _check_follows(self, tx: AsyncConnection) -> None:
        newest = await agreements.find(tx, self.agreement.agreement_id)
        version, digest = (newest.version, newest.digest) if newest else (0, None)
        if (self.agreement.version, self.agreement.previous) != (version + 1, digest):
            raise AgreementVersionError(
                f"version {self.agreement.version} of {self.agreement.agreement_id} does not"
                f" follow version {version}, the newest here"
            )

    async def _party_keys(self, tx: AsyncConnection) -> list[int]:
        keys = []
        for embedded in self.agreement.parties:
            known = await self.book.party(tx, embedded.code)
            if known.party != embedded:
                raise AgreementRefusedError(
                    f"the agreement has other keys of {embedded.code} than the admitted party file"
                )
            keys.append(known.key)
        return keys
