"""A relay that stops in the middle of its work: what it had taken is kept, and everybody is told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import WSMsgType
from sqlalchemy import select

from liaison.relay.app import Clocks
from liaison.storage.engine import Database
from liaison.storage.tables import items
from liaison.wire import frames
from tests.relay.services.harness import NOW
from tests.relay.test_backup import channel_of_two
from tests.relay.test_exchange import accepted
from tests.support.client import RawStream
from tests.support.relay import free_port, running
from tests.support.world import World

SENT = 40


@pytest.fixture
def world() -> World:
    return World(now=NOW)


async def answers(stream: RawStream) -> tuple[dict[int, frames.Accepted], int | None]:
    """Read until the relay closes: what it has accepted, and with which code it closed."""
    found: dict[int, frames.Accepted] = {}
    while (message := await stream.socket.receive()).type is WSMsgType.BINARY:
        frame = frames.decode_relay(message.data)
        if isinstance(frame, frames.Accepted):
            found[frame.request] = frame
    return found, stream.socket.close_code


async def test_what_was_accepted_while_the_relay_stopped_is_there_and_streams_are_told(
    tmp_path: Path, world: World
) -> None:
    serving = running(
        tmp_path / "relay", port=free_port(), clocks=Clocks(now_ms=lambda: NOW * 1000)
    )
    relay = await serving.__aenter__()
    async with AsyncExitStack() as stack:
        try:
            scene = await stack.enter_async_context(channel_of_two(relay, world))
            sender = await scene.attache.stream(deliver=False)
            await sender.send(scene.attache.mls.message(b"first"))
            first = await accepted(sender)
            reading = asyncio.create_task(answers(sender))
            for number in range(SENT):
                made = scene.attache.mls.message(b"%d" % number)
                await sender.send(
                    frames.Send(
                        number, made.channel, made.message_id, made.state_version, made.payload
                    )
                )
        finally:
            # Whoever is connected still is.
            await serving.__aexit__(None, None, None)
        told, code = await reading

    database = Database.open(f"sqlite:///{tmp_path / 'relay' / 'relay.db'}")
    async with database.read() as tx:
        rows = await tx.execute(select(items.c.seq, items.c.digest))
        stored = {row.seq: row.digest for row in rows}
    await database.close()
    assert code == frames.Close.GOING_AWAY
    assert first.seq in stored
    assert {one.seq: one.digest for one in told.values()}.items() <= stored.items()
