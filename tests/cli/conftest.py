"""Running `liaison` inside the test's process, with a registrar or a fake client behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.model import PartyCode
from liaison.policy.keys import VerifyKey
from liaison.policy.relay_identity import RelayIdentity
from liaison_cli import agreement_files, clients, main
from liaison_cli.context import Context
from liaison_sdk.keystore import Argon2Parameters
from liaison_sdk.registrar.office import RegistrarOffice
from tests.cli.fakes import FakeClient, FakeRelay

CHEAP = Argon2Parameters(memory_kib=64, iterations=1, lanes=1)
NOW = 1_795_000_000
PASSPHRASE = "correct horse"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        (only,) = self.records
        return only


Liaison = Callable[..., Result]
Answer = Callable[[str], None]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\nnot this line\n")
    return file


@pytest.fixture
def liaison(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    passphrase_file: Path,
) -> Liaison:
    """Return a function that runs one command line and gives code, stdout and stderr."""
    monkeypatch.setenv("LIAISON_HOME", str(home))
    monkeypatch.setenv("LIAISON_PASSPHRASE_FILE", str(passphrase_file))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("LIAISON_CA", raising=False)

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = main.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def found(home: Path, code: str = "NOR", name: str = "Norway") -> RegistrarOffice:
    """Found a party cheaply."""
    return RegistrarOffice.found(
        home, PASSPHRASE, PartyCode.parse(code), name, now=NOW, parameters=CHEAP
    )


@pytest.fixture
def office(home: Path) -> RegistrarOffice:
    return found(home)


@pytest.fixture
def identity() -> RelayIdentity:
    keys = [SigningKey.generate(SignatureScheme.ED25519) for _ in range(2)]
    return RelayIdentity(
        origin="https://relay.example:8443",
        url="https://relay.example:8443",
        identity_keys=(VerifyKey.of(keys[0]),),
        sender_keys=(VerifyKey.of(keys[1]),),
    )


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch, identity: RelayIdentity) -> FakeRelay:
    """A relay in memory that every registrar's desk talks to."""
    fake = FakeRelay(identity)
    monkeypatch.setattr("liaison_sdk.registrar.desk.RelayAPI", fake)
    return fake


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """A client in memory that every device's command opens."""
    fake = FakeClient()

    def open_client(cli: Context, *, receive: bool = True, offline: bool = False) -> FakeClient:
        cli.passphrase()
        fake.opened.append({"receive": receive, "offline": offline})
        return fake

    monkeypatch.setattr(clients, "open_client", open_client)
    monkeypatch.setattr(agreement_files, "has_device", lambda _: True)
    return fake


@pytest.fixture
def draft(liaison: Liaison, home: Path, identity: RelayIdentity, tmp_path: Path) -> Path:
    """A bilateral agreement as YAML; NOR and DEU have their offices in `home`."""
    files = []
    for code, name in (("NOR", "Norway"), ("DEU", "Germany")):
        file = tmp_path / f"{code.lower()}.party.json"
        file.write_bytes(found(home, code, name).party.encode())
        files += ["--party", str(file)]
    (tmp_path / "relay.json").write_bytes(identity.encode())
    made = tmp_path / "agreement.yaml"
    done = liaison(
        *("agreement", "new", "--template", "bilateral", "--id", "nor-deu-2026", *files),
        *("--relay", tmp_path / "relay.json", "-o", made),
    )
    assert done.code == 0, done.err
    return made


@pytest.fixture
def signed(liaison: Liaison, draft: Path, tmp_path: Path) -> Path:
    first, both = tmp_path / "first.json", tmp_path / "both.json"
    liaison("agreement", "sign", draft, "--party", "NOR", "-o", first)
    liaison("agreement", "sign", first, "--party", "DEU", "-o", both)
    return both


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """Put a person at a terminal, who types one line."""
    ours, theirs = os.openpty()

    def types(line: str) -> None:
        os.write(ours, line.encode() + b"\n")

    with os.fdopen(theirs, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        for module in ("asking", "preview"):
            monkeypatch.setattr(f"liaison_cli.{module}.is_terminal", stdin.isatty)
        yield types
    os.close(ours)


rng = random_bytes
