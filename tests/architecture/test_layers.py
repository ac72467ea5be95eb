"""The layers and walls of the code, as import-linter and a running relay see them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import liaison

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(liaison.__file__).parent

# What does I/O; everything else in `liaison` is a core.
RIM = {"liaison.federation", "liaison.fanout", "liaison.relay", "liaison.storage"}


def _settings() -> dict[str, Any]:
    tool: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    linter: dict[str, Any] = tool["importlinter"]
    return linter


def _contract(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in _settings()["contracts"] if c["name"] == name)
    return found


def _packages() -> set[str]:
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    return {f"liaison.{name}" for name in names - {"__init__"}}


def _loaded_after(statement: str) -> set[str]:
    """The names of all modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_import_contract_is_kept() -> None:
    tool = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run(
        [tool, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_a_core_under_contract_or_the_rim() -> None:
    cores = set(_contract("Cores do no I/O and read neither clock nor entropy")["source_modules"])

    assert _packages() - RIM == cores


def test_every_package_of_the_rim_is_kept_from_group_secrets() -> None:
    servers = set(_contract("Servers never hold group secrets")["source_modules"])

    assert _packages() & RIM <= servers


def test_every_package_but_crypto_is_kept_from_cryptography() -> None:
    barred = set(_contract("Only liaison.crypto imports cryptography and nacl")["source_modules"])

    assert _packages() - {"liaison.crypto"} <= barred


def test_a_running_relay_has_not_loaded_the_members_side_of_mls() -> None:
    secret = set(_contract("Servers never hold group secrets")["forbidden_modules"])

    loaded = _loaded_after("import liaison.relay.__main__, liaison.relay.app")

    assert "liaison.mls.public_group" in loaded
    assert loaded & secret == set()


@pytest.mark.parametrize("client", ["liaison_sdk", "liaison_cli.main", "liaison_auditor.main"])
def test_a_client_loads_nothing_of_the_server(client: str) -> None:
    barred = set(_contract("Clients never import the server")["forbidden_modules"])

    loaded = _loaded_after(f"import {client}")

    assert loaded & barred == set()


def test_a_client_loads_the_network_only_when_it_connects() -> None:
    loaded = _loaded_after("import liaison_sdk.client, liaison_sdk.enrol, liaison_cli.main")

    assert "liaison_sdk.client" in loaded
    assert "aiohttp" not in loaded


def test_help_loads_no_more_than_the_command_line() -> None:
    loaded = _loaded_after("import liaison_cli.main\nliaison_cli.main.run(['--help'])")

    assert "typer" in loaded
    assert not {"liaison_sdk.client", "pydantic", "cryptography", "asyncio"} & loaded
