"""The yardstick: the smallest durable fan-out that aiohttp, uvloop and SQLite (or PostgreSQL) allow.

It speaks the relay's frames and does nothing that a relay is for: no sessions, no policy, no MLS
framing, no log, no delivery cursors, no flow control. What it does is what nobody can leave out: a
message is stored in a group commit (whatever queued while the last one ran), acknowledged when that is
durable, and written to the other members in one write per connection and loop turn. How near the relay
comes to it is a figure that means the same on every machine.

Started by `bench.relay`: `python -m bench.limit PLAN`, where PLAN is a JSON file: `database` (a path or
a PostgreSQL URL) and `rooms`, for each channel's id in hex the numbers of its devices. It prints its
port, and connections name themselves: `/v1/stream?device=3&after=17`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import WSMsgType, web

from liaison.relay.outbox import Outbox

ACCEPTED: Final = struct.Struct("!BIBQQ32sQ")
DELIVER: Final = struct.Struct("!BQBB16sQQQ")
READY: Final = struct.Struct("!BQQ")
SEND_BYTES: Final = 45
"""Of a Send frame before its payload: type, request, channel, message id, state version."""

Row = tuple[bytes, int, bytes]
Store = Callable[[list[Row]], Awaitable[None]]
Load = Callable[[bytes, int], Awaitable[list[tuple[int, bytes]]]]
_TABLE: Final = "CREATE TABLE items (channel {b} NOT NULL, seq BIGINT NOT NULL, payload {b} NOT NULL, PRIMARY KEY (channel, seq))"


async def sqlite_store(path: str) -> tuple[Store, Load]:
    """Open a SQLite database as the relay has it: WAL, synchronous=FULL."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    for words in ("journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY"):
        database.execute(f"PRAGMA {words}")
    database.execute(_TABLE.format(b="BLOB") + " WITHOUT ROWID")
    reader = sqlite3.connect(path, check_same_thread=False)

    def write(rows: list[Row]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")

    def read(channel: bytes, after: int) -> list[tuple[int, bytes]]:
        found = reader.execute(
            "SELECT seq, payload FROM items WHERE channel = ? AND seq > ? ORDER BY seq",
            (channel, after),
        )
        return found.fetchall()

    async def store(rows: list[Row]) -> None:
        await asyncio.to_thread(write, rows)

    async def load(channel: bytes, after: int) -> list[tuple[int, bytes]]:
        return await asyncio.to_thread(read, channel, after)

    return store, load


async def postgresql_store(url: str) -> tuple[Store, Load]:
    """Open a PostgreSQL database with its own driver."""
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - only where it is asked for

    writer, reader = await asyncpg.connect(url), await asyncpg.connect(url)
    await writer.execute("DROP TABLE IF EXISTS items")
    await writer.execute(_TABLE.format(b="BYTEA"))

    async def store(rows: list[Row]) -> None:
        async with writer.transaction():
            await writer.executemany("INSERT INTO items VALUES ($1, $2, $3)", rows)

    async def load(channel: bytes, after: int) -> list[tuple[int, bytes]]:
        query = "SELECT seq, payload FROM items WHERE channel = $1 AND seq > $2 ORDER BY seq"
        return [tuple(row) for row in await reader.fetch(query, channel, after)]

    return store, load


class Limit:
    """The program's whole state."""

    def __init__(self, rooms: dict[bytes, list[int]], store: Store, load: Load) -> None:
        self.rooms = rooms
        self.store, self.load = store, load
        self.open: dict[int, Outbox] = {}
        self.heads = dict.fromkeys(rooms, 0)
        self.queue: list[tuple[int, bytes]] = []
        self.news = asyncio.Event()

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one device."""
        device, after = int(request.query["device"]), int(request.query.get("after", 0))
        socket = web.WebSocketResponse(
            protocols=("liaison.v1",), compress=False, max_msg_size=2 << 20
        )
        await socket.prepare(request)
        transport: Any = request.transport
        out = Outbox(transport, request.writer, asyncio.get_running_loop())
        out.put(READY.pack(0x81, now_ms(), 0))
        if "after" in request.query:
            await self.catch_up(out, device, after)
        self.open[device] = out
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[0] == 2:
                self.queue.append((device, message.data))
                self.news.set()
        if self.open[device] is out:
            del self.open[device]
        return socket

    async def catch_up(self, out: Outbox, device: int, after: int) -> None:
        """Write all that a device has missed."""
        for channel, members in self.rooms.items():
            if device in members:
                for seq, payload in await self.load(channel, after):
                    out.put(deliver(channel, seq), payload)
                    await out.drained()

    async def write(self) -> None:
        """Commit whatever queued, then answer and fan out."""
        while True:
            await self.news.wait()
            self.news.clear()
            while self.queue:
                taken, self.queue = self.queue, []
                rows = []
                for _, data in taken:
                    channel = data[5:21]
                    self.heads[channel] += 1
                    rows.append((channel, self.heads[channel], data[SEND_BYTES:]))
                await self.store(rows)
                self.tell(taken, rows)

    def tell(self, taken: list[tuple[int, bytes]], rows: list[Row]) -> None:
        """Acknowledge and deliver what is durable."""
        for (sender, data), (channel, seq, payload) in zip(taken, rows, strict=True):
            request = int.from_bytes(data[1:5])
            answer = ACCEPTED.pack(0x82, request, 0, seq, now_ms(), bytes(32), 0)
            if sender in self.open:
                self.open[sender].put(answer)
            head = deliver(channel, seq)
            for member in self.rooms[channel]:
                if member != sender and member in self.open:
                    self.open[member].put(head, payload)


def now_ms() -> int:
    """Give the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def deliver(channel: bytes, seq: int) -> bytes:
    """Make a Deliver frame without its payload."""
    return DELIVER.pack(0x84, seq, 0, 1, channel, seq, 0, now_ms())


async def main(plan: dict[str, Any]) -> None:
    """Serve until killed."""
    database = plan["database"]
    opened = postgresql_store if "://" in database else sqlite_store
    store, load = await opened(database)
    limit = Limit({bytes.fromhex(c): m for c, m in plan["rooms"].items()}, store, load)
    app = web.Application()
    app.router.add_get("/v1/stream", limit.stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"listening on http://{host}:{port}", flush=True)
    await limit.write()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner_:
        runner_.run(main(json.loads(Path(sys.argv[1]).read_text())))
