"""Release signatures in the header: one encoding, bounded, and signed for one place and one part."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor
from liaison.envelope.errors import HeaderError, ReleaseError
from liaison.envelope.header import MAX_HEADER_BYTES, Header, HeaderLabel, Kind
from liaison.envelope.release import (
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN,
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    Part,
    Release,
    ReleaseSignature,
    content_digest,
    signed_bytes,
)
from liaison.errors import MalformedError
from liaison.model import ChannelId, MessageId, Precedence

CHANNEL, OTHER = ChannelId(bytes(16)), ChannelId(bytes([1]) * 16)
PLAIN = Header(
    message_id=MessageId(bytes(range(16))),
    kind=Kind.TEXT,
    action=Precedence.ROUTINE,
    info=Precedence.ROUTINE,
    dtg=1_795_000_000,
    label=HeaderLabel("tlp-2.0", "TLP:GREEN", (), bytes(32)),
    agreement_id="nor-deu-2026",
    agreement_version=1,
)
# Part 1 by certificate "a", part 3 by certificate "b" with one more above it.
DRAFT = ReleaseSignature(Part.DRAFT, (b"a",), b"s")
FINAL = ReleaseSignature(Part.RELEASE, (b"b", b"c"), b"t")
FULL = replace(PLAIN, release=Release(bytes(32), (DRAFT, FINAL)))
# What key 12 is on the wire, for good.
GOLDEN = "0c825820" + "00" * 32 + "82" + "8301814161" + "4173" + "8303824162" + "4163" + "4174"

signatures = st.builds(
    ReleaseSignature,
    st.sampled_from(list(Part)),
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=MAX_CHAIN).map(tuple),
    st.binary(min_size=1, max_size=64),
)


@st.composite
def releases(draw: st.DrawFn) -> Release:
    release = Release(draw(st.binary(min_size=32, max_size=32)))
    for signature in draw(st.lists(signatures, max_size=MAX_SIGNATURES)):
        release = release.with_signature(signature)
    return release


@given(release=releases())
def test_every_header_with_a_release_comes_back_from_its_bytes(release: Release) -> None:
    header = PLAIN.with_release(release)

    assert Header.decode(header.encode()) == header
    assert header.bare() == PLAIN.encode()


def test_the_release_stays_as_it_is_on_the_wire() -> None:
    assert FULL.encode().hex().endswith(GOLDEN)
    assert FULL.encode()[0] == PLAIN.encode()[0] + 1


def test_every_altered_bit_gives_another_header_or_none() -> None:
    data = FULL.encode()

    for position, bit in itertools.product(range(len(data)), range(8)):
        altered = bytearray(data)
        altered[position] ^= 1 << bit
        try:
            header = Header.decode(bytes(altered))
        except HeaderError:
            continue
        assert header != FULL


def spelled(release: Any) -> bytes:
    item = cbor.decode(PLAIN.encode())
    assert isinstance(item, dict)
    return cbor.encode({**item, 12: release})


ONE = [1, [b"a"], b"s"]


@pytest.mark.parametrize(
    "release",
    [
        None,
        1,
        [],
        [bytes(32)],
        [bytes(31), []],
        [bytes(33), []],
        ["x" * 32, []],
        [bytes(32), {}],
        [bytes(32), [], 1],
        [bytes(32), [ONE, ONE]],
        [bytes(32), [[3, [b"a"], b"s"], ONE]],
        [bytes(32), [[1, [b"b"], b"s"], ONE]],
        [bytes(32), [[1, [b"a"], b"s"], [1, [b"a"], b"t"]]],
        [bytes(32), [[0, [b"a"], b"s"]]],
        [bytes(32), [[4, [b"a"], b"s"]]],
        [bytes(32), [[True, [b"a"], b"s"]]],
        [bytes(32), [[1, [], b"s"]]],
        [bytes(32), [[1, [b""], b"s"]]],
        [bytes(32), [[1, ["a"], b"s"]]],
        [bytes(32), [[1, [b"a"] * (MAX_CHAIN + 1), b"s"]]],
        [bytes(32), [[1, [b"a"], b""]]],
        [bytes(32), [[1, [b"a"], "s"]]],
        [bytes(32), [[1, [b"a"]]]],
        [bytes(32), [[1, [b"a"], b"s", 1]]],
        [bytes(32), [[1, [bytes([n])], b"s"] for n in range(MAX_SIGNATURES + 1)]],
        [bytes(32), [[1, [bytes(MAX_CERTIFICATE_BYTES + 1)], b"s"]]],
        [bytes(32), [[1, [b"a"], bytes(MAX_SIGNATURE_BYTES + 1)]]],
    ],
)
def test_a_release_that_this_program_would_not_write_is_refused(release: Any) -> None:
    with pytest.raises(HeaderError):
        Header.decode(spelled(release))


def test_what_is_at_the_limits_is_taken() -> None:
    most = [[1, [bytes([n])], b"s"] for n in range(MAX_SIGNATURES)]
    for release in (
        [bytes(32), []],
        [bytes(32), most],
        [bytes(32), [[1, [b"a"] * MAX_CHAIN, b"s"]]],
        [bytes(32), [[1, [bytes(MAX_CERTIFICATE_BYTES)], bytes(MAX_SIGNATURE_BYTES)]]],
    ):
        assert Header.decode(spelled(release)).release is not None


def test_a_signature_too_many_is_not_made() -> None:
    release = Release(bytes(32))
    for number in range(MAX_SIGNATURES):
        release = release.with_signature(ReleaseSignature(Part.REVIEW, (bytes([number]),), b"s"))

    with pytest.raises(ReleaseError, match="at most"):
        release.with_signature(DRAFT)


def test_signing_again_replaces_ones_own_signature_and_no_other() -> None:
    release = Release(bytes(32), (DRAFT, FINAL))

    again = release.with_signature(replace(DRAFT, signature=b"new"))

    assert [one.signature for one in again.signatures] == [b"new", b"t"]
    # The same person in another part is another signature.
    assert len(release.with_signature(replace(DRAFT, part=Part.REVIEW)).signatures) == 3


@given(order=st.permutations([DRAFT, FINAL, replace(DRAFT, part=Part.REVIEW)]))
def test_the_order_of_signing_leaves_no_trace(order: list[ReleaseSignature]) -> None:
    release = Release(bytes(32))
    for signature in order:
        release = release.with_signature(signature)

    assert [one.part for one in release.signatures] == list(Part)


def test_three_signatures_with_post_quantum_certificates_fit_a_header() -> None:
    # ML-DSA-87: keys of 2592 bytes, signatures of 4627; certificates hold one of each.
    chain = (bytes(2592 + 4627 + 700),)
    signed = tuple(
        ReleaseSignature(part, (bytes([part]) + chain[0],), bytes(4627)) for part in Part
    )

    assert len(FULL.with_release(Release(bytes(32), signed)).encode()) < MAX_HEADER_BYTES


def test_what_is_signed_differs_with_channel_header_content_and_part() -> None:
    said = [
        signed_bytes(channel, header.encode(), content, part)
        for channel in (CHANNEL, OTHER)
        for header in (PLAIN, replace(PLAIN, dtg=PLAIN.dtg + 1))
        for content in (content_digest(b"a"), content_digest(b"b"))
        for part in Part
    ]

    assert len(set(said)) == len(said)


@given(content=st.binary(max_size=64))
def test_a_contents_digest_is_no_plain_hash(content: bytes) -> None:
    assert len(content_digest(content)) == 32
    assert content_digest(content) != content_digest(content + b"\0")


def test_a_refused_release_is_a_malformed_header() -> None:
    assert issubclass(ReleaseError, MalformedError)
