"""Key packages: stored for a device, given out once each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.errors import LiaisonError
from liaison.fanout import Bus, topics
from liaison.mls.validation.leaf import validate_key_package
from liaison.model import EndpointId
from liaison.relay.services.book import Book
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.entries import keys as entries
from liaison.relay.services.errors import (
    ForeignPartyError,
    KeyPackageError,
    TooManyKeyPackagesError,
    UnknownAgreementError,
    UnknownDeviceError,
)
from liaison.relay.services.limits import Limits
from liaison.relay.work import Operation, Work
from liaison.relay.writer import Writer
from liaison.storage import agreements, devices, key_packages
from liaison.storage.engine import Database
from liaison.storage.key_packages import NewKeyPackage
from liaison.trust import PartyValidator, certified_leaf
from liaison.values import dataclass
from liaison.wire import v1

LOW: Final = "key-packages.low"
"""The note that a device gets when it should upload more."""


@dataclass(frozen=True)
class KeyPackages:
    """Upload, count, claim."""

    database: Database
    writer: Writer
    book: Book
    bus: Bus
    clock: Callable[[], int]
    limits: Limits

    async def upload(self, caller: DeviceCaller, body: v1.KeyPackages) -> v1.KeyPackageCounts:
        """Store packages of the caller's; one that is here already is left alone.

        Raises:
            KeyPackageError: one is invalid or of another device; none was stored.
            TooManyKeyPackagesError: they would be too many; none was stored.
        """
        now = self.clock()
        async with self.database.read() as tx:
            party = (await self.book.party(tx, caller.party)).party
            revoked = await self.book.revoked(tx)
        validator = PartyValidator([party], revoked)
        # Up to 200 packages with several signatures each: not in the event loop.
        checked = await asyncio.to_thread(_check_all, caller, body, validator, now // 1000)
        async with self.database.read() as tx:
            chains = await devices.of_endpoint(tx, str(caller.id.endpoint))
        certificates = {row.serial: row.key for row in chains if row.device == caller.key}
        new = [one.row(caller, body.suite, certificates) for one in checked]
        await self.writer.submit(_Upload(self.book, caller, body.suite, new, now, self.limits))
        return await self.counts(caller)

    async def counts(self, caller: DeviceCaller) -> v1.KeyPackageCounts:
        """Return what the device has left."""
        async with self.database.read() as tx:
            stock = await key_packages.stock(tx, caller.key, now_ms=self.clock())
        return v1.KeyPackageCounts(
            counts=[
                v1.KeyPackageCount(
                    suite=one.suite, available=one.available, last_resort=one.last_resort
                )
                for one in stock
            ]
        )

    async def claim(self, caller: DeviceCaller, body: v1.Claim) -> v1.Claimed:
        """Take one package for each device of an endpoint.

        Raises:
            UnknownAgreementError: the caller's party has no such agreement.
            ForeignPartyError: the endpoint's party is not in it.
        """
        endpoint = EndpointId.parse(body.endpoint)
        async with self.database.read() as tx:
            await self._check_shared(tx, caller, body.agreement, endpoint)
        claimed, low = await self.writer.submit(
            _Claim(endpoint, body.suite, self.clock(), self.limits.low_key_packages)
        )
        for device in low:
            self.bus.wake(topics.device(device), LOW)
        return claimed

    async def _check_shared(
        self, tx: AsyncConnection, caller: DeviceCaller, agreement: str, endpoint: EndpointId
    ) -> None:
        row = await agreements.find(tx, agreement)
        members = await agreements.parties_of(tx, row.key) if row else []
        if row is None or caller.party_key not in members:
            raise UnknownAgreementError(f"{caller.party} has no agreement {agreement[:80]!r}")
        if not self.book.admitted(row).agreement.has_party(endpoint.party):
            raise ForeignPartyError(f"{endpoint.party} is not a party of {agreement}")


@dataclass(frozen=True, slots=True)
class _Checked:
    ref: bytes
    data: bytes
    serial: str
    not_after: int
    last_resort: bool

    def row(self, caller: DeviceCaller, suite: int, certificates: dict[str, int]) -> NewKeyPackage:
        certificate = certificates.get(self.serial)
        if certificate is None:
            raise KeyPackageError("a key package stands on a certificate that is not registered")
        return NewKeyPackage(
            caller.key,
            certificate,
            suite,
            self.ref,
            self.last_resort,
            self.not_after * 1000,
            self.data,
        )


def _check_all(
    caller: DeviceCaller, body: v1.KeyPackages, validator: PartyValidator, now: int
) -> list[_Checked]:
    checked = [_check(caller, body.suite, data, validator, now) for data in body.key_packages]
    if any(one.last_resort for one in checked):
        raise KeyPackageError("a last resort is uploaded as such, not among the others")
    if body.last_resort is not None:
        last = _check(caller, body.suite, body.last_resort, validator, now)
        if not last.last_resort:
            raise KeyPackageError("the last resort is not marked as one")
        checked.append(last)
    if len({one.ref for one in checked}) < len(checked):
        raise KeyPackageError("a key package stands in the upload twice")
    return checked


def _check(
    caller: DeviceCaller, suite: int, data: bytes, validator: PartyValidator, now: int
) -> _Checked:
    try:
        package, identity = validate_key_package(data, validator=validator, now=now)
        certificate = certified_leaf(package.leaf_node.credential)
    except LiaisonError as error:
        raise KeyPackageError(error.message, hint=error.hint) from error
    if identity != caller.id.uri.encode():
        raise KeyPackageError(f"a key package is of another device than {caller.id}")
    lifetime = package.leaf_node.lifetime
    if package.cipher_suite != suite or lifetime is None:
        raise KeyPackageError("a key package is for another suite, or has no lifetime")
    return _Checked(
        package.ref(),
        data,
        certificate.serial,
        min(lifetime.not_after, certificate.not_after),
        package.last_resort,
    )


@dataclass
class _Upload(Operation[None]):
    book: Book
    caller: DeviceCaller
    suite: int
    new: list[NewKeyPackage]
    now_ms: int
    limits: Limits

    async def apply(self, work: Work) -> None:
        await key_packages.add(work.tx, self.new)
        stock = await key_packages.stock(work.tx, self.caller.key, now_ms=self.now_ms)
        if any(one.available > self.limits.key_packages for one in stock):
            raise TooManyKeyPackagesError(
                f"the relay keeps {self.limits.key_packages} key packages of a suite",
                hint="upload more when some were taken",
            )
        if self.new:
            await self._record(work)

    async def _record(self, work: Work) -> None:
        refs, caller = [one.ref for one in self.new], self.caller
        logs = await self.book.taken_part_in(
            work.tx, caller.party, caller.party_key, self.now_ms, work.after_commit
        )
        work.record(*entries.key_packages(logs, caller.party, str(caller.id), self.suite, refs))


@dataclass
class _Claim(Operation[tuple[v1.Claimed, list[int]]]):
    endpoint: EndpointId
    suite: int
    now_ms: int
    low: int

    async def apply(self, work: Work) -> tuple[v1.Claimed, list[int]]:
        rows = await devices.of_endpoint(work.tx, str(self.endpoint))
        good = {row.device: row.name for row in rows if row.revoked_at is None}
        claimed, without, low = [], [], []
        for device, name in good.items():
            data = await key_packages.claim(work.tx, device, self.suite, now_ms=self.now_ms)
            if data is None:
                without.append(name)
            else:
                claimed.append(v1.ClaimedKeyPackage(device=name, key_package=data))
            stock = await key_packages.stock(work.tx, device, now_ms=self.now_ms)
            left = sum(one.available for one in stock if one.suite == self.suite)
            if left < self.low:
                low.append(device)
        if not good:
            raise UnknownDeviceError(f"{self.endpoint} has no device here")
        return v1.Claimed(key_packages=claimed, without=without), low
