"""Much of everything in a relay's database, and many who are connected: what several benches need.

Rows like those that a relay wrote itself, with other names, are put into the database of one that
is stopped; sending ten million messages through it would take a day.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import relay
from bench.relay import Cast, Program, Room
from liaison.model import DeviceId
from liaison.relay import identity
from liaison.relay.files import DataDir
from liaison.relay.sessions import Session, Sessions
from liaison.wire.handshake import key_fingerprint

KIB: Final = 1 << 10
MIB: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_AT_ONCE: Final = 100_000
"""Rows in one statement."""
_CACHE_KIB: Final = 1 << 20
"""Of SQLite while rows are made: ids of messages are random, and so are their places in indexes."""


def memory(program: Program) -> int:
    """Return the bytes that a program has in memory."""
    fields = Path(f"/proc/{program.process.pid}/statm").read_text().split()
    return int(fields[1]) * _PAGE


def free_descriptors() -> None:
    """Let this process, and what it starts, have as many connections as the system gives."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def twin(made: Cast, folder: Path) -> Cast:
    """Copy a stopped relay, so that one may grow and take turns with the other."""
    shutil.copytree(made.data, folder)
    return replace(made, data=folder)


@contextlib.contextmanager
def opened(made: Cast) -> Iterator[sqlite3.Connection]:
    """Open the database of the relay, which is stopped."""
    database = sqlite3.connect(made.data / "relay.db")
    try:
        # Nothing of it has to outlive a crash, and a log of ten gigabytes would be written twice.
        for words in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            database.execute(f"PRAGMA {words}")
        yield database
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")
    finally:
        database.close()


def copy(database: sqlite3.Connection, table: str, where: str, count: int, **changed: str) -> None:
    """Copy rows of a table so many times.

    Args:
        database: of the relay.
        table: which.
        where: which rows; `n` is the number of the copy, from 0.
        count: of the copies.
        changed: by column, SQL for its new value; the key is made anew.
    """
    info = database.execute(f"PRAGMA table_info({table})").fetchall()
    columns = [name for _, name, *_ in info if name != "key"]
    values = ", ".join(changed.get(name, f'{table}."{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    for first in range(0, count, _AT_ONCE):
        last = min(first + _AT_ONCE, count) - 1
        database.execute(
            f"WITH RECURSIVE copies(n) AS"  # noqa: S608 - words of ours
            f" (SELECT {first} UNION ALL SELECT n + 1 FROM copies WHERE n < {last})"
            f" INSERT INTO {table} ({names}) SELECT {values} FROM {table}, copies WHERE {where}"
        )
        database.commit()


def copy_devices(made: Cast, count: int) -> list[DeviceId]:
    """Register devices that have the first one's key; return them."""
    first = made.actors[0].id
    name = f"'{first.endpoint}#c' || n"
    with opened(made) as database:
        (key,) = database.execute("SELECT key FROM devices WHERE name = ?", [str(first)]).fetchone()
        copy(database, "devices", f"key = {key}", count, name=name)
        of_copy = f"(SELECT key FROM devices WHERE name = {name})"  # noqa: S608 - as above
        copy(database, "certificates", f"device = {key}", count, device=of_copy)
    return [DeviceId.parse(f"{first.endpoint}#c{n}") for n in range(count)]


def copy_channels(made: Cast, count: int) -> list[bytes]:
    """Open channels that are like the first one of two members; return their ids."""
    with opened(made) as database:
        key = _key(database, made.pairs[0])
        id_ = "CAST(printf('copy %011d', n) AS BLOB)"
        copy(database, "channels", f"key = {key}", count, id=id_)
        of_copy = f"(SELECT key FROM channels WHERE id = {id_})"  # noqa: S608 - as above
        copy(database, "groups", f"channel = {key}", count, channel=of_copy)
        members = f"channel = {key} AND left_seq IS NULL"
        copy(database, "members", members, count, channel=of_copy)
    return [b"copy %011d" % n for n in range(count)]


def copy_members(made: Cast, room: Room, count: int) -> None:
    """Let copies of the first device be members of a channel."""
    copy_devices(made, count)
    first = made.actors[0].id
    with opened(made) as database:
        key = _key(database, room)
        of_copy = f"(SELECT key FROM devices WHERE name = '{first.endpoint}#c' || n)"  # noqa: S608 - as above
        where = f"members.key = (SELECT min(key) FROM members WHERE channel = {key})"  # noqa: S608 - as above
        copy(database, "members", where, count, device=of_copy, leaf="1000 + n")


def copy_items(made: Cast, like: Room, count: int) -> None:
    """Let every channel have messages more, so many in all, which its members have read.

    Args:
        made: whose relay.
        like: a channel whose last item is a message.
        count: of all of them.
    """
    rooms = made.rooms + made.pairs
    each = -(-count // len(rooms))
    with opened(made) as database:
        (model,) = database.execute(
            "SELECT max(rowid) FROM items WHERE channel = ?", [_key(database, like)]
        ).fetchone()
        for room in rooms:
            key = _key(database, room)
            (head,) = database.execute("SELECT head FROM channels WHERE key = ?", [key]).fetchone()
            copy(
                database,
                "items",
                f"items.rowid = {model}",
                each,
                channel=str(key),
                seq=f"{head + 1} + n",
                message_id="randomblob(16)",
            )
            database.execute("UPDATE channels SET head = ? WHERE key = ?", [head + each, key])
            database.execute("UPDATE members SET cursor = ? WHERE channel = ?", [head + each, key])


def _key(database: sqlite3.Connection, room: Room) -> int:
    (key,) = database.execute("SELECT key FROM channels WHERE id = ?", [room.channel]).fetchone()
    return int(key)


# --- running --------------------------------------------------------------------------------


def tokens(made: Cast, devices: Sequence[DeviceId]) -> dict[int, str]:
    """Return session tokens of devices, by their place."""
    keys = identity.load(DataDir(made.data))
    clock = time.time
    sessions = Sessions(keys.identity, keys.session_secret, keys.public.url, clock, os.urandom)
    key = key_fingerprint(made.actors[0].signer.public_bytes)
    until = int(clock()) + 3_600
    return {
        n: sessions._token(Session(device, key, os.urandom(16), until))  # noqa: SLF001 - no login takes place
        for n, device in enumerate(devices)
    }


@contextlib.asynccontextmanager
async def running(made: Cast, devices: Sequence[DeviceId] = ()) -> AsyncIterator[Program]:
    """Run the relay; copied devices have the numbers after those of the cast."""
    os.environ["LIAISON_RELAY_MAX_STREAMS"] = "1000000"
    async with relay.relay_program(made, None) as program:
        many = tokens(made, devices).values()
        program.tokens |= dict(enumerate(many, len(made.actors)))
        yield program
