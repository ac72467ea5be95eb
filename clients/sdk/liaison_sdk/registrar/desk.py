"""The registrar's desk: the office and its relay.

The relay is a messenger here. It sees lookup ids, devices and public
certificates; codes stay in the office, requests and replies are sealed by them.
What a verb hands to the relay was remembered in the office before, so that after
a lost connection the same verb can be called again.

Disk and Argon2id never block the loop: the office's verbs run in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

from liaison.crypto.signing import SignatureScheme
from liaison.errors import LiaisonError
from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.policy.agreement import Agreement
from liaison.policy.keys import VerifyKey
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.revocation import Reason
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.handshake import Office
from liaison_sdk.agreements import AgreementStanding, HistoryEntry
from liaison_sdk.http import Login, RelayAPI
from liaison_sdk.registrar.acts import AgreementActs, ExclusionOutcome
from liaison_sdk.registrar.errors import InvitationUnknownError
from liaison_sdk.registrar.office import RegistrarOffice
from liaison_sdk.registrar.state import Invitation, IssuedCertificate

if TYPE_CHECKING:
    from liaison_sdk.registrar.watching import Watched

REQUESTED: Final = "requested"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An invitation with what the relay says of it.

    Args:
        keys: whose possession the request proves; empty before there is one.
        problem: why the request can't be granted; None where it can.
        sealed: the request; None before there is one.
    """

    lookup: str
    device: DeviceId
    state: str
    expires: int
    keys: tuple[VerifyKey, ...] = ()
    problem: LiaisonError | None = None
    sealed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revocation list that the relay took, and what it added."""

    number: int
    next_update: int
    certificates: tuple[IssuedCertificate, ...]


class RelayDesk:
    """A registrar's verbs that need the relay; an async context manager.

    Args:
        office: the registrar.
        api: the relay, logged in as the registrar.
        clock: Unix seconds.
    """

    def __init__(self, office: RegistrarOffice, api: RelayAPI, clock: Callable[[], float]) -> None:
        self._office = office
        self._api = api
        self._clock = clock
        self._acts = AgreementActs(office, api)

    @classmethod
    async def open(
        cls,
        office: RegistrarOffice,
        clock: Callable[[], float],
        *,
        ca_pem: str | None = None,
    ) -> Self:
        """Return the desk at the relay that the office pinned. Nothing is sent yet.

        Args:
            office: the registrar.
            clock: Unix seconds.
            ca_pem: CA certificates to use instead of the pinned ones.

        Raises:
            NotConnectedError: no relay was pinned.
        """
        connection = await asyncio.to_thread(lambda: office.connection)
        api = await _login(office, connection.url, connection.identity, ca_pem or connection.ca_pem)
        return cls(office, api, clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    async def invite(
        self, device: DeviceId, *, ttl: int, schemes: Sequence[SignatureScheme] = ()
    ) -> Invitation:
        """Make a code for a device and tell the relay to expect it.

        Args:
            device: who it is for.
            ttl: seconds that the code is good for.
            schemes: what the device may ask for; empty means whatever it needs.

        Raises:
            ForeignPartyError: the device is another party's.
            LiaisonError: the relay refused; the code was destroyed.
        """
        invitation = await asyncio.to_thread(
            self._office.invite, device, now=self._now(), ttl=ttl, schemes=schemes
        )
        try:
            await self._api.invite(invitation.lookup, str(device), invitation.expires * 1000)
        except LiaisonError:
            await asyncio.to_thread(self._office.forget_invitation, invitation.lookup)
            raise
        return invitation

    async def enrolments(self) -> list[Enrolment]:
        """Return what the relay holds for this registrar, requests opened."""
        listed = await self._api.enrolments()
        return await asyncio.to_thread(lambda: [self._opened(e) for e in listed])

    async def approve(self, enrolment: Enrolment, *, lifetime_days: int = 365) -> Invitation:
        """Certify the device behind a request and send it the sealed reply.

        Raises:
            InvitationUnknownError: there is no request yet.
            LiaisonError: the request is not sound, or the relay refused. The
                certificates may be in the books then; the next call repeats the reply.
        """
        if enrolment.sealed is None:
            raise InvitationUnknownError(f"{enrolment.device} has not asked to be enrolled yet")
        answered = await asyncio.to_thread(
            self._office.certify,
            enrolment.lookup,
            enrolment.sealed,
            now=self._now(),
            lifetime_days=lifetime_days,
        )
        reply = answered.answered
        if reply is None:
            raise InvitationUnknownError(f"{enrolment.device} was not answered")
        await self._api.reply_enrolment(enrolment.lookup, reply.chains, reply.sealed)
        return answered

    async def withdraw(self, lookup: str) -> None:
        """Take an invitation back: first at the relay, then here."""
        await self._api.withdraw_enrolment(lookup)
        await asyncio.to_thread(self._office.forget_invitation, lookup)

    async def revoke(
        self, target: DeviceId | EndpointId, reason: Reason, *, lifetime_days: int
    ) -> Revoked:
        """Revoke a device or all devices of an endpoint, and publish the list.

        Raises:
            CertificateUnknownError: there is nothing to revoke.
            LiaisonError: the relay did not take the list. It is issued and in
                the books; `publish` brings it there.
        """
        _, hit = await asyncio.to_thread(
            self._office.revoke, target, reason, now=self._now(), lifetime_days=lifetime_days
        )
        return await self.publish(tuple(hit))

    async def renew(self, *, lifetime_days: int) -> Revoked:
        """Issue the same list with a new date, or the first, and publish it."""
        await asyncio.to_thread(
            self._office.renew_list, now=self._now(), lifetime_days=lifetime_days
        )
        return await self.publish(())

    async def publish(self, certificates: tuple[IssuedCertificate, ...]) -> Revoked:
        """Bring the newest list to the relay.

        Args:
            certificates: what it added, for the answer.
        """
        signed = await asyncio.to_thread(lambda: self._office.state.revocations)
        current = await asyncio.to_thread(self._office.revocation_list)
        if signed is None or current is None:
            raise InvitationUnknownError("no revocation list was issued yet")
        await self._api.publish_revocations(signed)
        return Revoked(current.number, current.next_update, certificates)

    # --- the log ------------------------------------------------------------------------

    async def watch(self) -> list[Watched]:
        """Read on in the logs of all the party's agreements, and compare them with the books.

        What is not the party's own doing is an alarm, and stays one until it is accepted.

        Raises:
            ConnectionLostError: the relay can't be reached; what was read is in the books.
        """
        from liaison_sdk.registrar import watching  # noqa: PLC0415 - few verbs need it

        return await watching.watch(self._office, self._api, self._acts, now=self._now())

    async def accept_alarms(self) -> int:
        """Take all alarms as looked into; return how many there were."""
        from liaison_sdk.registrar import watching  # noqa: PLC0415 - few verbs need it

        return await asyncio.to_thread(watching.accept, self._office)

    # --- agreements ---------------------------------------------------------------------

    async def agreement(self, agreement_id: str, version: int | None = None) -> Agreement:
        """Fetch a version of an agreement, the newest by default, verified.

        Raises:
            VerificationError: the own authority, or another party's, has not signed it.
            RemoteError: the relay does not have it.
        """
        return await self._acts.agreement(agreement_id, version)

    async def standing(self, agreement_id: str) -> AgreementStanding:
        """Return where an agreement stands, as the relay shows it; all of it verified."""
        return await self._acts.standing(agreement_id, now=self._now())

    async def history(self, agreement_id: str) -> list[HistoryEntry]:
        """Return an agreement's versions, statements and exclusions, oldest first."""
        return await self._acts.history(agreement_id)

    async def declare(self, agreement_id: str, event: Event, *, reason: str = "") -> Statement:
        """Suspend, resume, withdraw, or affirm the own party's participation; at once.

        What the relay has newest is fetched first. After a lost connection the same call
        brings what was signed already.

        Args:
            agreement_id: which agreement; all its versions.
            event: what the party does; `AFFIRM` renews what it said last.
            reason: for people; may be empty.

        Raises:
            LifecycleError: that can't follow, such as resuming after withdrawing.
            StatementOrderError: the clock is behind the statement before.
            ForeignPartyError: the agreement names other keys for the party than its own.
            RemoteError: the relay refused; what it will never take is left out next time.
        """
        return await self._acts.declare(agreement_id, event, reason=reason, now=self._now())

    async def exclude(
        self, agreement_id: str, party: PartyCode, *, reason: str
    ) -> ExclusionOutcome:
        """Sign that another party is excluded; it is once enough of the others have signed.

        Raises:
            DocumentError: the agreement excludes nobody.
            ForeignPartyError: it is the own party.
            UnknownPartyError: the party is not in the agreement.
            RemoteError: the relay refused.
        """
        return await self._acts.exclude(agreement_id, party, reason=reason, now=self._now())

    async def countersign_exclusion(self, envelope: bytes) -> ExclusionOutcome:
        """Add the own signature to an exclusion that another party has begun.

        Raises:
            DocumentError, ForeignPartyError, RemoteError: see `exclude`.
        """
        return await self._acts.countersign_exclusion(envelope, now=self._now())

    async def retract_exclusion(self, envelope: bytes) -> None:
        """Take back an exclusion that the own party has begun and that still waits.

        Whoever has a copy of what was signed can bring it again.

        Raises:
            RemoteError: another party has begun it, or it does not wait (any more).
        """
        await self._acts.retract_exclusion(envelope)

    async def waiting_exclusions(self, agreement_id: str) -> list[ExclusionOutcome]:
        """Return the exclusions that too few have signed yet."""
        return await self._acts.waiting_exclusions(agreement_id)

    async def propose(self, envelope: bytes) -> v1.ProposalStatus:
        """Bring a version of an agreement that the own authority has signed.

        It takes effect by itself once all parties have signed; the first version when the
        relay's operator has admitted it.

        Raises:
            RemoteError: the relay refused, such as for a version that does not follow.
        """
        return await self._acts.propose(envelope)

    async def log_differences(self, agreement: Agreement) -> list[str]:
        """Tell what a version that gives up the log would give up of what this office has read of it."""
        from liaison_sdk.registrar import watching_successors  # noqa: PLC0415 - few verbs need it

        state = await asyncio.to_thread(lambda: self._office.state)
        return watching_successors.differences(agreement, state.watch(agreement.agreement_id))

    async def proposals(self) -> list[v1.ProposalStatus]:
        """List the versions that wait for signatures, or for the operator."""
        return await self._acts.proposals()

    async def proposal(self, digest: bytes) -> bytes:
        """Fetch a version that waits, by its digest of 32 bytes; `signing.read` reads it.

        Raises:
            RelayBrokenError: the relay served another one.
            RemoteError: it does not have it.
        """
        return await self._acts.proposal(digest)

    async def retract(self, digest: bytes) -> None:
        """Take back a version that the own party has brought and that still waits.

        Whoever has a copy of what was signed can bring it again.

        Raises:
            RemoteError: another party has brought it, or it does not wait (any more).
        """
        await self._acts.retract(digest)

    async def countersign(self, digest: bytes) -> v1.ProposalStatus:
        """Sign a version that waits, and bring it back.

        Raises:
            ForeignPartyError: it leaves the own party out, or names other keys for it.
            RelayBrokenError, RemoteError: see `proposal`.
        """
        return await self._acts.countersign(digest)

    def _opened(self, listed: v1.Enrolment) -> Enrolment:
        device = DeviceId.parse(listed.device)
        expires = listed.expires_ms // 1000
        sealed = listed.sealed_request
        if sealed is None:
            return Enrolment(listed.lookup, device, listed.state, expires)
        try:
            keys = self._office.requested_keys(listed.lookup, sealed)
        except LiaisonError as e:
            # Shown to the registrar beside the request: somebody without the code
            # has answered in the device's place, or the relay has meddled.
            return Enrolment(listed.lookup, device, listed.state, expires, (), e, sealed)
        # The office knows whom it invited; the relay's word is for the listing only.
        invited = self._office.invitation(listed.lookup).device
        return Enrolment(listed.lookup, invited, listed.state, expires, keys, None, sealed)

    def _now(self) -> int:
        return int(self._clock())


