"""Registered devices and their certificates."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Row, Select, and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.many_rows import ForEach
from liaison.storage.padding import any_of, batches, padded, values_of
from liaison.storage.questions import Question, ask
from liaison.storage.quick import Quick
from liaison.storage.tables import certificates, devices
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """One certificate, with the device that it names."""

    key: int
    device: int
    name: str
    party: int
    scheme: str
    public_key: bytes
    serial: str
    chain: tuple[bytes, ...]
    not_after: int
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate to register; times in ms."""

    scheme: str
    key_fingerprint: bytes
    public_key: bytes
    serial: str
    chain: tuple[bytes, ...]
    not_after: int


def _pack(chain: Sequence[bytes]) -> bytes:
    return json.dumps([b64encode(der).decode() for der in chain]).encode()


def _unpack(data: bytes) -> tuple[bytes, ...]:
    return tuple(b64decode(der) for der in json.loads(data))


_c, _d = certificates.c, devices.c
_CERTIFICATE = select(
    _c.key, _c.device, _d.name, _d.party, _c.scheme, _c.public_key, _c.serial, _c.chain,
    _c.not_after, _c.revoked_at,
).join_from(certificates, devices, _c.device == _d.key)  # fmt: skip


def _certificate(row: Row[tuple[object, ...]]) -> CertificateRow:
    values = row._asdict()
    return CertificateRow(**{**values, "chain": _unpack(values["chain"])})


async def _rows(tx: AsyncConnection, query: Select[tuple[object, ...]]) -> list[CertificateRow]:
    return [_certificate(row) for row in await tx.execute(query.order_by(_d.name, _c.key))]


async def key_of(tx: AsyncConnection, name: str) -> int | None:
    """Return the key of a device."""
    return await tx.scalar(select(_d.key).where(_d.name == name))


async def keys_of(tx: AsyncConnection, names: Iterable[str]) -> dict[str, int]:
    """Return the keys of those of the devices that are registered."""
    rows = await tx.execute(select(_d.name, _d.key).where(_d.name.in_(list(names))))
    return dict(rows.all())


async def by_fingerprint(
    tx: AsyncConnection, name: str, fingerprint: bytes
) -> list[CertificateRow]:
    """Return the device's certificates for this public key, newest last."""
    return await _rows(tx, _CERTIFICATE.where(_d.name == name, _c.key_fingerprint == fingerprint))


async def certificate(tx: AsyncConnection, key: int) -> CertificateRow | None:
    """Return one certificate."""
    found = await _rows(tx, _CERTIFICATE.where(_c.key == key))
    return found[0] if found else None


class KeyHolder(NamedTuple):
    """A device's certificate, without its chain, for whoever shows a session of its key."""

    certificate: int
    device: int
    name: str
    party: int
    scheme: str
    public_key: bytes
    not_after: int
    revoked_at: int | None
    fingerprint: bytes


_HOLDERS = Quick(
    select(
        _c.key, _c.device, _d.name, _d.party, _c.scheme, _c.public_key, _c.not_after,
        _c.revoked_at, _c.key_fingerprint,
    )
    .join_from(devices, certificates, _c.device == _d.key)
    .where(_d.name.in_(bindparam("names", expanding=True)))
    .order_by(_c.key)
)  # fmt: skip


async def key_holders(tx: AsyncConnection, names: Iterable[str]) -> list[KeyHolder]:
    """Return the certificates of devices, for each device the newest last."""
    rows = await _HOLDERS.rows(tx, {"names": padded(names)})
    return [KeyHolder(*row) for row in rows]


async def of_parties(tx: AsyncConnection, parties: Iterable[int]) -> list[CertificateRow]:
    """Return every certificate of these parties' devices, by device."""
    return await _rows(tx, _CERTIFICATE.where(_d.party.in_(list(parties))))


class Listed(NamedTuple):
    """A device, and how many bytes its certificates have."""

    key: int
    name: str
    size: int


async def listed(
    tx: AsyncConnection, parties: Iterable[int], *, after: str = "", limit: int
) -> list[Listed]:
    """Return the certified devices of these parties whose names come after one, by name."""
    page = (
        select(_d.key, _d.name)
        .where(_d.party.in_(list(parties)), _d.name > after)
        .order_by(_d.name)
        .limit(limit)
        .subquery()
    )
    query = (
        select(page.c.key, page.c.name, func.sum(func.length(_c.chain)))
        .join_from(page, certificates, _c.device == page.c.key)
        .group_by(page.c.key, page.c.name)
        .order_by(page.c.name)
    )
    return [Listed(key, name, int(size)) for key, name, size in await tx.execute(query)]


