"""What messages ask and write, gone through once for no messages before the first one comes.

Putting a statement into words takes SQLAlchemy some milliseconds, and planning one takes PostgreSQL as many. A
message is a dozen of them, and the first one would wait for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

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

_NOWHERE: Final = bytes(16)
"""A channel's id; there is no such channel."""
_NOBODY: Final = 0
"""A key of a device or of anything else: keys begin with 1."""
_NOTHING: Final = ""
"""An agreement's id; none is empty."""


async def rehearse(database: Database) -> None:
    """Go through it on the connection that writes; nothing is changed.

    Nobody else may write meanwhile, or it would be another connection.
    """
    # Where nothing can be written now, as on a standby, whoever writes next hears of it.
    with suppress(DBAPIError, OSError):
        for write in _ON_SQLITE if database.is_sqlite else _ON_POSTGRESQL:
            async with database.write() as tx:
                await _without_rows(tx, write)


async def _without_rows(
    tx: AsyncConnection, write: Callable[[AsyncConnection], Awaitable[None]]
) -> None:
    connection = connections.sqlite(tx) or connections.require_postgres(tx)
    connection.rehearses = True
    try:
        await write(tx)
    finally:
        connection.rehearses = False


# As `services.facts` asks and `services.accepting` writes, and `services.acknowledge`: what is put together in another way is another statement.


async def _that_was_read(tx: AsyncConnection) -> None:
    # For one message: SQLite's statements differ by how many it is, and one is what comes first.
    questions = (
        channels.with_ids(tx, [_NOWHERE]),
        agreements.changes_under([_NOWHERE]),
        members.stays_in(tx, [(_NOWHERE, _NOBODY)]),
        devices.standing_of([_NOBODY]),
        items.stored_as(tx, [(_NOWHERE, _NOBODY, _NOWHERE)]),
    )
    await together(tx, *questions)
    await together(tx, *questions, members.endpoints_of([_NOWHERE]))
    await _append(tx)


async def _that_was_remembered_in_part(tx: AsyncConnection) -> None:
    found = items.stored_as(tx, [(_NOWHERE, _NOBODY, _NOWHERE)])
    await together(tx, channels.heads_of([_NOBODY]), found)
    await agreements.by_key(tx, _NOBODY)
    await members.endpoints_in(tx, [_NOBODY])
    await logs.find_all(tx, [_NOTHING], lock=True)


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
    await progress.reading(tx, [(_NOWHERE, _NOBODY)], firmly=False)
    await progress.set_cursors(tx, {}, {})


async def _checkpoints(tx: AsyncConnection) -> None:
    await logs.sign(tx, (), (), now_ms=0)


async def _acknowledgements_under_a_lock(tx: AsyncConnection) -> None:
    await progress.reading(tx, [(_NOWHERE, _NOBODY)], firmly=True)
    await progress.set_cursors(tx, {})


async def _who_comes_to_read(tx: AsyncConnection) -> None:
    await progress.channels_to_read(tx, [_NOBODY])
    await together(tx, devices.standing_of([_NOBODY]), progress.stays_of([_NOBODY]))
    await progress.acknowledged_beyond(tx, [_NOBODY])


_ON_SQLITE: Final = (
    _who_comes_to_read,
    _that_was_read,
    _that_was_remembered_in_part,
    _acknowledgements_under_a_lock,
    _checkpoints,
)
_ON_POSTGRESQL: Final = (
    _that_was_read,
    _of_who_has_not_read_all,
    _that_was_remembered,
    _acknowledgements,
    _acknowledgements_that_were_asked_for,
    _checkpoints,
)
