"""`liaison-auditor report`: verifies, and writes nothing of what does not verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liaison.policy.keys import VerifyKey
from liaison_auditor import main, report
from tests.core.audit.support import AuditedLog


@pytest.fixture(scope="module")
def log() -> AuditedLog:
    made = AuditedLog()
    made.grow(300)
    return made


@pytest.fixture
def bundle(log: AuditedLog, tmp_path: Path) -> Path:
    file = tmp_path / "audit.zip"
    file.write_bytes(log.bundle([100]))
    return file


def _report(*words: str | Path) -> int:
    return main.run(["report", *map(str, words)])


def test_a_bundle_that_verifies_gets_its_report(
    bundle: Path, log: AuditedLog, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _report(bundle, "--json")

    assert code == 0
    file = bundle.with_suffix(".html")
    assert json.loads(capsys.readouterr().out) == {"report": str(file), "entries": 300}
    page = file.read_text(encoding="utf-8")
    assert "The bundle is what the keys in it have signed." in page
    for key, _ in log.witnesses.values():
        assert report.fingerprint(key) in page


def test_with_a_policy_of_the_auditors_own_the_keys_are_the_auditors(
    bundle: Path, log: AuditedLog, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    policy.write_bytes(log.policy.encode())

    assert _report(bundle, "--policy", policy, "--require", "nor") == 0

    page = bundle.with_suffix(".html").read_text(encoding="utf-8")
    assert "The bundle is what was signed and witnessed." in page


def test_the_report_says_where_the_witnesses_contradict_the_dates(
    bundle: Path, log: AuditedLog
) -> None:
    late = AuditedLog(ahead=3600, data=log.data, sealed=log.sealed, made=log.made)
    bundle.write_bytes(late.bundle([100]))

    assert _report(bundle) == 0

    page = bundle.with_suffix(".html").read_text(encoding="utf-8")
    assert "Entry 100 is dated 2023-11-14T22:13:21.000Z, 3699 s before nor saw no more" in page


def test_nothing_is_written_of_a_bundle_that_was_changed(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 1
    bundle.write_bytes(data)

    assert _report(bundle) == 3
    assert "error:" in capsys.readouterr().err
    assert not bundle.with_suffix(".html").exists()


def test_a_witness_that_was_asked_for_and_is_not_there_is_an_error(bundle: Path) -> None:
    assert _report(bundle, "--require", "fra") == 3
    assert not bundle.with_suffix(".html").exists()


def test_an_older_file_is_written_over_only_when_told(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.html"
    file.write_text("mine")

    assert _report(bundle, "-o", file) == 1
    assert file.read_text() == "mine"
    assert _report(bundle, "-o", file, "--force") == 0
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_fingerprints_are_those_of_the_agreement(log: AuditedLog) -> None:
    for key in (log.key, *(key for key, _ in log.witnesses.values())):
        known = VerifyKey(key.type.scheme, key.public)

        assert report.fingerprint(key) == known.key_id