async def of_devices(tx: AsyncConnection, keys: Iterable[int]) -> list[CertificateRow]:
    """Return every certificate of these devices, by device."""
    return await _rows(tx, _CERTIFICATE.where(_d.key.in_(list(keys))))


async def of_endpoint(tx: AsyncConnection, endpoint: str) -> list[CertificateRow]:
    """Return every certificate of an endpoint's devices, by device."""
    return await _rows(tx, _CERTIFICATE.where(_d.endpoint == endpoint))


async def register(
    tx: AsyncConnection, name: str, endpoint: str, party: int, *, now_ms: int
) -> int:
    """Return the device's key, adding the device if it is new."""
    key = await key_of(tx, name)
    if key is not None:
        return key
    row = await tx.execute(
        insert(devices)
        .values(name=name, endpoint=endpoint, party=party, registered_at=now_ms)
        .returning(_d.key)
    )
    return int(row.scalar_one())


async def add_certificate(tx: AsyncConnection, device: int, new: NewCertificate) -> None:
    """Add a certificate; one that is there already stays as it is."""
    known = select(func.count()).where(
        _c.device == device, _c.key_fingerprint == new.key_fingerprint, _c.serial == new.serial
    )
    if await tx.scalar(known):
        return
    await tx.execute(
        insert(certificates).values(
            device=device,
            scheme=new.scheme,
            key_fingerprint=new.key_fingerprint,
            public_key=new.public_key,
            serial=new.serial,
            chain=_pack(new.chain),
            not_after=new.not_after,
        )
    )


async def revoke(
    tx: AsyncConnection, party: int, serials: Iterable[str], *, now_ms: int
) -> list[CertificateRow]:
    """Mark certificates of a party's devices as revoked; return those that were not before."""
    hit = await _rows(
        tx,
        _CERTIFICATE.where(
            _d.party == party, _c.serial.in_(list(serials)), _c.revoked_at.is_(None)
        ),
    )
    await tx.execute(
        update(certificates).where(_c.key.in_([h.key for h in hit])).values(revoked_at=now_ms)
    )
    return hit


class Standing(NamedTuple):
    """Whether a certificate still speaks for its device."""

    revoked_at: int | None
    not_after: int


_STANDING = Quick(
    select(_c.key, _c.revoked_at, _c.not_after).where(_c.key.in_(bindparam("keys", expanding=True)))
)


def standing_of(keys: Iterable[int]) -> Question[dict[int, Standing]]:
    """Ask for the standing of certificates."""
    return Question(
        [(_STANDING, {"keys": padded(keys)})],
        lambda rows: {key: Standing(revoked, not_after) for key, revoked, not_after in rows},
    )


async def standing(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, Standing]:
    """Return the standing of certificates, read in the caller's transaction."""
    return await ask(tx, standing_of(keys))


_STATE_VERSIONS = Quick(
    select(_d.key, _d.state_version).where(_d.key.in_(bindparam("device_keys", expanding=True)))
)


async def state_versions(tx: AsyncConnection, keys: Iterable[int]) -> dict[int, int]:
    """Return the latest state versions that devices were seen with, by the devices' keys."""
    rows = await _STATE_VERSIONS.rows(tx, {"device_keys": padded(keys)})
    return {key: int(version) for key, version in rows}


_SEEN = ForEach(
    lambda row: (
        update(devices)
        .where(and_(_d.key == row("device_key"), _d.state_version < row("seen")))
        .values(state_version=row("seen"))
    ),
    device_key=_d.key,
    seen=_d.state_version,
)


async def saw_state_versions(tx: AsyncConnection, seen: Mapping[int, int]) -> None:
    """Remember the greatest state version seen of each device."""
    # All begin with 0. In the order of keys: two nodes that lock the same rows never wait in a circle.
    await _SEEN.change(tx, sorted(one for one in seen.items() if one[1] > 0))


async def still_good(tx: AsyncConnection, pairs: Iterable[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return those (device, serial) pairs that are registered and not revoked.

    The rows stay locked against change until the commit, so that a revocation
    on another node waits, and then finds what this transaction did.
    """
    good = select(_c.device, _c.serial).where(_c.revoked_at.is_(None)).with_for_update(read=True)
    found: set[tuple[int, str]] = set()
    for some in batches(pairs):
        rows = await tx.execute(
            good.where(any_of((_c.device, _c.serial), len(some))), values_of(some)
        )
        found |= {(row.device, row.serial) for row in rows}
    return found
