from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.theatre import Theatre


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    stage = Theatre(tmp_path_factory.mktemp("theatre"))
    yield stage
    stage.close()
