"""The WebSocket's frames survive the wire and refuse everything else."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import ChannelId, Epoch, MessageId, Precedence, Seq
from liaison.wire import frames
from liaison.wire.problems import Problem

u64 = st.integers(0, (1 << 64) - 1)
u63 = st.integers(0, frames.LIMIT - 1)
times = st.integers(0, frames.MAX_TIME_MS)
u32 = st.integers(0, (1 << 32) - 1)
ids = st.binary(min_size=16, max_size=16)
payloads = st.binary(max_size=300)
text = st.text(st.characters(codec="utf-8"), max_size=40)

client_frames = st.one_of(
    st.builds(
        frames.Hello, st.booleans(), limit=u63, state_version=u63, version=st.integers(0, 255)
    ),
    st.builds(
        frames.Send,
        u32,
        channel=st.builds(ChannelId, ids),
        message_id=st.builds(MessageId, ids),
        state_version=u63,
        payload=payloads,
    ),
    st.builds(frames.Ack, u63),
    st.builds(frames.Credit, u63),
)
problems = st.builds(
    Problem,
    code=st.sampled_from(["channel.unknown", "policy.refused"]),
    status=st.integers(400, 599),
    detail=text,
    hint=text,
    unchanged=text,
    rule=text,
    retry_after=st.none() | st.integers(0, 3600),
)
relay_frames = st.one_of(
    st.builds(frames.Ready, times, state_version=u63),
    st.builds(
        frames.Accepted,
        u32,
        duplicate=st.booleans(),
        seq=u63.map(Seq),
        time_ms=times,
        digest=st.binary(min_size=32, max_size=32),
        log_index=u64,
    ),
    st.builds(frames.Refused, u32, problem=problems),
    st.builds(
        frames.Deliver,
        u63,
        kind=st.sampled_from(frames.ItemKind),
        precedence=st.sampled_from(Precedence),
        channel=st.builds(ChannelId, ids),
        seq=u63.map(Seq),
        epoch=u63.map(Epoch),
        time_ms=times,
        payload=payloads,
    ).filter(lambda frame: not frame.payload or frame.kind is not frames.ItemKind.GAP),
    st.builds(frames.CaughtUp, u63),
    st.builds(frames.Notice, text),
)


@given(frame=client_frames)
def test_every_client_frame_reads_back_as_itself(frame: frames.ClientFrame) -> None:
    assert frames.decode_client(frames.encode(frame)) == frame


@given(frame=relay_frames)
def test_every_relay_frame_reads_back_as_itself(frame: frames.RelayFrame) -> None:
    assert frames.decode_relay(frames.encode(frame)) == frame


@given(data=st.binary(max_size=200), first=st.sampled_from([*range(1, 5), *range(0x81, 0x87)]))
def test_arbitrary_bytes_are_a_frame_or_a_frame_error(data: bytes, first: int) -> None:
    for decode in (frames.decode_client, frames.decode_relay):
        for candidate in (data, bytes([first]) + data):
            frame: object = None
            with contextlib.suppress(frames.FrameError):
                frame = decode(candidate)
            assert frame is None or frame.__class__.__module__ == frames.__name__


@given(frame=client_frames)
def test_a_frame_cut_inside_its_head_is_refused(frame: frames.ClientFrame) -> None:
    data = frames.encode(frame)
    head = len(data) - len(frame.payload) if isinstance(frame, frames.Send) else len(data)

    with pytest.raises(frames.FrameError):
        frames.decode_client(data[: head - 1])


def test_a_clients_frame_is_not_a_relays() -> None:
    with pytest.raises(frames.FrameError):
        frames.decode_relay(frames.encode(frames.Ack(1)))


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(frames.FrameError, match="over the limit"):
        frames.decode_client(b"\x02" + bytes(frames.MAX_FRAME))


def test_a_flag_has_one_spelling() -> None:
    data = bytearray(frames.encode(frames.Hello(deliver=True, limit=1, state_version=0)))
    data[2] = 2

    with pytest.raises(frames.FrameError, match="flag"):
        frames.decode_client(bytes(data))


CHANNEL = ChannelId(bytes(16))
ITEM = frames.Deliver(
    1, frames.ItemKind.MESSAGE, Precedence.FLASH, CHANNEL, Seq(1), Epoch(1), 1, b"x"
)


@pytest.mark.parametrize(
    "frame",
    [
        frames.Ready(1, state_version=frames.LIMIT),
        frames.Ready(frames.MAX_TIME_MS + 1, state_version=1),
        frames.Accepted(1, False, Seq(frames.LIMIT), 1, bytes(32)),
        frames.Accepted(1, False, Seq(1), frames.MAX_TIME_MS + 1, bytes(32)),
        replace(ITEM, number=frames.LIMIT),
        replace(ITEM, seq=Seq(frames.LIMIT)),
        replace(ITEM, epoch=Epoch(frames.LIMIT)),
        replace(ITEM, time_ms=frames.MAX_TIME_MS + 1),
    ],
)
def test_a_number_that_no_database_and_no_calendar_has_is_refused(frame: frames.RelayFrame) -> None:
    with pytest.raises(frames.FrameError, match="out of range"):
        frames.decode_relay(frames.encode(frame))


def test_a_gap_that_has_the_bytes_of_what_it_hides_is_refused() -> None:
    gap = replace(ITEM, kind=frames.ItemKind.GAP)

    with pytest.raises(frames.FrameError, match="gap"):
        frames.decode_relay(frames.encode(gap))


@pytest.mark.parametrize(
    "frame",
    [
        frames.Hello(deliver=True, limit=1, state_version=frames.LIMIT),
        frames.Send(1, CHANNEL, MessageId(bytes(16)), frames.LIMIT, b"x"),
    ],
)
def test_nor_does_the_relay_take_one(frame: frames.ClientFrame) -> None:
    with pytest.raises(frames.FrameError, match="out of range"):
        frames.decode_client(frames.encode(frame))
