"""The stream's loop over real sockets, with services that the test plays itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from liaison.errors import LiaisonError, RefusedError, UnavailableError
from liaison.model import ChannelId, DeviceId, Epoch, MessageId, Precedence, Seq
from liaison.relay import limits, log, pump
from liaison.relay.errors import TooManyStreamsError
from liaison.relay.limits import Limits
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.tail import Ready
from liaison.relay.settings import Settings
from liaison.relay.stream import Connection
from liaison.relay.streams import Streams
from liaison.storage.items import Item
from liaison.wire import frames
from liaison.wire.frames import Close, ItemKind
from liaison.wire.handshake import HandshakeError
from liaison.wire.stream import Delivered
from tests.support.client import RawStream
from tests.support.relay import quiet

CHANNEL = ChannelId(bytes(16))
DEVICE = DeviceId.parse("nor/defatt-berlin#d1")
CALLER = DeviceCaller(DEVICE, 1, 1, DEVICE.party, 1)


def send(request: int, payload: bytes = b"ciphertext") -> frames.Send:
    return frames.Send(request, CHANNEL, MessageId(request.to_bytes(16)), 0, payload)


def item(seq: int, payload: bytes = b"ciphertext") -> frames.Deliver:
    return frames.Deliver(
        0, ItemKind.MESSAGE, Precedence.ROUTINE, CHANNEL, Seq(seq), Epoch(0), 0, payload
    )


def in_memory(seq: int, payload: bytes = b"ciphertext") -> Ready:
    kind, precedence = ItemKind.MESSAGE, Precedence.ROUTINE
    return Ready(
        Item(
            1, seq, kind, precedence, precedence, 0, 2, seq.to_bytes(16), 0, None, len(payload),
            bytes(32), payload,
        )
    )  # fmt: skip


class RevokedError(RefusedError):
    """The certificate was revoked."""

    code = "device.revoked"


class Feed:
    """What is left to deliver, as the test puts it there."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.closed = False
        self.news: Callable[[], object] | None = None

    def ready(self, limit: int, max_bytes: int) -> tuple[ChannelId, list[Ready]] | None:
        if self.stage.backlog or self.stage.delivery_error or len(self.stage.memory) > limit:
            return None
        taken, self.stage.memory = self.stage.memory, []
        return CHANNEL, taken

    async def next(self, limit: int, max_bytes: int) -> list[frames.Deliver]:
        assert limit > 0
        self.stage.asked.append(limit)
        if self.stage.delivery_error is not None:
            raise self.stage.delivery_error
        taken, self.stage.backlog = self.stage.backlog[:limit], self.stage.backlog[limit:]
        return taken

    def call(self, news: Callable[[], object] | None) -> None:
        self.news = news
        if news is not None and (self.stage.backlog or self.stage.memory or self.stage.notes):
            news()

    def notes(self) -> set[str]:
        taken, self.stage.notes = self.stage.notes, set()
        return taken

    def close(self) -> None:
        self.closed = True


