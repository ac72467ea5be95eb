"""What a registrar does at its own desk: found a party, invite, certify, revoke.

No relay is needed here: every verb takes the time, changes the stored state in
one step and returns what is to be brought to the relay (`desk` does that). The
order is always the same: remember first, then hand out. A certificate that left
the office is in its books, so that it can be revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from liaison.crypto import kdf
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.crypto.x509 import Root
from liaison.model import DeviceId, EndpointId, PartyCode
from liaison.policy import dsse, enrolment, revocation
from liaison.policy.keys import VerifyKey
from liaison.policy.party import Party
from liaison.policy.relay_identity import RelayIdentity
from liaison.policy.revocation import Reason, RevocationList, RevokedCertificate
from liaison.values import dataclass
from liaison_sdk.keystore import DEFAULT_PARAMETERS, Argon2Parameters
from liaison_sdk.registrar import issuing
from liaison_sdk.registrar.errors import (
    CertificateUnknownError,
    ForeignPartyError,
    InvitationChangedError,
    InvitationExpiredError,
    InvitationUnknownError,
    InvitationUsedError,
    NotConnectedError,
    SchemeRefusedError,
)
from liaison_sdk.registrar.issuing import DAY
from liaison_sdk.registrar.state import (
    Answered,
    Connection,
    Invitation,
    IssuedCertificate,
    OfficeState,
)
from liaison_sdk.registrar.store import RegistrarStore, Role

_KEPT_EXPIRED: Final = 7 * DAY
LIST_LIFETIME_DAYS: Final = 30
"""How long a revocation list may be relied upon unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device in the books, with the serials of its revoked certificates."""

    device: DeviceId
    certificates: tuple[IssuedCertificate, ...]
    revoked: frozenset[str]

    @property
    def is_revoked(self) -> bool:
        """Whether no certificate of the device is left."""
        return all(c.serial in self.revoked for c in self.certificates)


class RegistrarOffice:
    """One party's registrar.

    Args:
        store: the open office on disk.
        rng: gives random bytes.
    """

    def __init__(
        self, store: RegistrarStore, *, rng: Callable[[int], bytes] = random_bytes
    ) -> None:
        self._store = store
        self._rng = rng

    @classmethod
    def found(
        cls,
        home: Path,
        passphrase: str | None,
        code: PartyCode,
        name: str,
        *,
        now: int,
        lifetime_days: int = 3650,
        parameters: Argon2Parameters = DEFAULT_PARAMETERS,
        rng: Callable[[int], bytes] = random_bytes,
    ) -> Self:
        """Make a party's keys and its root certificate, sealed under the passphrase.

        Raises:
            OfficeExistsError: the party has its office under `home` already.
        """
        keys = {role: SigningKey.generate(SignatureScheme.ED25519) for role in Role}
        root = issuing.root(keys[Role.ROOT], code, now, lifetime_days, rng)
        party = Party(
            code,
            name,
            roots=(Root.parse(root),),
            authority_keys=(VerifyKey.of(keys[Role.AUTHORITY]),),
            registrar_keys=(VerifyKey.of(keys[Role.REGISTRAR]),),
        )
        store = RegistrarStore.create(home, passphrase, party, keys, parameters=parameters, rng=rng)
        return cls(store, rng=rng)

    @classmethod
    def open(
        cls,
        home: Path,
        passphrase: str | None,
        code: PartyCode,
        *,
        rng: Callable[[int], bytes] = random_bytes,
    ) -> Self:
        """Open an office that was founded before.

        Raises:
            OfficeMissingError: there is none under `home`.
            WrongPassphraseError: the passphrase is another one; nothing was changed.
        """
        return cls(RegistrarStore.open(home, passphrase, code), rng=rng)

    @property
    def store(self) -> RegistrarStore:
        """Where it rests; what the authority signs is signed there (`authority`)."""
        return self._store

    @property
    def party(self) -> Party:
        """The public half."""
        return self._store.party

    @property
    def state(self) -> OfficeState:
        """The books as they are now."""
        return self._store.state()

    @property
    def connection(self) -> Connection:
        """The pinned relay.

        Raises:
            NotConnectedError: none was pinned.
        """
        connection = self.state.connection
        if connection is None:
            raise NotConnectedError(
                f"{self.party.code} is not connected to a relay yet",
                hint="connect it with: liaison party connect URL --identity relay.json",
            )
        return connection

    def registrar_key(self) -> SigningKey:
        """Unseal the key that opens the registrar's sessions and signs revocation lists."""
        return self._store.key(Role.REGISTRAR)

    def pin(self, url: str, identity: RelayIdentity, ca_pem: str | None) -> None:
        """Remember the party's relay; it replaces the one before."""
        connection = Connection(url, identity, ca_pem)
        self._store.change(lambda state: replace(state, connection=connection))

    def invite(
        self,
        device: DeviceId,
        *,
        now: int,
        ttl: int,
        schemes: Sequence[SignatureScheme] = (),
    ) -> Invitation:
        """Make and remember a code by which one device can enrol.

        Args:
            device: who it is for; of the own party.
            now: Unix seconds.
            ttl: seconds that the code is good for.
            schemes: what the device may ask for; empty means whatever it needs.

        Raises:
            ForeignPartyError: the device is another party's.
        """
        if device.party != self.party.code:
            raise ForeignPartyError(
                f"{device} is a device of {device.party}, this is the registrar of "
                f"{self.party.code}"
            )
        code = enrolment.Code.generate(self._rng)
        invitation = Invitation(
            code.lookup_text, device, str(code), tuple(schemes), expires=now + ttl
        )
        self._store.change(
            lambda state: state.without_expired(now - _KEPT_EXPIRED).with_invitation(invitation)
        )
        return invitation

    def forget_invitation(self, lookup: str) -> None:
        """Destroy a code that is no longer good."""
        self._store.change(lambda state: state.without_invitation(lookup))

    def invitation(self, lookup: str) -> Invitation:
        """Return an invitation by its lookup id.

        Raises:
            InvitationUnknownError: it was not made here, or was taken back.
        """
        for invitation in self.state.invitations:
            if invitation.lookup == lookup:
                return invitation
        raise InvitationUnknownError(f"no invitation {lookup} was made here")

    def requested_keys(self, lookup: str, sealed: bytes) -> tuple[VerifyKey, ...]:
        """Open an enrolment request and return the keys whose possession it proves.

        Raises:
            InvitationUnknownError: no such invitation.
            LiaisonError: the request was not made with the code, or was changed.
        """
        code = enrolment.Code.parse(self.invitation(lookup).code)
        return enrolment.open_request(code, sealed).keys

    def certify(
        self, lookup: str, sealed: bytes, *, now: int, lifetime_days: int = 365
    ) -> Invitation:
        """Issue the certificates that a sealed request asks for, and seal the reply.

        Repeating it for the same request gives the same reply: the relay may have
        stored the first one although we never heard of it.

        Args:
            lookup: of the invitation.
            sealed: the request as the relay handed it over.
            now: Unix seconds.
            lifetime_days: of the certificates.

        Returns:
            The invitation, `answered`.

        Raises:
            InvitationUnknownError: no such invitation.
            InvitationExpiredError: the code is no longer good.
            InvitationUsedError: another request was answered under the same code.
            InvitationChangedError: another process dealt with it at the same time.
            SchemeRefusedError: a key of a scheme that the invitation does not cover.
            LiaisonError: the request was not made with the code, or was changed.
        """
        connection = self.connection
        invitation = self.invitation(lookup)
        code = enrolment.Code.parse(invitation.code)
        request = enrolment.open_request(code, sealed)
        known = invitation.answered
        if known is not None:
            _check_same(invitation, known, request.digest)
            return invitation
        if now > invitation.expires:
            raise InvitationExpiredError(
                f"the invitation of {invitation.device} has run out", hint="invite it again"
            )
        _check_schemes(invitation, request.keys)
        chains = tuple(
            (self._issue(invitation.device, key, now, lifetime_days),) for key in request.keys
        )
        reply = enrolment.EnrolmentReply(invitation.device, chains, self.party, connection.identity)
        sealed_reply = enrolment.seal_reply(code, request.digest, reply, self._rng)
        answered = replace(invitation, answered=Answered(request.digest, chains, sealed_reply))
        issued = tuple(issuing.entry(chain[0], now) for chain in chains)

        def step(state: OfficeState) -> OfficeState:
            if invitation not in state.invitations:
                raise InvitationChangedError(
                    f"the invitation of {invitation.device} was answered or taken back meanwhile",
                    hint="see liaison party requests, and try again",
                    unchanged="no certificate was issued",
                )
            certificates = (*state.certificates, *issued)
            return replace(state.with_invitation(answered), certificates=certificates)

        self._store.change(step)
        return answered

    def devices(self) -> list[DeviceRecord]:
        """Return every device that a certificate was issued for, sorted."""
        state = self.state
        current = self.revocation_list()
        revoked = frozenset(e.serial for e in current.entries) if current else frozenset[str]()
        names = sorted({c.device for c in state.certificates})
        return [
            DeviceRecord(name, tuple(c for c in state.certificates if c.device == name), revoked)
            for name in names
        ]

    def revocation_list(self) -> RevocationList | None:
        """Return the newest list that was issued here, None before the first."""
        signed = self.state.revocations
        return None if signed is None else revocation.verify(signed, self.party)

    def revoke(
        self,
        target: DeviceId | EndpointId,
        reason: Reason,
        *,
        now: int,
        lifetime_days: int = LIST_LIFETIME_DAYS,
    ) -> tuple[bytes, list[IssuedCertificate]]:
        """Revoke every valid certificate of a device, or of all devices of an endpoint.

        Args:
            target: whose certificates.
            reason: stands in the list.
            now: Unix seconds.
            lifetime_days: how long the new list may be relied upon.

        Returns:
            The signed list, remembered before this returns, and what was added to it.

        Raises:
            CertificateUnknownError: there is nothing to revoke.
        """
        records = [r for r in self.devices() if target in {r.device, r.device.endpoint}]
        hit = [c for r in records for c in r.certificates if c.serial not in r.revoked]
        if not hit:
            known = "all certificates are revoked already" if records else "none was issued here"
            raise CertificateUnknownError(f"{target} has no certificate to revoke: {known}")
        entries = [RevokedCertificate(c.serial, c.device, now, reason) for c in hit]
        return self._next_list(entries, now, lifetime_days), hit

    def renew_list(self, *, now: int, lifetime_days: int = LIST_LIFETIME_DAYS) -> bytes:
        """Issue the same list with a new date, or the first, empty one; return it signed."""
        return self._next_list((), now, lifetime_days)

    def _issue(self, device: DeviceId, key: VerifyKey, now: int, lifetime_days: int) -> bytes:
        root_key, root = self._store.key(Role.ROOT), self.party.roots[0]
        return issuing.leaf(root_key, root, device, key, now, lifetime_days, self._rng)

    def _next_list(
        self, entries: Iterable[RevokedCertificate], now: int, lifetime_days: int
    ) -> bytes:
        key = self.registrar_key()
        next_update = now + lifetime_days * DAY
        added = tuple(entries)
        signed = b""

        def step(state: OfficeState) -> OfficeState:
            nonlocal signed
            following = issuing.following(self.party, state.revocations, added, now, next_update)
            signed = revocation.sign(following, key)
            digest = kdf.sha256(dsse.Envelope.decode(signed).payload).hex()
            lists = (*state.lists, (following.number, digest))
            return replace(state, revocations=signed, lists=lists)

        self._store.change(step)
        return signed


def _check_same(invitation: Invitation, known: Answered, digest: bytes) -> None:
    # A code stands for one device with one set of keys. A second set may be its thief's.
    if known.request_digest != digest:
        raise InvitationUsedError(
            f"another request of {invitation.device} was answered under this code already",
            hint="if the device was set up anew, revoke it and invite it again",
        )


def _check_schemes(invitation: Invitation, keys: Iterable[VerifyKey]) -> None:
    refused = [key.scheme.value for key in keys if key.scheme not in invitation.schemes]
    if invitation.schemes and refused:
        raise SchemeRefusedError(
            f"{invitation.device} asks for {', '.join(refused)}, which its invitation leaves out",
            hint="withdraw the invitation and make one with the right --scheme",
        )
