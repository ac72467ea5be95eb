"""Every published vector about transparency logs comes out, keytrans/ aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import vectors as published
from tests import vectors_runner
from tests.vectors_runner import Outcome

FILES = [
    pytest.param(check, id=name)
    for name, check in vectors_runner.files(published.locate())
    if name.startswith("tlog/")
]


@pytest.mark.parametrize("check", FILES or [None])
def test_every_case_of_the_file_comes_out(vectors: Path, check: Callable[[], Outcome]) -> None:
    outcome = check()

    assert outcome.failures == ()
    assert outcome.passed > 0
