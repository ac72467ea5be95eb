"""The stage: people and the relay as separate processes that use the public commands.

Nothing here imports Liaison. A person is a home folder, a passphrase file and
the `liaison` command; the relay is the `liaison-relay` command. Whatever a
newcomer sees the demo do, they can type.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

_BIN: Final = Path(sys.executable).parent
LIAISON: Final = str(_BIN / "liaison")
RELAY: Final = str(_BIN / "liaison-relay")
AUDITOR: Final = str(_BIN / "liaison-auditor")
_PATIENCE: Final = 60
"""Seconds that one command may take before the demo calls it stuck."""


class StepFailedError(Exception):
    """A step of the demo did not do what it should."""


def require(claim: bool, words: str) -> None:  # noqa: FBT001 - reads as a sentence at the call
    """Fail the step unless the claim holds."""
    if not claim:
        raise StepFailedError(words)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LIAISON_")}
    return kept | {"PYTHONUNBUFFERED": "1"}


def _run(command: list[str], *, stdin: str | None, env: dict[str, str], expect: int) -> str:
    done = subprocess.run(
        command,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        env=env,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode != expect:
        shown = shlex.join([Path(command[0]).name, *command[1:]])
        raise StepFailedError(
            f"`{shown}` ended with {done.returncode} instead of {expect}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


class Relay:
    """The relay's operator: runs `liaison-relay` on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = data / "ca.pem"
        self.identity = data / "relay.json"
        self._process: subprocess.Popen[str] | None = None
        self.log = data.parent / "relay.log"

    def command(self, *words: str) -> str:
        """Run one `liaison-relay` command and return what it printed."""
        command = [RELAY, *words, "--data", str(self.data)]
        return _run(command, stdin=None, env=_environment(), expect=0)

    def start(self) -> int:
        """Start serving; return the process id once it says that it listens."""
        command = [RELAY, "serve", "--dev-tls"]
        command += ["--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        self._process = _serve(command, self.log)
        return self._process.pid

    def tell(self, setting: str, value: str) -> None:
        """Write a setting, for the next start."""
        with (self.data / "liaison-relay.toml").open("a") as file:
            file.write(f"\n{setting} = {value}\n")

    @property
    def pid(self) -> int:
        """The process id of the running relay."""
        require(self._process is not None, "the relay does not run")
        return self._process.pid if self._process is not None else 0

    def kill(self) -> None:
        """Kill the relay's process as a power cut would: SIGKILL, no farewell."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the relay to stop and wait until it did."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            _end(self._process, how)
        self._process = None


class Witness:
    """Who runs a party's witness: the `liaison-auditor witness` commands on one folder."""

    def __init__(self, data: Path, name: str) -> None:
        self.data = data
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def command(self, *words: str, expect: int = 0) -> str:
        """Run one `liaison-auditor witness` command and return what it printed."""
        command = [AUDITOR, "witness", *words, "--data", str(self.data)]
        return _run(command, stdin=None, env=_environment(), expect=expect)

    def start(self) -> None:
        """Start serving; it listens when this returns."""
        command = [AUDITOR, "witness", "serve", "--data", str(self.data)]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        self._process = _serve(command, self.data.parent / f"{self.data.name}.log")

    def stop(self) -> None:
        """Ask the witness to stop and wait until it did."""
        if self._process is not None:
            _end(self._process, signal.SIGTERM)
        self._process = None


def audit(*words: str) -> str:
    """Run one `liaison-auditor` command, as anybody who has a bundle, and return what it printed."""
    return _run([AUDITOR, *words], stdin=None, env=_environment(), expect=0)


def run_alone(program: Path, *words: str) -> str:
    """Run a Python file with the standard library only, and return what it printed."""
    command = [sys.executable, "-I", "-S", str(program), *words]
    return _run(command, stdin=None, env=_environment(), expect=0)


def _serve(command: list[str], file: Path) -> subprocess.Popen[str]:
    with file.open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment()
        )
    watchdog = threading.Timer(_PATIENCE, process.kill)
    watchdog.start()
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    line = process.stdout.readline()
    watchdog.cancel()
    require("listening on" in line, f"{Path(command[0]).name} did not start; see {file}")
    return process


def _end(process: subprocess.Popen[str], how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait(_PATIENCE)
    if process.stdout is not None:
        process.stdout.close()


class Person:
    """Somebody with a home folder and the `liaison` command."""

    def __init__(self, folder: Path, name: str, relay: Relay) -> None:
        self.name = name
        self.home = folder / name.replace("/", "-").replace("#", "-")
        self.home.mkdir(parents=True)
        passphrase = self.home.parent / f"{self.home.name}.passphrase"
        passphrase.touch(0o600)
        passphrase.write_text(secrets.token_urlsafe(18) + "\n")
        self.environment = _environment() | {
            "LIAISON_HOME": str(self.home),
            "LIAISON_PASSPHRASE_FILE": str(passphrase),
            "LIAISON_CA": str(relay.ca),
        }

    def run(self, *words: str, stdin: str | None = None, expect: int = 0) -> str:
        """Run one `liaison` command and return what it printed."""
        command = [LIAISON, *words]
        return _run(command, stdin=stdin, env=self.environment, expect=expect)

    def refused(self, *words: str) -> str:
        """Run a command that has to fail; return its error in words."""
        done = subprocess.run(
            [LIAISON, *words],
            input="",
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=_PATIENCE,
            check=False,
        )
        require(done.returncode == 1, f"`liaison {shlex.join(words)}` was not refused")
        _, _, error = done.stderr.strip().splitlines()[0].partition("error: ")
        return error

    def ask(self, *words: str, stdin: str | None = None) -> list[dict[str, Any]]:
        """Run one `liaison` command with `--json` and return its objects."""
        return [json.loads(line) for line in self.run("--json", *words, stdin=stdin).splitlines()]

    def ask_one(self, *words: str, stdin: str | None = None) -> dict[str, Any]:
        """Run a command that answers with exactly one object."""
        answers = self.ask(*words, stdin=stdin)
        require(len(answers) == 1, f"`liaison {shlex.join(words)}` gave {len(answers)} answers")
        return answers[0]

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a `liaison` command and let it run; `finish` collects it."""
        return subprocess.Popen(
            [LIAISON, "--json", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )


def together(*parts: Callable[[], Any]) -> list[Any]:
    """Let several people act at the same time; the first failure is the step's."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return [done.result() for done in [pool.submit(part) for part in parts]]


def finish(process: subprocess.Popen[str], what: str) -> list[dict[str, Any]]:
    """Wait for a command that `begin` started and return its objects."""
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise StepFailedError(f"{what} did not end") from None
    if process.returncode != 0:
        raise StepFailedError(f"{what} ended with {process.returncode}\n{out}{err}")
    return [json.loads(line) for line in out.splitlines()]
