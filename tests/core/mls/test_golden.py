"""Stored states of every version that was ever written: they are read for good.

`golden/` holds one file per format and version, made by `python -m
tests.core.mls.test_golden`. A file is never changed or removed: a change of a
format makes a new version and a new file, and what reads the old one stays
until a release has said otherwise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from liaison.mls import group, snapshot
from liaison.mls.group import ApplicationReceived, CommitStaged
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.proposals import Add, Remove
from liaison.mls.public_group import PublicGroup
from tests.core.mls.support import NOW, Validator, World

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.json"))
NEWEST = "state-2.json"


def made() -> dict[str, str]:
    """Make one state with everything in it that a state can have."""
    world = World(0x0001, members=5)
    reader = world[2]
    reader.receive(world[0].encrypt(b"one"))
    lost = world[0].encrypt(b"lost")
    reader.receive(world[0].encrypt(b"three"))
    world.accept(world[3], world[3].commit(Remove(4)))
    world[4].state = None
    bundle = world.client(b"new").key_package(last_resort=True)
    world.deliver(world[1].propose_add(bundle), but=world[1])
    world.deliver(reader.propose_update(), but=reader)
    parts = {
        "epoch": snapshot.snapshot_epoch(reader.group),
        "ratchets": snapshot.snapshot_ratchets(reader.group),
        "public": world.relay.snapshot(),
        "bundle": bundle.encode(),
        # What only this state can read, and what it has to come to.
        "late_message": lost,
        "message": world[0].encrypt(b"text", b"header"),
    }
    commit = world[0].commit()
    parts["commit"] = commit.commit
    parts["next_authenticator"] = commit.group.epoch_authenticator
    return {name: data.hex() for name, data in parts.items()}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def stored(request: pytest.FixtureRequest) -> dict[str, bytes]:
    loaded: dict[str, str] = json.loads(request.param.read_text(encoding="utf-8"))
    return {name: bytes.fromhex(data) for name, data in loaded.items()}


def test_a_stored_state_goes_on(stored: dict[str, bytes]) -> None:
    state = snapshot.restore(stored["epoch"], stored["ratchets"])
    known: dict[str, Any] = {"now": NOW, "validator": Validator()}

    late = group.process(state, stored["late_message"], **known)
    assert isinstance(late, ApplicationReceived)
    assert late.plaintext == b"lost"
    done = group.process(late.group, stored["message"], **known)
    assert isinstance(done, ApplicationReceived)
    assert (done.plaintext, done.authenticated_data) == (b"text", b"header")
    staged = group.process(done.group, stored["commit"], **known)
    assert isinstance(staged, CommitStaged)
    assert staged.group is not None
    assert staged.group.epoch_authenticator == stored["next_authenticator"]


def test_a_relay_s_stored_state_goes_on(stored: dict[str, bytes]) -> None:
    public = PublicGroup.restore(stored["public"])

    after = public.apply(stored["commit"], validator=Validator(), now=NOW)

    assert after.group.epoch == public.epoch + 1


def test_a_stored_key_package_is_read(stored: dict[str, bytes]) -> None:
    bundle = KeyPackageBundle.decode(stored["bundle"])

    assert bundle.last_resort
    assert Add(bundle.package).key_package.ref() == bundle.ref


def test_the_newest_file_is_what_is_written_today() -> None:
    stored = json.loads((FOLDER / NEWEST).read_text(encoding="utf-8"))
    data = {name: bytes.fromhex(text) for name, text in stored.items()}
    state = snapshot.restore(data["epoch"], data["ratchets"])

    assert snapshot.snapshot_epoch(state) == data["epoch"]
    assert snapshot.snapshot_ratchets(state) == data["ratchets"]
    assert PublicGroup.restore(data["public"]).snapshot() == data["public"]
    assert KeyPackageBundle.decode(data["bundle"]).encode() == data["bundle"]


def write() -> int:
    """Write the file of the newest version, unless it is there."""
    file = FOLDER / NEWEST
    if file.exists():
        return 1
    FOLDER.mkdir(exist_ok=True)
    file.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(write())