class Server(TestServer):
    """As the relay itself, and unlike aiohttp's: a client that goes away cancels nothing."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return web.AppRunner(self.app, **{**options, "handler_cancellation": False})


class Stage:
    """Everything behind the stream."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.streams = Streams(self.settings.max_streams, self.settings.max_streams_per_device)
        self.backlog: list[frames.Deliver] = []
        self.memory: list[Ready] = []
        self.asked: list[int] = []
        self.ended = asyncio.Queue[Connection]()
        self.watching: list[asyncio.Task[None]] = []
        self.notes: set[str] = set()
        self.accepted: list[frames.Send] = []
        self.accepting: Callable[[], Any] | None = None
        self.accept_error: Exception | None = None
        self.delivery_error: Exception | None = None
        self.acknowledge_error: Exception | None = None
        self.acknowledged: list[list[Delivered]] = []
        self.feeds: list[Feed] = []
        self.now = 0.0
        self.limits = Limits(self.settings, lambda: self.now)

    def wake(self) -> None:
        """Call whoever is idle, as a bus does."""
        for feed in self.feeds:
            if feed.news is not None:
                feed.news()

    async def state_version(self, _caller: DeviceCaller) -> int:
        return 7

    async def accept(self, _caller: DeviceCaller, message: frames.Send) -> frames.Accepted:
        self.accepted.append(message)
        if self.accepting is not None:
            await self.accepting()
        if self.accept_error is not None:
            raise self.accept_error
        return frames.Accepted(message.request, False, Seq(message.request), 0, bytes(32))

    def put(self, *_: object) -> bool:
        """Begin nothing by itself: what a test does takes its time."""
        return False

    async def open(self, _caller: DeviceCaller) -> Feed:
        self.feeds.append(Feed(self))
        return self.feeds[-1]

    async def acknowledge(self, _caller: DeviceCaller, delivered: Sequence[Delivered]) -> None:
        if self.acknowledge_error is not None:
            raise self.acknowledge_error
        self.acknowledged.append(list(delivered))

    async def handler(self, request: web.Request) -> web.StreamResponse:
        services = SimpleNamespace(registry=self, messages=self, delivery=self)
        connection = Connection(
            CALLER,
            cast("Any", services),
            self.settings,
            self.limits,
            self.streams,
            lambda: 1234,
            log.logger(),
        )
        try:
            answer = await connection.open(request)
        except TooManyStreamsError:
            return web.Response(status=429)
        self.watching.append(asyncio.create_task(self._watch(connection)))
        return answer

    async def _watch(self, connection: Connection) -> None:
        await connection.stopped()
        self.ended.put_nowait(connection)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[TestClient[Any, Any]]:
        app = web.Application()
        app.router.add_get("/", self.handler)
        client: TestClient[Any, Any]
        async with Server(app) as server, TestClient(server) as client:
            yield client
            # As the relay does when it stops: nothing of a connection outlives it.
            await self.streams.end_all(Close.GOING_AWAY)
            await asyncio.gather(*self.watching)


@asynccontextmanager
async def stream_of(client: TestClient[Any, Any]) -> AsyncIterator[RawStream]:
    async with client.ws_connect("/", max_msg_size=0) as socket:
        yield RawStream(socket)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet():
        yield


async def answered(stream: RawStream, times: int = 3) -> None:
    """Wait until the relay has answered on a connection: what could go on meanwhile went on."""
    for _ in range(times):
        await stream.send(send(99))
        assert isinstance(await stream.receive(), frames.Accepted)


async def test_the_relay_answers_hello_with_its_clock_and_the_state_version_it_has_seen() -> None:
    async with Stage().client() as client, stream_of(client) as stream:
        assert await stream.hello() == frames.Ready(1234, 7)


async def test_a_message_is_answered_by_its_request_number() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)

        await stream.send(send(5), send(6))
        answers = [await stream.receive(), await stream.receive()]

    assert [a.request for a in answers if isinstance(a, frames.Accepted)] == [5, 6]
    assert [m.payload for m in stage.accepted] == [b"ciphertext"] * 2


@pytest.mark.parametrize(
    ("error", "code"), [(RevokedError(), "device.revoked"), (ValueError("the text"), "internal")]
)
async def test_a_refused_message_keeps_the_connection(error: Exception, code: str) -> None:
    stage = Stage()
    stage.accept_error = error
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)

        await stream.send(send(1))
        refused = await stream.receive()
        stage.accept_error = None
        await stream.send(send(2))

        assert isinstance(refused, frames.Refused)
        assert (refused.request, refused.problem.code) == (1, code)
        assert "the text" not in repr(refused)
        assert isinstance(await stream.receive(), frames.Accepted)


async def test_an_oversize_message_is_refused_by_name_and_the_connection_stays() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)

        await stream.send(send(1, bytes(frames.MAX_FRAME)))
        refused = await stream.receive()
        await stream.send(send(2))

        assert isinstance(refused, frames.Refused)
        assert (refused.request, refused.problem.code) == (1, "oversize")
        assert isinstance(await stream.receive(), frames.Accepted)
    assert [m.request for m in stage.accepted] == [2]


async def test_a_frame_far_too_large_ends_the_connection() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)
        await stream.socket.send_bytes(bytes(2 * frames.MAX_FRAME))

        assert await stream.close_code() == 1009
    assert stage.accepted == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Close.MALFORMED),
        (b"\x7f", Close.MALFORMED),
        (frames.encode(send(1))[:20], Close.MALFORMED),
        (frames.encode(frames.Ready(0, 0)), Close.MALFORMED),
        (frames.encode(frames.Hello(deliver=True, limit=1, state_version=0)), Close.MALFORMED),
        (frames.encode(frames.Ack(1)), Close.FLOW),
        (frames.encode(frames.Credit(1)), Close.FLOW),
        (b"\x03" + bytes(frames.MAX_FRAME), Close.OVERSIZE),
    ],
)
async def test_a_frame_that_breaks_the_rules_ends_the_connection(data: bytes, code: int) -> None:
    async with Stage().client() as client, stream_of(client) as stream:
        await stream.hello(limit=5)
        await stream.socket.send_bytes(data)

        assert await stream.close_code() == code


