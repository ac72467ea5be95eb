"""Options, exit codes, and the lines on stderr, whatever the command."""

from __future__ import annotations

import errno
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from liaison.errors import (
    AuthenticationError,
    ConflictError,
    LiaisonError,
    MalformedError,
    RefusedError,
    VerificationError,
)
from liaison.wire.problems import Problem, RemoteError
from liaison_cli import tree
from liaison_cli.errors import UsageProblemError, exit_code
from liaison_cli.output import Output, Record, layout
from liaison_sdk.registrar.office import RegistrarOffice
from tests.cli.conftest import Liaison, found
from tests.cli.fakes import FakeClient


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LiaisonError("x"), 1),
        (RefusedError("x"), 1),
        (MalformedError("x"), 1),
        (ConflictError("x"), 1),
        (AuthenticationError("x"), 1),
        (RemoteError(Problem("channel.epoch_stale", 409, "x")), 1),
        (UsageProblemError("x"), 2),
        (VerificationError("x"), 3),
    ],
)
def test_the_family_of_an_error_decides_the_exit_code(error: LiaisonError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    "words", [["send"], ["nonsense"], ["read", "--bogus"], ["ack", "1234", "maybe"], ["party", "x"]]
)
def test_what_is_not_understood_exits_2_with_a_hint(liaison: Liaison, words: list[str]) -> None:
    done = liaison(*words)

    assert (done.code, done.out) == (2, "")
    error, hint = done.err.splitlines()
    assert error.startswith("liaison: error: ")
    assert error == error.rstrip(".")
    assert hint.startswith("liaison: hint: see liaison ")


def test_no_command_prints_the_help_and_exits_2(liaison: Liaison) -> None:
    done = liaison()

    assert done.code == 2
    assert "Commands:" in done.err


def test_an_error_names_its_reason_and_the_way_out(liaison: Liaison) -> None:
    done = liaison("whoami")

    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0].startswith("liaison: error: no device is enrolled")
    assert done.err.splitlines()[1] == "liaison: hint: enrol it with: liaison enrol URL --code CODE"


def test_with_json_the_last_line_of_stderr_is_the_error_as_an_object(liaison: Liaison) -> None:
    done = liaison("whoami", "--json")

    problem = json.loads(done.err.splitlines()[-1])["error"]
    assert problem["code"] == "account.missing"
    assert set(problem) == {"code", "message", "hint"}


@pytest.mark.usefixtures("office")
def test_common_options_stand_before_or_after_the_command(liaison: Liaison, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    found(elsewhere, "DEU", "Germany")

    before = liaison("--json", "--home", elsewhere, "party", "list")
    after = liaison("party", "list", "--json", "--home", elsewhere)
    neither = liaison("--json", "party", "list")

    assert before.out == after.out
    assert before.record["party"] == "DEU"
    assert neither.record["party"] == "NOR"


@pytest.mark.usefixtures("office")
def test_a_wrong_passphrase_says_so_and_changes_nothing(
    liaison: Liaison, home: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("something else")
    before = {f: f.read_bytes() for f in home.rglob("*") if f.is_file()}

    done = liaison("party", "show", "--passphrase-file", wrong)

    assert done.code == 1
    assert "the passphrase is wrong" in done.err
    assert {f: f.read_bytes() for f in home.rglob("*") if f.is_file()} == before


@pytest.mark.usefixtures("office")
def test_an_unreadable_passphrase_file_is_named(liaison: Liaison, tmp_path: Path) -> None:
    done = liaison("party", "show", "--passphrase-file", tmp_path / "missing")

    assert done.code == 1
    assert f"the passphrase file {tmp_path / 'missing'} can't be read" in done.err


def test_nobody_is_asked_for_a_passphrase_without_a_terminal(
    office: RegistrarOffice, liaison: Liaison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIAISON_PASSPHRASE_FILE")
    monkeypatch.setattr("sys.stdin", io.StringIO())

    done = liaison("party", "show", office.party.code.code)

    assert done.code == 1
    assert "--passphrase-file" in done.err


def test_a_table_is_as_wide_as_its_widest_cell() -> None:
    rows: list[Record] = [{"name": "a", "members": 2}, {"name": "a-long-name", "members": None}]

    assert layout(rows, ("name", "members")) == [
        "NAME         MEMBERS",
        "a            2",
        "a-long-name  -",
    ]


def test_a_table_shows_no_control_characters() -> None:
    lines = layout([{"name": "\x1b[2Jx\ny"}], ("name",))

    assert lines[1] == "\N{REPLACEMENT CHARACTER}[2Jx y"


def test_the_version_is_the_distributions(liaison: Liaison) -> None:
    assert liaison("--version").out.startswith("liaison 0.")


def test_help_loads_neither_the_client_nor_cryptography() -> None:
    program = (
        "import sys; from liaison_cli.main import run; run(['--help']);"
        "heavy = {'aiohttp', 'cryptography', 'liaison_sdk', 'pydantic', 'rich'};"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", sorted(set(tree.HOMES.values())))
def test_the_tree_names_the_commands_that_a_module_has(module: str) -> None:
    named = [name for name, home in tree.HOMES.items() if home == module]

    assert list(tree.loaded(module)) == named


def test_a_command_loads_no_other_command() -> None:
    program = (
        "import sys; from liaison_cli.main import run; run(['read', '--help']);"
        "sys.exit(str(sorted(m for m in sys.modules if m.startswith('liaison_cli.'))))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert b"liaison_cli.read" in done.stderr
    assert not re.search(rb"liaison_cli\.(send|party|agreement)", done.stderr)


def test_a_misspelt_command_is_met_with_the_likeliest_one(liaison: Liaison) -> None:
    done = liaison("channelz")

    assert done.code == 2
    assert "Did you mean 'channels'?" in done.err


def test_a_fault_of_the_program_is_one_line_and_quotes_nothing(
    liaison: Liaison, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(client, "history", fail)

    done = liaison("read", "--json")

    assert (done.code, done.out) == (1, "")
    assert "canary" not in done.err
    assert "Traceback" not in done.err
    assert json.loads(done.err.splitlines()[-1])["error"]["code"] == "cli.internal"

    monkeypatch.setenv("LIAISON_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        liaison("read")


def test_what_the_terminal_can_not_show_is_escaped_and_stops_nothing(
    home: Path, tmp_path: Path
) -> None:
    office = found(home, "AUT", "Österreich")
    file = tmp_path / "aut.party.json"
    file.write_bytes(office.party.encode())
    program = "from liaison_cli.main import main; main()"
    command = [sys.executable, "-c", program, "party", "show", str(file)]

    done = subprocess.run(
        command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert b"AUT (\\xd6sterreich)" in done.stdout


def test_no_result_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().record({}, "title\x1b]0;owned\x07\nsecond line")

    assert capsys.readouterr().out == "title\ufffd]0;owned\ufffd\nsecond line\n"


def test_a_party_that_was_being_founded_when_its_process_died_is_not_there(
    home: Path, liaison: Liaison, office: RegistrarOffice
) -> None:
    half = home / "parties" / ".deu-1234abcd"
    half.mkdir()
    (half / "party.json").write_bytes(office.party.encode())

    done = liaison("party", "list", "--json")

    assert [r["party"] for r in done.records] == ["NOR"]


def test_a_document_that_could_not_be_written_leaves_nothing(
    home: Path, liaison: Liaison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(home)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = liaison("party", "export", "NOR", "-o", tmp_path / "out.json")

    assert done.code == 1
    assert "can't be written: No space left on device" in done.err
    assert [f for f in tmp_path.iterdir() if "out.json" in f.name] == []
