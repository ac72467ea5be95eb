"""The distributions and the locks: one version, every file hashed, nothing left out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = [
    ROOT / "pyproject.toml",
    *sorted((ROOT / "clients").glob("*/pyproject.toml")),
]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def _project(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(file.read_text())["project"]
    return found


def _needs(file: Path) -> Iterator[Requirement]:
    project = _project(file)
    extras = project.get("optional-dependencies", {}).values()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        yield Requirement(line)


def _pins(lock: Path) -> dict[str, Requirement]:
    lines = re.findall(r"^([a-z0-9].*?)(?: \\)?$", lock.read_text(), re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    return {canonicalize_name(pin.name): pin for pin in pins}


def _own() -> set[str]:
    return {_project(file)["name"] for file in PROJECTS}


def test_all_distributions_have_one_version() -> None:
    assert len({_project(file)["version"] for file in PROJECTS}) == 1


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: _project(file)["name"])
def test_a_distribution_is_installed_as_it_is_described(file: Path) -> None:
    project = _project(file)

    assert metadata.version(project["name"]) == project["version"]


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: _project(file)["name"])
def test_a_distribution_asks_for_its_siblings_in_its_own_version(file: Path) -> None:
    siblings = [need for need in _needs(file) if need.name in _own()]

    assert all(str(need.specifier) == f"=={_project(file)['version']}" for need in siblings)


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: _project(file)["name"])
def test_the_development_lock_holds_what_a_distribution_needs(file: Path) -> None:
    pins = _pins(ROOT / "requirements" / "dev.txt")

    for need in _needs(file):
        if need.name not in _own():
            (pin,) = pins[canonicalize_name(need.name)].specifier
            assert need.specifier.contains(pin.version), f"{need} is locked at {pin}"


@pytest.mark.parametrize(
    ("lock", "files"),
    [
        ("relay.txt", ["pyproject.toml"]),
        ("clients.txt", ["clients/sdk", "clients/cli"]),
        ("auditor.txt", ["clients/auditor"]),
    ],
)
def test_a_deployment_lock_holds_what_is_deployed(lock: str, files: list[str]) -> None:
    pins = _pins(ROOT / "requirements" / lock)
    projects = [ROOT / f if f.endswith(".toml") else ROOT / f / "pyproject.toml" for f in files]

    needs = {canonicalize_name(need.name) for file in projects for need in _needs(file)}

    assert needs - _own() <= pins.keys()


@pytest.mark.parametrize("lock", ["clients.txt", "auditor.txt"])
def test_clients_need_nothing_of_the_server(lock: str) -> None:
    server = {"aiosqlite", "alembic", "asyncpg", "nats-py", "sqlalchemy", "structlog", "uvloop"}

    assert _pins(ROOT / "requirements" / lock).keys() & server == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_requirement_carries_hashes(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]

    pinned = [(line, after) for line, after in pairwise([*lines, ""]) if "==" in line]

    assert pinned
    assert [line for line, after in pinned if not after.strip().startswith("--hash=sha256:")] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_the_locks_agree_on_every_version(lock: Path) -> None:
    every = _pins(ROOT / "requirements" / "dev.txt")

    for name, pin in _pins(lock).items():
        assert pin.specifier == every[name].specifier
