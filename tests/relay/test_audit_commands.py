"""`liaison-relay audit` and `liaison-relay hold`, with a relay that runs and with one that does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from liaison.audit import verify
from liaison.audit.events import Event
from liaison.policy.relay_identity import RelayIdentity
from liaison.relay import times
from liaison.relay.errors import ParameterError
from liaison.tlog.fields import EntryType
from liaison.tlog.text import to_base64
from tests.support.relay import RelayProcess, make
from tests.support.world import World

_ID = "nor-deu-2026"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay that runs and serves two parties, and a third that is in no agreement."""
    world, tmp_path = World(), tmp_path_factory.mktemp("relay")
    found = RelayProcess(tmp_path / "relay")
    make(found.data, found.port)
    found.start()
    for code in ("NOR", "DEU", "SWE"):
        file = tmp_path / f"{code}.json"
        file.write_bytes(world.party(code).document)
        found.run("party", "add", file)
    identity = RelayIdentity.parse(found.identity_file.read_bytes())
    (tmp_path / "agreement").write_bytes(world.agreement("NOR", "DEU", relay=identity))
    found.run("agreement", "add", tmp_path / "agreement")
    yield found
    if found.is_running:
        found.kill()


def export(process: RelayProcess, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Export for NOR."""
    whom = ("--partnership", _ID, "--party", "NOR")
    return process.run("audit", "export", *whom, "-o", output, *more, check=False)


def exported(process: RelayProcess, output: Path) -> None:
    """Export; at first until the relay has published what it was just told."""
    for _ in range(50):
        done = export(process, output)
        if done.returncode == 0:
            return
        assert "cosigned yet" in done.stderr
    raise AssertionError(done.stderr)


def test_exports_of_a_relay_that_runs_and_that_stopped_verify_and_are_in_the_log(
    process: RelayProcess, tmp_path: Path
) -> None:
    running, stopped = (tmp_path / f"{name}.zip" for name in ("running", "stopped"))
    exported(process, running)
    with ZipFile(running) as archive:
        (tmp_path / "verify.py").write_bytes(archive.read("verify.py"))
    alone = [sys.executable, "-I", str(tmp_path / "verify.py"), str(running)]
    subprocess.run(alone, check=True, capture_output=True, timeout=60)
    process.terminate()
    done = export(process, stopped)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {stopped}: entries 0 to ")
    again = export(process, stopped)
    assert (again.returncode, "there already" in again.stderr) == (1, True)
    process.start()
    digests = set()
    for path in (running, stopped):
        with path.open("rb") as file:
            digests.add(to_base64(verify.verify(file).manifest.digest))
    # Both were told before they got their names; what is told last is published a moment later.
    for number in range(50):
        told = _exports(process, tmp_path / f"{number}.zip")
        if digests <= told:
            break
    assert digests <= told
    assert not list(tmp_path.glob(".*.part"))


def _exports(process: RelayProcess, output: Path) -> set[str]:
    """The digests of the exports that the log tells of."""
    exported(process, output)
    events: list[Event] = []
    with output.open("rb") as file:
        verify.verify(file, take=events.append)
    return {one.text("digest") for one in events if one.type is EntryType.EXPORT}


def test_exports_that_can_not_be_are_refused_and_leave_nothing(
    process: RelayProcess, tmp_path: Path
) -> None:
    output = tmp_path / "none.zip"
    exported(process, tmp_path / "good.zip")
    for options, status, words in (
        (("--partnership", "no-such", "--party", "NOR"), 1, "no agreement"),
        (("--partnership", _ID, "--party", "SWE"), 1, "was never in"),
        (("--partnership", _ID, "--party", "NOR", "--from", "2999-01-01"), 1, "no entry"),
        (("--partnership", _ID, "--party", "NOR", "--to", "yesterday"), 1, "is not a time"),
        (("--partnership", _ID), 2, "--party"),
    ):
        done = process.run("audit", "export", *options, "-o", output, check=False)
        assert done.returncode == status, done.stderr
        assert words in done.stderr
    assert not output.exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_hold_is_set_listed_and_released(process: RelayProcess) -> None:
    held = process.run("hold", "set", _ID, "--reason", "case 17")
    listed = process.run("hold", "list")
    again = process.run("hold", "set", _ID, "--reason", "case 18", check=False)
    released = process.run("hold", "release", _ID)
    rows = json.loads(process.run("hold", "list", "--json").stdout)

    assert held.stdout == f"held {_ID}\n"
    assert listed.stdout.endswith("in force  case 17\n")
    assert (again.returncode, "is held" in again.stderr) == (1, True)
    assert released.stdout == f"released {_ID}\n"
    assert [(row["agreement"], row["reason"]) for row in rows] == [(_ID, "case 17")]
    assert rows[0]["released_at"] >= rows[0]["set_at"]


def test_times_are_read_as_utc_unless_they_say_otherwise() -> None:
    for text in ("2026-11-01", "2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00"):
        assert times.parse(text) == 1_793_491_200_000
    assert times.iso(1_793_491_200_001) == "2026-11-01T00:00:00.001Z"
    for text in ("", "yesterday", "1969-12-31", "2026-13-01"):
        with pytest.raises(ParameterError):
            times.parse(text)
