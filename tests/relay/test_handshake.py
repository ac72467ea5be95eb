"""Opening a session with a relay, over its real socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.errors import SignatureError
from liaison.crypto.signing import SignatureScheme, SigningKey
from liaison.policy.keys import VerifyKey
from liaison.wire import v1
from liaison.wire.handshake import key_fingerprint
from tests.support.client import RawClient
from tests.support.people import People
from tests.support.relay import RunningRelay, running
from tests.support.world import World

NAME = "nor/defatt-berlin#d1"
ED25519 = SignatureScheme.ED25519


async def prove(client: RawClient, challenge: v1.Challenge, signature: bytes) -> Any:
    body = v1.SessionRequest(challenge=challenge.challenge, signature=signature)
    return await client.post("/v1/session", body)


async def test_a_registered_device_gets_a_token_that_opens_doors(people: People) -> None:
    client = await people.device(NAME)

    assert (await client.get("/v1/channels")).json == {"channels": []}


async def test_the_session_tells_the_relays_clock_and_its_own_end(people: People) -> None:
    device = await people.enrol(NAME)
    client = await people.device(device)

    session = v1.Session.model_validate_json((await client.login()).body)

    assert 0 < session.expires_ms - session.time_ms <= 600_000
    assert session.state_version == 0


async def test_a_client_notices_a_relay_with_another_key(relay: RunningRelay, world: World) -> None:
    device = world.device(NAME)
    other = VerifyKey.of(SigningKey.generate(ED25519))
    async with relay.client(device.device, device.key) as client:
        answer, transcript = await client.challenge()
        challenge = v1.Challenge.model_validate_json(answer.body)

        relay.identity.identity_keys[0].verify(challenge.signature, transcript.for_relay())
        with pytest.raises(SignatureError):
            other.verify(challenge.signature, transcript.for_relay())


async def test_a_client_that_means_another_origin_gets_no_challenge(
    relay: RunningRelay, world: World
) -> None:
    device = world.device(NAME)
    async with relay.client(device.device, device.key) as client:
        answer, _ = await client.challenge(origin="https://other.example")

    assert (answer.status, answer.code) == (401, "session.unauthenticated")


async def test_a_proof_under_the_relays_label_opens_nothing(people: People) -> None:
    device = await people.enrol(NAME)
    client = people.relay.client(device.device, device.key)
    async with client:
        answer, transcript = await client.challenge()
        challenge = v1.Challenge.model_validate_json(answer.body)

        reflected = await prove(client, challenge, challenge.signature)
        wrong = await prove(client, challenge, device.key.sign(transcript.for_relay()))

    assert {(a.status, a.code) for a in (reflected, wrong)} == {(401, "session.unauthenticated")}


async def test_a_proof_that_was_seen_opens_nothing_again(people: People) -> None:
    device = await people.enrol(NAME)
    async with people.relay.client(device.device, device.key) as client:
        answer, transcript = await client.challenge()
        challenge = v1.Challenge.model_validate_json(answer.body)
        signature = device.key.sign(transcript.for_client())

        first = await prove(client, challenge, signature)
        again = await prove(client, challenge, signature)

    assert (first.status, again.status) == (201, 401)


async def test_an_address_opens_handshakes_at_its_rate_only(tmp_path: Path, world: World) -> None:
    nation = world.party("NOR")
    async with (
        running(tmp_path / "relay", rate_address=0.001, burst_address=3) as relay,
        relay.client(nation.registrar, nation.registrar_key) as client,
    ):
        answers = [(await client.challenge())[0] for _ in range(4)]

    assert [answer.status for answer in answers] == [201, 201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1


async def test_nobody_learns_who_is_registered(people: People, world: World) -> None:
    registered = await people.enrol(NAME)
    stranger, other = world.device("nor/nobody#d1"), SigningKey.generate(ED25519)
    admitted, foreign = world.party("NOR"), world.party("FRA")
    answers = []
    for principal, key in (
        (registered.device, registered.key),
        (registered.device, other),
        (stranger.device, stranger.key),
        (admitted.registrar, admitted.registrar_key),
        (admitted.registrar, other),
        (foreign.registrar, foreign.registrar_key),
    ):
        async with people.relay.client(principal, other) as client:
            answer, _ = await client.challenge(key=key_fingerprint(key.public_bytes))
            challenge = v1.Challenge.model_validate_json(answer.body)
            answers.append(await prove(client, challenge, bytes(64)))

    assert {(answer.status, answer.body) for answer in answers} == {
        (answers[0].status, answers[0].body)
    }
    assert answers[0].status == 401


async def test_an_ended_session_opens_nothing(people: People) -> None:
    client = await people.device(NAME)

    ended = await client.request("DELETE", "/v1/session")
    answer = await client.get("/v1/channels")

    assert ended.status == 204
    assert (answer.status, answer.code) == (401, "session.expired")


@pytest.mark.parametrize("header", ["", "Basic YWJj", "Bearer ", "Bearer nonsense"])
async def test_without_a_token_nothing_opens(relay: RunningRelay, header: str) -> None:
    async with relay.client() as client:
        answer = await client.request("GET", "/v1/channels", headers={"Authorization": header})

    assert (answer.status, answer.code) == (401, "session.unauthenticated")


async def test_an_office_can_do_only_what_is_an_offices(people: People) -> None:
    registrar = await people.registrar("NOR")
    device = await people.device(NAME)

    as_device = await registrar.get("/v1/channels")
    as_registrar = await device.get("/v1/enrolments")

    assert {as_device.code, as_registrar.code} == {"session.wrong_principal"}
    assert {as_device.status, as_registrar.status} == {403}


async def test_an_authority_is_no_registrar(people: People, world: World) -> None:
    await people.registrar("NOR")
    nation = world.party("NOR")
    async with people.relay.client(nation.authority, nation.authority_key) as client:
        opened = await client.login()
        answer = await client.get("/v1/enrolments")

    assert opened.status == 201
    assert (answer.status, answer.code) == (403, "session.wrong_principal")


async def test_a_revoked_device_loses_its_session_and_gets_no_other(
    people: People, world: World
) -> None:
    device = await people.enrol(NAME)
    client = await people.device(device)
    registrar = await people.registrar("NOR")

    published = await registrar.post(
        "/v1/revocations", v1.Document(envelope=world.revoke("NOR", device))
    )
    answer = await client.get("/v1/channels")
    client.token = ""
    again = await client.login()

    assert published.status == 201
    assert (answer.status, answer.code) == (403, "device.revoked")
    assert again.status in (401, 403)
