"""Bundles: what is written is whole for both verifiers, and nothing else is written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liaison.audit import archive, events, layout, manifest, verify_alone
from liaison.audit.archive import Archive, ArchiveWriter, Member, Spool
from liaison.audit.bundle import BundleWriter
from liaison.audit.errors import (
    BundleInvalidError,
    EventError,
    ExportError,
    ManifestError,
)
from liaison.audit.events import Event
from liaison.audit.manifest import Facts, Manifest
from liaison.audit.stream import Stream
from liaison.audit.verify import read_events, verify
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import ChannelId, Epoch, Seq
from liaison.tlog import commitment, entries, tiles
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.commitment import Value
from liaison.tlog.disclosure import Sealed
from liaison.tlog.entries import Entry
from liaison.tlog.errors import CheckpointError
from liaison.tlog.fields import OPEN, SCHEMAS, EntryType, Kind
from liaison.tlog.merkle import CompactRange
from liaison.tlog.note import Note
from liaison.tlog.policy import Listed, Policy
from liaison.tlog.vkey import SignatureType
from tests.core.audit.mutations import Target
from tests.core.audit.support import AGREEMENT, MESSAGE, ORIGIN, POLICY, AuditedLog
from tests.core.tlog.support import NOW, key_pair

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def log() -> AuditedLog:
    log = AuditedLog()
    log.grow(600)
    return log


def short(count: int = 5) -> AuditedLog:
    log = AuditedLog()
    log.grow(count)
    return log


LINED = short(8).made[0]


# --- what is written is whole ---------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    end=st.sampled_from([1, 2, 255, 256, 257, 511, 512, 600]),
    tile=st.integers(0, 2),
    derived=st.booleans(),
    report=st.booleans(),
    data=st.data(),
)
def test_every_bundle_is_whole_for_both_verifiers(
    log: AuditedLog, end: int, tile: int, derived: bool, report: bool, data: st.DataObject
) -> None:
    part = AuditedLog()
    part.data, part.sealed, part.made = log.data[:end], log.sealed[:end], log.made[:end]
    first = min(256 * tile, (end - 1) // 256 * 256)
    sizes = data.draw(st.lists(st.integers(first, end - 1), max_size=3))

    bundle = part.bundle(sizes, first, derived=derived, report=report)

    ours = verify(io.BytesIO(bundle))
    alone = verify_alone.verify(io.BytesIO(bundle))
    assert ours.manifest.entries == end - first
    assert [c.checkpoint.size for c in ours.checkpoints] == sorted({*sizes, end} - {0})
    assert alone.manifest.digest == ours.manifest.digest
    assert [tuple(c.checkpoint) for c in alone.checkpoints] == [
        (c.checkpoint.origin, c.checkpoint.size, c.checkpoint.root) for c in ours.checkpoints
    ]
    assert ours.is_own_verifier
    assert not ours.is_own_policy


def test_the_same_input_gives_the_same_bytes(log: AuditedLog) -> None:
    assert log.bundle((256,)) == log.bundle((256,))


def test_a_bundle_is_a_zip_archive_for_everyone(log: AuditedLog) -> None:
    with zipfile.ZipFile(io.BytesIO(log.bundle())) as opened:
        assert opened.testzip() is None
        made = Manifest.decode(opened.read(manifest.NAME))
        for name, file in made.files.items():
            data = opened.read(name)
            assert (len(data), hashlib.sha256(data).digest()) == (file.size, file.sha256)
        bundle = opened.read("tile/entries/001")
        assert tiles.decode_entries(tiles.Tile(None, 1), bundle) == log.data[256:512]
        assert "verify.py" in opened.namelist()


def test_ml_dsa_cosignatures_are_left_to_the_auditor_and_counted() -> None:
    log = AuditedLog(SignatureType.COSIGNATURE_MLDSA44)
    log.grow(3)
    bundle = log.bundle()

    report = verify_alone.verify(io.BytesIO(bundle))

    assert report.left == 2
    assert any("2 ML-DSA-44" in line for line in verify_alone.told(report))
    assert len(verify(io.BytesIO(bundle)).checkpoints[-1].witnesses) == 2


def test_the_auditors_own_policy_and_witnesses_decide(log: AuditedLog) -> None:
    bundle = log.bundle()
    other = Policy((Listed(key_pair(ORIGIN, seed=1)[0]),))
    alone = Policy((Listed(log.key),), {"nor": log.policy.witnesses["nor"]}, {}, "nor")

    assert verify(io.BytesIO(bundle), policy=alone, required=["nor"]).is_own_policy
    verify_alone.verify(io.BytesIO(bundle), alone.encode(), ["nor"])
    for policy, required in ((other, []), (alone, ["deu"])):
        with pytest.raises(BundleInvalidError):
            verify(io.BytesIO(bundle), policy=policy, required=required)
        with pytest.raises(verify_alone.InvalidError):
            verify_alone.verify(io.BytesIO(bundle), policy.encode(), required)


def test_a_channel_that_began_before_the_range_is_told(log: AuditedLog) -> None:
    begun = dict(verify(io.BytesIO(log.bundle(first=256))).begun)

    assert begun
    assert all(number > 1 for number in begun.values())
    assert verify(io.BytesIO(log.bundle())).begun == ()


def test_a_channel_whose_first_items_the_log_never_had_is_found() -> None:
    log = AuditedLog()
    log.channels[1] = 5, 0
    for _ in range(3):
        log.item(1)
    bundle = io.BytesIO(log.bundle())

    with pytest.raises(BundleInvalidError, match="goes on with item 5, not 1") as found:
        verify(bundle)
    with pytest.raises(verify_alone.InvalidError, match="goes on with item 5, not 1"):
        verify_alone.verify(bundle)

    assert found.value.index == 0


def test_a_gap_that_the_log_has_signed_is_found() -> None:
    log = short(0)
    log.item(1)
    log.channels[1] = (3, 0)
    log.item(1)

    found(log.bundle(), index=1, what="goes on with item 3")


@pytest.mark.parametrize(("second", "what"), [(0, "epoch 1, not 0"), (2, "epoch 1, not 2")])
def test_a_commit_for_another_epoch_that_the_log_has_signed_is_found(
    second: int, what: str
) -> None:
    log = short(0)
    log.item(1, EntryType.COMMIT)
    log.channels[1] = (2, second)
    log.item(1, EntryType.COMMIT)

    found(log.bundle(), index=1, what=what)


def found(bundle: bytes, index: int, what: str) -> None:
    with pytest.raises(BundleInvalidError, match=what) as ours:
        verify(io.BytesIO(bundle))
    with pytest.raises(verify_alone.InvalidError, match=what) as alone:
        verify_alone.verify(io.BytesIO(bundle))
    assert ours.value.index == alone.value.index == index


@pytest.mark.parametrize(
    "values",
    [{"party": 1}, {"party": ("NOR",)}, {"to": "deu"}, {"dtg": "now"}, {"dtg": ("x",)}, {"to": 5}],
    ids=repr,
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_value_that_a_field_can_not_have_is_found_though_the_log_has_committed_to_it(
    values: dict[str, Value], whole: bool
) -> None:
    log = short(2)
    forged, honest = Sealed(bytes(32), values), log.made[1]
    openings = forged.openings(EntryType.ACCEPTED)
    commitments = [commitment.commit(o.key, name, o.value) for name, o in openings.items()]
    entry = Entry(
        EntryType.ACCEPTED,
        honest.time,
        commitment.hash_fields(commitments),
        entries.pseudonym(ORIGIN, ChannelId(bytes(16))),
        Seq(1),
        Epoch(0),
        POLICY,
        256,
    )
    log.data[1] = entry.encode()
    out = io.BytesIO()
    writer = log.writer(out, log.facts(), derived=False)
    shown = forged.encode() if whole else forged.disclose(EntryType.ACCEPTED, values)
    writer.add([(log.data[0], None), (log.data[1], shown)])
    writer.finish(log.key, log.signer)

    found(out.getvalue(), index=1, what="openings.jsonl")


# --- what is not written --------------------------------------------------------------------------


def test_a_relay_does_not_export_what_nobody_could_verify(log: AuditedLog) -> None:
    facts, out = log.facts(), io.BytesIO()
    rows = [(data, None) for data in log.data]

    writer = log.writer(out, facts)
    writer.add(rows[:-1])
    with pytest.raises(ExportError, match="missing"):
        writer.finish(log.key, log.signer)
    with pytest.raises(ExportError, match="more entries"):
        writer.add(rows[:2])
    with pytest.raises(ExportError, match="other entries"):
        log.writer(out, facts, (300,)).add([*rows[:7], rows[8], *rows[8:]])
    with pytest.raises(ExportError, match="no file"):
        writer.attach("notes.txt", b"")
    with pytest.raises(ExportError, match="without events"):
        next(log.writer(out, facts, derived=False).events())


def test_a_relay_does_not_export_on_a_checkpoint_that_does_not_count(log: AuditedLog) -> None:

    good = log.checkpoint(600).encode()
    for notes, size in (
        ([], 0),
        ([log.checkpoint(600, NOW, "nor").encode()], 0),
        ([log.checkpoint(599).encode()], 0),
        ([b"no note\n"], 0),
        ([good, log.checkpoint(600).encode()[:-3]], 0),
        ([good], 1),
    ):
        with pytest.raises(ExportError):
            BundleWriter(
                log.facts(),
                io.BytesIO().write,
                policy=log.policy,
                notes=notes,
                before=CompactRange().extend([bytes(32)] * size),
                spool=io.BytesIO,
            )


# --- events ---------------------------------------------------------------------------------------


def test_events_say_what_the_entries_say(log: AuditedLog) -> None:
    told = list(read_events(io.BytesIO(log.bundle())))
    seen: list[Event] = []
    verify(io.BytesIO(log.bundle()), take=seen.append)

    assert told == seen
    assert len(told) == 600
    for event, entry in zip(told, log.made, strict=True):
        assert (event.type, event.time) == (entry.type, entry.time)
        assert event.is_opened is (event.index % 7 != 3)
        assert bool(event.hidden) is (event.index % 7 == 5)
        assert event.when.timestamp() * 1000 == pytest.approx(entry.time)
    first = told[0]
    assert first.values == MESSAGE
    assert first.text("sender") == MESSAGE["sender"]
    assert first.number("dtg") == MESSAGE["dtg"]
    assert first.texts("to") == MESSAGE["to"]
    assert (first.text("dtg"), first.number("to"), first.texts("sender")) == ("", None, ())


def test_a_writer_gives_the_events_of_what_was_added(log: AuditedLog) -> None:
    writer = log.writer(io.BytesIO(), log.facts())
    writer.add((log.data[n], log.shown(n)) for n in range(600))

    assert list(writer.events()) == list(read_events(io.BytesIO(log.bundle())))


def test_the_table_has_a_row_for_each_entry_that_no_spreadsheet_takes_for_a_formula() -> None:
    log = short(0)
    hostile: dict[str, Value] = {
        "party": "=1+1",
        "act": "@x",
        "subject": "a\r\nb\x00",
        "digest": '+"quoted",',
    }
    log.add(EntryType.ADMIN, hostile)
    with zipfile.ZipFile(io.BytesIO(log.bundle())) as opened:
        text = opened.read("events.csv").decode()

    (row,) = csv.DictReader(io.StringIO(text, newline=""))

    assert list(row) == list(events.COLUMNS)
    assert (row["party"], row["act"], row["subject"], row["digest"]) == (
        "'=1+1",
        "'@x",
        "a  b ",
        '\'+"quoted",',
    )
    assert (row["index"], row["type"], row["opened"]) == ("0", "admin", "yes")
    assert text.count("\n") == 2


def test_nor_where_the_semicolon_separates() -> None:
    log = short(0)
    values: dict[str, Value] = {
        "party": "NATO/RESTRICTED; Releasable to=x;=HYPERLINK(A1)",
        "act": "a; -1;b",
        "subject": "\uff1d1+1",
        "digest": "a;b; c",
    }
    log.add(EntryType.ADMIN, values)
    bundle = log.bundle()
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        text = opened.read("events.csv").decode()

    (row,) = csv.DictReader(io.StringIO(text, newline=""))

    assert [row[name] for name in ("party", "act", "subject", "digest")] == [
        "NATO/RESTRICTED; Releasable to=x;'=HYPERLINK(A1)",
        "a; '-1;b",
        "'\uff1d1+1",
        "a;b; c",
    ]
    verify_alone.verify(io.BytesIO(bundle))


@given(st.text(st.sampled_from(",;\"= '@-\t\n\u3000a"), max_size=9))
@example("x;\"=cmd|'/c calc'!A1;y")
@example("\t=A1")
def test_nor_does_any_text_whichever_separates(text: str) -> None:
    line = events.table([["a", events._cell(text), "b"]]).decode()

    for separator in ",;":
        (cells,) = csv.reader([line], delimiter=separator)
        assert not any(re.match(r"\s*[=@-]", cell) for cell in cells), cells
    assert events._cell(text) == verify_alone.cell(text)


awkward = st.text(st.sampled_from(',;"= @-\r\n\x7f\u2028\uff1dax\t'), max_size=6) | st.text(
    max_size=6
)


@given(
    label=awkward,
    to=st.lists(awkward, max_size=3),
    dtg=st.integers(-(10**6), 10**6),
    hidden=st.booleans(),
)
def test_a_row_that_is_written_quickly_is_the_row_that_a_csv_writer_writes(
    label: str, to: list[str], dtg: int, *, hidden: bool
) -> None:
    entry = json.loads(LINED.encode())
    values = {"dtg": dtg, "label": label, "to": to}
    names = ("party",) if hidden else ()
    shown = {**entry, "index": 7, "time": events.iso(entry["time"]), "policy": POLICY.version}

    for said in (values, None):
        expected = events.table([events.row(shown, said, names)])
        assert events.record(7, entry, said, names) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]\n",
        b"{}\n",
        b'{"fields":null,"index":0,"time":"2023","type":"admin"}\n',
        b'{"fields":null,"index":0,"more":1,"time":"2023-11-14T22:13:20.000Z","type":"admin"}\n',
        b'{"fields":{"a":1.5},"index":0,"time":"2023-11-14T22:13:20.000Z","type":"admin"}\n',
        b'{"fields":null,"index":0,"time":"2023-11-14T22:13:20.000Z","type":"other"}\n',
        b'{"fields":null,"index":0,"time":"2023-11-14T22:13:20.000Z","type":"admin"}',
    ],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(EventError):
        Event.decode(line)


def test_the_events_of_a_bundle_without_them_are_made_anew(log: AuditedLog) -> None:
    bare = log.bundle(derived=False)

    assert list(read_events(io.BytesIO(bare))) == list(read_events(io.BytesIO(log.bundle())))


# --- the manifest ---------------------------------------------------------------------------------


def test_a_manifest_is_read_as_it_was_written(log: AuditedLog) -> None:
    with zipfile.ZipFile(io.BytesIO(log.bundle())) as opened:
        data = opened.read(manifest.NAME)

    made = Manifest.decode(data)

    assert made.encode() == data
    assert made.facts == log.facts()
    assert made.facts.agreement == AGREEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"format": "liaison.bundle/2"},
        {"more": 1},
        {"made_at": None},
        {"made_at": -1},
        {"made_at": True},
        {"origin": 7},
        {"party": "x" * 1025},
        {"counts": {"disclosed": 0, "entries": 4}},
        {"counts": {"disclosed": "0", "entries": 5}},
        {"range": {"end": 5, "first": 5, "since": None, "until": None}},
        {"range": {"end": 5, "first": 1, "since": None, "until": None}},
        {"range": {"end": 5.0, "first": 0, "since": None, "until": None}},
        {"range": {"end": 5, "first": 0, "since": "now", "until": None}},
        {"files": []},
        {"files": {"policy": {"sha256": "AA==", "size": 1}}},
        {"agreement": {"id": "1", "limits": {"FLASH": "1"}, "parties": {}, "versions": []}},
        {"agreement": {"id": "1", "limits": {}, "parties": {"NOR": 1}, "versions": []}},
        {"agreement": {"id": "1", "limits": {}, "parties": {}, "versions": [{"version": 1}]}},
        {"agreement": {"id": "1", "limits": {}, "parties": {}}},
    ],
    ids=repr,
)
def test_what_is_no_manifest_is_refused_by_both_verifiers(change: dict[str, object]) -> None:
    with zipfile.ZipFile(io.BytesIO(short().bundle())) as opened:
        body = json.loads(opened.read(manifest.NAME))
    data = json.dumps({**body, **change}, separators=(",", ":"), sort_keys=True).encode()

    with pytest.raises(ManifestError):
        Manifest.decode(data)
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        verify_alone.parse_manifest(data)


def signed_anew(log: AuditedLog, bundle: bytes, data: bytes) -> io.BytesIO:
    """Put another manifest into a bundle, and have the log sign it."""
    note = Note(manifest.statement(ORIGIN, hashlib.sha256(data).digest()))
    out = io.BytesIO()
    writer = archive.ArchiveWriter(out.write)
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    files |= {manifest.NAME: data, "manifest.sig": note.signed_by(log.key, log.signer).encode()}
    for name, each in files.items():
        writer.add(name, each)
    writer.close()
    return out


@pytest.mark.parametrize("kind", ["long", "many files", "other log"])
def test_a_manifest_that_would_fill_the_memory_is_refused_by_both_verifiers(kind: str) -> None:
    log = short(3)
    bundle = log.bundle()
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        data = opened.read(manifest.NAME)
    if kind == "long":
        data = b"[" + b",".join([b"[]"] * (1 << 19)) + b"]"
    elif kind == "many files":
        body = json.loads(data)
        # Each tile of it would be named before anything else is looked at.
        body["range"]["end"] = body["counts"]["entries"] = 2**62
        data = commitment.dump(body)
    else:
        data = data.replace(ORIGIN.encode(), b"relay.example.org/log/4567")
    changed = signed_anew(log, bundle, data)

    with pytest.raises(BundleInvalidError) as ours:
        verify(changed)
    with pytest.raises(verify_alone.InvalidError) as alone:
        verify_alone.verify(changed)

    part = "manifest.sig" if kind == "other log" else manifest.NAME
    assert (ours.value.part, alone.value.part) == (part, part)


@pytest.mark.parametrize("name", layout.DERIVED)
def test_events_in_one_of_their_two_forms_are_refused_by_both_verifiers(name: str) -> None:
    log = short(0)
    log.add(EntryType.ADMIN, {"act": "something"})
    out, facts = io.BytesIO(), log.facts()
    writer = log.writer(out, facts, derived=False)
    writer.add([(log.data[0], None)])
    writer.finish(log.key, log.signer)
    plain = Target(log, out.getvalue(), (1,))
    files = dict(plain.files)
    after = {each: files.pop(each) for each in ("verify.py", manifest.NAME, "manifest.sig")}
    # A table without a row, for a reader who opens nothing else.
    files[name] = events.header() if name == layout.TABLE else b""

    changed = io.BytesIO(plain.packed({**files, **after}, signed=True))

    with pytest.raises(BundleInvalidError, match=r"manifest\.json"):
        verify(changed)
    with pytest.raises(verify_alone.InvalidError, match=r"manifest\.json"):
        verify_alone.verify(changed)


def test_what_nobody_has_signed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log = short(3)
    stranger = short(3)
    stranger.signer = SigningKey.generate(SignatureScheme.ED25519)
    changed = signed_anew(stranger, log.bundle(), b"[" * 100_000)

    for module, name in ((verify_alone, "parse_manifest"), (Manifest, "decode")):
        monkeypatch.setattr(module, name, lambda _data: pytest.fail("it was read"))
    with pytest.raises(BundleInvalidError, match=r"manifest\.sig"):
        verify(changed)
    with pytest.raises(verify_alone.InvalidError, match=r"manifest\.sig"):
        verify_alone.verify(changed)


def test_the_signature_of_a_manifest_is_never_one_of_a_checkpoint() -> None:

    with pytest.raises(CheckpointError):
        Checkpoint.parse(manifest.statement("1\nAAAA", bytes(32)))


def test_a_range_begins_at_a_tile() -> None:
    with pytest.raises(ManifestError):
        Facts(ORIGIN, AGREEMENT, "NOR", 255, 600, None, None, 0)


# --- the archive ----------------------------------------------------------------------------------


def zipped(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    writer = ArchiveWriter(out.write)
    for name, data in files:
        writer.add(name, data)
    writer.close()
    return out.getvalue()


def test_every_changed_bit_of_an_archives_structure_is_refused_by_both_verifiers() -> None:
    data = zipped(("a", b""), ("b/c.txt", b"xy"))

    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            for read in (read_ours, read_alone):
                with pytest.raises((BundleInvalidError, verify_alone.InvalidError)):
                    read(bytes(changed))
    assert read_ours(data) == read_alone(data) == {"a": b"", "b/c.txt": b"xy"}


def read_ours(data: bytes) -> dict[str, bytes]:

    opened = Archive(io.BytesIO(data))
    if list(opened.members) != ["a", "b/c.txt"]:
        raise BundleInvalidError("other names")
    return {name: Stream(opened, name, None).whole(9) for name in opened.members}


def read_alone(data: bytes) -> dict[str, bytes]:
    opened = verify_alone.Archive(io.BytesIO(data))
    if list(opened.members) != ["a", "b/c.txt"]:
        raise verify_alone.InvalidError("other names")
    return {name: verify_alone.read_file(opened, name, None, 9) for name in opened.members}


def test_an_archive_has_no_file_twice_and_no_bad_name() -> None:
    for name in ("/a", "../a", "A", "", "a" * 256, "a\\b"):
        with pytest.raises(ValueError, match="no name"):
            zipped((name, b""))
    for opened in (Archive, verify_alone.Archive):
        with pytest.raises((BundleInvalidError, verify_alone.InvalidError)):
            opened(io.BytesIO(zipped(("a", b""), ("a", b""))))


def test_archives_with_more_files_than_two_bytes_count_are_read_by_all() -> None:
    data = zipped(*((f"f{n}", b"") for n in range(0x10001)))

    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        names = theirs.namelist()
    assert list(Archive(io.BytesIO(data)).members) == names
    assert list(verify_alone.Archive(io.BytesIO(data)).members) == names


@pytest.mark.parametrize(
    ("size", "offset"),
    [(5, 2**32 - 1), (2**32 - 1, 5), (2**33, 2**34), (2**32 - 2, 2**32 - 2)],
)
def test_large_numbers_stand_where_the_format_wants_them(size: int, offset: int) -> None:
    member = Member("a", size, 7, offset)
    theirs = zipfile.ZipInfo("a", (1980, 1, 1, 0, 0, 0))
    theirs.CRC, theirs.file_size, theirs.compress_size = 7, size, size
    theirs.create_system = theirs.external_attr = 0

    # Near the limit the standard library changes over earlier.
    if size in {5, 2**33}:
        assert member.header == theirs.FileHeader(zip64=None)
    alone = verify_alone.Member("a", size, 7, offset)
    assert (alone.header(), alone.record()) == (member.header, member.record)
    (read,) = archive._records(member.record, 1)  # reason: a file of 4 GiB takes too long
    assert read == member


def test_a_spool_knows_what_was_written_to_it() -> None:
    spool = Spool(io.BytesIO())
    spool.write(b"one\n")
    spool.write(b"two\n")

    assert (spool.size, spool.digest) == (8, hashlib.sha256(b"one\ntwo\n").digest())
    assert list(spool.lines()) == [b"one\n", b"two\n"]
    assert Spool.of(io.BytesIO(b"one\ntwo\n")).digest == spool.digest


# --- verify.py ------------------------------------------------------------------------------------


def test_verify_py_knows_the_fields_of_every_type() -> None:
    kinds = {Kind.TEXT: str, Kind.NUMBER: int, Kind.TEXTS: list}

    assert verify_alone.OPEN == OPEN
    assert {
        type_.value: (
            set(schema.required),
            set(schema.shown),
            {name: kinds[kind] for name, kind in schema.sealed.items()},
        )
        for type_, schema in SCHEMAS.items()
    } == verify_alone.SCHEMAS
    assert tuple(verify_alone.HEADINGS) == events.COLUMNS


def test_verify_py_imports_nothing_but_the_standard_library() -> None:

    text = (ROOT / "liaison" / "audit" / "verify_alone.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))

    assert imported <= sys.stdlib_module_names


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=40), data=st.data())
@settings(max_examples=15, deadline=None)
def test_verify_py_takes_the_signatures_that_libsodium_makes_and_no_others(
    seed: bytes, message: bytes, data: st.DataObject
) -> None:

    signer = SigningKey.from_bytes(SignatureScheme.ED25519, seed)
    key = verify_alone.Ed25519Key(signer.public_bytes)
    signature = signer.sign(message)
    changed = bytearray(signature)
    changed[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    number = int.from_bytes(signature[32:], "little") + verify_alone.ORDER

    assert key.holds(signature, message)
    assert not key.holds(bytes(changed), message)
    assert not key.holds(signature[:32] + number.to_bytes(32, "little"), message)
    assert not key.holds(signature, message + b"x")
    assert not key.holds(signature[:-1], message)


def test_layout_names_the_tiles_that_lie_in_the_range() -> None:
    for first, end in ((0, 1), (0, 256), (0, 70_000), (256, 70_000), (65_536, 140_000)):
        named = [tile.path for tile in layout.tiles_of(first, end)]
        assert [verify_alone.tile_path(*t) for t in verify_alone.tiles_of(first, end)] == named
    assert layout.tiles_of(0, 70_000) == tiles.needed(70_000)
