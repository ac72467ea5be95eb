from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tally as tallies
from tests.support.camp import Camp, pitch
from tests.support.tally import Tally


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = (report for found in terminalreporter.stats.values() for report in found)
    line = tallies.summary(
        one for one in reports if isinstance(one, pytest.TestReport) and one.when == "call"
    )
    if line is not None:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _what_is_left_is_collected() -> Iterator[None]:
    """Free what a scenario has left in circles, and let it be the one that fails for it."""
    yield
    gc.collect()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.node)


@pytest.fixture(scope="session")
def pitched(tmp_path_factory: pytest.TempPathFactory) -> Camp:
    return asyncio.run(pitch(tmp_path_factory.mktemp("camp")))


@pytest.fixture
def camp(pitched: Camp, tmp_path: Path) -> Camp:
    return pitched.copy(tmp_path / "camp")
