from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.theatre import Theatre


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            # One relay for all of them, so all of them on one worker.
            item.add_marker(pytest.mark.xdist_group("journeys"))


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    stage = Theatre(tmp_path_factory.mktemp("theatre"))
    yield stage
    stage.close()
