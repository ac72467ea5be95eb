"""Switches the checks off one by one, to see that the tests named in the table notice.

A pytest plugin: each test that stands in `docs/protocol/mls-validation.md` beside a
check runs with that check switched off, and passes here only if it fails then. It
fails because it expects the id of the check in the error, and because the forged
message is not refused by anything else.

    python -m pytest -p tests.core.mls.mutants tests/core/mls

"Switched off" means: every `raise` with the id is taken out of the source of the
function that the table names, and the function is compiled anew.
"""

from __future__ import annotations
import __future__

import ast
import gc
import importlib
import inspect
import re
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from _pytest.runner import runtestprotocol

from liaison.mls.leaf import LeafNode
from liaison.mls.validation.judge import Judge

ROOT = Path(__file__).resolve().parents[3]
TABLE = (ROOT / "docs/protocol/mls-validation.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (VAL-\d{4})°? \| [^|]+ \| [^|]+ \| `([^`]+)` \| ([^|]+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One check of the table: its id, where it is, and the tests that break it."""

    check: str
    where: str
    tests: tuple[str, ...]


CPU_SECONDS = 3.0
"""For one test: without a bound that a check sets, some would go on for ever."""

ROWS = [
    Row(check, where, tuple(re.findall(r"`(test_\w+)`", tests)))
    for check, where, tests in _ROW.findall(TABLE)
]


class _Silence(ast.NodeTransformer):
    """Takes out each `raise` with one id."""

    def __init__(self, check: str) -> None:
        self.check = check

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        parts = (part for part in ast.walk(node) if isinstance(part, ast.Constant))
        if all(part.value != self.check for part in parts):
            return node
        return ast.copy_location(ast.Pass(), node)


def _functions() -> Iterator[FunctionType]:
    """Give every function of the engine, methods too."""
    for path in sorted((ROOT / "liaison/mls").rglob("*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        importlib.import_module(dotted.removesuffix(".__init__"))
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and (found.__module__ or "").startswith("liaison.mls"):
            yield found


def _without(function: FunctionType, source: str, check: str) -> CodeType:
    tree = ast.fix_missing_locations(_Silence(check).visit(ast.parse(source)))
    module = compile(tree, "<mutant>", "exec", __future__.annotations.compiler_flag)
    found = (code for code in module.co_consts if isinstance(code, CodeType))
    return next(code for code in found if code.co_name == function.__name__)


def _mutants() -> dict[str, list[tuple[FunctionType, CodeType]]]:
    """Give for each id the functions that raise it, and their code without that."""
    found: dict[str, list[tuple[FunctionType, CodeType]]] = {
        "VAL-0201": [(_plain(Judge.identity), _believe.__code__)],
        "VAL-0507": [(_plain(Judge.check_external_senders), _admit.__code__)],
    }
    for function in list(_functions()):
        try:
            source = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):  # made by `dataclass`
            continue
        for check in set(re.findall(r'check="(VAL-\d{4})"', source)):
            found.setdefault(check, []).append((function, _without(function, source, check)))
    return found


def _believe(self: Judge, leaf_node: LeafNode) -> bytes:
    """Take every credential at its word; the refusal is the validator's own."""
    return leaf_node.credential.identity


def _admit(self: Judge, extensions: object) -> None:
    """Admit every external sender."""


def _plain(function: object) -> FunctionType:
    assert isinstance(function, FunctionType)
    return function


MUTANTS = _mutants()


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError(f"signal {number}: the test has no end without this check")


@contextmanager
def switched_off(check: str) -> Iterator[None]:
    """Take every refusal with an id out of the engine."""
    kept = [(function, function.__code__) for function, _ in MUTANTS[check]]
    former = signal.signal(signal.SIGVTALRM, _give_up)
    for function, code in MUTANTS[check]:
        function.__code__ = code
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
        for function, code in kept:
            function.__code__ = code


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that the table names."""
    named = {name for row in ROWS for name in row.tests}
    items[:] = [item for item in items if _name(item) in named]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test once for each check that it stands for."""
    for row in ROWS:
        if _name(item) in row.tests:
            with switched_off(row.check):
                reports = runtestprotocol(item, log=False, nextitem=nextitem)
            failed = any(report.failed for report in reports)
            RESULTS.setdefault((row.check, _name(item)), []).append(failed)
    return True


RESULTS: dict[tuple[str, str], list[bool]] = {}


def _blind() -> list[tuple[str, str]]:
    """Give what can be switched off without the test noticing, or was not tried."""
    named = {(row.check, name) for row in ROWS for name in row.tests}
    return sorted(key for key in named if not any(RESULTS.get(key, [])))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a check can be switched off without one of its tests noticing."""
    session.exitstatus = pytest.ExitCode.TESTS_FAILED if _blind() else pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which."""
    for check, name in _blind():
        terminalreporter.write_line(f"{check} can be switched off and {name} passes")
    terminalreporter.write_line(f"mutants: {len(RESULTS)} tried, {len(_blind())} not noticed")


def _name(item: pytest.Item) -> str:
    return item.name.partition("[")[0]
