"""What auditors are told of a log that follows another one: by the command, by verify.py, by the report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from liaison.audit import report, verify_alone
from liaison.audit.manifest import Predecessor
from liaison.tlog.channels import ROOM
from liaison.tlog.fields import EntryType
from liaison_auditor.main import run
from tests.core.audit.support import ORIGIN, POLICY, AuditedLog
from tests.support import audit_story

HEAD = Predecessor(ORIGIN, 700, bytes(range(32)))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    log = AuditedLog(origin=f"{ORIGIN}/2", predecessor=HEAD)
    log.add(EntryType.CHECKPOINT, dict(HEAD.values), policy=POLICY)
    log.channels[1] = (ROOM + 1, 2)
    log.item(1)
    file = tmp_path / "audit.zip"
    file.write_bytes(log.bundle())
    return file


def test_the_command_tells_which_log_it_follows(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(bundle)]) == 0
    told = capsys.readouterr()
    assert run(["verify", "--json", str(bundle)]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())

    assert f"follows      {ORIGIN}, up to entry 700, root {HEAD.root.hex()}" in told.out
    assert "1 channel began before this log" in told.err
    assert record["predecessor"] == HEAD.values


def test_verify_py_tells_it_too(bundle: Path) -> None:
    found = verify_alone.verify(io.BytesIO(bundle.read_bytes()))

    assert any(line.startswith(f"follows      {ORIGIN}") for line in verify_alone.told(found))


def test_the_report_tells_it_and_that_more_may_have_been_given_up() -> None:
    known = audit_story.facts(20)
    head = Predecessor(known.origin, 700, bytes(range(32)))
    facts = audit_story.facts(20, origin=f"{known.origin}/2", predecessor=head)

    page = report.make(facts, audit_story.long(10))

    assert "<dt>Follows</dt>" in page
    assert head.root.hex() in page
    assert "what it had beyond is not in this one" in page
    assert "<dt>Follows</dt>" not in report.make(known, audit_story.long(10))
