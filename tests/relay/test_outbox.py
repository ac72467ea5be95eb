from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from liaison.relay.outbox import Outbox


class Recorder(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False
        self.buffered = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Writer:
    def __init__(self) -> None:
        self.drains = 0

    async def drain(self) -> None:
        self.drains += 1


def outbox(transport: Recorder, writer: Writer | None = None) -> Outbox:
    found = cast("Any", writer or Writer())
    return Outbox(transport, found, asyncio.get_running_loop())


async def test_all_frames_of_a_loop_turn_leave_in_one_write() -> None:
    transport = Recorder()
    box = outbox(transport)

    for number in range(100):
        box.put(b"head", bytes([number]))
    before = list(transport.writes)
    await asyncio.sleep(0)

    assert before == []
    assert len(transport.writes) == 1
    assert transport.writes[0][:7] == b"\x82\x05head\x00"


async def test_a_flush_leaves_nothing_for_later() -> None:
    transport = Recorder()
    box = outbox(transport)

    box.put(b"x")
    box.flush()
    await asyncio.sleep(0)

    assert transport.writes == [b"\x82\x01x"]


async def test_nothing_is_written_to_a_connection_that_closes() -> None:
    transport = Recorder()
    box = outbox(transport)

    box.put(b"x")
    transport.closing = True
    await asyncio.sleep(0)

    assert transport.writes == []


async def test_a_writer_waits_while_the_client_reads_nothing() -> None:
    transport, writer = Recorder(), Writer()
    box = outbox(transport, writer)

    await box.drained()
    transport.buffered = 1 << 20
    await box.drained()

    assert writer.drains == 1


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20])
async def test_another_implementation_reads_frames_of_every_size(size: int) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        box = Outbox(transport, request.writer, asyncio.get_running_loop())
        box.put(b"a" * (size // 2), b"a" * (size - size // 2))
        box.put(b"after")
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", handler)
    client: TestClient[Any, Any]
    async with (
        TestServer(app) as server,
        TestClient(server) as client,
        client.ws_connect("/", max_msg_size=0) as socket,
    ):
        assert await socket.receive_bytes() == b"a" * size
        assert await socket.receive_bytes() == b"after"
