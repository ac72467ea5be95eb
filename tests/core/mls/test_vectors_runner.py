"""`make vectors` counts what it checked, and nothing else as passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import vectors_runner

GOOD = {"vlbytes_header": "4040", "length": 64}
BAD = {"vlbytes_header": "4040", "length": 65}


def folder_of(path: Path, **files: Any) -> Path:
    for name, cases in files.items():
        file = path / "mls" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(cases), encoding="utf-8")
    return path


def test_cases_that_come_out_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = vectors_runner.main([str(folder_of(tmp_path, other=[GOOD, GOOD], more=[GOOD]))])

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "mls/more.json: 1 passed, 0 failed",
        "mls/other.json: 2 passed, 0 failed",
        "vectors: 3 passed, 0 failed",
    ]


def test_a_case_that_does_not_come_out_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = vectors_runner.main([str(folder_of(tmp_path, mixed=[GOOD, BAD, GOOD]))])

    assert status == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "vectors: 2 passed, 1 failed"
    assert "mls/mixed.json case 1: AssertionError" in said.err


@pytest.mark.parametrize(
    "cases", [[{"unheard_of": 1}], [7], {}, [], [{"psks": 1, "psk_secret": 2}]], ids=str
)
def test_what_can_not_be_checked_has_failed(tmp_path: Path, cases: Any) -> None:
    assert vectors_runner.main([str(folder_of(tmp_path, strange=cases))]) == 1


def test_no_vectors_are_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = vectors_runner.main([str(tmp_path)])

    assert status == 1
    assert capsys.readouterr().out == "vectors: 0 passed, 0 failed\n"