async def test_text_ends_the_connection() -> None:
    async with Stage().client() as client, stream_of(client) as stream:
        await stream.socket.send_str("hello")

        assert await stream.close_code() == Close.MALFORMED


async def test_what_comes_before_hello_ends_the_connection() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.send(send(1))

        assert await stream.close_code() == Close.MALFORMED
    assert stage.accepted == []


async def test_another_version_is_told_by_the_close_code() -> None:
    async with Stage().client() as client, stream_of(client) as stream:
        await stream.send(frames.Hello(deliver=False, limit=0, state_version=0, version=2))

        assert await stream.close_code() == Close.VERSION


async def test_a_connection_without_deliveries_takes_no_acknowledgement() -> None:
    async with Stage().client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)
        await stream.send(frames.Ack(0))

        assert await stream.close_code() == Close.FLOW


async def test_the_backlog_comes_numbered_and_then_the_relay_says_that_it_was_all() -> None:
    stage = Stage(delivery_batch=2)
    stage.backlog = [item(seq) for seq in (1, 2, 3)]
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()

        found = [await stream.receive() for _ in range(4)]

    assert [f.number for f in found if isinstance(f, frames.Deliver)] == [1, 2, 3]
    assert found[3] == frames.CaughtUp(3)


async def test_news_is_delivered_and_followed_by_another_caught_up() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        first = await stream.receive()

        stage.backlog = [item(9)]
        stage.notes = {"key-packages.low"}
        stage.wake()
        found = [await stream.receive() for _ in range(3)]

    assert first == frames.CaughtUp(0)
    assert found[0] == frames.Notice("key-packages.low")
    assert isinstance(found[1], frames.Deliver)
    assert found[2] == frames.CaughtUp(1)


async def test_what_is_new_and_in_memory_comes_to_whoever_keeps_up_without_the_database() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        assert await stream.receive() == frames.CaughtUp(0)
        asked = len(stage.asked)

        stage.memory = [in_memory(5), in_memory(6)]
        stage.notes = {"key-packages.low"}
        stage.wake()
        found = [await stream.receive() for _ in range(4)]

    assert [f.seq for f in found if isinstance(f, frames.Deliver)] == [5, 6]
    assert found[2:] == [frames.CaughtUp(2), frames.Notice("key-packages.low")]
    assert len(stage.asked) == asked


async def test_a_wake_up_that_brings_nothing_is_not_told() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        assert await stream.receive() == frames.CaughtUp(0)
        stage.wake()
        await answered(stream)

        stage.memory = [in_memory(5)]
        stage.wake()

        assert isinstance(await stream.receive(), frames.Deliver)


async def test_who_is_woken_and_has_granted_nothing_more_gets_it_once_it_grants() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(limit=1)
        assert await stream.receive() == frames.CaughtUp(0)
        stage.memory = [in_memory(5)]
        stage.wake()
        assert isinstance(await stream.receive(), frames.Deliver)
        assert await stream.receive() == frames.CaughtUp(1)

        stage.memory = [in_memory(6)]
        stage.wake()
        await answered(stream)
        left = len(stage.memory)
        await stream.send(frames.Credit(2))
        delivered = await stream.receive()

    assert left == 1
    assert isinstance(delivered, frames.Deliver)
    assert (delivered.number, delivered.seq) == (2, 6)


async def test_nothing_follows_the_close_frame_though_something_was_new_in_that_moment() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        assert await stream.receive() == frames.CaughtUp(0)

        stage.memory = [in_memory(5)]
        stage.wake()
        stage.streams.stop_all(Close.REVOKED)

        assert await stream.close_code() == Close.REVOKED
    assert [one.item.seq for one in stage.memory] == [5]


async def test_a_failure_while_something_new_is_delivered_ends_the_connection() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        assert await stream.receive() == frames.CaughtUp(0)

        stage.memory = cast("Any", [None])
        stage.wake()

        assert await stream.close_code() == Close.UNAVAILABLE


