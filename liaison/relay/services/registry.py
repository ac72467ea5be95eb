"""Parties and their devices: who is known here, and with which keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from itertools import groupby
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.crypto.signing import SignatureScheme
from liaison.errors import LiaisonError
from liaison.model import DeviceId, PartyCode
from liaison.policy.party import Party
from liaison.relay.services.book import Book
from liaison.relay.services.callers import Caller, DeviceCaller, OfficeCaller, SessionKey
from liaison.relay.services.entries import administration
from liaison.relay.services.errors import (
    DeviceRevokedError,
    PartyChangedError,
    UnauthenticatedError,
    UnknownAgreementError,
    UnknownDeviceError,
    UnknownKeyError,
)
from liaison.relay.services.gathering import Gathered
from liaison.relay.services.pages import FIRST, MOST_BYTES, Page, cut, following
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import agreements, devices, parties
from liaison.storage.devices import KeyHolder
from liaison.storage.engine import Database
from liaison.storage.parties import PartyRow
from liaison.values import dataclass
from liaison.wire import v1
from liaison.wire.handshake import Office, Principal, key_fingerprint

_REVOKED: Final = "this certificate was revoked by its registrar"
_REVOKED_HINT: Final = "its registrar can certify a new device"
_AT_ONCE: Final = 512


@dataclass(frozen=True)
class Registry:
    """Looks principals up; admits parties."""

    database: Database
    writer: Writer
    book: Book
    clock: Callable[[], int]
    _holders: Gathered[str, list[KeyHolder]] = field(init=False)
    _versions: Gathered[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Have one place for all who ask at once."""
        object.__setattr__(self, "_holders", Gathered(self._look_for_holders))
        object.__setattr__(self, "_versions", Gathered(self._look_for_versions))

    async def find_key(self, principal: Principal, fingerprint: bytes) -> SessionKey:
        """Return the key that a principal signs with, and whom it then speaks for.

        Args:
            fingerprint: SHA-256 of the public key in MLS encoding.

        Raises:
            UnknownPartyError, UnknownDeviceError: nobody of this name is known.
            UnknownKeyError: the key is not one of the principal's.
            UnauthenticatedError: its certificate has expired.
            DeviceRevokedError: its certificate was revoked.
        """
        if isinstance(principal, DeviceId):
            return await self._device_key(principal, fingerprint)
        async with self.database.read() as tx:
            return await self._office_key(tx, principal, fingerprint)

    async def _office_key(
        self, tx: AsyncConnection, office: Office, fingerprint: bytes
    ) -> SessionKey:
        known = await self.book.party(tx, office.party)
        registrar = office.name == "registrar"
        keys = known.party.registrar_keys if registrar else known.party.authority_keys
        for key in keys:
            if key_fingerprint(key.public) == fingerprint:
                return SessionKey(key.scheme, key.public, OfficeCaller(office, known.key))
        raise UnknownKeyError(f"the admitted party file of {office.party} has no such key")

    async def _device_key(self, device: DeviceId, fingerprint: bytes) -> SessionKey:
        rows = [
            r for r in await self._holders.ask(str(device)) or () if r.fingerprint == fingerprint
        ]
        if not rows:
            async with self.database.read() as tx:
                await _require_device(tx, device)
            raise UnknownKeyError(f"{device} has no certificate for this key")
        good = [row for row in rows if row.revoked_at is None]
        if not good:
            raise DeviceRevokedError(_REVOKED, hint=_REVOKED_HINT)
        row = good[-1]
        if row.not_after <= self.clock():
            raise UnauthenticatedError(f"the certificate of {device} has expired")
        caller = DeviceCaller(device, row.device, row.certificate, device.party, row.party)
        return SessionKey(SignatureScheme(row.scheme), row.public_key, caller)

    async def _look_for_holders(self, names: Sequence[str]) -> dict[str, list[KeyHolder]]:
        found: dict[str, list[KeyHolder]] = {}
        async with self.database.read() as tx:
            for holder in await devices.key_holders(tx, names):
                found.setdefault(holder.name, []).append(holder)
        return found

    async def _look_for_versions(self, keys: Sequence[int]) -> dict[int, int]:
        async with self.database.read() as tx:
            return await devices.state_versions(tx, keys)

    async def invalid(self, callers: Sequence[DeviceCaller]) -> dict[int, LiaisonError]:
        """Return by certificate why these devices' sessions do not hold any more.

        Reads the database, a few hundred at a time: a revocation has a second to
        end sessions, and a node may have thousands.
        """
        found: dict[int, LiaisonError] = {}
        for at in range(0, len(callers), _AT_ONCE):
            some = callers[at : at + _AT_ONCE]
            # A crowd of clients must not keep the relay from seeing whom it has to turn out.
            async with self.database.read(reserved=True) as tx:
                standing = await devices.standing(tx, [one.certificate for one in some])
            for caller in some:
                try:
                    check_standing(standing, caller, self.clock())
                except LiaisonError as error:
                    found[caller.certificate] = error
        return found

    async def revocation_mark(self) -> int:
        """Return a number that changes whenever a revocation list was accepted, on any node."""
        async with self.database.read(reserved=True) as tx:
            return await parties.revocation_mark(tx)

    async def state_version(self, caller: DeviceCaller) -> int:
        """Return the latest state version that the device was seen with."""
        return await self._versions.ask(caller.key) or 0

    # --- parties ------------------------------------------------------------------------

    async def add_party(self, document: bytes) -> Party:
        """Admit a party, or take its new party file; by the operator.

        Raises:
            DocumentError: not a party file.
            PartyChangedError: an agreement embeds other keys of the party.
        """
        party = Party.parse(document)
        await self.writer.submit(_AddParty(self.book, party, document, self.clock()))
        return party

    async def parties(self) -> list[Party]:
        """Return every admitted party, by code."""
        async with self.database.read() as tx:
            return [known.party for known in await self.book.parties(tx)]

    async def party(self, code: PartyCode) -> Party:
        """Return an admitted party.

        Raises:
            UnknownPartyError: the operator has not admitted it.
        """
        async with self.database.read() as tx:
            return (await self.book.party(tx, code)).party

    # --- devices ------------------------------------------------------------------------

    async def devices(self, caller: Caller, agreement_id: str, page: Page = FIRST) -> v1.Directory:
        """List the devices of all parties to an agreement of the caller's party.

        Raises:
            UnknownAgreementError: there is none, or the caller's party is not in it.
        """
        async with self.database.read() as tx:
            row = await agreements.find(tx, agreement_id)
            members = await agreements.parties_of(tx, row.key) if row else []
            if caller.party_key not in members:
                raise UnknownAgreementError(
                    f"{caller.party} has no agreement {agreement_id[:80]!r}"
                )
            return await _directory(tx, members, page)

    async def own_devices(self, office: OfficeCaller, page: Page = FIRST) -> v1.Directory:
        """List the devices of the registrar's own party, the revoked ones too."""
        office.require_registrar()
        async with self.database.read() as tx:
            return await _directory(tx, [office.party_key], page)


