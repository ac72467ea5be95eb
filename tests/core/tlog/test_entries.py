"""Entries and disclosures: one spelling, hiding what they should, and every changed bit refused."""

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
from liaison.tlog.disclosure import MAX_DISCLOSURE_BYTES, MAX_SEALED_BYTES, Disclosure, Sealed
from liaison.tlog.entries import Entry, PolicyRef
from liaison.tlog.errors import (
    EntryError,
    EntryTooLargeError,
    OpeningError,
    OpeningFormatError,
)
from liaison.tlog.fields import SCHEMAS, SEQUENCED, EntryType, Kind
from liaison.tlog.text import to_base64
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


def accepted(**fields: Value) -> tuple[Entry, Sealed]:
    return entries.seal(EntryType.ACCEPTED, NOW, fields, rng, **shown(EntryType.ACCEPTED))


@st.composite
def entries_made(draw: st.DrawFn) -> tuple[Entry, dict[str, Value], Sealed]:
    type_ = draw(st.sampled_from(EntryType))
    schema = SCHEMAS[type_]
    fields = {n: draw(st.none() | VALUES[kind]) for n, kind in schema.sealed.items()}
    secret = draw(st.binary(min_size=32, max_size=32))
    optional = draw(st.booleans())
    entry, sealed = entries.seal(
        type_, NOW, fields, lambda n: secret[:n], **shown(type_, optional=optional)
    )
    return entry, fields, sealed


# --- entries --------------------------------------------------------------------------------------


@given(made=entries_made())
def test_every_entry_is_read_as_it_was_written_and_opens(
    made: tuple[Entry, dict[str, Value], Sealed],
) -> None:
    entry, fields, sealed = made
    data = entry.encode()

    assert Entry.decode(data) == entry
    assert rfc8785.dumps(json.loads(data)) == data
    stored = Sealed.decode(entry.type, sealed.encode())
    assert stored == sealed
    assert stored.encode() == sealed.encode()
    assert Entry.decode(data).open(stored) == fields


@pytest.mark.parametrize("type_", EntryType)
def test_every_changed_bit_of_an_entry_is_refused_or_another_entry(type_: EntryType) -> None:
    entry, sealed = entries.seal(type_, NOW, {}, rng, **shown(type_))
    data = entry.encode()

    for changed in flipped(data):
        try:
            other = Entry.decode(changed)
        except LiaisonError:
            continue
        # It is well-formed, so the leaf hash tells; and it is not the same entry.
        assert other != entry
        assert other.encode() == changed
        if other.fields != entry.fields:
            with pytest.raises(OpeningError):
                other.open(sealed)


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
        {"v": 1},
        {"v": True},
        {"v": 1.0},
        {"v": ...},
        {"type": "unheard-of"},
        {"type": ["accepted"]},
        {"type": "delivered"},
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
        {"fields": {}},
        {"fields": 7},
        {"fields": None},
        {"fields": "AA=="},
        {"fields": ...},
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
        lambda data: data.replace(b'"v":2', b'"v":2,"v":2'),
        lambda data: data.replace(b'"type"', b'"\\u0074ype"'),
        lambda data: data.replace(b'"v":2', b'"v":2e0'),
        lambda data: data.replace(b'"v":2', b'"v":NaN'),
        lambda data: data.replace(b'"v":2', b'"v":' + b"1" * 5000),
        lambda data: data.replace(b'"v":2', b'"v":' + b"[" * 5000),
        lambda data: data.replace(b'"v":2', b'"v":"\\ud800"'),
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


def test_an_entry_is_read_alike_whatever_was_read_before() -> None:
    honest = edited(policy={"version": 3, "digest": "A" * 43 + "="})

    for version in (3.0, True, "3"):
        with pytest.raises(EntryError):
            Entry.decode(edited(policy={"version": version, "digest": "A" * 43 + "="}))
    with pytest.raises(EntryError):
        Entry.decode(edited(policy={"version": 3, "digest": "A" * 42 + "B="}))

    assert Entry.decode(honest).encode() == honest


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
        Entry(type_, NOW, bytes(31), **shown(type_))


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

    assert len(full.encode()) == len(bare.encode())
    assert secret.encode() not in full.encode()


