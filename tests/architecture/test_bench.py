"""`make bench` is told what to run, and says so where it was told something else."""

from __future__ import annotations

import pytest

from bench import all as benches


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> int:
        raise AssertionError("a bench was begun")

    monkeypatch.setattr(benches, "run", run)


def test_asking_for_help_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        benches.main(["--help"])

    assert exit_.value.code == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("--full", *benches.SHORT))


def test_a_name_of_no_bench_is_a_mistake_that_names_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        benches.main(["mls", "nonesuch"])

    told = capsys.readouterr().err
    assert exit_.value.code == 2
    assert "nonesuch" in told
    assert all(name in told for name in benches.SHORT)
