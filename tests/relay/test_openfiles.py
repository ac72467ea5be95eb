"""How many files a relay may have open, and what it says where they are few."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from liaison.relay import checks, log, openfiles
from liaison.relay.checks import Verdict
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from tests.support.relay import RelayProcess, make, quiet

FILES = resource.RLIMIT_NOFILE
FEW, MORE = 300, 700
LIMITED = f'ulimit -Sn {FEW} && ulimit -Hn {MORE} && exec "$@"'


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[RelayProcess]:
    """A relay whose shell has a low soft limit, and a hard one below what its settings need."""
    program = ("sh", "-c", LIMITED, "sh", sys.executable, "-m", "liaison.relay")
    found = RelayProcess(tmp_path / "relay", program=program)
    make(found.data, found.port)
    yield found
    if found.is_running:
        found.kill()


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def logged() -> Iterator[StringIO]:
    with quiet(), redirect_stderr(StringIO()) as lines:
        log.configure()
        yield lines


def test_a_relay_raises_its_soft_limit_and_tells_where_that_is_not_enough(
    limited: RelayProcess,
) -> None:
    limited.start()

    data, load = DataDir(limited.data), partial(Settings, tls=TLSMode.DEV)
    found = {one.check: one for one in checks.run(data, load)}["open files"]
    assert resource.prlimit(limited.pid, FILES) == (MORE, MORE)
    few = [one for one in lines_of(limited.log.read_text()) if one["event"] == "open_files_few"]
    assert [(one["level"], one["count"]) for one in few] == [("warning", MORE)]
    assert found.verdict is Verdict.WARNING
    assert found.text == f"the relay may have {MORE} open; max_connections = 24000 needs 24500"


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, 4096), 4096),
        ((4096, 4096), 4096),
        ((1024, resource.RLIM_INFINITY), openfiles.MOST),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), openfiles.MOST),
        # Who was given more than is asked for keeps it.
        ((openfiles.MOST * 2, openfiles.MOST * 4), openfiles.MOST * 2),
    ],
)
def test_the_limit_is_raised_to_the_hard_one_within_reason_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))

    with logged() as lines:
        assert openfiles.allow(raised - openfiles.BESIDE) == raised

    soft = openfiles.allowed()
    assert asked == ([(raised, limits[1])] if raised > soft else [])
    assert lines.getvalue() == ""


@pytest.mark.parametrize("error", [ValueError("not allowed"), PermissionError(1, "not allowed")])
def test_where_the_limit_can_not_be_raised_the_relay_goes_on_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    with logged() as lines:
        assert openfiles.allow(2000) == 1024

    not_raised, few = lines_of(lines.getvalue())
    assert (not_raised["event"], not_raised["count"]) == ("open_files_not_raised", 1024)
    assert not_raised["error"] == type(error).__name__
    assert (few["event"], few["count"]) == ("open_files_few", 1024)
    assert "dropped" not in not_raised | few