@pytest.mark.parametrize(
    ("size", "bucket"), [(0, 256), (1, 256), (256, 256), (257, 512), (4096, 4096), (4097, 8192)]
)
def test_sizes_are_told_as_powers_of_two(size: int, bucket: int) -> None:
    assert entries.size_bucket(size) == bucket


# --- what is shown of an entry --------------------------------------------------------------------


@given(made=entries_made(), data=st.data())
def test_any_part_of_an_entry_can_be_shown_and_handed_on_without_the_rest(
    made: tuple[Entry, dict[str, Value], Sealed], data: st.DataObject
) -> None:
    entry, fields, sealed = made
    names = data.draw(st.sets(st.sampled_from(sorted(fields))))
    fewer = data.draw(st.sets(st.sampled_from(sorted(names)))) if names else set()

    part = sealed.disclose(entry.type, names)

    assert entry.open(sealed.disclose(entry.type)) == fields
    assert entry.open(part) == {name: fields[name] for name in names}
    assert entry.open(part.only(entry.type, fewer)) == {name: fields[name] for name in fewer}
    assert sealed.disclose(entry.type).only(entry.type, fewer) == part.only(entry.type, fewer)
    for shown in (part, sealed.disclose(entry.type)):
        assert rfc8785.dumps(json.loads(shown.encode())) == shown.encode()
        assert Disclosure.decode(shown.encode()) == shown
        assert Disclosure.from_json(json.loads(shown.encode())) == shown


def test_a_part_of_an_entry_says_nothing_of_the_rest() -> None:
    entry, sealed = accepted(sender="nor/desk#d1", message="nor/desk#d1", label="x")
    openings = sealed.openings(entry.type)

    part = sealed.disclose(entry.type, ["label"])

    assert len({opening.key for opening in openings.values()}) == len(openings)
    assert part.hidden["sender"] != part.hidden["message"]
    assert b"nor" not in part.encode()
    for name in ("sender", "message"):
        assert to_base64(openings[name].key).encode() not in part.encode()
    assert to_base64(sealed.secret).encode() not in part.encode()


def test_a_field_that_the_entry_has_not_is_not_shown() -> None:
    entry, sealed = accepted(sender="nor/desk#d1")
    part = sealed.disclose(entry.type, ["sender"])

    for shown in (sealed.disclose(entry.type), part):
        with pytest.raises(KeyError):
            shown.only(entry.type, ["act"])
    with pytest.raises(KeyError):
        part.only(entry.type, ["message"])


@given(value=texts)
def test_every_changed_key_and_value_is_refused(value: str) -> None:
    entry, sealed = accepted(sender=value)

    for secret in flipped(sealed.secret):
        with pytest.raises(OpeningError):
            entry.open(Sealed(secret, sealed.values))
    for other in (value + "x", value[:-1] if value else None, None, 7, (value,)):
        values = {} if other is None else {"sender": other}
        with pytest.raises(OpeningError):
            entry.open(Sealed(sealed.secret, values))
        part = sealed.disclose(entry.type, ["sender"])
        changed = Opening(part.opened["sender"].key, other)
        with pytest.raises(OpeningError):
            entry.open(Disclosure({"sender": changed}, part.hidden))


@pytest.mark.parametrize("names", [None, [], ["dtg"], ["dtg", "sender", "to"]])
def test_every_changed_bit_of_a_disclosure_is_refused(names: list[str] | None) -> None:
    entry, sealed = accepted(sender="nor/desk#d1", dtg=3, to=("deu/a", "deu/b"))

    for changed in flipped(sealed.disclose(entry.type, names).encode()):
        with pytest.raises((OpeningError, OpeningFormatError)):
            entry.open(Disclosure.decode(changed))


def test_every_changed_bit_of_stored_fields_is_refused() -> None:
    entry, sealed = accepted(sender="nor/desk#d1", dtg=3, to=("deu/a", "deu/b"))

    for changed in flipped(sealed.encode()):
        with pytest.raises((OpeningError, OpeningFormatError)):
            entry.open(Sealed.decode(entry.type, changed))