async def connect(
    office: RegistrarOffice,
    url: str,
    identity: RelayIdentity,
    clock: Callable[[], float],
    *,
    ca_pem: str | None = None,
) -> Revoked:
    """Pin a relay after it has shown that it holds the pinned key.

    The party's current revocation list goes there at once (an empty one if none
    was issued yet), so that every client can see that nothing is hidden from it.

    Args:
        office: the registrar.
        url: where the relay is reached.
        identity: its public identity, which the operator handed over.
        clock: Unix seconds.
        ca_pem: CA certificates for its TLS; None for the system's.

    Raises:
        LiaisonError: the relay is another one, or it does not know the party; nothing was pinned.
    """
    api = await _login(office, url, identity, ca_pem)
    async with RelayDesk(office, api, clock) as desk:
        await api.session()
        await asyncio.to_thread(office.pin, url, identity, ca_pem)
        if await asyncio.to_thread(office.revocation_list) is None:
            return await desk.renew(lifetime_days=30)
        return await desk.publish(())


async def _login(
    office: RegistrarOffice, url: str, identity: RelayIdentity, ca_pem: str | None
) -> RelayAPI:
    signer = await asyncio.to_thread(office.registrar_key)
    login = Login(Office(office.party.code, "registrar"), signer)
    return RelayAPI.to(url, ca_pem=ca_pem, relay=identity, login=login)
