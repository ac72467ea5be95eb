"""`liaison-auditor verify`, `show`, `events` and `compare`, as an auditor runs them."""

from __future__ import annotations

import csv
import io
import json
import subprocess  # reason: verify.py is a program
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liaison.audit import events, verify_alone
from liaison.audit.manifest import Facts
from liaison.audit.verify import read_events
from liaison.tlog.entries import PolicyRef
from liaison.tlog.fields import EntryType
from liaison.tlog.note import Note
from liaison_auditor.main import run
from tests.core.audit.support import AGREEMENT, MESSAGE, POLICY, AuditedLog
from tests.core.tlog.support import NOW, key_pair


@pytest.fixture(scope="module")
def log() -> AuditedLog:
    made = AuditedLog()
    made.grow(300)
    return made


@pytest.fixture
def bundle(log: AuditedLog, tmp_path: Path) -> Path:
    return saved(tmp_path / "audit.zip", log.bundle((100,)))


def saved(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def changed(bundle: Path, name: str = "tile/entries/000", at: int = 300) -> Path:
    with zipfile.ZipFile(bundle) as opened:
        info = opened.getinfo(name)
    data = bytearray(bundle.read_bytes())
    data[info.header_offset + 30 + len(name) + at] ^= 1
    return saved(bundle.with_name("changed.zip"), bytes(data))


def alone(bundle: Path) -> list[str]:
    return verify_alone.told(verify_alone.verify(io.BytesIO(bundle.read_bytes())))


def auditor(*words: str | Path) -> int:
    return run([str(word) for word in words])


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- verify ---------------------------------------------------------------------------------------


def test_a_bundle_that_is_right_is_verified(
    bundle: Path, log: AuditedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert auditor("verify", bundle) == 0

    told = capsys.readouterr()
    assert told.out.endswith("whole, and signed\n")
    assert "entries      0 to 299" in told.out
    assert "--policy" in told.err

    assert auditor("verify", bundle, "--json") == 0
    (record,) = printed(capsys)
    assert record["valid"] is True
    assert record["checkpoints"] == [100, 300]
    assert record["witnesses"].keys() == log.witnesses.keys()


def test_what_there_is_one_of_is_not_told_as_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = AuditedLog()
    short.add(EntryType.ADMIN, {"act": "export"})
    bundle = saved(tmp_path / "audit.zip", short.bundle())

    assert auditor("verify", bundle) == 0
    told = capsys.readouterr().out.splitlines()
    assert "agreement    0123, version 1" in told
    assert "checkpoints  1; the last of 1 entry" in told
    assert auditor("compare", bundle, bundle) == 0
    assert "1 entry and 1 signed size in common" in capsys.readouterr().out
    assert auditor("events", bundle, "-o", tmp_path / "a.jsonl") == 0
    assert capsys.readouterr().out.endswith(": 1 event\n")
    assert auditor("report", bundle) == 0
    assert capsys.readouterr().out.endswith(": of 1 entry, verified\n")
    assert "the last of 1 entry, cosigned" in "\n".join(alone(bundle))


class AmendedLog(AuditedLog):
    """A log of an agreement with a second version."""

    def facts(self, first: int = 0, end: int | None = None) -> Facts:
        versions = (POLICY, PolicyRef(2, bytes(32)))
        return replace(super().facts(first, end), agreement=replace(AGREEMENT, versions=versions))


def test_several_versions_of_an_agreement_are_told_as_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = AmendedLog()
    made.grow(2)

    assert auditor("verify", saved(tmp_path / "audit.zip", made.bundle())) == 0

    assert "agreement    0123, versions 1, 2\n" in capsys.readouterr().out


def test_dates_that_the_witnesses_contradict_are_noted_and_the_bundle_is_whole(
    log: AuditedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = AuditedLog(ahead=3600, data=log.data, sealed=log.sealed, made=log.made)
    bundle = saved(tmp_path / "late.zip", late.bundle((100,)))

    assert auditor("verify", bundle) == 0
    told = capsys.readouterr()
    assert told.out.endswith("whole, and signed\n")
    assert "note: entry 100 is dated 2023-11-14T22:13:21.000Z, 3699 s before deu saw" in told.err
    assert "saw no more than 100 entries at 2023-11-14T23:15:00.000Z: ask" in told.err

    assert auditor("verify", bundle, "--json") == 0
    (record,) = printed(capsys)
    assert [(one["witness"], one["entry"], one["late"]) for one in record["misdated"]] == [
        ("deu", 100, False),
        ("nor", 100, False),
    ]


def test_the_first_entry_that_is_wrong_is_named_and_the_exit_code_is_3(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = changed(bundle)

    assert auditor("verify", wrong) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: entry 1, tile/entries/000: " in told.err

    assert auditor("verify", wrong, "--json") == 3
    (record,) = printed(capsys)
    assert (record["valid"], record["index"], record["part"]) == (False, 1, "tile/entries/000")


def test_the_auditors_policy_and_witnesses_decide(
    bundle: Path, log: AuditedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = saved(tmp_path / "own", log.policy.encode())
    stranger, _ = key_pair("relay.example.org/log/0123", seed=9)
    other = saved(tmp_path / "other", f"log {stranger}\nquorum none\n".encode())

    assert auditor("verify", bundle, "--policy", own, "--require", "nor") == 0
    assert "--policy" not in capsys.readouterr().err
    assert auditor("verify", bundle, "--policy", own, "--require", "fra") == 3
    assert auditor("verify", bundle, "--policy", other) == 3
    assert auditor("verify", bundle, "--policy", saved(tmp_path / "none", b"?")) == 1


def test_what_is_no_bundle_is_none(tmp_path: Path) -> None:
    assert auditor("verify", saved(tmp_path / "a.zip", b"PK")) == 3
    assert auditor("verify", tmp_path / "absent.zip") == 2


@pytest.mark.parametrize("is_right", [True, False])
def test_verify_py_out_of_the_bundle_says_the_same(
    bundle: Path, tmp_path: Path, *, is_right: bool
) -> None:
    with zipfile.ZipFile(bundle) as opened:
        program = Path(opened.extract("verify.py", tmp_path))
    file = bundle if is_right else changed(bundle)

    done = subprocess.run(  # reason: our own program
        [sys.executable, "-I", program, file], capture_output=True, check=False, text=True
    )

    if is_right:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("whole, and signed\n")
    else:
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("verify.py: error: entry 1, tile/entries/000: ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["a", "b"], 2),
        (["--policy"], 2),
        (["--unheard-of", "x", "a"], 2),
        (["absent.zip"], 1),
        (["--help"], 0),
    ],
)
def test_verify_py_understands_its_arguments(words: list[str], code: int, tmp_path: Path) -> None:
    assert verify_alone.main([str(tmp_path / w) if w.endswith("zip") else w for w in words]) == code


def test_verify_py_takes_a_policy_and_required_witnesses(
    bundle: Path, log: AuditedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(saved(tmp_path / "own", log.policy.encode()))

    assert verify_alone.main([str(bundle), "--policy", own, "--require", "nor"]) == 0
    assert "--policy" not in capsys.readouterr().out
    assert verify_alone.main([str(bundle), "--policy", own, "--require", "fra"]) == 3


class AfterTimeLog(AuditedLog):
    """A log with witnesses that cosign for the end of all calendars."""

    def checkpoint(self, size: int, time: int = NOW, *parties: str) -> Note:
        del time
        return super().checkpoint(size, 2**63 - 1, *parties)


def test_a_witness_that_tells_a_time_that_no_calendar_has_keeps_nobody_from_checking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AfterTimeLog()
    log.grow(10)
    bundle = saved(tmp_path / "late.zip", log.bundle())

    for words in (["verify"], ["verify", "--json"], ["show"]):
        assert auditor(*words, bundle) == 0
    assert verify_alone.main([str(bundle)]) == 0
    assert capsys.readouterr().out.count("second 9223372036854775807, after the year 9999") == 8


# --- show -----------------------------------------------------------------------------------------


def test_a_bundle_is_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert auditor("show", bundle) == 0
    text = capsys.readouterr().out
    assert "party        NOR (Norway)" in text
    assert "FLASH to be acknowledged within 600 s" in text

    assert auditor("show", bundle, "--json") == 0
    (record,) = printed(capsys)
    assert record["parties"] == {"NOR": "Norway", "DEU": "Germany"}
    assert "policy" in record["files"]


def test_an_entry_is_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert auditor("show", bundle, "0") == 0
    text = capsys.readouterr().out
    assert f"sender     {MESSAGE['sender']}" in text

    assert auditor("show", bundle, "3", "--json") == 0
    (record,) = printed(capsys)
    assert (record["index"], record["fields"]) == (3, None)
    assert auditor("show", bundle, "3") == 0
    assert "not opened" in capsys.readouterr().out
    assert auditor("show", bundle, "300") == 2


def test_nothing_is_shown_of_a_bundle_that_was_changed(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = changed(bundle)

    for words in (["show"], ["show", "200"], ["events"]):
        assert auditor(words[0], wrong, *words[1:]) == 3
        assert capsys.readouterr().out == ""


# --- events ---------------------------------------------------------------------------------------


def filtered(bundle: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert auditor("events", bundle, "--format", "json", "--json", *words) == 0
    return printed(capsys)


def test_events_are_filtered(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = filtered(bundle, capsys)
    assert [each["index"] for each in every] == list(range(300))
    channel = every[0]["channel"]

    for words, wanted in (
        (["--type", "commit", "--type", "receipt"], lambda e: e["type"] in {"commit", "receipt"}),
        (["--channel", channel[:6].upper()], lambda e: e.get("channel") == channel),
        (["--party", "DEU"], lambda e: (e["fields"] or {}).get("party") == "DEU"),
        (["--precedence", "priority"], lambda e: (e["fields"] or {}).get("action") == "PRIORITY"),
        (["--since", every[50]["time"]], lambda e: e["index"] >= 50),
        (["--until", every[50]["time"]], lambda e: e["index"] < 50),
        (["--since", "2023-11-14T23:13:21+01:00"], lambda e: e["time"] >= "2023-11-14T22:13:21"),
    ):
        found = filtered(bundle, capsys, *words)
        assert found == list(filter(wanted, every))
        assert 0 < len(found) < 300


def test_events_are_written_in_each_format(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(bundle) as opened:
        kept = {name: opened.read(f"events.{name}") for name in ("csv", "jsonl")}

    for name, file in (("csv", "a.csv"), ("json", "a.jsonl")):
        assert auditor("events", bundle, "--format", name, "-o", tmp_path / file) == 0
        assert (tmp_path / file).read_bytes() == kept[file[2:]]
        assert auditor("events", bundle, "--format", name, "-o", tmp_path / file) == 1
        assert auditor("events", bundle, "--format", name, "-o", tmp_path / file, "--force") == 0
    capsys.readouterr()

    assert auditor("events", bundle, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert len(rows) == 300
    assert list(rows[0]) == list(events.COLUMNS)
    assert auditor("events", bundle, "--type", "commit") == 0
    assert capsys.readouterr().out.startswith("INDEX  TIME")


PLACE = {"channel": b"\x0c" * 16, "epoch": 4}
NUMBERED = {**PLACE, "seq": 1, "policy": POLICY, "size": 512}
DEVICES = tuple(f"deu/lno#d{n}" for n in range(1, 6))


@pytest.mark.parametrize(
    ("type_", "values", "shown", "what"),
    [
        (
            "accepted",
            {"action": "FLASH", "kind": "text", "label": "A/B"},
            NUMBERED,
            "FLASH text A/B",
        ),
        ("receipt", {"action": "FLASH", "kind": "receipt"}, NUMBERED, "FLASH receipt"),
        ("commit", {"party": "DEU"}, NUMBERED, "epoch 4 ended"),
        (
            "commit",
            {"added": DEVICES, "removed": ("nor/x#d1",)},
            NUMBERED,
            "epoch 4 ended; added deu/lno#d1, deu/lno#d2, deu/lno#d3 and 2 more; removed nor/x#d1",
        ),
        ("delivered", {"first": 3, "last": 9}, {"channel": b"\x0c" * 16}, "items 3 to 9"),
        ("delivered", {"first": 3, "last": 3}, {"channel": b"\x0c" * 16}, "item 3"),
        ("refused", {"action": "send", "code": "a.b", "rule": "c"}, {}, "send a.b c"),
        ("policy", {"step": "admitted"}, {"policy": POLICY}, "admitted"),
        ("admin", {"act": "hold.set"}, {}, "hold.set"),
        ("member", {"change": "removed", "reason": "left"}, PLACE, "removed left"),
        ("key", {"act": "certificate"}, {}, "certificate"),
        ("export", {"first": 0, "last": 9}, {}, "entries 0 to 9"),
        (
            "export",
            {"first": 0, "last": 9, "filters": ("from 2026-11-01T00:00:00Z",)},
            {},
            "entries 0 to 9 from 2026-11-01T00:00:00Z",
        ),
        ("erasure", {"rule": "retention", "first": 2, "last": 2}, {}, "retention entry 2"),
        ("erasure", {"rule": "retention"}, {}, "retention"),
        ("checkpoint", {"origin": "relay.example", "size": 7}, {}, "7 entries"),
        ("checkpoint", {"origin": "relay.example", "size": 1}, {}, "1 entry"),
    ],
)
def test_every_type_of_entry_says_in_the_table_what_it_is_about(
    type_: str, values: dict[str, Any], shown: dict[str, Any], what: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = AuditedLog()
    made.add(EntryType(type_), values, **shown)
    bundle = saved(tmp_path / "audit.zip", made.bundle())

    assert auditor("events", bundle) == 0

    heading, line = capsys.readouterr().out.splitlines()
    assert line[heading.index("WHAT") :] == what


def test_the_table_says_of_what_is_not_opened_that_it_is_not(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = [event for event in filtered(bundle, capsys) if event["fields"] is None]

    assert auditor("events", bundle) == 0

    lines = capsys.readouterr().out.splitlines()
    assert closed
    assert sum(line.endswith("(not opened)") for line in lines) == len(closed)


def test_events_are_written_as_parquet(bundle: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    file = tmp_path / "events.parquet"

    assert auditor("events", bundle, "--format", "parquet", "-o", file) == 0

    rows = parquet.read_table(file).to_pylist()
    with bundle.open("rb") as opened:
        every = list(read_events(opened))
    assert [row["index"] for row in rows] == list(range(300))
    assert rows[0]["to"] == list(every[0].texts("to"))
    assert rows[0]["time"] == every[0].when


@pytest.mark.parametrize(
    "words",
    [
        ["--type", "unheard-of"],
        ["--since", "yesterday"],
        ["--format", "parquet"],
        ["--format", "x"],
    ],
)
def test_what_can_not_be_asked_for_is_a_usage_error(bundle: Path, words: list[str]) -> None:
    assert auditor("events", bundle, *words) == 2


# --- compare --------------------------------------------------------------------------------------


def test_two_exports_of_one_history_are_compared(
    bundle: Path, log: AuditedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(tmp_path / "other.zip", log.bundle((), first=256))

    assert auditor("compare", bundle, other) == 0
    assert capsys.readouterr().out.startswith("one history: 44 entries")
    assert auditor("compare", bundle, other, "--json") == 0
    (record,) = printed(capsys)
    assert (record["fork"], record["first"], record["end"]) == (False, 256, 300)


def test_two_histories_of_one_log_are_a_fork(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forked = AuditedLog()
    forked.grow(200)
    forked.add(EntryType.ADMIN, {"act": "something else"})
    forked.grow(99)
    other = saved(tmp_path / "other.zip", forked.bundle())

    assert auditor("compare", bundle, other, "--json") == 3
    (record,) = printed(capsys)
    assert (record["fork"], record["index"]) == (True, 200)
    assert auditor("compare", bundle, other) == 3
    assert "two histories" in capsys.readouterr().out


def test_what_nothing_connects_or_is_not_right_is_not_compared(
    bundle: Path, log: AuditedLog, tmp_path: Path
) -> None:
    short = AuditedLog()
    short.grow(10)
    part = saved(tmp_path / "part.zip", short.bundle())
    later = saved(tmp_path / "later.zip", log.bundle((), first=256))

    assert auditor("compare", part, later) == 1
    assert auditor("compare", bundle, changed(bundle)) == 3
