"""What the programs do not load before they do something: each costs a tenth of a start or more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from liaison.relay import commands

ROOT = Path(__file__).resolve().parents[2]
STANDARD = re.compile(r"^\s*from dataclasses import .*\bdataclass\b", re.MULTILINE)

# Loaded by none of the commands below, nor by what they import when they find a device.
HEAVY = {
    "aiohttp",
    "alembic",
    "hypothesis",
    "keyring",
    "lxml",
    "prometheus_client",
    "pytest",
    "rich",
    "sqlalchemy",
    "structlog",
    "yaml",
}


def _loaded_after(program: str, home: Path) -> set[str]:
    """The names of all top-level modules that a fresh interpreter holds after a program."""
    code = f"{program}\nimport sys\nprint('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"LIAISON_HOME": str(home), "HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["agreement", "list"],
        ["channels", "list", "--no-sync"],
        ["party", "list"],
        ["read", "--no-sync"],
        ["whoami"],
    ],
    ids=" ".join,
)
def test_a_command_loads_nothing_heavy_before_it_is_needed(
    words: list[str], tmp_path: Path
) -> None:
    loaded = _loaded_after(f"from liaison_cli.main import run\nrun({words})", tmp_path)

    assert "liaison_cli.context" in loaded
    assert loaded & HEAVY == set()


def test_an_open_client_has_loaded_nothing_heavy_but_the_network(tmp_path: Path) -> None:
    program = "from liaison_cli import startup\nstartup.load_network()\nimport liaison_sdk.client"

    loaded = _loaded_after(program, tmp_path)

    assert loaded & HEAVY == {"aiohttp"}


def test_a_command_to_a_running_relay_does_not_load_the_relay(tmp_path: Path) -> None:
    loaded = _loaded_after("import liaison.relay.commands, liaison.relay.adminsocket", tmp_path)

    assert "liaison.relay.adminsocket" in loaded
    assert loaded & HEAVY == set()
    assert "liaison.relay.app" not in loaded


def test_no_module_has_the_methods_of_its_data_classes_compiled() -> None:
    modules = [m for top in ("liaison", "clients") for m in (ROOT / top).rglob("*.py")]

    found = [m for m in modules if STANDARD.search(m.read_text(encoding="utf-8"))]

    assert found == [ROOT / "liaison" / "values.py"], "take `dataclass` from liaison.values"


def test_every_command_of_the_relay_is_made_ready_alone() -> None:
    names = list(typer.main.get_command(commands.app).commands)  # type: ignore[attr-defined]

    assert "serve" in names
    assert [list(commands._asked([name]).commands) for name in names] == [[name] for name in names]


def test_a_relay_that_serves_has_loaded_neither_migrations_nor_a_console(tmp_path: Path) -> None:
    program = (
        "from liaison.relay import startup\n"
        "with startup.loading():\n"
        "    from liaison.relay import serve"
    )

    loaded = _loaded_after(program, tmp_path)

    assert "liaison.relay.serve" in loaded
    assert loaded & HEAVY == {"aiohttp", "sqlalchemy", "structlog"}
    assert not {"asyncpg", "dotenv", "mako", "nats", "pydantic_settings", "pygments"} & loaded
    assert not {"liaison.fanout.nats", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql"} & loaded


def test_what_is_hidden_while_the_relay_loads_is_there_again_afterwards(tmp_path: Path) -> None:
    program = (
        "import ssl\n"
        "from liaison.relay import startup\n"
        "with startup.loading():\n"
        "    try:\n"
        "        import rich\n"
        "    except ImportError:\n"
        "        import structlog\n"
        "import rich.console\n"
        "import sqlalchemy.ext.asyncio\n"
        "from sqlalchemy.ext.asyncio.session import AsyncSession\n"
        "from sqlalchemy.orm import Session\n"
        "assert issubclass(AsyncSession.sync_session_class, Session)\n"
        "assert 'set_default_verify_paths' not in vars(ssl.SSLContext)"
    )

    loaded = _loaded_after(program, tmp_path)

    assert {"structlog", "rich"} <= loaded


def test_what_was_loaded_before_is_not_hidden(tmp_path: Path) -> None:
    program = (
        "import rich\n"
        "from liaison.relay import startup\n"
        "with startup.loading():\n"
        "    import rich.console"
    )

    assert "rich.console" in _loaded_after(program, tmp_path)
