"""What stands in no file of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Made by tools, or not ours.
SKIPPED = re.compile(
    r"\.git|\.venv.*|\.demo|\.relay|\..*_cache|\.hypothesis|__pycache__|build|dist|results"
)

# Each is written so that it does not match itself.
ADDRESSES = re.compile(r"[p]ypi\.org|[p]ythonhosted\.org|--(?:extra-)?[i]ndex-url|--[f]ind-links")
MACHINES = re.compile(r"(?<![\w.])/(?:[h]ome|[r]oot|[U]sers)/\w")
UNFINISHED = re.compile(r"\b(?:[T]ODO|[F]IXME|[X]XX|[H]ACK)\b")
PRIVATE_KEYS = re.compile(r"-----BEGIN (?:[A-Z]+ )?[P]RIVATE KEY-----")


def _files(folder: Path = ROOT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if SKIPPED.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file():
            yield path


def _matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in _files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(ADDRESSES, id="addresses of package indexes"),
        pytest.param(MACHINES, id="folders of one machine"),
        pytest.param(UNFINISHED, id="notes to finish something later"),
        pytest.param(PRIVATE_KEYS, id="private keys"),
    ],
)
def test_no_file_holds(pattern: re.Pattern[str]) -> None:
    assert _matches(pattern) == []


def test_every_module_says_what_lives_in_it() -> None:
    code = [ROOT / "liaison", ROOT / "clients", ROOT / "migrations", ROOT / "demo"]
    modules = [m for top in code if top.is_dir() for m in _files(top) if m.suffix == ".py"]

    silent = [m for m in modules if not m.read_text().startswith(('"""', "#!"))]

    assert modules
    assert [str(m.relative_to(ROOT)) for m in silent] == []


def test_no_folder_of_tests_is_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
