"""What messages ask and write, gone through once for no messages before the first one comes; on PostgreSQL.

Putting a statement into words takes SQLAlchemy some milliseconds, and planning one takes PostgreSQL as many. A
message is a dozen of them, and the first one would wait for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.storage import (
    agreements,
    channels,
    connections,
    devices,
    items,
    logs,
    members,
    progress,
    relied,
)
from liaison.storage.engine import Database
from liaison.storage.questions import together


async def rehearse(database: Database) -> None:
    """Go through it on the connection that writes; on SQLite there is nothing to do.

    Nobody else may write meanwhile, or it would be another connection.
    """
    if database.is_sqlite:
        return
    # Where nothing can be written now, as on a standby, whoever writes next hears of it.
    with suppress(DBAPIError, OSError):
        for write in (
            _that_was_read,
            _of_who_has_not_read_all,
            _that_was_remembered,
            _acknowledgements,
            _acknowledgements_that_were_asked_for,
            _checkpoints,
        ):
            async with database.write() as tx:
                await _without_rows(tx, write)


async def _without_rows(
    tx: AsyncConnection, write: Callable[[AsyncConnection], Awaitable[None]]
) -> None:
    connection = connections.postgres(tx)
    if connection is None:
        raise LookupError("PostgreSQL's connection is of another driver")
    connection.rehearses = True
    try:
        await write(tx)
    finally:
        connection.rehearses = False


# As `services.facts` asks and `services.accepting` writes, and `services.acknowledge`: what is put together in another way is another statement.


async def _that_was_read(tx: AsyncConnection) -> None:
    questions = (
        channels.with_ids(tx, ()),
        agreements.changes_under(()),
        members.stays_in(tx, ()),
        devices.standing_of(()),
        items.stored_as(tx, ()),
    )
    await together(tx, *questions)
    await together(tx, *questions, members.endpoints_of(()))
    await _append(tx)


async def _of_who_has_not_read_all(tx: AsyncConnection) -> None:
    await _append(tx, moves=False)


async def _that_was_remembered(tx: AsyncConnection) -> None:
    await relied.rely(tx, unrevoked=(), present=(), changes=())
    await _append(tx)


async def _append(tx: AsyncConnection, *, moves: bool = True) -> None:
    await items.append(tx, ())
    await channels.set_heads(tx, {}, {})
    if moves:
        await progress.move_cursors(tx, {})
    await devices.saw_state_versions(tx, {})
    await logs.advance(tx, ())
    await logs.append(tx, (), ())


async def _acknowledgements(tx: AsyncConnection) -> None:
    await progress.stride(tx, ())


async def _acknowledgements_that_were_asked_for(tx: AsyncConnection) -> None:
    await progress.reading(tx, (), firmly=False)
    await progress.set_cursors(tx, {}, {})


async def _checkpoints(tx: AsyncConnection) -> None:
    await logs.sign(tx, (), (), now_ms=0)