def test_a_disclosure_tells_of_every_field_once() -> None:
    entry, sealed = accepted(sender="nor/desk#d1", dtg=3)
    part = sealed.disclose(entry.type, ["sender"])
    fewer = {name: each for name, each in part.hidden.items() if name != "dtg"}

    for shown in (
        Disclosure(part.opened, fewer),
        Disclosure(part.opened, {**part.hidden, "act": bytes(32)}),
        Disclosure(part.opened, {**part.hidden, "sender": bytes(32)}),
        Disclosure({**part.opened, "act": part.opened["sender"]}, part.hidden),
        Disclosure(),
        Disclosure(whole=Sealed(sealed.secret, {**sealed.values, "act": "started"})),
        Disclosure(whole=Sealed(sealed.secret, {**sealed.values, "x" * 300: "y"})),
        Disclosure({**part.opened, "x" * 300: part.opened["sender"]}, part.hidden),
    ):
        with pytest.raises(OpeningError):
            entry.open(shown)


def test_a_commitment_to_a_value_of_another_kind_is_refused() -> None:
    forged = Sealed(bytes(32), {"dtg": "yesterday"})
    made = [
        commitment.commit(opening.key, name, opening.value)
        for name, opening in forged.openings(EntryType.ACCEPTED).items()
    ]
    fields = commitment.hash_fields(made)
    wrong = Entry(EntryType.ACCEPTED, NOW, fields, **shown(EntryType.ACCEPTED))

    for disclosed in (forged, forged.disclose(wrong.type, ["dtg"])):
        with pytest.raises(OpeningError, match="none"):
            wrong.open(disclosed)
    with pytest.raises(OpeningFormatError):
        Sealed.decode(wrong.type, forged.encode())
    with pytest.raises(OpeningError, match="no value"):
        wrong.open(Sealed(bytes(32), {"dtg": 2**53}))


def test_what_is_shown_does_not_print_its_keys_or_values() -> None:
    entry, sealed = accepted(sender="nor/desk#d1")

    for secret in (
        sealed,
        sealed.openings(entry.type),
        sealed.disclose(entry.type),
        sealed.disclose(entry.type, ["sender"]),
    ):
        assert "nor" not in repr(secret)
        assert repr(sealed.secret)[2:-1] not in repr(secret)
    assert sealed.openings(entry.type)["sender"].key.hex() not in repr(sealed)


HASH = "A" * 43 + "="


@pytest.mark.parametrize(
    "body",
    [
        [],
        7,
        {},
        {"opened": {}},
        {"hidden": {}, "opened": {}, "more": {}},
        {"hidden": {}, "opened": []},
        {"hidden": [], "opened": {}},
        {"hidden": {"to": "AA=="}, "opened": {}},
        {"hidden": {"to": 7}, "opened": {}},
        {"hidden": {"x" * 300: HASH}, "opened": {}},
        {"hidden": {}, "opened": {"x" * 300: {"key": HASH, "value": 1}}},
        {"hidden": {}, "opened": {"sender": 7}},
        {"hidden": {}, "opened": {"sender": {}}},
        {"hidden": {}, "opened": {"sender": {"key": "AA==", "value": 1}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": 1.5}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": True}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": [1]}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": {}}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": 2**53}}},
        {"hidden": {}, "opened": {"sender": {"key": 7, "value": 1}}},
        {"hidden": {}, "opened": {"sender": {"key": HASH, "value": 1, "more": 1}}},
        {"secret": HASH},
        {"secret": "AA==", "values": {}},
        {"secret": HASH, "values": []},
        {"secret": HASH, "values": {"sender": None}},
        {"secret": HASH, "values": {"sender": 2**53}},
        {"secret": HASH, "values": {"sender": "x" * commitment.MAX_VALUE_BYTES}},
    ],
    ids=[f"body {n}" for n in range(27)],
)
def test_what_is_no_disclosure_is_refused(body: object) -> None:
    with pytest.raises(OpeningFormatError):
        Disclosure.decode(commitment.dump(body))
    with pytest.raises(OpeningFormatError):
        Disclosure.from_json(body)


def test_what_is_shown_has_a_largest_size() -> None:
    with pytest.raises(OpeningFormatError):
        Disclosure.decode(b" " * (MAX_DISCLOSURE_BYTES + 1))
    with pytest.raises(OpeningFormatError):
        Sealed.decode(EntryType.ADMIN, b" " * (MAX_SEALED_BYTES + 1))


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(32), bytes(32) + b"[]", bytes(32) + b"{} "])
def test_what_are_no_stored_fields_is_refused(data: bytes) -> None:
    with pytest.raises(OpeningFormatError):
        Sealed.decode(EntryType.ADMIN, data)


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
