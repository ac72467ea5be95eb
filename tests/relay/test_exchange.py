"""Two devices and one relay over real sockets: channels, messages, deliveries, attachments."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from liaison.mls.key_package import KeyPackage
from liaison.mls.proposals import Add
from liaison.model import Precedence
from liaison.policy import signing
from liaison.relay.app import Clocks
from liaison.wire import frames, v1
from liaison.wire.frames import ItemKind
from tests.relay.services.harness import NOW, Actor, fresh_id
from tests.support.client import Answer, RawClient, RawStream
from tests.support.people import People, people_of
from tests.support.relay import RunningRelay, running
from tests.support.world import FAST_SUITE, World

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


@dataclass
class Party:
    """A device: its bare client, and its side of the group."""

    client: RawClient
    mls: Actor

    @property
    def path(self) -> str:
        return f"/v1/channels/{self.mls.channel}"

    async def stream(self, *, deliver: bool = True, limit: int = 256) -> RawStream:
        stream = await self.client.stream()
        await stream.hello(deliver=deliver, limit=limit)
        return stream

    async def commit(self, *by_value: Add) -> Answer:
        staged = self.mls.stage(*by_value)
        answer = await self.client.post(f"{self.path}/commits", self.mls.body(staged))
        if answer.status == 201:
            self.mls.group = staged.group
        return answer


@dataclass
class Scene:
    """A channel of two."""

    relay: RunningRelay
    people: People
    attache: Party
    officer: Party


@pytest.fixture
def world() -> World:
    return World(now=NOW)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[RunningRelay]:
    clocks = Clocks(now_ms=lambda: NOW * 1000)
    async with running(
        tmp_path / "relay",
        clocks=clocks,
        max_blob=1 << 20,
        rate_attachments=1,
        burst_attachments=4 << 20,
    ) as found:
        yield found


async def enter(people: People, name: str) -> Party:
    device = await people.enrol(name)
    behind = SimpleNamespace(
        identity=people.relay.identity,
        clock=SimpleNamespace(ms=NOW * 1000),
        services=people.relay.app.services,
    )
    actor = Actor(cast("Any", behind), device, cast("Any", None))
    return Party(await people.device(device), actor)


@pytest.fixture
async def scene(relay: RunningRelay, world: World) -> AsyncIterator[Scene]:
    async with people_of(relay, world) as people:
        await people.agreement("NOR", "DEU")
        attache, officer = await enter(people, ATTACHE), await enter(people, OFFICER)
        document = await attache.client.get("/v1/agreements/nor-deu-2026")
        agreement = signing.verify(v1.Document.model_validate_json(document.body).envelope)
        created = await attache.client.post("/v1/channels", attache.mls.new_channel(agreement))
        assert created.status == 201, created.body
        officer.mls.channel, officer.mls.agreement = attache.mls.channel, agreement
        yield Scene(relay, people, attache, officer)


async def add_officer(scene: Scene) -> None:
    attache, officer = scene.attache, scene.officer
    bundle = officer.mls.key_package()
    uploaded = await officer.client.post(
        "/v1/key-packages", v1.KeyPackages(suite=FAST_SUITE, key_packages=[bundle.key_package])
    )
    assert uploaded.status == 201, uploaded.body
    claim = v1.Claim(agreement="nor-deu-2026", endpoint="deu/lno-j3", suite=FAST_SUITE)
    answer = await attache.client.post("/v1/key-packages/claims", claim)
    claimed = v1.Claimed.model_validate_json(answer.body)
    assert [p.key_package for p in claimed.key_packages] == [bundle.key_package]
    added = await attache.commit(Add(KeyPackage.parse(claimed.key_packages[0].key_package)))
    assert added.status == 201, added.body


async def receive(stream: RawStream, count: int) -> list[frames.Deliver]:
    found: list[frames.Deliver] = []
    while len(found) < count:
        frame = await stream.receive()
        if isinstance(frame, frames.Deliver):
            found.append(frame)
    return found


async def until_caught_up(stream: RawStream) -> list[frames.Deliver]:
    found: list[frames.Deliver] = []
    while not isinstance(frame := await stream.receive(), frames.CaughtUp):
        assert isinstance(frame, frames.Deliver)
        found.append(frame)
    return found


async def accepted(stream: RawStream) -> frames.Accepted:
    while not isinstance(frame := await stream.receive(), frames.Accepted):
        assert not isinstance(frame, frames.Refused), frame
    return frame


async def test_a_new_member_gets_its_welcome_its_tree_and_what_comes_after(scene: Scene) -> None:
    sender = await scene.attache.stream(deliver=False)
    await sender.send(scene.attache.mls.message(b"before"))
    await accepted(sender)
    await add_officer(scene)
    message = scene.attache.mls.message(b"after")
    await sender.send(message)
    answer = await accepted(sender)

    reader = await scene.officer.stream()
    welcome, delivered = await receive(reader, 2)
    tree = await scene.officer.client.get(f"{scene.officer.path}/trees/{welcome.epoch}")

    assert welcome.kind is ItemKind.WELCOME
    assert (delivered.seq, delivered.payload) == (answer.seq, message.payload)
    assert answer.digest == hashlib.sha256(message.payload).digest()
    assert v1.GroupState.model_validate_json(tree.body).epoch == welcome.epoch
    assert await until_caught_up(reader) == []


async def test_flash_comes_first_and_acknowledging_it_acknowledges_nothing_else(
    scene: Scene,
) -> None:
    await add_officer(scene)
    sender = await scene.attache.stream(deliver=False)
    for number in range(5):
        await sender.send(scene.attache.mls.message(b"routine %d" % number))
        await accepted(sender)
    flash = scene.attache.mls.message(b"flash", Precedence.FLASH)
    await sender.send(flash)
    await accepted(sender)
    # The welcome that adds us, and the flash, are all that the client is ready for.
    first = await scene.officer.stream(limit=2)
    welcome, urgent = await receive(first, 2)

    await first.send(frames.Ack(2))
    await first.socket.close()
    again = await until_caught_up(await scene.officer.stream())

    assert welcome.kind is ItemKind.WELCOME
    assert urgent.payload == flash.payload
    assert [item.precedence for item in again] == [Precedence.ROUTINE] * 5
    assert [item.seq for item in again] == sorted(item.seq for item in again)


async def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(scene: Scene) -> None:
    await add_officer(scene)
    sender = await scene.attache.stream(deliver=False)
    for number in range(4):
        await sender.send(scene.attache.mls.message(b"%d" % number))
        await accepted(sender)
    first = await scene.officer.stream()
    delivered = await until_caught_up(first)

    await first.send(frames.Ack(3))
    await first.socket.close()
    again = await until_caught_up(await scene.officer.stream())

    assert [item.seq for item in again] == [item.seq for item in delivered[3:]]
    assert [item.number for item in again] == [1, 2]


async def test_a_message_arrives_while_its_reader_waits(scene: Scene) -> None:
    await add_officer(scene)
    reader = await scene.officer.stream()
    await until_caught_up(reader)
    sender = await scene.attache.stream(deliver=False)
    message = scene.attache.mls.message(b"now")

    await sender.send(message)
    (delivered,) = await receive(reader, 1)

    assert delivered.payload == message.payload
    assert await until_caught_up(reader) == []


async def test_the_same_message_again_is_the_same_and_another_under_its_id_is_refused(
    scene: Scene,
) -> None:
    sender = await scene.attache.stream(deliver=False)
    message = scene.attache.mls.message(b"once")
    other = scene.attache.mls.message(b"twice")
    forged = frames.Send(9, message.channel, message.message_id, 9, other.payload)

    await sender.send(message, message)
    first, second = await accepted(sender), await accepted(sender)
    await sender.send(forged)
    refused = await sender.receive()
    outcome = await scene.attache.client.get(f"{scene.attache.path}/outcomes/{message.message_id}")

    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.seq == second.seq
    assert isinstance(refused, frames.Refused)
    assert refused.problem.status in (400, 409)
    assert v1.Outcome.model_validate_json(outcome.body).seq == first.seq


async def test_whoever_is_no_member_can_neither_send_nor_read(scene: Scene) -> None:
    stranger = await scene.officer.stream()
    message = scene.attache.mls.message(b"x")

    await stranger.send(message)
    while not isinstance(frame := await stranger.receive(), frames.Refused):
        assert isinstance(frame, frames.CaughtUp)
    answers = [
        await scene.officer.client.get(scene.officer.path),
        await scene.officer.client.get(f"{scene.officer.path}/group"),
        await scene.officer.client.request(
            "PUT", f"{scene.officer.path}/blobs/{fresh_id().hex()}", b"x", digest_of(b"x")
        ),
    ]

    assert frame.problem.code in ("channel.not_member", "channel.unknown")
    assert {answer.status for answer in answers} <= {403, 404}


async def test_of_two_commits_of_one_epoch_one_is_accepted(scene: Scene) -> None:
    mls = scene.attache.mls
    one, other = mls.body(mls.stage()), mls.body(mls.stage())
    path = f"{scene.attache.path}/commits"

    won = await scene.attache.client.post(path, one)
    lost = await scene.attache.client.post(path, other)
    again = await scene.attache.client.post(path, one)

    assert (won.status, lost.status, again.status) == (201, 409, 201)
    assert lost.code == "channel.epoch_conflict"
    assert again.json["seq"] == won.json["seq"]


async def test_the_relay_tells_a_restored_device_that_a_later_state_was_seen(
    scene: Scene,
) -> None:
    sender = await scene.attache.stream(deliver=False)
    message = scene.attache.mls.message(b"x")
    await sender.send(message)
    await accepted(sender)

    restored = await (await scene.attache.client.stream()).hello(deliver=False, state_version=0)
    session = v1.Session.model_validate_json((await scene.attache.client.login()).body)

    assert restored.state_version == message.state_version
    assert session.state_version == message.state_version


def digest_of(data: bytes) -> dict[str, str]:
    return {"Liaison-Digest": v1.b64encode(hashlib.sha256(data).digest())}


async def test_an_attachment_comes_back_as_it_went(scene: Scene) -> None:
    await add_officer(scene)
    data = bytes(range(256)) * 4000
    path = f"{scene.attache.path}/blobs/{fresh_id().hex()}"

    stored = await scene.attache.client.request("PUT", path, data, digest_of(data))
    again = await scene.attache.client.request("PUT", path, data, digest_of(data))
    fetched = await scene.officer.client.get(path)

    assert (stored.status, again.status) == (201, 201)
    assert stored.json["size"] == len(data)
    assert fetched.body == data
    assert fetched.headers["Liaison-Digest"] == digest_of(data)["Liaison-Digest"]


async def test_the_rest_of_an_attachment_is_read_from_any_byte_on(scene: Scene) -> None:
    data = bytes(range(256)) * 1024 * 3
    path = f"{scene.attache.path}/blobs/{fresh_id().hex()}"
    client = scene.attache.client
    await client.request("PUT", path, data, digest_of(data))

    rests = {
        begin: await client.request("GET", path, headers={"Range": f"bytes={begin}-"})
        for begin in (1, 256 << 10, (512 << 10) + 7, len(data) - 1)
    }
    beyond = await client.request("GET", path, headers={"Range": f"bytes={len(data)}-"})
    other = await client.request("GET", path, headers={"Range": "bytes=3-5, 7-9"})

    for begin, rest in rests.items():
        assert (rest.status, rest.body) == (206, data[begin:])
        assert rest.headers["Content-Range"] == f"bytes {begin}-{len(data) - 1}/{len(data)}"
    assert (beyond.status, beyond.code) == (400, "blob.range")
    assert (other.status, other.body) == (200, data)


async def test_a_device_moves_so_many_bytes_of_attachments_and_is_told_when_to_go_on(
    scene: Scene,
) -> None:
    await add_officer(scene)
    data, path = bytes(1 << 20), f"{scene.attache.path}/blobs/{fresh_id().hex()}"
    client = scene.attache.client
    await client.request("PUT", path, data, digest_of(data))
    wrong = await client.request("PUT", path[:-1] + "x", data, digest_of(data))

    got = [await client.get(path) for _ in range(4)]
    up = await client.request("PUT", path, data, digest_of(data))

    assert wrong.status == 400
    assert [answer.status for answer in got] == [200, 200, 200, 429]
    assert (got[3].code, up.code) == ("rate.attachments", "rate.attachments")
    assert int(got[3].headers["Retry-After"]) == got[3].json["retry_after"] > (1 << 20) - 60
    assert (await client.get(scene.attache.path)).status == 200
    assert (await scene.officer.client.get(path)).body == data


async def test_an_attachment_that_is_not_what_was_announced_is_not_stored(scene: Scene) -> None:
    path = f"{scene.attache.path}/blobs/{fresh_id().hex()}"
    client = scene.attache.client

    wrong = await client.request("PUT", path, b"data", digest_of(b"other"))
    bare = await client.request("PUT", path, b"data")
    padded = await client.request(
        "PUT", path, b"data", {"Liaison-Digest": digest_of(b"data")["Liaison-Digest"] + "="}
    )
    large = await client.request("PUT", path, bytes((1 << 20) + 1), digest_of(b"data"))
    fetched = await client.get(path)

    assert (wrong.status, wrong.code) == (422, "blob.digest_mismatch")
    assert (bare.status, padded.status) == (400, 400)
    assert large.status == 413
    assert (fetched.status, fetched.code) == (404, "blob.unknown")


async def test_a_revoked_member_is_proposed_for_removal_and_silences_the_channel_until_then(
    scene: Scene, world: World
) -> None:
    await add_officer(scene)
    reader = await scene.attache.stream()
    await until_caught_up(reader)
    sender = await scene.attache.stream(deliver=False)
    registrar = await scene.people.registrar("DEU")
    revoked = world.revoke("DEU", scene.officer.mls.device)

    published = await registrar.post("/v1/revocations", v1.Document(envelope=revoked))
    (proposal,) = await receive(reader, 1)
    await sender.send(scene.attache.mls.message(b"too early"))
    refused = await sender.receive()
    scene.attache.mls.process(proposal.payload)
    removed = await scene.attache.commit()
    await sender.send(scene.attache.mls.message(b"now"))

    assert published.status == 201
    assert proposal.kind is ItemKind.PROPOSAL
    assert isinstance(refused, frames.Refused)
    assert refused.problem.code == "channel.removal_pending"
    assert removed.status == 201, removed.body
    assert (await accepted(sender)).seq > proposal.seq
    found = v1.Channel.model_validate_json(
        (await scene.attache.client.get(scene.attache.path)).body
    )
    assert [m.device.removeprefix("liaison://") for m in found.members] == [ATTACHE]
