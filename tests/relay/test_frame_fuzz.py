"""Frames that are wrong in any way, over a real connection: typed answers, and the relay goes on."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType

from liaison.model import ChannelId, MessageId
from liaison.wire import frames
from liaison.wire.frames import Close
from tests.fuzz.mutator import Mutator
from tests.support.client import RawClient, RawStream
from tests.support.people import people_of
from tests.support.relay import running
from tests.support.world import World

ROUNDS = 60
AT_ONCE = 5
PATIENCE = 20
# Everything that a peer can bring about by its frames; 4503 would be the relay's own failure.
EXPECTED = {
    1000, 1002, 1007, 1009,
    Close.MALFORMED, Close.FLOW, Close.OVERSIZE, Close.VERSION, Close.RATE, Close.SUPERSEDED,
}  # fmt: skip
SEEDS = tuple(
    frames.encode(frame)
    for frame in (
        frames.Hello(True, 64, 1),
        frames.Send(1, ChannelId(bytes(16)), MessageId(bytes(16)), 1, b"no MLS message"),
        frames.Send(7, ChannelId(b"\xff" * 16), MessageId(b"\xff" * 16), 1 << 40, bytes(2_000)),
        frames.Ack(1),
        frames.Credit(300),
    )
)


@pytest.fixture
async def device(tmp_path: Path, world: World) -> AsyncIterator[RawClient]:
    async with (
        running(
            tmp_path / "relay", tls="proxy", rate_device=1e6, burst_device=1e6, rate_endpoint=1e6
        ) as relay,
        people_of(relay, world) as people,
    ):
        yield await people.device("nor/defatt-berlin#d1")


async def ended(stream: RawStream) -> tuple[int | None, list[frames.RelayFrame]]:
    """Close from our side and return the code that it ended with, and what came before."""
    came = []
    closing = asyncio.create_task(stream.socket.close())
    async with asyncio.timeout(PATIENCE):
        while not stream.socket.closed:
            message = await stream.socket.receive()
            if message.type is WSMsgType.BINARY:
                came.append(frames.decode_relay(message.data))
        await closing
    return stream.socket.close_code, came


async def serves(device: RawClient) -> None:
    """Check that an honest connection is served as ever."""
    stream = await device.stream()
    await stream.hello(deliver=False)
    await stream.send(frames.Send(3, ChannelId(bytes(16)), MessageId(bytes(16)), 0, b"x"))
    refused = await stream.receive()
    assert isinstance(refused, frames.Refused)
    assert refused.problem.code == "malformed"
    await stream.socket.close()


async def test_changed_frames_get_typed_answers_and_harm_nobody(device: RawClient) -> None:
    mutator = Mutator(SEEDS, random.Random(20261122))
    greeted = frames.encode(frames.Hello(True, 64, 0))
    seen = set()

    for number in range(ROUNDS):
        stream = await device.stream()
        sent = [greeted] if number % 4 else []
        sent += [mutator.next() for _ in range(AT_ONCE)]
        for data in sent:
            await stream.socket.send_bytes(data)
        code, came = await ended(stream)
        assert code in EXPECTED, (code, [data.hex() for data in sent])
        for frame in came:
            assert not (isinstance(frame, frames.Refused) and frame.problem.code == "internal")
        seen.add(code)

    assert {Close.MALFORMED, 1000} & seen
    await serves(device)


async def test_an_oversize_frame_ends_its_own_connection_unless_it_is_a_message(
    device: RawClient,
) -> None:
    for seed in SEEDS:
        stream = await device.stream()
        await stream.hello(deliver=False)
        await stream.socket.send_bytes(seed.ljust(frames.MAX_FRAME + 1, b"\x00"))
        if isinstance(frames.decode_client(seed), frames.Send):
            refused = await stream.receive()
            assert isinstance(refused, frames.Refused)
            assert refused.problem.code == "oversize"
            await stream.socket.send_bytes(seed.ljust(frames.MAX_FRAME + 8_192, b"\x00"))
        assert await stream.close_code() in (1009, Close.OVERSIZE)

    await serves(device)


def websocket(opcode: int, data: bytes, *, final: bool = True, mask: bool = True) -> bytes:
    """One WebSocket frame, right or wrong."""
    head = bytes(((0x80 if final else 0) | opcode, (0x80 if mask else 0) | min(len(data), 126)))
    if len(data) >= 126:
        head += len(data).to_bytes(2)
    return head + (bytes(4) if mask else b"") + data


HELLO = frames.encode(frames.Hello(False, 0, 0))
WRONG = {
    "unmasked": websocket(2, HELLO, mask=False),
    "reserved bits": b"\xf2" + websocket(2, HELLO)[1:],
    "reserved opcode": websocket(3, HELLO),
    "a length of 2^63": b"\x82\xff" + b"\x80" + bytes(7) + bytes(4),
    "a length of 2^40": b"\x82\xff" + (1 << 40).to_bytes(8) + bytes(4),
    "a ping of 200 bytes": websocket(9, bytes(200)),
    "a ping in pieces": websocket(9, b"x", final=False),
    "a continuation of nothing": websocket(0, HELLO),
    "two beginnings": websocket(2, HELLO, final=False) + websocket(2, HELLO),
    "text that is none": websocket(1, b"\xff\xfe"),
    "a close of one byte": websocket(8, b"\x03"),
    "a close code that nobody has": websocket(8, b"\x00\x01"),
    "many empty pieces": websocket(2, b"", final=False) + websocket(0, b"", final=False) * 2_000,
    "half a frame": websocket(2, HELLO)[:-3],
    "noise": random.Random(1).randbytes(4_000),
}


async def test_what_is_no_websocket_ends_its_own_connection_only(device: RawClient) -> None:
    port = int(device.url.rpartition(":")[2])
    key = base64.b64encode(bytes(16)).decode()
    lines = (
        "GET /v1/stream HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Protocol: {frames.SUBPROTOCOL}", f"Authorization: Bearer {device.token}",
        "", "",
    )  # fmt: skip
    for name, data in WRONG.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("\r\n".join(lines).encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n"), name

        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            rest = await reader.read()
        writer.close()

        # A close frame, or nothing at all: the relay says nothing to what it can't understand.
        assert rest == b"" or rest[0] in (0x88, 0x82), name

    await serves(device)
