"""The TLS presentation language: round trips, and no second spelling of anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison import codec
from liaison.codec import MalformedMessageError, OversizeError, Reader


@given(length=st.integers(0, codec.MAX_VECTOR_BYTES))
def test_every_length_has_one_header_that_reads_back(length: int) -> None:
    header = codec.length_header(length)

    assert codec.decode(Reader.length_header, header) == length
    assert len(header) == (1 if length < 0x40 else 2 if length < 0x4000 else 4)


@pytest.mark.parametrize(
    "header", ["4000", "403f", "80000000", "80003fff", "8000003f", "c000000000000000", "ff"]
)
def test_a_length_header_that_is_not_the_shortest_is_refused(header: str) -> None:
    with pytest.raises(MalformedMessageError):
        codec.decode(Reader.length_header, bytes.fromhex(header))


def test_a_vector_beyond_thirty_bits_can_not_be_written() -> None:
    with pytest.raises(OversizeError):
        codec.length_header(codec.MAX_VECTOR_BYTES + 1)


@given(data=st.binary(max_size=300), more=st.binary(min_size=1, max_size=4))
def test_bytes_after_a_value_are_refused(data: bytes, more: bytes) -> None:
    assert codec.decode(Reader.opaque, codec.opaque(data)) == data
    with pytest.raises(MalformedMessageError):
        codec.decode(Reader.opaque, codec.opaque(data) + more)


@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(1, 300))
def test_bytes_that_end_too_early_are_refused(data: bytes, cut: int) -> None:
    whole = codec.opaque(data)

    with pytest.raises(MalformedMessageError):
        codec.decode(Reader.opaque, whole[: -min(cut, len(whole))])


@given(numbers=st.lists(st.integers(0, 0xFFFF), max_size=50))
def test_vectors_round_trip(numbers: list[int]) -> None:
    encoded = codec.vector_of(codec.uint16, numbers)

    assert codec.decode(lambda r: r.vector(Reader.uint16), encoded) == tuple(numbers)
    assert codec.uint16s(numbers) == encoded
    assert codec.decode(Reader.uint16s, encoded) == tuple(numbers)


def test_half_a_number_and_a_number_too_large_are_refused() -> None:
    with pytest.raises(MalformedMessageError):
        codec.decode(Reader.uint16s, codec.opaque(b"\x00\x01\x02"))
    with pytest.raises(OverflowError):
        codec.uint16s([0x10000])


def test_an_item_that_crosses_the_end_of_its_vector_is_refused() -> None:
    with pytest.raises(MalformedMessageError):
        codec.decode(lambda r: r.vector(Reader.uint16), codec.opaque(b"\x00\x01\x02") + b"\x03")


def test_a_presence_byte_is_nothing_but_0_or_1() -> None:
    assert codec.decode(lambda r: r.optional(Reader.uint8), b"\x00") is None
    assert codec.decode(lambda r: r.optional(Reader.uint8), b"\x01\x07") == 7
    with pytest.raises(MalformedMessageError):
        codec.decode(lambda r: r.optional(Reader.uint8), b"\x02\x07")


def test_a_huge_length_costs_no_memory() -> None:
    with pytest.raises(MalformedMessageError):
        codec.decode(Reader.opaque, bytes.fromhex("bfffffff") + b"short")