async def test_no_more_is_read_than_the_client_granted() -> None:
    stage = Stage()
    stage.backlog = [item(seq) for seq in range(1, 10)]
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(limit=3)
        for _ in range(3):
            assert isinstance(await stream.receive(), frames.Deliver)
        await answered(stream)
        asked = list(stage.asked)

        await stream.send(frames.Credit(4))
        fourth = await stream.receive()

    assert asked == [3]
    assert isinstance(fourth, frames.Deliver)
    assert fourth.number == 4
    assert len(stage.backlog) == 5


async def test_a_client_that_grants_without_end_and_acknowledges_nothing_costs_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump, "MAX_OUTSTANDING", 5)
    stage = Stage()
    stage.backlog = [item(seq) for seq in range(1, 10)]
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(limit=(1 << 64) - 1)
        for _ in range(5):
            await stream.receive()
        await answered(stream)
        left = len(stage.backlog)

        await stream.send(frames.Ack(2))
        more = [await stream.receive(), await stream.receive()]

    assert left == 4
    assert [f.number for f in more if isinstance(f, frames.Deliver)] == [6, 7]


async def test_a_client_that_stops_reading_is_not_read_for() -> None:
    stage = Stage(delivery_batch=1)
    stage.backlog = [item(seq, bytes(200_000)) for seq in range(1, 400)]
    async with stage.client() as client, stream_of(client) as stream, stream_of(client) as other:
        await other.hello(deliver=False)
        await stream.hello(limit=1000)
        # Its socket's buffers and the relay's few are all that can fill.
        transport = cast("Any", stream.socket)._response.connection.transport
        transport.pause_reading()
        before = -1
        while before != len(stage.backlog):
            before = len(stage.backlog)
            await answered(other, 10)
        transport.resume_reading()

        assert before > 300
        for number in range(1, 400):
            delivered = await stream.receive()
            assert isinstance(delivered, frames.Deliver)
            assert delivered.number == number


async def test_acknowledgements_are_stored_in_the_order_and_terms_of_deliveries() -> None:
    stage = Stage()
    stage.backlog = [item(seq) for seq in (5, 1, 2)]
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        for _ in range(4):
            await stream.receive()

        await stream.send(frames.Ack(1), frames.Ack(3))
        await stream.socket.close()
        await stage.ended.get()

    stored = [d.seq for done in stage.acknowledged for d in done]
    assert stored == [5, 1, 2]


async def test_acknowledging_what_was_not_sent_ends_the_connection() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        await stream.send(frames.Ack(1))

        assert await stream.close_code() == Close.FLOW
    assert stage.acknowledged == []


async def test_an_acknowledgement_that_cannot_be_stored_ends_the_connection() -> None:
    stage = Stage()
    stage.backlog = [item(1)]
    stage.acknowledge_error = UnavailableError("the database is gone")
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        await stream.send(frames.Ack(0))
        await stream.receive()
        await stream.send(frames.Ack(1))

        assert await stream.close_code() == Close.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RevokedError(), Close.REVOKED),
        (HandshakeError("the certificate has expired"), Close.UNAUTHENTICATED),
        (UnavailableError(), Close.UNAVAILABLE),
        (ValueError(), Close.UNAVAILABLE),
    ],
)
async def test_deliveries_that_fail_end_the_connection(error: Exception, code: Close) -> None:
    stage = Stage()
    stage.delivery_error = error
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()

        assert await stream.close_code() == code
    assert stage.feeds[0].closed


async def test_no_more_messages_are_taken_than_may_be_in_flight() -> None:
    stage = Stage(max_in_flight=2)
    gate = asyncio.Event()
    stage.accepting = gate.wait
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)

        await stream.send(*(send(number) for number in range(1, 6)))
        async with stream_of(client) as other:
            # Whoever answers a later connection has seen what came on the earlier one.
            await other.hello(deliver=False)
        await stage.ended.get()
        taken = len(stage.accepted)
        gate.set()
        answers = [await stream.receive() for _ in range(5)]

    assert taken == 2
    assert all(isinstance(answer, frames.Accepted) for answer in answers)


async def test_a_message_that_was_taken_is_finished_though_the_client_went_away() -> None:
    stage = Stage()
    begun, gate = asyncio.Event(), asyncio.Event()
    finished = []

    async def accepting() -> None:
        begun.set()
        await gate.wait()
        finished.append(1)

    stage.accepting = accepting
    async with stage.client() as client:
        async with stream_of(client) as stream:
            await stream.hello(deliver=False)
            await stream.send(send(1))
            await begun.wait()
        gate.set()
        await stage.ended.get()

    assert finished == [1]


