from __future__ import annotations

import pytest

from tests.support.summary import SUMMARY


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    summary = config.stash.get(SUMMARY, "")
    if summary:
        terminalreporter.write_line(summary)
