"""What the documents say of the tests is so: each test that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md")))

_NAMED = re.compile(r"`(?:tests/)?((?:[\w/]+/)?test_\w+\.py)?(?:::)?(test_\w+)?`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def _defined() -> dict[str, set[str]]:
    """The tests of each file, by its path under tests/."""
    return {
        str(path.relative_to(ROOT / "tests")): set(_DEFINED.findall(path.read_text()))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }


def test_every_test_that_a_document_names_exists() -> None:
    defined = _defined()
    wrong = []
    for document in DOCUMENTS:
        for file, test in _NAMED.findall(document.read_text()):
            # Some name a file without its folder, or a test without its file.
            files = [path for path in defined if f"/{path}".endswith(f"/{file}") or not file]
            tests = set().union(*(defined[path] for path in files))
            if not files or (test and test not in tests):
                wrong.append(f"{document.relative_to(ROOT)}: {file}::{test}")
    assert not wrong


def test_the_documents_name_tests() -> None:
    named = [m for d in DOCUMENTS for m in _NAMED.findall(d.read_text()) if any(m)]
    assert len(named) > 100
