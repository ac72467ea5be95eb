"""Key packages: used once, except a device's last resort."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.tables import certificates, key_packages
from liaison.values import dataclass


@dataclass(frozen=True, slots=True)
class NewKeyPackage:
    """A package to store; `not_after` in ms."""

    device: int
    certificate: int
    suite: int
    ref: bytes
    last_resort: bool
    not_after: int
    data: bytes


class Stock(NamedTuple):
    """What a device has of one suite."""

    suite: int
    available: int
    last_resort: bool


_t = key_packages.c


async def add(tx: AsyncConnection, new: list[NewKeyPackage]) -> None:
    """Store packages; one that is stored already is left alone, a last resort replaces the old."""
    known = set(
        (await tx.execute(select(_t.ref).where(_t.ref.in_([n.ref for n in new])))).scalars()
    )
    for package in (n for n in new if n.last_resort and n.ref not in known):
        await tx.execute(
            delete(key_packages).where(
                _t.device == package.device, _t.suite == package.suite, _t.last_resort
            )
        )
    rows = [
        {name: getattr(n, name) for name in NewKeyPackage.__slots__}
        for n in new
        if n.ref not in known
    ]
    if rows:
        await tx.execute(insert(key_packages), rows)


async def stock(tx: AsyncConnection, device: int, *, now_ms: int) -> list[Stock]:
    """Return what the device has left, by suite."""
    query = (
        select(_t.suite, _t.last_resort, func.count())
        .where(_t.device == device, _t.not_after > now_ms)
        .group_by(_t.suite, _t.last_resort)
    )
    single: dict[int, int] = {}
    spare: set[int] = set()
    for suite, last_resort, n in await tx.execute(query):
        if last_resort:
            spare.add(suite)
        else:
            single[suite] = n
    return [Stock(s, single.get(s, 0), s in spare) for s in sorted(single.keys() | spare)]


async def claim(tx: AsyncConnection, device: int, suite: int, *, now_ms: int) -> bytes | None:
    """Take the device's oldest good package, or copy its last resort; None if it has neither.

    A package under a revoked certificate is passed over. Two claims never get
    the same one: the row is locked, and what another node took is skipped.
    """
    good = (
        select(_t.key, _t.data)
        .join_from(key_packages, certificates, _t.certificate == certificates.c.key)
        .where(
            _t.device == device,
            _t.suite == suite,
            _t.not_after > now_ms,
            certificates.c.revoked_at.is_(None),
        )
        .order_by(_t.key)
        .limit(1)
    )
    single = good.where(~_t.last_resort).with_for_update(skip_locked=True, of=key_packages)
    row = (await tx.execute(single)).one_or_none()
    if row is not None:
        await tx.execute(delete(key_packages).where(_t.key == row.key))
    else:
        row = (await tx.execute(good.where(_t.last_resort))).one_or_none()
    return bytes(row.data) if row else None


async def expire(tx: AsyncConnection, *, now_ms: int, limit: int) -> int:
    """Delete packages whose time is over; return how many."""
    due = select(_t.key).where(_t.not_after <= now_ms).limit(limit)
    done = await tx.execute(delete(key_packages).where(_t.key.in_(due.scalar_subquery())))
    return int(done.rowcount)
