"""Entries and openings: one spelling, hiding what they should, and every changed bit refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.model import ChannelId, Epoch, Seq
from liaison.tlog import commitment, entries
from liaison.tlog.commitment import Opening, Value
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.errors import (
    EntryError,
    EntryTooLargeError,
    OpeningError,
    OpeningFormatError,
)
from liaison.tlog.fields import SCHEMAS, SEQUENCED, EntryType, Kind
from tests.core.tlog.support import ORIGIN, flipped

ROOT = Path(__file__).resolve().parents[3]
CHANNEL = entries.pseudonym(ORIGIN, ChannelId(bytes(range(16))))
NOW = 1_700_000_000_000
OPEN: dict[str, Any] = {
    "channel": CHANNEL,
    "seq": Seq(7),
    "epoch": Epoch(3),
    "policy": PolicyRef(2, bytes(range(32))),
    "size": 1024,
    "period": 5,
}

texts = st.text(max_size=20)
VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.TEXT: texts,
    Kind.NUMBER: st.integers(-(2**53) + 1, 2**53 - 1),
    Kind.TEXTS: st.lists(texts, max_size=4).map(tuple),
}


def rng(count: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(count))


def shown(type_: EntryType, *, optional: bool = True) -> dict[str, Any]:
    schema = SCHEMAS[type_]
    return {n: OPEN[n] for n in (schema.shown if optional else schema.required)}


def accepted(**fields: Value) -> tuple[Entry, dict[str, Opening]]:
    return entries.seal(EntryType.ACCEPTED, NOW, fields, rng, **shown(EntryType.ACCEPTED))


@st.composite
def sealed(draw: st.DrawFn) -> tuple[Entry, dict[str, Value], dict[str, Opening]]:
    type_ = draw(st.sampled_from(EntryType))
    schema = SCHEMAS[type_]
    fields = {n: draw(st.none() | VALUES[kind]) for n, kind in schema.sealed.items()}
    keys = draw(st.binary(min_size=32 * len(fields), max_size=32 * len(fields)))
    optional = draw(st.booleans())
    entry, openings = entries.seal(
        type_, NOW, fields, lambda n: keys[:n], **shown(type_, optional=optional)
    )
    return entry, fields, openings


# --- entries --------------------------------------------------------------------------------------


@given(made=sealed())
def test_every_entry_is_read_as_it_was_written_and_opens(
    made: tuple[Entry, dict[str, Value], dict[str, Opening]],
) -> None:
    entry, fields, openings = made
    data = entry.encode()

    assert Entry.decode(data) == entry
    assert rfc8785.dumps(json.loads(data)) == data
    stored = commitment.decode_openings(commitment.encode_openings(openings))
    assert Entry.decode(data).open_all(stored) == fields


@pytest.mark.parametrize("type_", EntryType)
def test_every_changed_bit_of_an_entry_is_refused_or_another_entry(type_: EntryType) -> None:
    entry, openings = entries.seal(type_, NOW, {}, rng, **shown(type_))
    data = entry.encode()

    for changed in flipped(data):
        try:
            other = Entry.decode(changed)
        except LiaisonError:
            continue
        # It is well-formed, so the leaf hash tells; and it is not the same entry.
        assert other != entry
        assert other.encode() == changed
        if other.commitments != entry.commitments:
            with pytest.raises(OpeningError):
                other.open_all(openings)


def edited(**changes: Any) -> bytes:
    body = json.loads(accepted(sender="nor/desk#d1")[0].encode())
    for name, value in changes.items():
        if value is ...:
            del body[name]
        else:
            body[name] = value
    return commitment.dump(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"v": 1.0},
        {"v": ...},
        {"type": "unheard-of"},
        {"type": ["accepted"]},
        {"type": "commit"},
        {"time": -1},
        {"time": 1.5},
        {"time": True},
        {"time": "1"},
        {"time": 2**53},
        {"seq": 0},
        {"seq": None},
        {"seq": ...},
        {"seq": ""},
        {"epoch": -1},
        {"epoch": ""},
        {"epoch": False},
        {"size": 2**53},
        {"period": 1},
        {"unheard_of": 1},
        {"channel": "00"},
        {"channel": "AA" * 16},
        {"channel": "0 " * 16},
        {"channel": 7},
        {"channel": ["0"] * 32},
        {"policy": {}},
        {"policy": 7},
        {"policy": {"version": 0, "digest": "A" * 43 + "="}},
        {"policy": {"version": 1, "digest": "AA=="}},
        {"policy": {"version": 1, "digest": 5}},
        {"policy": {"version": 1, "digest": "A" * 43 + "=", "more": 1}},
        {"commitments": {}},
        {"commitments": []},
        {"commitments": {"sender": "AA=="}},
        {"commitments": ...},
    ],
    ids=repr,
)
def test_an_entry_with_other_fields_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EntryError):
        Entry.decode(edited(**changes))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b":", b": ", 1),
        lambda data: data.replace(b'"v":1', b'"v":1,"v":1'),
        lambda data: data.replace(b'"type"', b'"\\u0074ype"'),
        lambda data: data.replace(b'"v":1', b'"v":1e0'),
        lambda data: data.replace(b'"v":1', b'"v":NaN'),
        lambda data: data.replace(b'"v":1', b'"v":' + b"1" * 5000),
        lambda data: data.replace(b'"v":1', b'"v":' + b"[" * 5000),
        lambda data: data.replace(b'"v":1', b'"v":"\\ud800"'),
        lambda data: b"[]",
        lambda data: b"\xff",
        lambda data: b"",
        lambda data: data[:-1],
    ],
    ids=[f"change {n}" for n in range(14)],
)
def test_a_second_spelling_of_an_entry_is_refused(change: object) -> None:
    assert callable(change)
    data = accepted(sender="nor/desk#d1")[0].encode()

    with pytest.raises(EntryError):
        Entry.decode(change(data))


def test_an_entry_has_a_largest_size() -> None:
    with pytest.raises(EntryTooLargeError):
        Entry.decode(bytes(entries.MAX_ENTRY_BYTES + 1))


@pytest.mark.parametrize("type_", EntryType)
def test_an_entry_has_the_fields_of_its_type_and_no_others(type_: EntryType) -> None:
    schema = SCHEMAS[type_]
    surplus = OPEN.keys() - schema.shown

    for name in schema.required:
        with pytest.raises(EntryError):
            entries.seal(type_, NOW, {}, rng, **{**shown(type_), name: None})
    for name in surplus:
        with pytest.raises(EntryError):
            entries.seal(type_, NOW, {}, rng, **shown(type_), **{name: OPEN[name]})
    with pytest.raises(EntryError):
        entries.seal(type_, NOW, {"unheard_of": "x"}, rng, **shown(type_))
    with pytest.raises(EntryError):
        Entry(type_, NOW, {}, **shown(type_))


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": 7},
        {"dtg": "now"},
        {"dtg": True},
        {"dtg": 2**53},
        {"to": "nor/desk"},
        {"sender": "\ud800"},
        {"sender": "x" * commitment.MAX_VALUE_BYTES},
    ],
    ids=[f"value {n}" for n in range(7)],
)
def test_a_value_that_a_field_can_not_have_is_not_committed_to(fields: dict[str, Value]) -> None:
    with pytest.raises(EntryError):
        accepted(**fields)


def test_what_takes_a_place_in_its_channel_says_which() -> None:
    for type_ in SEQUENCED:
        assert {"channel", "seq", "epoch"} <= SCHEMAS[type_].required
    for type_ in set(EntryType) - SEQUENCED:
        assert "seq" not in SCHEMAS[type_].shown


def test_an_entry_does_not_show_what_it_commits_to_or_which_fields_are_absent() -> None:
    secret = "nor/defatt-berlin#d1"  # a name, which is what has to stay hidden
    full, _ = accepted(sender=secret, to=("deu/lno-j3",), dtg=1)
    bare, _ = accepted()

    assert full.commitments.keys() == bare.commitments.keys()
    assert len(full.encode()) == len(bare.encode())
    assert secret.encode() not in full.encode()


@pytest.mark.parametrize(
    ("size", "bucket"), [(0, 256), (1, 256), (256, 256), (257, 512), (4096, 4096), (4097, 8192)]
)
def test_sizes_are_told_as_powers_of_two(size: int, bucket: int) -> None:
    assert entries.size_bucket(size) == bucket


# --- openings -------------------------------------------------------------------------------------


def test_an_opening_of_one_field_says_nothing_of_another() -> None:
    entry, openings = accepted(sender="nor/desk#d1", message="nor/desk#d1")

    assert entry.commitments["sender"] != entry.commitments["message"]
    assert len({opening.key for opening in openings.values()}) == len(openings)
    with pytest.raises(OpeningError):
        entry.open("message", openings["sender"])


@given(value=texts)
def test_every_changed_bit_of_an_opening_is_refused(value: str) -> None:
    entry, openings = accepted(sender=value)
    opening = openings["sender"]

    for key in flipped(opening.key):
        with pytest.raises(OpeningError):
            entry.open("sender", Opening(key, value))
    for other in (value + "x", value[:-1] if value else None, None, 7, (value,)):
        with pytest.raises(OpeningError):
            entry.open("sender", Opening(opening.key, other))


def test_every_changed_bit_of_stored_openings_is_refused() -> None:
    entry, openings = accepted(sender="nor/desk#d1", dtg=3, to=("deu/a", "deu/b"))
    only = {name: openings[name] for name in ("sender", "dtg", "to")}

    for changed in flipped(commitment.encode_openings(only)):
        with pytest.raises((OpeningError, OpeningFormatError)):
            entry.open_all(commitment.decode_openings(changed))


def test_a_field_that_the_entry_has_not_is_refused() -> None:
    entry, openings = accepted()

    with pytest.raises(OpeningError):
        entry.open("act", openings["sender"])


def test_a_commitment_to_a_value_of_another_kind_is_refused() -> None:
    entry, openings = accepted()
    key = bytes(range(32))
    forged = {**entry.commitments, "dtg": commitment.commit(key, "dtg", "yesterday")}
    wrong = Entry(EntryType.ACCEPTED, NOW, forged, **shown(EntryType.ACCEPTED))

    with pytest.raises(OpeningError, match="none"):
        wrong.open("dtg", Opening(key, "yesterday"))
    with pytest.raises(OpeningError):
        wrong.open("sender", Opening(openings["sender"].key[:-1], None))


def test_an_opening_does_not_print_its_key_or_value() -> None:
    _, openings = accepted(sender="nor/desk#d1")

    assert "nor" not in repr(openings)
    assert openings["sender"].key.hex() not in repr(openings)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"sender": 7},
        {"sender": {}},
        {"sender": {"key": "AA==", "value": 1}},
        {"sender": {"key": "A" * 43 + "=", "value": 1.5}},
        {"sender": {"key": "A" * 43 + "=", "value": True}},
        {"sender": {"key": "A" * 43 + "=", "value": [1]}},
        {"sender": {"key": "A" * 43 + "=", "value": {}}},
        {"sender": {"key": "A" * 43 + "=", "value": 2**53}},
        {"sender": {"key": "A" * 43 + "=", "value": "x" * commitment.MAX_VALUE_BYTES}},
        {"sender": {"key": 7, "value": 1}},
        {"sender": {"key": "A" * 43 + "=", "value": 1, "more": 1}},
    ],
    ids=[f"body {n}" for n in range(12)],
)
def test_what_are_no_openings_is_refused(body: object) -> None:
    with pytest.raises(OpeningFormatError):
        commitment.decode_openings(commitment.dump(body))


def test_openings_have_a_largest_size() -> None:
    with pytest.raises(OpeningFormatError):
        commitment.decode_openings(b" " * (commitment.MAX_OPENINGS_BYTES + 1))


# --- pseudonyms -----------------------------------------------------------------------------------


@given(
    one=st.binary(min_size=16, max_size=16),
    other=st.binary(min_size=16, max_size=16),
    origins=st.lists(st.text(max_size=5), min_size=2, max_size=2, unique=True),
)
def test_a_channel_has_one_name_in_a_log_and_another_in_any_other(
    one: bytes, other: bytes, origins: list[str]
) -> None:
    first = entries.pseudonym(origins[0], ChannelId(one))

    assert len(first) == 16
    assert first == entries.pseudonym(origins[0], ChannelId(one))
    assert first != entries.pseudonym(origins[1], ChannelId(one))
    assert (first == entries.pseudonym(origins[0], ChannelId(other))) is (one == other)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_about_the_log_tells_the_fields_of_every_type() -> None:
    page = (ROOT / "docs" / "protocol" / "log.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\| ([^|]*)\|$", page, re.MULTILINE)
    marks = {Kind.TEXT: "", Kind.NUMBER: "#", Kind.TEXTS: "*"}

    told = {name: (words(shown), words(sealed)) for name, shown, sealed in rows}

    assert told == {
        type_.value: (
            {n if n in schema.required else f"({n})" for n in schema.shown},
            {n + marks[kind] for n, kind in schema.sealed.items()},
        )
        for type_, schema in SCHEMAS.items()
    }


def words(cell: str) -> set[str]:
    return set(filter(None, cell.strip().split(", ")))
