"""The table of checks is true: every id, function and test in it exists, and none is missing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = (ROOT / "docs/protocol/mls-validation.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (VAL-\d{4})°? \| [^|]+ \| [^|]+ \| `([^`]+)` \| ([^|]+) \|$", TABLE, re.MULTILINE
)


def sources(folder: str) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))
    )


def test_the_table_and_the_code_name_the_same_checks() -> None:
    raised = set(re.findall(r'check="(VAL-\d{4})"', sources("liaison/mls")))
    documented = set(re.findall(r"VAL-\d{4}", sources("liaison/mls")))

    assert raised <= documented == {row[0] for row in ROWS}
    assert len({row[0] for row in ROWS}) == len(ROWS)


def test_every_function_of_the_table_exists() -> None:
    for _, dotted, _ in ROWS:
        parts = dotted.split(".")
        split = next(i for i, part in enumerate(parts) if part.startswith(("check_", *KNOWN)))
        found = importlib.import_module(".".join(["liaison.mls", *parts[:split]]))
        for part in parts[split:]:
            found = getattr(found, part)
        assert callable(found)


KNOWN = (
    "verify",
    "signature_key",
    "open_",
    "Ratchet",
    "Judge",
    "LeafNode",
    "KeyPackage",
    "PskStore",
    "join",
    "resolve",
)


def test_every_test_of_the_table_exists() -> None:
    tests = sources("tests/core/mls")

    for name in re.findall(r"`(test_\w+)`", TABLE):
        assert f"def {name}(" in tests, name


def test_every_check_is_expected_by_a_test() -> None:
    """By its id; a credential's refusal is the validator's own."""
    tests = sources("tests/core/mls")

    for identifier, _, _ in ROWS:
        if identifier != "VAL-0507":
            assert f'"{identifier}"' in tests, identifier
