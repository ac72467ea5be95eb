"""What a client's bytes mean, piece by piece, and as aiohttp reads them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any, cast

import pytest
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader
from hypothesis import given
from hypothesis import strategies as st

from liaison.relay import framing
from liaison.relay.framing import PROTOCOL_ERROR, TOO_BIG, Frame, Kind, Reader

MOST = 70_000


def framed(opcode: int, data: bytes, *, final: bool = True, mask: bytes = b"mask") -> bytes:
    """One masked frame, as a client writes it."""
    size = len(data)
    head = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 1 << 16:
        head += b"\xfe" + size.to_bytes(2)
    else:
        head += b"\xff" + size.to_bytes(8)
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def as_aiohttp_reads(data: bytes) -> list[tuple[int, bytes]]:
    loop = asyncio.new_event_loop()
    try:
        queue = WebSocketDataQueue(cast("Any", None), 1 << 30, loop=loop)
        reader = WebSocketReader(queue, MOST, compress=False, decode_text=False)
        assert reader.feed_data(data) == (False, b"")
        return [(int(message.type), bytes(message.data)) for message, _ in queue._buffer]
    finally:
        loop.close()


control = st.tuples(st.sampled_from([Kind.PING, Kind.PONG]), st.binary(max_size=125))
message = st.tuples(
    st.sampled_from([Kind.BINARY, Kind.TEXT]),
    st.lists(st.binary(max_size=300) | st.just(bytes(2_000)), min_size=1, max_size=4),
)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Messages, some of them in fragments, with pings between these."""
    out = []
    for kind, parts in draw(st.lists(message, max_size=5)):
        for n, part in enumerate(parts):
            opcode = kind if n == 0 else 0
            mask = draw(st.binary(min_size=4, max_size=4))
            out.append(framed(opcode, part, final=n + 1 == len(parts), mask=mask))
            if draw(st.booleans()):
                out.append(framed(*draw(control)))
    return b"".join(out)


@given(data=conversations(), cuts=st.lists(st.integers(0, 1 << 20), max_size=20))
def test_whatever_the_pieces_are_it_is_what_aiohttp_reads(data: bytes, cuts: list[int]) -> None:
    reader = Reader(MOST)
    found = [frame for piece in pieces(data, cuts) for frame in reader.feed(piece)]

    assert [(int(kind), payload) for kind, payload in found] == as_aiohttp_reads(data)


@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5))
def test_noise_is_read_alike_in_whatever_pieces_until_it_is_broken(
    data: bytes, cuts: list[int]
) -> None:
    reader, found = Reader(MOST), list[Frame]()
    for piece in pieces(data, cuts):
        found += reader.feed(piece)
        if found and found[-1][0] is Kind.BROKEN:
            break

    assert found == Reader(MOST).feed(data)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, MOST])
def test_a_message_of_every_kind_of_length_is_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    assert Reader(MOST).feed(framed(2, data[:size])) == [(Kind.BINARY, data[:size])]


def test_a_message_too_large_is_refused_by_its_header_alone() -> None:
    head = framed(2, bytes(MOST + 1))[:14]

    assert Reader(MOST).feed(head) == [(Kind.BROKEN, TOO_BIG.to_bytes(2))]


def test_fragments_together_are_no_larger_than_one_message() -> None:
    reader = Reader(MOST)

    assert reader.feed(framed(2, bytes(MOST), final=False)) == []
    assert reader.feed(framed(0, b"x", final=False)) == [(Kind.BROKEN, TOO_BIG.to_bytes(2))]


BREAKING = {
    "no mask": b"\x82\x01x" + bytes(8),
    "reserved bits": b"\xc2" + framed(2, b"x")[1:],
    "an opcode of nobody's": framed(3, b"x"),
    "a control frame of nobody's": framed(0xB, b"x"),
    "a ping too large": framed(9, bytes(126)),
    "a ping in pieces": framed(9, b"x", final=False),
    "an end of nothing": framed(0, b"x"),
    "a beginning in the middle": framed(2, b"x", final=False) + framed(2, b"x"),
}


@pytest.mark.parametrize("data", BREAKING.values(), ids=BREAKING)
def test_what_the_protocol_forbids_breaks_the_connection(data: bytes) -> None:
    before = framed(2, b"before")

    found = Reader(MOST).feed(before + data)

    assert found == [(Kind.BINARY, b"before"), (Kind.BROKEN, PROTOCOL_ERROR.to_bytes(2))]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 1000),
        (b"\x03\xe8", 1000),
        (b"\x0f\xa1goodbye", 4001),
        (b"\x03", PROTOCOL_ERROR),
        (b"\x00\x01", PROTOCOL_ERROR),
        (b"\x03\xee", PROTOCOL_ERROR),
        (b"\xff\xff", PROTOCOL_ERROR),
    ],
)
def test_a_close_frame_says_why_with_a_code_that_may_be_said(payload: bytes, code: int) -> None:
    assert framing.code_of(payload) == code