async def test_a_device_over_its_rate_is_refused_and_one_that_goes_on_is_ended() -> None:
    stage = Stage(rate_device=0.001, burst_device=1)
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)
        await stream.send(send(1), send(2))
        answers = [await stream.receive(), await stream.receive()]
        refused = next(a for a in answers if isinstance(a, frames.Refused))

        assert (refused.request, refused.problem.code) == (2, "rate.exceeded")
        assert (refused.problem.retry_after or 0) >= 1
        await stream.send(*(send(number) for number in range(3, 300)))
        assert await stream.close_code() == Close.RATE
    assert len(stage.accepted) == 1


async def test_a_ping_is_answered_and_whoever_sends_very_many_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FRAMES", (1e-9, 3.0))
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)
        for _ in range(3):
            await stream.socket.ping(b"here?")
        await answered(stream)
        await stream.socket.ping()

        assert await stream.close_code() == Close.RATE


async def test_whoever_acknowledges_or_grants_without_end_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FRAMES", (1e-9, 5.0))
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(limit=1)
        for limit in range(2, 8):
            await stream.send(frames.Credit(limit))

        assert await stream.close_code() == Close.RATE


async def test_a_newer_connection_takes_the_deliveries_and_ends_the_older() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as older, stream_of(client) as newer:
        await older.hello()
        await older.receive()

        await newer.hello()

        assert await older.close_code() == Close.SUPERSEDED
        assert await newer.receive() == frames.CaughtUp(0)
    assert [feed.closed for feed in stage.feeds] == [True, True]


async def test_of_three_connections_at_once_the_last_one_takes_the_deliveries() -> None:
    stage = Stage()
    async with (
        stage.client() as client,
        stream_of(client) as first,
        stream_of(client) as second,
        stream_of(client) as third,
    ):
        for stream in (first, second, third):
            await stream.send(frames.Hello(deliver=True, limit=9, state_version=0))

        codes = [await first.close_code(), await second.close_code()]
        stage.backlog = [item(1)]
        stage.wake()
        while not isinstance(found := await third.receive(), frames.Deliver):
            pass

    assert codes == [Close.SUPERSEDED] * 2
    assert found.seq == 1


async def test_a_connection_that_only_sends_ends_no_other() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as older, stream_of(client) as newer:
        await older.hello()
        assert await older.receive() == frames.CaughtUp(0)
        await newer.hello(deliver=False)
        await newer.send(send(1))
        await newer.receive()

        stage.backlog = [item(1)]
        stage.wake()

        assert isinstance(await older.receive(), frames.Deliver)


async def test_one_more_connection_than_allowed_is_refused() -> None:
    stage = Stage(max_streams_per_device=1)
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()

        async with client.get("/") as response:
            assert response.status == 429
        await stream.send(send(1))
        assert isinstance(await stream.receive(), frames.CaughtUp | frames.Accepted)


async def test_a_certificate_that_does_not_hold_any_more_ends_its_streams_only() -> None:
    stage = Stage()

    async def check(callers: Sequence[DeviceCaller]) -> dict[int, LiaisonError]:
        return {caller.certificate: RevokedError() for caller in callers}

    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        ended = await stage.streams.end_invalid(check)

        assert ended == 1
        assert await stream.close_code() == Close.REVOKED
        await stage.ended.get()
        assert len(stage.streams) == 0


async def test_a_database_that_does_not_answer_ends_no_stream() -> None:
    stage = Stage()

    async def check(callers: Sequence[DeviceCaller]) -> dict[int, LiaisonError]:
        raise UnavailableError

    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello(deliver=False)
        with pytest.raises(LiaisonError):
            await stage.streams.end_invalid(check)

        await stream.send(send(1))
        assert isinstance(await stream.receive(), frames.Accepted)


async def test_a_relay_that_stops_says_so_and_waits_for_what_was_begun() -> None:
    stage = Stage()
    async with stage.client() as client, stream_of(client) as stream:
        await stream.hello()
        await stream.receive()
        ending = asyncio.create_task(stage.streams.end_all(Close.GOING_AWAY))

        assert await stream.close_code() == Close.GOING_AWAY
        await ending
        assert len(stage.streams) == 0
