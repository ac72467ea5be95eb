"""A socket's life without a network: what is read when, who is pinged, who is given up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from liaison.relay import framing, websocket
from liaison.relay.framing import Kind
from liaison.relay.heartbeats import PARTS, Heartbeats
from liaison.relay.websocket import ABNORMAL, WebSocket

HELLO = b"\x82\x85" + bytes(4) + b"hello"
PING = b"\x89\x80" + bytes(4)


class Line(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.protocol: WebSocket | None = None
        self.done: str = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.done)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if not self.done and self.protocol is not None:
            self.done = how
            self.protocol.connection_lost(None)


class Taker:
    """Takes what comes, and holds the socket where a test wants it."""

    def __init__(self) -> None:
        self.came: list[tuple[Kind, bytes]] = []
        self.codes: list[int] = []
        self.then: Any = lambda: None

    def received(self, kind: Kind, data: bytes) -> None:
        self.came.append((kind, data))
        self.then()

    def ended(self, code: int) -> None:
        self.codes.append(code)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
async def socket(line: Line, taker: Taker) -> WebSocket:
    line.protocol = WebSocket(cast("asyncio.Transport", line), 1_000, None)
    line.protocol.begin(taker, Heartbeats(), 1_000)
    return line.protocol


async def test_what_is_held_comes_later_and_in_order(
    socket: WebSocket, line: Line, taker: Taker
) -> None:
    taker.then = socket.hold

    socket.data_received(HELLO + PING)
    socket.data_received(HELLO)
    held = list(taker.came), line.reading
    socket.go_on()
    again = list(taker.came), line.reading
    taker.then = lambda: None
    socket.go_on()

    hello, ping = (Kind.BINARY, b"hello"), (Kind.PING, b"")
    assert held == ([hello], False)
    assert again == ([hello, ping], False)
    assert taker.came == [hello, ping, hello]
    assert line.reading


async def test_whoever_is_silent_is_pinged_and_then_given_up(
    socket: WebSocket, line: Line, taker: Taker
) -> None:
    for _ in range(PARTS):
        socket.pass_time()
    pinged = line.written
    socket.pass_time()
    before = line.done
    socket.pass_time()

    assert pinged == framing.PING_FRAME
    assert before == ""
    assert line.done == "aborted"
    assert taker.codes == [ABNORMAL]


async def test_whoever_answers_the_ping_stays(socket: WebSocket, line: Line) -> None:
    for _ in range(5):
        for _ in range(PARTS + 1):
            socket.pass_time()
        socket.data_received(b"\x8a\x80" + bytes(4))

    assert line.done == ""
    assert line.written == framing.PING_FRAME * 5


async def test_whoever_is_not_listened_to_is_not_called_silent(
    socket: WebSocket, line: Line
) -> None:
    socket.hold()

    for _ in range(3 * PARTS):
        socket.pass_time()

    assert (line.written, line.done) == (b"", "")


async def test_a_goodbye_is_answered_and_ends_the_connection(
    socket: WebSocket, line: Line, taker: Taker
) -> None:
    socket.data_received(b"\x88\x82" + bytes(4) + (4001).to_bytes(2) + HELLO)

    assert line.written == framing.close_frame(4001)
    assert line.done == "closed"
    assert taker.codes == [4001]
    assert taker.came == []


async def test_after_our_goodbye_nothing_is_handed_on_but_theirs_is_waited_for(
    socket: WebSocket, line: Line, taker: Taker
) -> None:
    socket.hold()
    socket.close(4002)
    socket.data_received(HELLO)
    open_still = line.done == "" and line.reading
    socket.data_received(b"\x88\x82" + bytes(4) + (4002).to_bytes(2))

    assert line.written == framing.close_frame(4002)
    assert open_still
    assert line.done == "closed"
    assert taker.came == []


async def test_whoever_does_not_answer_a_goodbye_is_given_up(
    line: Line, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_WAIT", 0)
    gone = asyncio.Event()
    line.protocol = WebSocket(cast("asyncio.Transport", line), 1_000, None)
    line.protocol.begin(taker, Heartbeats(), 1_000)
    monkeypatch.setattr(taker, "ended", lambda _code: gone.set())

    line.protocol.close(4003)

    await asyncio.wait_for(gone.wait(), 10)


async def test_who_waits_to_write_hears_that_the_client_is_gone(
    socket: WebSocket, line: Line
) -> None:
    socket.pause_writing()
    waiting = asyncio.create_task(socket.drain())
    await asyncio.sleep(0)
    line.abort()

    with pytest.raises(ConnectionResetError):
        await waiting


async def test_one_timer_looks_after_all_and_ends_with_the_last() -> None:
    class Counted:
        def __init__(self) -> None:
            self.looks = 0
            self.enough = asyncio.Event()

        def pass_time(self) -> None:
            self.looks += 1
            if self.looks == 3:
                self.enough.set()

    heartbeats, some = Heartbeats(), [Counted(), Counted()]
    for one in some:
        heartbeats.add(one, 0.001)
    await asyncio.gather(*(one.enough.wait() for one in some))
    for one in some:
        heartbeats.discard(one)

    assert some[0].looks == some[1].looks
