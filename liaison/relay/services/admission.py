"""The operator's checks of an agreement, and what happens when a version is admitted."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.fanout import Bus
from liaison.policy import succession
from liaison.policy.agreement import Agreement
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay.services import enforcement, log_successors
from liaison.relay.services.book import Book
from liaison.relay.services.entries import administration, keys
from liaison.relay.services.entries import agreements as entries
from liaison.relay.services.errors import AgreementRefusedError, AgreementVersionError
from liaison.relay.services.lives import Life
from liaison.relay.work import Operation, Work
from liaison.storage import agreements, devices, proposals
from liaison.values import dataclass


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
    if _keys(named) != _keys(identity):
        raise AgreementRefusedError(
            "the agreement names other keys of this relay",
            hint="give the parties the output of `liaison-relay identity` and let them sign again",
        )


def _keys(identity: RelayIdentity) -> tuple[set[VerifyKey], ...]:
    return set(identity.identity_keys), set(identity.sender_keys), set(identity.log_keys)


def check_follows(agreement: Agreement, life: Life) -> None:
    """Check that a version was made from the newest one here.

    Raises:
        AgreementVersionError: it was not, or another has followed that one already.
    """
    newest = life.newest
    version, digest = (newest.agreement.version, newest.agreement.digest()) if newest else (0, None)
    if (agreement.version, agreement.previous) != (version + 1, digest):
        raise AgreementVersionError(
            f"version {agreement.version} of {agreement.agreement_id} does not"
            f" follow version {version}, the newest here"
        )


async def party_keys(tx: AsyncConnection, book: Book, agreement: Agreement) -> list[int]:
    """Return the rows of an agreement's parties.

    Raises:
        UnknownPartyError: the operator has not admitted one of them.
        AgreementRefusedError: it names other keys of a party.
    """
    keys = []
    for embedded in agreement.parties:
        known = await book.party(tx, embedded.code)
        if known.party != embedded:
            raise AgreementRefusedError(
                f"the agreement has other keys of {embedded.code} than the admitted party file"
            )
        keys.append(known.key)
    return keys


@dataclass(frozen=True, slots=True)
class Activated:
    """What admitting a version has done: the ids of the channels where somebody has to go."""

    closed: list[bytes]


@dataclass
class Admit(Operation[Activated]):
    """Admit a version that every party has signed; the same again changes nothing."""

    book: Book
    bus: Bus
    agreement: Agreement
    envelope: bytes
    now_ms: int
    told: bytes | None = None
    """The version with those signatures that the log knows already."""
    is_operators: bool = False
    """Whether the operator adds it. With a log that is refused, that is a version which the parties agreed on
    in what was lost: a later one that names the log's successor is made from it."""

    async def apply(self, work: Work) -> Activated:
        """Write the version, and down who has to go by it.

        Raises:
            AgreementVersionError, SuccessionError: it may not follow the newest one.
            UnknownPartyError, AgreementRefusedError: see `party_keys`.
        """
        id_ = self.agreement.agreement_id
        await agreements.lock(work.tx, id_)
        life = await self.book.read_life(work.tx, id_)
        same = [one for one in life.versions if one.agreement.version == self.agreement.version]
        if same and same[0].agreement.digest() == self.agreement.digest():
            return Activated(await enforcement.enforce(work, life, id_, self.now_ms))
        check_follows(self.agreement, life)
        if life.newest is not None:
            now = self.now_ms // 1000
            succession.check(life.newest.agreement, self.agreement, life.standing, now)
        if await log_successors.is_next(work, self.agreement):
            await self._record_successor(work)
        else:
            await self._record(work, life)
        await self._write(work)
        life = await self.book.read_life(work.tx, id_)
        return Activated(await enforcement.enforce(work, life, id_, self.now_ms))

    async def _record(self, work: Work, before: Life) -> None:
        """Tell it in the log, which the first version begins."""
        agreement, id_ = self.agreement, self.agreement.agreement_id
        digest, subject = agreement.digest(), f"{id_} version {agreement.version}"
        if self.is_operators and not work.takes(id_):
            work.record(*administration.done("agreement.admitted", subject, digest))
            return
        work.record(*administration.done("agreement.admitted", subject, digest, logs=[id_]))
        # What was signed while it waited is in the log, unless there was no log yet.
        told = self.told
        if told is None and before.newest is not None:
            waiting = await proposals.find(work.tx, digest)
            told = None if waiting is None else waiting.envelope
        work.record(*keys.signatures(agreement, self.envelope, told))
        work.record(entries.admitted(agreement))
        if agreement.valid_from <= self.now_ms // 1000:
            work.record(entries.in_force(agreement))
        present = set(before.newest.agreement.codes if before.newest is not None else ())
        for one in agreement.parties:
            if one.code not in present:
                key = (await self.book.party(work.tx, one.code)).key
                known = await devices.of_parties(work.tx, [key])
                work.record(*keys.known(id_, one.code, known))

    async def _record_successor(self, work: Work) -> None:
        """Tell it in the log that the version begins, now or when its day comes; the old one is over."""
        agreement = self.agreement
        subject = f"{agreement.agreement_id} version {agreement.version}"
        work.record(*administration.done("agreement.admitted", subject, agreement.digest()))
        if agreement.valid_from <= self.now_ms // 1000:
            await log_successors.begin(work, self.book, agreement, self.envelope)

    async def _write(self, work: Work) -> None:
        agreement = self.agreement
        await agreements.add(
            work.tx,
            agreement.agreement_id,
            agreement.version,
            agreement.digest(),
            self.envelope,
            await party_keys(work.tx, self.book, agreement),
            now_ms=self.now_ms,
        )
        await agreements.touch(work.tx, agreement.agreement_id)
        await proposals.drop_up_to(work.tx, agreement.agreement_id, agreement.version)
        ever = await agreements.parties_ever(work.tx, agreement.agreement_id)
        enforcement.tell(work, self.bus, ever)
