"""The program itself: help, errors of usage, exit codes, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from liaison_auditor import main, output


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    code = main.run(["--version"])

    assert code == 0
    assert capsys.readouterr().out == "liaison-auditor 0.1.0\n"


def test_an_unknown_command_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code = main.run(["nonsense", "--json"])

    assert code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("liaison-auditor: error: ")
    assert json.loads(lines[-1])["error"]["code"] == "auditor.usage"


def test_nothing_in_a_text_commands_the_terminal() -> None:
    hostile = "a\x1b[2Jb\x07c\u202ed\u2028e\tf\r\ng\x9bh"

    assert output.clean(hostile) == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde f\ng\ufffdh"
    assert "\n" not in output.clean_line(hostile)


def test_help_loads_no_more_than_the_command_line() -> None:
    code = (
        "import sys, liaison_auditor.main as m\nm.run(['--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not {"aiohttp", "asyncio", "cryptography", "pyarrow", "pygal", "sqlite3"} & loaded
