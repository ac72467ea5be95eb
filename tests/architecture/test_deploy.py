"""What operators are given to deploy with: it is well-formed, and names what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from liaison.relay import settings
from liaison.relay.commands import app
from liaison.relay.files import ENV_DATA
from liaison.relay.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text()

VARIABLES = {ENV_DATA, *(ENV_PREFIX + name.upper() for name in Settings.model_fields)}
COMMANDS: set[str] = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]

MOST_EXPOSED = 1.5
"""What systemd may say of a unit's exposure, from 0 to 10; under 2 it calls it OK."""

ANALYZE = shutil.which("systemd-analyze") or ""
systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose program is there: systemd looks for it."""
    text: str = request.param.read_text()
    path: Path = tmp_path / request.param.name
    path.write_text(re.sub(r"/opt/liaison/bin/[\w-]+", sys.executable, text))
    return path


@systemd
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path) -> None:
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@systemd
def test_a_unit_gives_its_program_no_more_than_it_needs(unit: Path) -> None:
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    if "offline" in done.stderr:
        pytest.skip("this systemd looks at running units only")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MOST_EXPOSED, done.stdout


def test_the_relays_unit_runs_a_command_that_there_is() -> None:
    text = (DEPLOY / "systemd" / "liaison-relay.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)

    program, command, option, data = shlex.split(line)

    assert program.endswith("/liaison-relay")
    assert command in COMMANDS
    assert (option, data) == ("--data", "/var/lib/liaison-relay")
    assert "StateDirectory=liaison-relay\n" in text


def environment(service: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = service.get("environment", {})
    return {name: value for name, value in found.items() if name.startswith(ENV_PREFIX)}


def test_every_variable_of_the_relay_in_the_files_is_a_setting() -> None:
    found = set(re.findall(rf"\b{ENV_PREFIX}\w+", CONTAINERFILE))
    for service in COMPOSE["services"].values():
        found |= environment(service).keys()

    assert len(found) > 4
    assert found <= VARIABLES


def test_the_composed_relay_can_be_set_up_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(COMPOSE["services"]["relay"]).items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+(:[^}]*)?\}", "secret", value))

    found = settings.load(tmp_path)

    assert found.port == 8443
    assert found.database_url == "postgresql+asyncpg://liaison:secret@database/liaison"
    example = yaml.safe_load((DEPLOY / "observability" / "prometheus.yaml").read_text())
    assert example["scrape_configs"][0]["static_configs"][0]["targets"] == [found.metrics_listen]


def test_the_composed_services_name_files_volumes_and_each_other() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        assert set(service.get("networks", ())) <= COMPOSE["networks"].keys()
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("../"):
                assert (DEPLOY / "compose" / source).is_file(), source
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"]
    built = services["migrate"]["build"]
    assert (DEPLOY / "compose" / built["context"]).resolve() == ROOT
    assert (ROOT / built["dockerfile"]).is_file()
    assert {services["relay"]["command"][0], services["migrate"]["command"][0]} <= COMMANDS


def test_the_composed_relay_is_initialised_by_what_needs_no_relay_yet() -> None:
    first = (DEPLOY / "compose" / "compose.yaml").read_text().partition("\nname:")[0]
    (service,) = re.findall(r"run --rm (\w+) init ", first)

    found = COMPOSE["services"][service]

    # Whatever it depends on is started before it, and migrations fail where nothing is.
    assert found["depends_on"].keys() == {"database"}
    assert found["image"] == COMPOSE["services"]["relay"]["image"]
    assert "relay:/data" in found["volumes"]


def test_the_composed_services_may_do_little_and_only_the_relay_is_reached() -> None:
    services = COMPOSE["services"]

    for service in services.values():
        assert "no-new-privileges:true" in service["security_opt"]
    for name in ("relay", "migrate", "prometheus"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    assert [name for name, service in services.items() if "ports" in service] == ["relay"]
    assert services["database"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"]


def test_no_password_stands_in_the_files() -> None:
    example = (DEPLOY / "compose" / "relay.env.example").read_text()

    assert re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE) == [("LIAISON_DATABASE_PASSWORD", "")]
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    assert len(re.findall(r"\$\{LIAISON_DATABASE_PASSWORD:\?", text)) == len(
        re.findall(r"PASSWORD:? ?\$\{|liaison:\$\{", text)
    )


def test_the_containerfile_copies_what_there_is_and_runs_as_nobody_special() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    ]

    assert copied
    # Not the checkout as it lies there: it has the password and the keys of who composes from it.
    assert "." not in copied
    assert all((ROOT / word).exists() for word in copied)
    assert CONTAINERFILE.index("USER liaison") < CONTAINERFILE.index("ENTRYPOINT")
    assert "--require-hashes" in CONTAINERFILE
