"""The header: bound byte for byte, bounded, and the same for everyone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor
from liaison.envelope.errors import HeaderError, HeaderVersionError
from liaison.envelope.header import (
    MAX_HEADER_BYTES,
    Header,
    HeaderLabel,
    Kind,
    MessageRef,
)
from liaison.envelope.release import Part, Release, ReleaseSignature
from liaison.model import DeviceId, EndpointId, MessageId, PartyCode, Precedence

DEVICE = DeviceId.parse("deu/lno-j3#d1")
NOR, DEU = EndpointId.parse("nor/defatt-berlin"), EndpointId.parse("deu/lno-j3")
PLAIN = Header(
    message_id=MessageId(bytes(range(16))),
    kind=Kind.TEXT,
    action=Precedence.FLASH,
    info=Precedence.ROUTINE,
    dtg=1_795_000_000,
    label=HeaderLabel("tlp-2.0", "TLP:GREEN", (), bytes(32)),
    agreement_id="nor-deu-2026",
    agreement_version=1,
)
FULL = replace(
    PLAIN,
    to=(DEU,),
    copy=(NOR,),
    expires=1_795_003_600,
    in_reply_to=MessageRef(DEVICE, MessageId(bytes(16))),
)
# A format of our own: this is what version 1 is on the wire, for good.
GOLDEN = (
    "ac00010150000102030405060708090a0b0c0d0e0f020103040401051a6afd86c0068467746c702d322e306954"
    "4c503a475245454e80582000000000000000000000000000000000000000000000000000000000000000000782"
    "6c6e6f722d6465752d3230323601081a6afd94d009816a6465752f6c6e6f2d6a330a81716e6f722f6465666174"
    "742d6265726c696e0b826d6465752f6c6e6f2d6a332364315000000000000000000000000000000000"
)

words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
endpoints = st.builds(EndpointId, st.sampled_from([PartyCode("NOR"), PartyCode("UN-OCHA")]), names)
ids = st.binary(min_size=16, max_size=16).map(MessageId)
labels = st.builds(
    HeaderLabel,
    words,
    words,
    st.sets(st.tuples(words, words), max_size=3).map(lambda s: tuple(sorted(s))),
    st.binary(min_size=32, max_size=32),
)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    action = draw(st.sampled_from(list(Precedence)))
    dtg = draw(st.integers(0, 2**35))
    people = sorted(draw(st.sets(endpoints, max_size=6)))
    cut = draw(st.integers(0, len(people)))
    return Header(
        message_id=draw(ids),
        kind=draw(st.sampled_from(list(Kind))),
        action=action,
        info=Precedence(draw(st.integers(0, action))),
        dtg=dtg,
        label=draw(labels),
        agreement_id=draw(words),
        agreement_version=draw(st.integers(1, 2**32 - 1)),
        to=tuple(people[:cut]),
        copy=tuple(people[cut:]),
        expires=draw(st.none() | st.integers(dtg + 1, 2**36)),
        in_reply_to=draw(st.none() | st.builds(MessageRef, st.just(DEVICE), ids)),
    )


@given(header=headers())
def test_every_header_comes_back_from_its_bytes(header: Header) -> None:
    assert Header.decode(header.encode()) == header


def test_version_1_stays_as_it_is_on_the_wire() -> None:
    assert FULL.encode().hex() == GOLDEN
    assert Header.decode(bytes.fromhex(GOLDEN)) == FULL


@given(position=st.integers(0, len(GOLDEN) // 2 - 1), bit=st.integers(0, 7))
def test_every_altered_bit_gives_another_header_or_none(position: int, bit: int) -> None:
    altered = bytearray(bytes.fromhex(GOLDEN))
    altered[position] ^= 1 << bit

    try:
        header = Header.decode(bytes(altered))
    except HeaderError:
        return
    assert header != FULL


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    with contextlib.suppress(HeaderError):
        assert Header.decode(data).encode() == data


def spelled(**changes: Any) -> bytes:
    item = cbor.decode(FULL.encode())
    assert isinstance(item, dict)
    for key, value in changes.items():
        item[int(key.removeprefix("k"))] = value
    return cbor.encode(item)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\xa0",
        spelled(k12=1),
        spelled(k1=bytes(15)),
        spelled(k2=99),
        spelled(k2=True),
        spelled(k3=6),
        spelled(k3=0),
        spelled(k5=-1),
        spelled(k6=["a", "b", []]),
        spelled(k6=["", "b", [], bytes(32)]),
        spelled(k6=["a", "b", [["y", "z"], ["a", "b"]], bytes(32)]),
        spelled(k6=["a", "b", [], bytes(31)]),
        spelled(k6=["a\x1b", "b", [], bytes(32)]),
        spelled(k7=["x", 0]),
        spelled(k7="x"),
        spelled(k8=1_795_000_000),
        spelled(k8=None),
        spelled(k9=[]),
        spelled(k9=["deu/x", "deu/a"]),
        spelled(k9=["DEU/x"]),
        spelled(k9=["nor/defatt-berlin"]),
        spelled(k9=[f"deu/a{n:03}" for n in range(101)]),
        spelled(k11=["deu/lno-j3", bytes(16)]),
        spelled(k11=None),
        b"\xbf" + FULL.encode()[1:] + b"\xff",
        FULL.encode() + b"\x00",
        FULL.encode()[:-1],
        b"\xbc\x00" + FULL.encode()[1:],
        bytes(MAX_HEADER_BYTES + 1),
    ],
)
def test_a_header_that_this_program_would_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(HeaderError):
        Header.decode(data)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_version_says_that_the_program_is_too_old(version: Any) -> None:
    with pytest.raises(HeaderVersionError):
        Header.decode(spelled(k0=version))


@pytest.mark.parametrize("missing", range(1, 8))
def test_every_required_field_is_required(missing: int) -> None:
    item = cbor.decode(FULL.encode())
    assert isinstance(item, dict)
    del item[missing]

    with pytest.raises(HeaderError):
        Header.decode(cbor.encode(item))


@pytest.mark.parametrize(
    "changes",
    [
        {"info": Precedence.OVERRIDE},
        {"dtg": -1},
        {"expires": 1_795_000_000},
        {"agreement_id": ""},
        {"agreement_version": 0},
        {"to": (NOR, DEU)},
        {"to": (DEU, DEU)},
        {"to": (DEU,), "copy": (DEU,)},
    ],
)
def test_a_header_that_contradicts_itself_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(HeaderError):
        replace(PLAIN, **changes)


def test_a_header_too_large_is_not_sent() -> None:
    long = [EndpointId(PartyCode("NOR"), f"{n:03}{'x' * 60}") for n in range(100)]
    other = [EndpointId(PartyCode("DEU"), f"{n:03}{'x' * 60}") for n in range(100)]
    signatures = tuple(
        ReleaseSignature(Part.REVIEW, (bytes([n]) * 16_000,), bytes(4000)) for n in range(3)
    )

    assert len(replace(PLAIN, to=tuple(long), copy=tuple(other)).encode()) < MAX_HEADER_BYTES
    with pytest.raises(HeaderError, match="at most"):
        replace(PLAIN, release=Release(bytes(32), signatures)).encode()


def test_precedence_depends_on_who_reads() -> None:
    assert FULL.precedence_for(DEU) is Precedence.FLASH
    assert FULL.precedence_for(NOR) is Precedence.ROUTINE
    assert FULL.precedence_for(EndpointId.parse("swe/desk")) is Precedence.ROUTINE
    assert PLAIN.precedence_for(NOR) is Precedence.FLASH
    assert FULL.precedence is Precedence.FLASH


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_a_name_in_agreements(kind: Kind) -> None:
    assert Kind.parse(str(kind)) is kind


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(HeaderError, match="text, receipt, notice"):
        Kind.parse("TEXT")


@given(headers(), ids, st.integers(0, 2**33), st.binary(min_size=32, max_size=32), st.data())
def test_what_was_remembered_of_one_header_changes_nothing_about_another(
    first: Header, ident: MessageId, dtg: int, digest: bytes, data: st.DataObject
) -> None:
    assert Header.decode(first.encode()) == first
    # Times at which the encoding gets another length, too.
    dtg = data.draw(st.sampled_from([dtg, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32]))
    expires = None if first.expires is None else max(first.expires, dtg + 1)
    label = replace(first.label, digest=digest)
    other = replace(first, message_id=ident, dtg=dtg, label=label, expires=expires)

    assert Header.decode(other.encode()) == other

    # Whatever is changed in its bytes is refused or has that one encoding.
    changed = bytearray(other.encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HeaderError):
        assert Header.decode(bytes(changed)).encode() == bytes(changed)


def test_a_text_that_looks_like_the_digest_is_not_taken_for_it() -> None:
    label = replace(PLAIN.label, classification="X then 32 more characters and some")
    first = replace(PLAIN, label=label)
    for digest in (bytes(32), b"1" * 32):
        other = replace(first, label=replace(label, digest=digest))
        assert Header.decode(other.encode()) == other
    named = replace(label, classification="X then 32 other characters follow.")
    other = replace(first, label=named)
    assert Header.decode(other.encode()) == other
