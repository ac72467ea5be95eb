"""Enrolment: the relay carries two sealed letters and registers what the registrar signed.

It never sees the code's secret, so it can neither read the letters nor swap the
key that is certified; it can only lose them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from liaison import words
from liaison.crypto import x509_path
from liaison.crypto.x509_path import CertifiedDevice
from liaison.errors import LiaisonError, MalformedError
from liaison.model import DeviceId, MessageId, PartyCode
from liaison.policy.party import Party
from liaison.relay.services.book import Book
from liaison.relay.services.callers import OfficeCaller
from liaison.relay.services.entries import keys as entries
from liaison.relay.services.errors import (
    AlreadyRequestedError,
    CertificateRefusedError,
    EnrolmentExistsError,
    EnrolmentExpiredError,
    EnrolmentPendingError,
    EnrolmentStateError,
    ForeignPartyError,
    TooManyInvitationsError,
    UnknownEnrolmentError,
)
from liaison.relay.services.limits import Limits
from liaison.relay.services.pages import FIRST, MOST_BYTES, Page, cut, following
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import devices, enrolments, parties
from liaison.storage.devices import NewCertificate
from liaison.storage.engine import Database
from liaison.storage.enrolments import EnrolmentRow, State
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.handshake import key_fingerprint

_DAY_MS: Final = 86_400_000
_OVER: Final = (State.WITHDRAWN, State.EXPIRED)


@dataclass(frozen=True)
class Enrolment:
    """Invitations, sealed requests, sealed replies."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    limits: Limits

    async def invite(self, office: OfficeCaller, invitation: v1.Invitation) -> None:
        """Expect a request under a lookup id; the same invitation again changes nothing.

        Raises:
            MalformedError: the device is not one of the registrar's party, or the
                time is in the past or too far ahead.
            EnrolmentExistsError: another invitation has this lookup id.
            TooManyInvitationsError: the party has too many open, or has had too many lately.
        """
        office.require_registrar()
        device = DeviceId.parse(invitation.device)
        if device.party != office.party:
            raise ForeignPartyError(f"{device} is not a device of {office.party}")
        now = self.clock()
        latest = now + self.limits.enrolment_days * _DAY_MS
        if not now < invitation.expires_ms <= latest:
            raise MalformedError(
                f"an invitation ends within {words.count(self.limits.enrolment_days, 'day')} from now"
            )
        lookup = bytes.fromhex(invitation.lookup)
        most, kept = self.limits.invitations, self.limits.enrolments
        await self.writer.submit(
            _Invite(office, lookup, str(device), invitation.expires_ms, now, most, kept)
        )

    async def listing(self, office: OfficeCaller, page: Page = FIRST) -> v1.Enrolments:
        """List the registrar's enrolments, with the sealed requests that wait; the oldest first.

        Raises:
            UnknownEnrolmentError: the party has none that the page is to begin after.
        """
        office.require_registrar()
        after = None if page.after is None else MessageId.parse(page.after).value
        async with self.database.read() as tx:
            found = await enrolments.listed(tx, office.party_key, after=after, limit=page.limit + 1)
            if found is None:
                raise UnknownEnrolmentError(hint="list them from the first one on")
            shown = cut(found, page, (one.size for one in found), MOST_BYTES)
            rows = await enrolments.by_lookups(tx, [one.lookup for one in shown])
        now = self.clock()
        last = shown[-1].lookup.hex() if shown else ""
        return v1.Enrolments(
            enrolments=[_body(row, now) for row in rows], next=following(found, shown, last)
        )

    async def request(self, lookup: bytes, sealed: bytes) -> None:
        """Take a device's sealed request; the same bytes again change nothing.

        Raises:
            UnknownEnrolmentError, EnrolmentExpiredError: nothing is expected here.
            AlreadyRequestedError: other bytes came before.
        """
        await self.writer.submit(_Request(lookup, sealed, self.clock()))

    async def reply(self, office: OfficeCaller, lookup: bytes, body: v1.EnrolmentReply) -> None:
        """Take the registrar's reply and register the device with its certificates.

        Raises:
            UnknownEnrolmentError: not an enrolment of the registrar's party.
            EnrolmentStateError: no device has asked yet.
            CertificateRefusedError: a chain does not hold under the party's root,
                or is for another device.
        """
        office.require_registrar()
        async with self.database.read() as tx:
            row = _of_party(await enrolments.find(tx, lookup), office)
            party = (await self.book.party(tx, office.party)).party
            revoked = await self.book.revoked(tx)
        now = self.clock()
        certified = [
            _verified(chain, party, row.device, now // 1000, revoked) for chain in body.certificates
        ]
        await self.writer.submit(_Reply(self.book, office, lookup, certified, body.sealed, now))

    async def fetch_reply(self, lookup: bytes) -> v1.SealedReply:
        """Return the sealed reply.

        Raises:
            UnknownEnrolmentError, EnrolmentExpiredError: there will be none.
            EnrolmentPendingError: there is none yet.
        """
        async with self.database.read() as tx:
            row = await enrolments.find(tx, lookup)
        sealed = _alive(row, self.clock()).sealed_reply
        if sealed is None:
            raise EnrolmentPendingError(hint="ask again in a while")
        return v1.SealedReply(sealed=sealed)

    async def withdraw(self, office: OfficeCaller, lookup: bytes) -> None:
        """Withdraw an invitation; again changes nothing.

        Raises:
            UnknownEnrolmentError: not an enrolment of the registrar's party.
            EnrolmentStateError: it was approved; revoke the certificate instead.
        """
        office.require_registrar()
        await self.writer.submit(_Withdraw(office, lookup))


def _body(row: EnrolmentRow, now_ms: int) -> v1.Enrolment:
    open_ = row.state in (State.INVITED, State.REQUESTED)
    return v1.Enrolment(
        lookup=row.lookup.hex(),
        device=row.device,
        state=State.EXPIRED if open_ and row.expires_at <= now_ms else row.state,
        expires_ms=row.expires_at,
        sealed_request=row.sealed_request if row.state == State.REQUESTED else None,
    )


def _of_party(row: EnrolmentRow | None, office: OfficeCaller) -> EnrolmentRow:
    if row is None or row.party != office.party_key:
        raise UnknownEnrolmentError
    return row


def _alive(row: EnrolmentRow | None, now_ms: int) -> EnrolmentRow:
    if row is None:
        raise UnknownEnrolmentError(hint="check the code with the registrar")
    if row.state in _OVER or row.expires_at <= now_ms:
        raise EnrolmentExpiredError(hint="ask the registrar for a new code")
    return row


@dataclass(frozen=True, slots=True)
class _Certified:
    device: CertifiedDevice
    chain: tuple[bytes, ...]


def _verified(
    chain: Sequence[bytes],
    party: Party,
    device: str,
    now: int,
    revoked: frozenset[tuple[PartyCode, str]],
) -> _Certified:
    try:
        certified = x509_path.verify_chain(chain, party.roots, now, revoked)
    except LiaisonError as error:
        raise CertificateRefusedError(error.message, hint=error.hint) from error
    if str(certified.device) != device:
        raise CertificateRefusedError(f"the certificate is for {certified.device}, not {device}")
    return _Certified(certified, tuple(chain))


@dataclass
class _Invite(Operation[None]):
    office: OfficeCaller
    lookup: bytes
    device: str
    expires_at: int
    now_ms: int
    most: int
    most_kept: int

    async def apply(self, work: Work) -> None:
        row = await enrolments.find(work.tx, self.lookup)
        if row is None:
            party = self.office.party_key
            if await enrolments.count_open(work.tx, party, now_ms=self.now_ms) >= self.most:
                raise TooManyInvitationsError(
                    f"{self.office.party} has {words.count(self.most, 'invitation')} open",
                    hint="answer or withdraw some, or let them expire",
                    unchanged="nobody was invited",
                )
            if await enrolments.count(work.tx, party) >= self.most_kept:
                raise TooManyInvitationsError(
                    f"{self.office.party} has had {words.count(self.most_kept, 'enrolment')} lately",
                    hint="they are forgotten some weeks after they are over",
                    unchanged="nobody was invited",
                )
            await enrolments.add(
                work.tx,
                self.lookup,
                self.office.party_key,
                self.device,
                expires_at=self.expires_at,
                now_ms=self.now_ms,
            )
        elif (row.party, row.device) != (self.office.party_key, self.device):
            raise EnrolmentExistsError


@dataclass
class _Request(Operation[None]):
    lookup: bytes
    sealed: bytes
    now_ms: int

    async def apply(self, work: Work) -> None:
        row = _alive(await enrolments.find(work.tx, self.lookup, lock=True), self.now_ms)
        if row.sealed_request is None and row.state == State.INVITED:
            await enrolments.set_state(
                work.tx, self.lookup, State.REQUESTED, sealed_request=self.sealed
            )
        elif row.sealed_request != self.sealed:
            raise AlreadyRequestedError(hint="tell the registrar, who should withdraw this code")


@dataclass
class _Reply(Operation[None]):
    book: Book
    office: OfficeCaller
    lookup: bytes
    certified: list[_Certified]
    sealed: bytes
    now_ms: int

    async def apply(self, work: Work) -> None:
        row = _of_party(await enrolments.find(work.tx, self.lookup, lock=True), self.office)
        if row.state == State.APPROVED and row.sealed_reply == self.sealed:
            return
        if _alive(row, self.now_ms).state != State.REQUESTED:
            raise EnrolmentStateError("there is no request to reply to")
        if not self.certified:
            raise CertificateRefusedError("the reply has no certificate")
        await self._check_revoked(work)
        await self._register(work)
        await enrolments.set_state(work.tx, self.lookup, State.APPROVED, sealed_reply=self.sealed)

    async def _check_revoked(self, work: Work) -> None:
        # A list may have come since the chains were verified; it found no row to mark.
        await parties.hold_revocations(work.tx)
        revoked = await self.book.revoked(work.tx)
        for one in self.certified:
            if (self.office.party, one.device.serial) in revoked:
                raise CertificateRefusedError(f"certificate {one.device.serial} was revoked")

    async def _register(self, work: Work) -> None:
        device = self.certified[0].device.device
        key = await devices.register(
            work.tx, str(device), str(device.endpoint), self.office.party_key, now_ms=self.now_ms
        )
        new = [self._certificate(one) for one in self.certified]
        for one in new:
            await devices.add_certificate(work.tx, key, one)
        logs = await self.book.taken_part_in(
            work.tx, self.office.party, self.office.party_key, self.now_ms, work.after_commit
        )
        work.record(*entries.certificates(logs, self.office.party, str(device), new))

    def _certificate(self, one: _Certified) -> NewCertificate:
        found = one.device
        return NewCertificate(
            scheme=found.scheme.value,
            key_fingerprint=key_fingerprint(found.public_key),
            public_key=found.public_key,
            serial=found.serial,
            chain=one.chain,
            not_after=found.not_after * 1000,
        )


@dataclass
class _Withdraw(Operation[None]):
    office: OfficeCaller
    lookup: bytes

    async def apply(self, work: Work) -> None:
        row = _of_party(await enrolments.find(work.tx, self.lookup, lock=True), self.office)
        if row.state == State.APPROVED:
            raise EnrolmentStateError("it was approved", hint="revoke the certificate instead")
        await enrolments.set_state(work.tx, self.lookup, State.WITHDRAWN, sealed_request=None)
