"""The program `liaison-relay`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import checks
from liaison.relay.__main__ import main
from liaison.relay.files import DataDir
from liaison.relay.settings import Settings, TLSMode
from tests.support.relay import RelayProcess, make
from tests.support.world import World


@pytest.fixture
def process(tmp_path: Path) -> Iterator[RelayProcess]:
    found = RelayProcess(tmp_path / "relay")
    make(found.data, found.port)
    yield found
    if found.is_running:
        found.kill()


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "liaison.relay", *arguments]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: object
    out: str
    err: str


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run a command in this process: quicker, for those that start no event loop."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["liaison-relay", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Done(caught.value.code, captured.out, captured.err)

    return run


def test_init_prints_where_the_identity_is(tmp_path: Path) -> None:
    data = tmp_path / "relay"

    done = program("init", "--data", str(data), "--origin", "https://127.0.0.1:4443")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{data / 'relay.json'}\n"
    assert RelayIdentity.parse((data / "relay.json").read_bytes()).url == "https://127.0.0.1:4443"
    assert data.stat().st_mode & 0o777 == 0o700


def test_a_second_init_is_refused_and_says_what_was_kept(
    process: RelayProcess, here: Callable[..., Done]
) -> None:
    before = process.identity_file.read_bytes()

    done = here("init", "--data", process.data)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("liaison-relay: error: there is a relay in ")
    assert "liaison-relay: hint: its keys are as they were\n" in done.err
    assert process.identity_file.read_bytes() == before


@pytest.mark.parametrize(
    "command", [["serve"], ["check"], ["identity"], ["party", "list"], ["migrate"]]
)
def test_a_directory_without_a_relay_is_refused_with_the_remedy(
    tmp_path: Path, here: Callable[..., Done], command: list[str]
) -> None:
    done = here(*command, "--data", tmp_path)

    assert done.status == 1
    assert f"liaison-relay: hint: liaison-relay init --data {tmp_path}\n" in done.err


def test_the_data_directory_may_come_from_the_environment(
    process: RelayProcess, here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIAISON_RELAY_DATA", str(process.data))

    assert here("identity").out == process.identity_file.read_text()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["sail"], "liaison-relay"),
        (["serve", "--port", "1"], "liaison-relay serve"),
        (["party", "add"], "liaison-relay party add"),
        (["party", "add", "/nowhere/nor.party.json"], "liaison-relay party add"),
    ],
)
def test_wrong_usage_exits_2_and_names_the_help(
    here: Callable[..., Done], arguments: list[str], command: str
) -> None:
    done = here(*arguments)

    error, hint = done.err.splitlines()
    assert (done.status, done.out) == (2, "")
    assert error.startswith("liaison-relay: error: ")
    assert error[23:24].islower()
    assert hint == f"liaison-relay: hint: see {command} --help"


def test_without_a_command_the_help_is_shown(here: Callable[..., Done]) -> None:
    done = here()

    assert done.status == 2
    assert "Usage: liaison-relay" in done.err


def test_a_file_that_may_not_be_read_is_named(
    process: RelayProcess, here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(process.data / "admin.sock"))

    monkeypatch.setattr("liaison.relay.adminsocket.ask", forbidden)
    done = here("party", "list", "--data", process.data)

    assert done.status == 1
    assert done.err.startswith(
        f"liaison-relay: error: {process.data / 'admin.sock'}: permission denied\n"
    )


def test_check_warns_of_a_proxy_that_hides_all_clients(tmp_path: Path) -> None:
    found = {
        trusted: [
            f.verdict
            for f in checks.run(
                DataDir(tmp_path), partial(Settings, tls=TLSMode.PROXY, trusted_proxies=trusted)
            )
            if f.check == "proxy"
        ]
        for trusted in ((), ("127.0.0.1",))
    }

    assert found == {(): [checks.Verdict.WARNING], ("127.0.0.1",): []}


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_a_database_that_is_not_there_is_reported_in_one_line(
    process: RelayProcess, command: str
) -> None:
    done = program(
        command,
        "--data",
        str(process.data),
        LIAISON_RELAY_DATABASE_URL="postgresql://nobody:a-password@127.0.0.1:1/none",
    )

    assert done.returncode == 1
    assert "the database does not answer" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "a-password" not in done.stdout + done.stderr


def test_without_the_relays_dependencies_it_says_what_to_install(
    here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "liaison.relay.commands", None)

    done = here("check")

    assert done.status == 1
    assert "liaison-messaging[relay]" in done.err


def test_serving_being_killed_and_serving_again_keeps_everything(
    process: RelayProcess, world: World, tmp_path: Path
) -> None:
    for code in ("NOR", "DEU"):
        (tmp_path / code).write_bytes(world.party(code).document)
    identity = RelayIdentity.parse(process.identity_file.read_bytes())
    (tmp_path / "agreement").write_bytes(world.agreement("NOR", "DEU", relay=identity))

    stopped = process.run("party", "add", tmp_path / "NOR")
    process.start()
    running = process.run("party", "add", tmp_path / "DEU")
    process.kill()
    process.start()
    after = process.run("agreement", "add", tmp_path / "agreement")
    status = process.terminate()
    listed = json.loads(process.run("agreement", "list", "--json").stdout)

    assert stopped.stdout.startswith("admitted NOR")
    assert running.stdout.startswith("admitted DEU")
    assert after.stdout.startswith("admitted nor-deu-2026 version 1")
    assert status == 0
    assert listed[0]["parties"] == ["NOR", "DEU"]


def test_a_second_relay_on_one_directory_does_not_start(process: RelayProcess) -> None:
    process.start()

    second = process.run("serve", "--dev-tls", "--listen", "127.0.0.1:0", check=False)

    assert second.returncode == 1
    assert "another process is using" in second.stderr


def test_port_0_prints_the_port_that_was_taken(process: RelayProcess) -> None:
    process.start("--listen", "127.0.0.1:0", expect=r"listening on https://127\.0\.0\.1:\d+\n")

    assert process.terminate() == 0


def test_the_relay_can_not_be_dumped(process: RelayProcess) -> None:
    process.start()

    limits = Path(f"/proc/{process.pid}/limits").read_text()

    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


def test_a_log_line_is_json_and_names_the_address(process: RelayProcess) -> None:
    process.start()
    process.terminate()

    lines = [json.loads(line) for line in process.log.read_text().splitlines()]

    (listening,) = [line for line in lines if line["event"] == "listening"]
    assert listening["listen"] == process.url
    assert [line["event"] for line in lines[-2:]] == ["stopping", "stopped"]


def test_check_tells_what_it_looked_at(process: RelayProcess) -> None:
    trial = program("check", "--data", str(process.data), LIAISON_RELAY_TLS="dev")
    bare = process.run("check", check=False)

    assert trial.returncode == 0, trial.stdout
    assert {line.split()[1] for line in trial.stdout.splitlines()} >= {
        "settings", "keys", "origin", "tls", "database", "disk", "process",
    }  # fmt: skip
    assert bare.returncode == 1
    assert any(line.split()[:2] == ["failed", "tls"] for line in bare.stdout.splitlines())


def test_check_finds_a_key_that_others_can_read(process: RelayProcess) -> None:
    key = process.data / "keys" / "session.key"
    key.chmod(0o644)

    done = program("check", "--data", str(process.data), LIAISON_RELAY_TLS="dev")

    assert done.returncode == 1
    assert f"chmod 0600 {key}" in done.stdout


def test_check_finds_a_database_that_needs_migration(process: RelayProcess) -> None:
    for path in process.data.glob("relay.db*"):
        path.unlink()

    done = program("check", "--data", str(process.data), LIAISON_RELAY_TLS="dev")
    migrated = process.run("migrate")
    after = program("check", "--data", str(process.data), LIAISON_RELAY_TLS="dev")

    assert done.returncode == 1
    assert "liaison-relay migrate" in done.stdout
    assert migrated.stdout.startswith("schema ")
    assert after.returncode == 0


def test_a_document_that_does_not_verify_exits_3(
    process: RelayProcess, world: World, tmp_path: Path
) -> None:
    for code in ("NOR", "DEU"):
        (tmp_path / code).write_bytes(world.party(code).document)
        process.run("party", "add", tmp_path / code)
    identity = RelayIdentity.parse(process.identity_file.read_bytes())
    envelope = json.loads(world.agreement("NOR", "DEU", relay=identity))
    envelope["signatures"] = envelope["signatures"][:1]
    (tmp_path / "agreement").write_text(json.dumps(envelope))

    stopped = process.run("agreement", "add", tmp_path / "agreement", check=False)
    process.start()
    running = process.run("agreement", "add", tmp_path / "agreement", check=False)

    assert (stopped.returncode, running.returncode) == (3, 3)
    assert running.stderr == stopped.stderr
