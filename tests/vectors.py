"""Where the published test vectors are, for fixtures and for `parametrize`.

They are not in the repository. `LIAISON_VECTORS` names their folder; else it is
`../shared/vectors` beside the checkout. Where there is none, the tests that need
them are skipped with a reason, and fail when `CI=true`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def locate() -> Path:
    """Return the folder where the vectors are, or would be."""
    named = os.environ.get("LIAISON_VECTORS")
    return Path(named) if named else ROOT.parent / "shared" / "vectors"


def missing(folder: Path) -> None:
    """Skip the test that asked for vectors, or fail it where they have to be there."""
    reason = f"no test vectors at {folder}: set LIAISON_VECTORS"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def load(name: str) -> list[Any]:
    """Return the cases of one file, such as `mls/treekem.json`, for `parametrize`.

    Called while tests are collected, so it neither skips nor fails: without
    the file it gives one case, None, and the fixture `vectors`, which the test
    must also ask for, says why.
    """
    file = locate() / name
    if not file.is_file():
        return [None]
    cases: list[Any] = json.loads(file.read_text(encoding="utf-8"))
    return cases
