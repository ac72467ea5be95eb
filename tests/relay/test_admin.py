"""Administration: through the socket of a running relay, or under its lock when stopped."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from liaison.relay import admin, adminsocket, identity, settings
from liaison.relay.errors import AdminError
from liaison.relay.files import DataDir
from liaison.wire.problems import RemoteError
from tests.support.relay import RunningRelay, free_port, make, running
from tests.support.world import World


def run(path: Path, request: dict[str, str]) -> Any:
    data = DataDir(path)
    answer = adminsocket.ask(data, request)
    if answer is None:
        return admin.run_stopped(data, settings.load(path), identity.load(data), request)
    return answer


async def ask(relay: RunningRelay, **request: str) -> Any:
    return await asyncio.to_thread(run, relay.data, request)


async def test_a_running_relay_admits_through_its_socket(relay: RunningRelay, world: World) -> None:
    for code in ("NOR", "DEU"):
        done = await ask(relay, do="party.add", document=world.party(code).document.decode())
        assert done["party"] == code
    envelope = world.agreement("NOR", "DEU", relay=relay.identity)

    admitted = await ask(relay, do="agreement.add", document=envelope.decode())

    assert admitted["agreement"] == "nor-deu-2026"
    assert await ask(relay, do="agreement.list") == [admitted]
    parties = await ask(relay, do="party.list")
    assert {p["party"] for p in parties} == {"NOR", "DEU"}
    roots = world.party("NOR").party.roots
    assert [p["roots"] for p in parties if p["party"] == "NOR"] == [[r.fingerprint for r in roots]]


def test_a_stopped_relay_is_administered_under_its_lock(tmp_path: Path, world: World) -> None:
    data = make(tmp_path / "relay", free_port())

    run(data.path, {"do": "party.add", "document": world.party("NOR").document.decode()})

    assert [p["party"] for p in run(data.path, {"do": "party.list"})] == ["NOR"]
    assert not data.socket.exists()


def test_a_socket_that_a_killed_relay_left_is_no_running_relay(
    tmp_path: Path, world: World
) -> None:
    data = make(tmp_path / "relay", free_port())
    with socket.socket(socket.AF_UNIX) as dead, adminsocket.short(data.socket) as address:
        dead.bind(address)

    assert run(data.path, {"do": "party.list"}) == []
    assert data.socket.exists()


async def test_only_the_owner_can_open_the_socket(relay: RunningRelay) -> None:
    mode = await asyncio.to_thread((relay.data / "admin.sock").stat)

    assert mode.st_mode & 0o777 == 0o600


async def test_the_socket_works_in_a_directory_with_a_very_long_name(
    tmp_path: Path, world: World
) -> None:
    async with running(tmp_path / ("d" * 120) / "relay") as relay:
        assert await ask(relay, do="party.list") == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"do": "party.add", "document": "{}"}, None),
        ({"do": "agreement.add", "document": "{}"}, None),
        ({"do": "drop.everything"}, "malformed"),
        ({}, "malformed"),
    ],
)
async def test_what_is_refused_changes_nothing(
    relay: RunningRelay, request_: dict[str, str], code: str | None
) -> None:
    with pytest.raises(RemoteError) as caught:
        await ask(relay, **request_)

    assert code in (None, caught.value.remote_code)
    assert await ask(relay, do="party.list") == []
    assert await ask(relay, do="agreement.list") == []


async def test_an_agreement_with_a_party_that_was_not_admitted_is_refused(
    relay: RunningRelay, world: World
) -> None:
    await ask(relay, do="party.add", document=world.party("NOR").document.decode())
    envelope = world.agreement("NOR", "DEU", relay=relay.identity)

    with pytest.raises(RemoteError):
        await ask(relay, do="agreement.add", document=envelope.decode())


def talk(path: Path, sent: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection, adminsocket.short(path) as address:
        connection.connect(address)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.readline()


@pytest.mark.parametrize(
    "sent", [b"", b"\n", b"[]\n", b'{"do": 1}\n', b"\xff\n", b"{" * 1000 + b"\n"]
)
async def test_nonsense_on_the_socket_is_answered_and_harms_nothing(
    relay: RunningRelay, sent: bytes
) -> None:
    answer = json.loads(await asyncio.to_thread(talk, relay.data / "admin.sock", sent))

    assert answer["problem"]["type"] == "urn:liaison:malformed"
    assert await ask(relay, do="party.list") == []


def test_a_relay_that_ends_before_it_answers_is_told_apart_from_a_refusal(
    tmp_path: Path,
) -> None:
    data = DataDir(tmp_path)
    with admin.bound(data) as listener:
        listener.settimeout(10)
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(AdminError):
            adminsocket.ask(data, {"do": "party.list"})
        thread.join()
