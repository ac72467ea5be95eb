"""Admitted agreements, every version as it was signed, and how often each has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage.conflicts import insert_if_new
from liaison.storage.padding import padded
from liaison.storage.questions import Question
from liaison.storage.quick import Quick
from liaison.storage.tables import agreement_changes, agreement_parties, agreements, channels


class AgreementRow(NamedTuple):
    """One version of an agreement."""

    key: int
    id: str
    version: int
    digest: bytes
    envelope: bytes
    admitted_at: int


_t = agreements.c
_ROW = select(*(_t[name] for name in AgreementRow._fields))


async def by_key(tx: AsyncConnection, key: int) -> AgreementRow | None:
    """Return one version by its key."""
    row = (await tx.execute(_ROW.where(_t.key == key))).one_or_none()
    return AgreementRow(*row) if row else None


async def find(
    tx: AsyncConnection, id_: str, version: int | None = None, *, party: int | None = None
) -> AgreementRow | None:
    """Return a version of an agreement, or its newest; of those that name a party, if that is given."""
    if "\0" in id_:
        return None  # PostgreSQL has no such text, and no agreement has such an id
    query = _ROW.where(_t.id == id_).order_by(_t.version.desc()).limit(1)
    if version is not None:
        query = query.where(_t.version == version)
    if party is not None:
        query = query.join(agreement_parties).where(agreement_parties.c.party == party)
    row = (await tx.execute(query)).one_or_none()
    return AgreementRow(*row) if row else None


async def listing(tx: AsyncConnection, party: int | None = None) -> list[AgreementRow]:
    """Return every version, or those that a party takes part in, by id and version."""
    query = _ROW.order_by(_t.id, _t.version)
    if party is not None:
        query = query.join(agreement_parties).where(agreement_parties.c.party == party)
    return [AgreementRow(*row) for row in await tx.execute(query)]


class Summary(NamedTuple):
    """The newest version of an agreement that names a party."""

    id: str
    version: int
    digest: bytes


async def summaries(
    tx: AsyncConnection, party: int, *, after: str = "", limit: int
) -> list[Summary]:
    """Return the agreements whose ids come after one, with the newest versions that name a party."""
    newest = (
        select(_t.id, func.max(_t.version).label("version"))
        .join(agreement_parties)
        .where(agreement_parties.c.party == party, _t.id > after)
        .group_by(_t.id)
        .order_by(_t.id)
        .limit(limit)
        .subquery()
    )
    query = (
        select(_t.id, _t.version, _t.digest)
        .join(newest, and_(newest.c.id == _t.id, newest.c.version == _t.version))
        .order_by(_t.id)
    )
    return [Summary(*row) for row in await tx.execute(query)]


async def naming(tx: AsyncConnection, party: int) -> list[str]:
    """Return the ids of the agreements of which some version names a party."""
    query = select(_t.id).join(agreement_parties).where(agreement_parties.c.party == party)
    return list((await tx.execute(query.distinct().order_by(_t.id))).scalars())


async def parties_of(tx: AsyncConnection, agreement: int) -> list[int]:
    """Return the keys of the parties to one version."""
    query = select(agreement_parties.c.party).where(agreement_parties.c.agreement == agreement)
    return list((await tx.execute(query)).scalars())


async def share(tx: AsyncConnection, one: int, other: int) -> bool:
    """Return whether two parties stand in one agreement, in any version of it."""
    mine, theirs = agreement_parties.alias(), agreement_parties.alias()
    query = (
        select(mine.c.agreement)
        .join_from(mine, theirs, mine.c.agreement == theirs.c.agreement)
        .where(mine.c.party == one, theirs.c.party == other)
        .limit(1)
    )
    return await tx.scalar(query) is not None


async def add(
    tx: AsyncConnection,
    id_: str,
    version: int,
    digest: bytes,
    envelope: bytes,
    parties: Iterable[int],
    *,
    now_ms: int,
) -> int:
    """Add a version; return its key."""
    values = {
        "id": id_,
        "version": version,
        "digest": digest,
        "envelope": envelope,
        "admitted_at": now_ms,
    }
    key = (await tx.execute(insert(agreements).values(values).returning(_t.key))).scalar_one()
    rows = [{"agreement": key, "party": party} for party in parties]
    await tx.execute(insert(agreement_parties), rows)
    return int(key)


async def versions(tx: AsyncConnection, id_: str) -> list[AgreementRow]:
    """Return every version of an agreement, the first one first."""
    if "\0" in id_:
        return []
    query = _ROW.where(_t.id == id_).order_by(_t.version)
    return [AgreementRow(*row) for row in await tx.execute(query)]


async def parties_ever(tx: AsyncConnection, id_: str) -> list[int]:
    """Return the keys of the parties to any version of an agreement."""
    if "\0" in id_:
        return []
    query = select(agreement_parties.c.party).join(agreements).where(_t.id == id_).distinct()
    return list((await tx.execute(query)).scalars())


# --- what has changed -------------------------------------------------------------------

_c = agreement_changes.c


async def enforced(tx: AsyncConnection) -> dict[str, int]:
    """Return of every agreement up to when it was enforced, Unix seconds; 0 is never."""
    query = select(_c.id, _c.enforced_at).order_by(_c.id)
    return {row.id: row.enforced_at for row in await tx.execute(query)}


async def set_enforced(tx: AsyncConnection, id_: str, now: int) -> None:
    """Remember that an agreement, which the caller has locked, was enforced at a time."""
    await tx.execute(
        update(agreement_changes).where(_c.id == id_, _c.enforced_at < now).values(enforced_at=now)
    )


_CHANGES = Quick(select(_c.id, _c.changes).where(_c.id.in_(bindparam("ids", expanding=True))))


async def changes(tx: AsyncConnection, wanted: Iterable[str]) -> dict[str, int]:
    """Return how often each of these agreements has changed; those that are not here are left out."""
    known = [id_ for id_ in wanted if "\0" not in id_]
    return _by_name(await _CHANGES.rows(tx, {"ids": padded(known)}))


_CHANGES_UNDER = Quick(
    select(_c.id, _c.changes)
    .join_from(channels, agreements)
    .join(agreement_changes, _c.id == _t.id)
    .where(channels.c.id.in_(bindparam("ids", expanding=True)))
    .distinct()
)


def changes_under(channels_: Iterable[bytes]) -> Question[dict[str, int]]:
    """Ask how often the agreements of channels have changed; those that never did are left out."""
    return Question([(_CHANGES_UNDER, {"ids": padded(channels_)})], _by_name)


def _by_name(rows: Iterable[Any]) -> dict[str, int]:
    return dict(rows)


async def hold(tx: AsyncConnection, id_: str) -> int:
    """Let the agreement not change until the transaction ends; return how often it has so far."""
    query = select(_c.changes).where(_c.id == id_).with_for_update(read=True)
    return int(await tx.scalar(query) or 0)


async def lock(tx: AsyncConnection, id_: str) -> int:
    """Let one transaction at a time change the agreement; return how often it was so far.

    The row's lock is held until the transaction ends. The row is made where there is none.
    """
    values = {"id": id_, "changes": 0}
    # Two nodes may meet the id for the first time at once.
    await tx.execute(insert_if_new(tx, agreement_changes, values))
    query = select(_c.changes).where(_c.id == id_).with_for_update()
    return int((await tx.execute(query)).scalar_one())


async def touch(tx: AsyncConnection, id_: str) -> None:
    """Count one change of an agreement that the caller has locked."""
    await tx.execute(update(agreement_changes).where(_c.id == id_).values(changes=_c.changes + 1))
