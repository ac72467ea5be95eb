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
