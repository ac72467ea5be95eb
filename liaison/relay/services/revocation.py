"""Revocation: a registrar's signed list takes effect at once, everywhere.

In one transaction the list is stored, the certificates are marked and the
channels with such a leaf are closed to messages. Then sessions are ended
(topic `REVOCATIONS`) and the removals proposed to the groups.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.fanout import Bus, topics
from liaison.model import PartyCode
from liaison.policy import revocation
from liaison.policy.revocation import RevocationList
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller, OfficeCaller
from liaison.relay.services.entries import keys as entries
from liaison.relay.services.errors import NoRevocationListError, UnknownPartyError
from liaison.relay.services.removals import Removals
from liaison.relay.services.telling import tell
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import agreements, channels, devices, members, parties
from liaison.storage.engine import Database
from liaison.values import dataclass
from liaison.wire import v1


@dataclass(frozen=True)
class Revocation:
    """Accepts and serves revocation lists."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    removals: Removals
    clock: Callable[[], int]

    async def accept(self, office: OfficeCaller, envelope: bytes) -> v1.Document:
        """Put a registrar's newer list into force; the same list again changes nothing.

        Raises:
            DocumentError, SignatureMissingError: not a list that the registrar signed.
            RevocationOrderError: it is not newer, or drops a certificate.
        """
        office.require_registrar()
        async with self.database.read() as tx:
            known = await self.book.party(tx, office.party)
        new = revocation.verify(envelope, known.party)
        touched = await self.writer.submit(
            _Accept(self.book, self.bus, known.key, new, envelope, self.clock())
        )
        await self.removals.propose_all(touched)
        return v1.Document(envelope=envelope)

    async def current(self, caller: Caller, code: PartyCode) -> v1.Document:
        """Return the list in force of the caller's party, or of one that it has an agreement with.

        Raises:
            UnknownPartyError: any other party, known here or not.
            NoRevocationListError: the party has published none.
        """
        async with self.database.read() as tx:
            known = await parties.find(tx, str(code))
            if known is None or not await _concerns(tx, caller.party_key, known.key):
                # One answer for both: who else uses this relay is not the caller's business.
                raise UnknownPartyError(f"{caller.party} has no agreement with {code}")
            row = await parties.revocations(tx, known.key)
        if row is None:
            raise NoRevocationListError(f"{code} has published no revocation list")
        return v1.Document(envelope=row.envelope)


async def _concerns(tx: AsyncConnection, party: int, other: int) -> bool:
    return party == other or await agreements.share(tx, party, other)


@dataclass
class _Accept(Operation[list[bytes]]):
    """Returns the ids of the channels where a leaf has to go."""

    book: Book
    bus: Bus
    party: int
    new: RevocationList
    envelope: bytes
    now_ms: int

    async def apply(self, work: Work) -> list[bytes]:
        # One list at a time over all nodes, from here to the commit.
        await parties.lock_revocations(work.tx)
        before = await parties.revocations(work.tx, self.party)
        if before is not None and before.envelope == self.envelope:
            return await channels.with_removals(work.tx)
        if before is not None:
            self.new.check_succeeds(revocation.read(before.envelope))
        await parties.save_revocations(
            work.tx, self.party, self.new.number, self.envelope, now_ms=self.now_ms
        )
        serials = [entry.serial for entry in self.new.entries]
        hit = await devices.revoke(work.tx, self.party, serials, now_ms=self.now_ms)
        logs = await self.book.taken_part_in(
            work.tx, self.new.party, self.party, self.now_ms, work.after_commit
        )
        tell(work, entries.revocations(logs, self.new, self.envelope, hit))
        leaves: dict[int, set[int]] = {}
        for certificate in hit:
            for stay in await members.with_certificate(
                work.tx, certificate.device, certificate.serial
            ):
                leaves.setdefault(stay.channel, set()).add(stay.leaf)
        work.after_commit(lambda: self.bus.wake(topics.REVOCATIONS))
        return await self._close(work, leaves)

    async def _close(self, work: Work, leaves: dict[int, set[int]]) -> list[bytes]:
        """Stop messages in the channels until the leaves are gone."""
        rows = await channels.by_keys(work.tx, leaves)
        # Locked: a send that holds the channel now is before the revocation, all others after.
        locked = await channels.lock(work.tx, [row.id for row in rows.values()])
        for row in locked.values():
            already = await channels.removals_of(work.tx, row.key)
            await channels.set_removals(work.tx, row.key, leaves[row.key] | set(already))
            # A commit that was judged before now did not know of these leaves: written as
            # judged it would take them off the list and leave them in the group.
            await channels.change(work.tx, row.key, group_version=row.group_version + 1)
        return list(locked)