def check_standing(
    standing: Mapping[int, devices.Standing], caller: DeviceCaller, now_ms: int
) -> None:
    """Check what was read of a session's certificate.

    Raises:
        DeviceRevokedError: revoked.
        UnauthenticatedError: gone or expired.
    """
    found = standing.get(caller.certificate)
    if found is None or found.not_after <= now_ms:
        raise UnauthenticatedError(f"the certificate of {caller.id} has expired")
    if found.revoked_at is not None:
        raise DeviceRevokedError(_REVOKED, hint=_REVOKED_HINT)


async def _require_device(tx: AsyncConnection, device: DeviceId) -> None:
    if await devices.key_of(tx, str(device)) is None:
        raise UnknownDeviceError(f"the relay knows no device {device}")


async def _directory(tx: AsyncConnection, parties: Sequence[int], page: Page) -> v1.Directory:
    after = "" if page.after is None else str(DeviceId.parse(page.after))
    found = await devices.listed(tx, parties, after=after, limit=page.limit + 1)
    shown = cut(found, page, (one.size for one in found), MOST_BYTES)
    listed = []
    rows = await devices.of_devices(tx, [one.key for one in shown])
    for name, group in groupby(rows, lambda row: row.name):
        certificates = list(group)
        good = [list(row.chain) for row in certificates if row.revoked_at is None]
        listed.append(v1.RegisteredDevice(device=name, revoked=not good, chains=good))
    last = shown[-1].name if shown else ""
    return v1.Directory(devices=listed, next=following(found, shown, last))


@dataclass
class _AddParty(Operation[None]):
    book: Book
    party: Party
    document: bytes
    now_ms: int

    async def apply(self, work: Work) -> None:
        row = await parties.find(work.tx, str(self.party.code))
        if row is not None:
            await self._check_agreements(work.tx, row.key)
        if row is None or row.document != self.document:
            await self._record(work, row)
        await parties.save(work.tx, str(self.party.code), self.document, now_ms=self.now_ms)

    async def _record(self, work: Work, known: PartyRow | None) -> None:
        logs: list[str] = []
        if known is not None:
            logs = await self.book.taken_part_in(
                work.tx, self.party.code, known.key, self.now_ms, work.after_commit
            )
        code, digest = str(self.party.code), hashlib.sha256(self.document).digest()
        work.record(*administration.done("party.admitted", code, digest, code, logs=logs))

    async def _check_agreements(self, tx: AsyncConnection, party: int) -> None:
        # The newest version of each agreement; an older one binds no new channel.
        newest = {row.id: row for row in await agreements.listing(tx, party)}
        for row in newest.values():
            embedded = self.book.admitted(row).agreement.party(self.party.code)
            if embedded != self.party:
                raise PartyChangedError(
                    f"agreement {row.id} version {row.version} has other keys of {self.party.code}",
                    hint="let the parties sign a new version first",
                )
