"""The registrar's commands against a real relay: what one stores, the other accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Liaison, found
from tests.support.relay import RelayProcess


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    process = RelayProcess(tmp_path / "relay")
    process.init()
    process.start()
    yield process
    process.terminate()


def test_a_registrar_certifies_and_revokes_a_device_through_a_relay(
    liaison: Liaison, home: Path, relay: RelayProcess, tmp_path: Path
) -> None:
    file = tmp_path / "nor.party.json"
    assert liaison("party", "init", "NOR", "--name", "Norway", "-o", file).code == 0
    relay.run("party", "add", file)
    connect = ("party", "connect", relay.url, "--identity", relay.identity_file)
    assert liaison("--ca", relay.ca, *connect).code == 0
    invited = liaison("party", "invite", "nor/desk", "--device", "d1", "--json").record
    device = (
        *("--home", tmp_path / "device", "--ca", relay.ca),
        *("enrol", relay.url, "--code", invited["code"]),
    )

    waiting = liaison(*device, "--no-wait", "--json")
    requested = liaison("party", "requests", "--json").record
    approved = liaison("party", "approve", "--all", "--json")
    enrolled = liaison("--home", tmp_path / "device", "enrol", "--json")
    who = liaison("--home", tmp_path / "device", "whoami", "--json")
    revoked = liaison("party", "revoke", "nor/desk#d1", "--reason", "key_compromise", "--json")

    assert waiting.record["state"] == "waiting"
    assert (requested["state"], requested["problem"]) == ("requested", None)
    assert approved.record["device"] == "nor/desk#d1"
    assert enrolled.record["state"] == "enrolled"
    (certificate,) = who.record["certificates"]
    assert certificate["serial"] == approved.record["certificates"][0]["serial"]
    assert revoked.record["revoked"] == [{"device": "nor/desk#d1", "serial": certificate["serial"]}]
    refused = liaison("--home", tmp_path / "device", "devices")
    assert refused.code == 1


def test_a_party_that_was_not_admitted_is_told_who_admits_it(
    liaison: Liaison, home: Path, relay: RelayProcess
) -> None:
    office = found(home)

    done = liaison(
        "--ca", relay.ca, "party", "connect", relay.url, "--identity", relay.identity_file
    )

    assert done.code == 1
    assert "liaison-relay party add" in done.err
    assert office.state.connection is None


def test_a_relay_that_is_not_the_pinned_one_is_noticed_and_nothing_is_pinned(
    liaison: Liaison, home: Path, relay: RelayProcess, tmp_path: Path
) -> None:
    office = found(home)
    file = tmp_path / "nor.party.json"
    file.write_bytes(office.party.encode())
    relay.run("party", "add", file)
    other = RelayProcess(tmp_path / "other", port=relay.port)
    other.init()

    done = liaison(
        "--ca", relay.ca, "party", "connect", relay.url, "--identity", other.identity_file
    )

    assert done.code == 3
    assert office.state.connection is None


def test_two_authorities_bring_an_agreement_through_its_life(
    liaison: Liaison, home: Path, relay: RelayProcess, tmp_path: Path
) -> None:
    files: list[str | Path] = []
    for code, name in (("NOR", "Norway"), ("DEU", "Germany")):
        file = tmp_path / f"{code}.json"
        file.write_bytes(found(home, code, name).party.encode())
        relay.run("party", "add", file)
        words = ("party", "connect", relay.url, "--identity", relay.identity_file)
        assert liaison("--ca", relay.ca, *words, "--party", code).code == 0
        files += ["--party", file]
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    made = ("--template", "bilateral", "--id", "nor-deu", "--relay", relay.identity_file)
    liaison("agreement", "new", *made, *files, "-o", first)
    nor, deu = ("--party", "NOR"), ("--party", "DEU")
    sign = ("agreement", "sign", "--proposal", "nor-deu", "--yes", "--json", *deu)

    liaison("agreement", "propose", first, *nor)
    complete = liaison(*sign)
    relay.run("agreement", "admit", "nor-deu")
    liaison("agreement", "amend", "nor-deu", *nor, "-o", second)
    second.write_text(second.read_text().replace("highest: FLASH", "highest: PRIORITY"))
    proposed = liaison("agreement", "propose", second, *nor, "--json")
    amended = liaison(*sign)
    suspended = liaison("agreement", "suspend", "nor-deu", "--reason", "talks", *nor, "--json")
    page = liaison("agreement", "show", "nor-deu", *deu)
    resumed = liaison("agreement", "resume", "nor-deu", *nor, "--json")
    history = liaison("agreement", "history", "nor-deu", *deu, "--json")

    assert (complete.record["missing"], complete.record["active"]) == ([], False)
    assert proposed.record["missing"] == ["DEU"]
    assert amended.record["active"] is True
    assert "channels[liaison].send[0].highest" in {c["path"] for c in amended.record["changes"]}
    assert suspended.record["state"] == "suspended"
    assert "nor-deu version 2, bilateral, suspended" in page.out
    assert resumed.record["state"] == "active"
    assert [record["kind"] for record in history.records] == [
        *("version", "version"),
        *("statement", "statement"),
    ]
