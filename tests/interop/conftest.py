"""The foreign engines, and what stands between them and the tests: their packages.

A test that takes `table` runs with each foreign engine, or with those that
`@pytest.mark.parametrize("table", ..., indirect=True)` names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import pytest

from tests.interop import ts_mls
from tests.interop.engines import EVERY_ENGINE, Engine
from tests.interop.table import Table

NODE_FLOOR = (20, 19)


def _missing(reason: str) -> None:
    """Skip what can't run here; where everything is tested, fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def node() -> Iterator[ts_mls.Node]:
    """The program that runs ts-mls, installed if need be; one for each test process."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not here")
    version = subprocess.run(
        [found, "--version"], capture_output=True, text=True, check=True
    ).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < NODE_FLOOR:
        _missing(f"node {version.strip()} is too old for ts-mls")
    try:
        program = ts_mls.install()
    except ts_mls.InstallError as error:
        _missing(str(error))
    running = ts_mls.Node(program)
    yield running
    running.close()


@pytest.fixture(params=EVERY_ENGINE, ids=str)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    """Clients of ours and of a foreign engine, which may be given by the test's mark."""
    engine: Engine = request.param
    if engine.package is not None and util.find_spec(engine.package) is None:
        _missing(f"{engine.package} is not installed")
    return Table(engine, tmp_path, request.getfixturevalue("node") if engine.needs_node else None)
