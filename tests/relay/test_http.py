"""What the HTTP API answers to requests that are wrong in some way."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from liaison.crypto.secret import random_bytes
from liaison.errors import LiaisonError
from liaison.model import ChannelId, MessageId
from liaison.relay import middleware
from liaison.relay.routes import TABLES
from liaison.wire import frames, v1
from tests.support.people import People, people_of
from tests.support.relay import RunningRelay, running
from tests.support.world import World

NAME = "nor/defatt-berlin#d1"
CHANNEL = "0" * 32
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/v1/relay"),
    ("POST", "/v1/session/challenges"),
    ("POST", "/v1/session"),
    ("POST", "/v1/enrolments/{lookup}/request"),
    ("GET", "/v1/enrolments/{lookup}/reply"),
}
ROUTES = [(route.method, route.path) for table in TABLES for route in table]  # type: ignore[attr-defined]  # RouteDef has both
FAMILIES = {
    "agreement", "blob", "channel", "device", "document", "enrolment", "key_package", "message",
    "party", "policy", "rate", "revocation", "schema", "session",
}  # fmt: skip
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "wire.md"


def plain(path: str) -> str:
    """The path without what its parts have to look like."""
    return re.sub(r":[^}]+", "", path)


def filled(path: str) -> str:
    return (
        plain(path)
        .replace("{lookup}", CHANNEL)
        .replace("{channel}", CHANNEL)
        .replace("{message}", CHANNEL)
        .replace("{blob}", CHANNEL)
        .replace("{epoch}", "0")
        .replace("{digest}", "0" * 64)
        .replace("{code}", "NOR")
        .replace("{id}", "nor-deu-2026")
        .replace("{generation}", "2")
        .replace("{tile}", "0/000")
    )


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in OPEN])
async def test_every_other_route_needs_a_session(
    relay: RunningRelay, method: str, path: str
) -> None:
    async with relay.client() as client:
        answer = await client.request(method, filled(path))

    assert (answer.status, answer.code) == (401, "session.unauthenticated")


def test_every_open_route_exists() -> None:
    assert set(ROUTES) >= OPEN


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_stands_in_the_description_of_the_protocol(method: str, path: str) -> None:
    text = PAGE.read_text().replace("`GET /healthz`, `GET /readyz`", "`GET /healthz` `GET /readyz`")

    assert f"`{method} {plain(path)}" in text


def codes_of(family: type[LiaisonError]) -> set[str]:
    return {family.code}.union(*(codes_of(each) for each in family.__subclasses__()))


def test_every_code_in_the_description_of_the_protocol_exists() -> None:
    names = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", PAGE.read_text()))
    named = {name for name in names if name.split(".")[0] in FAMILIES}

    assert len(named) > 30
    assert named <= codes_of(LiaisonError)


async def test_a_relay_that_runs_is_up_and_ready(relay: RunningRelay) -> None:
    async with relay.client() as client:
        assert (await client.get("/healthz")).json == {"status": "up"}
        assert (await client.get("/readyz")).json == {"status": "ready"}


async def test_a_relay_whose_writer_has_ended_is_up_and_not_ready(relay: RunningRelay) -> None:
    await relay.app.writer.stop()
    async with relay.client() as client:
        answer = await client.get("/readyz")

        assert (answer.status, answer.code) == (503, "unavailable")
        assert (await client.get("/healthz")).status == 200


async def test_the_relay_says_who_it_is(relay: RunningRelay) -> None:
    async with relay.client() as client:
        info = v1.RelayInfo.model_validate_json((await client.get("/v1/relay")).body)

    assert info.identity == relay.identity.document()
    assert info.max_frame == frames.MAX_FRAME


@pytest.mark.parametrize(
    "path", ["/", "/v2/channels", "/v1/channels/x/y/z", "/v1/relay/", "/../etc/passwd"]
)
async def test_an_unknown_address_is_a_problem_document(relay: RunningRelay, path: str) -> None:
    async with relay.client() as client:
        answer = await client.get(path)

    assert (answer.status, answer.code) == (404, "route.unknown")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_method_that_an_address_does_not_take_is_told_which_it_takes(
    relay: RunningRelay,
) -> None:
    async with relay.client() as client:
        answer = await client.request("DELETE", "/v1/relay")

    assert (answer.status, answer.code) == (405, "route.method")
    assert "GET" in answer.headers["Allow"]


async def test_every_answer_forbids_caching_and_guessing(relay: RunningRelay) -> None:
    async with relay.client() as client:
        for path in ("/healthz", "/nowhere", "/v1/channels"):
            headers = (await client.get(path)).headers

            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Server"] == "liaison"
            assert "max-age" in headers["Strict-Transport-Security"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"lookup": "x"}',
        json.dumps({"lookup": CHANNEL, "device": "d", "expires_ms": 1, "more": 1}).encode(),
        json.dumps({"lookup": CHANNEL, "device": "d", "expires_ms": -1}).encode(),
        b'{"lookup": "'
        + CHANNEL.encode()
        + b'", "device": "d", "expires_ms": '
        + b"9" * 400
        + b"}",
        b"[" * 100_000,
    ],
)
async def test_a_malformed_body_is_refused_without_quoting_it(people: People, body: bytes) -> None:
    client = await people.registrar("NOR")

    answer = await client.post("/v1/enrolments", body)

    assert (answer.status, answer.code) == (400, "malformed")
    assert b"9" * 20 not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/v1/channels/xyz",
        f"/v1/channels/{'A' * 32}",
        f"/v1/channels/{CHANNEL}/trees/-1",
        f"/v1/channels/{CHANNEL}/trees/{1 << 64}",
        f"/v1/channels/{CHANNEL}/trees/1e3",
        f"/v1/channels/{CHANNEL}/outcomes/x",
        "/v1/parties/nor/revocations",
        "/v1/agreements/x?version=one",
        "/v1/agreements/x?vers=1",
        "/v1/agreements/x?version=1&version=2",
        "/v1/agreements?after=",
        "/v1/agreements?after=%00",
        "/v1/channels?after=x",
        "/v1/channels?limit=0",
        "/v1/channels?limit=201",
        "/v1/devices?agreement=x&page=2",
    ],
)
async def test_a_malformed_parameter_is_refused(people: People, path: str) -> None:
    client = await people.device(NAME)

    answer = await client.get(path)

    assert answer.status == 400


async def test_what_the_caller_has_no_part_in_is_unknown(people: People) -> None:
    client = await people.device(NAME)

    answers = [
        await client.get(f"/v1/channels/{CHANNEL}"),
        await client.get(f"/v1/channels/{CHANNEL}/group"),
        await client.get(f"/v1/channels/{CHANNEL}/trees/0"),
        await client.get(f"/v1/channels/{CHANNEL}/outcomes/{CHANNEL}"),
        await client.get(f"/v1/channels/{CHANNEL}/blobs/{CHANNEL}"),
        await client.get("/v1/agreements/nor-deu-2026"),
        await client.get("/v1/devices?agreement=nor-deu-2026"),
        await client.get("/v1/parties/DEU/revocations"),
    ]

    assert {answer.status for answer in answers} == {404}


async def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "relay", max_open_body=1000, max_small_body=2000) as relay,
        relay.client() as client,
    ):
        announced = await client.post("/v1/session", bytes(1001))

        async def pieces() -> Any:
            for _ in range(3):
                yield bytes(500)

        streamed = await client.request("POST", "/v1/session", pieces())
        after = await client.get("/healthz")

    assert {(a.status, a.code) for a in (announced, streamed)} == {(413, "oversize")}
    assert after.status == 200


async def test_a_compressed_body_is_refused(relay: RunningRelay) -> None:
    async with relay.client() as client:
        answer = await client.request(
            "POST", "/v1/session", b"\x1f\x8b", {"Content-Encoding": "gzip"}
        )

    assert (answer.status, answer.code) == (400, "malformed.encoding")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_an_encoded_body_is_refused_wherever_it_comes(
    relay: RunningRelay, method: str
) -> None:
    async with relay.client() as client:
        answer = await client.request(method, "/v1/relay", b"x", {"Content-Encoding": "deflate"})

    assert (answer.status, answer.code) == (400, "malformed.encoding")


async def test_no_answer_is_compressed(relay: RunningRelay) -> None:
    async with relay.client() as client:
        answer = await client.request("GET", "/v1/relay", headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("alias.example:8443", 200),
        ("ALIAS.example", 200),
        ("evil.example", 400),
        ("[::1]:8443", 400),
        ("127.0.0.1.evil.example", 400),
        ("", 400),
    ],
)
async def test_only_the_relays_own_names_are_answered_to(
    tmp_path: Path, host: str, status: int
) -> None:
    async with (
        running(tmp_path / "relay", hosts=["alias.example"]) as relay,
        relay.client() as client,
    ):
        answer = await client.request("GET", "/v1/relay", headers={"Host": host})
        health = await client.request("GET", "/healthz", headers={"Host": "localhost"})

    assert answer.status == status
    assert status == 200 or answer.code == "malformed.host"
    assert health.status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
async def test_no_web_page_of_elsewhere_can_use_the_relay(relay: RunningRelay, origin: str) -> None:
    async with relay.client() as client:
        answer = await client.request("GET", "/v1/relay", headers={"Origin": origin})
        own = await client.request("GET", "/v1/relay", headers={"Origin": relay.identity.url})

    assert (answer.status, answer.code) == (403, "request.origin")
    assert own.status == 200


async def test_bodies_of_one_device_share_a_bound_on_memory(tmp_path: Path, world: World) -> None:
    async with (
        running(tmp_path / "relay", max_body_memory_per_device=1000) as relay,
        people_of(relay, world) as people,
    ):
        client = await people.device(NAME)
        gate = asyncio.Event()

        async def slowly() -> Any:
            yield bytes(900)
            await gate.wait()

        first = asyncio.create_task(client.request("POST", "/v1/channels", slowly()))
        async with asyncio.timeout(10):
            while (answer := await client.post("/v1/channels", bytes(200))).status != 429:
                pass
        gate.set()
        ended = await first
        after = await client.post("/v1/channels", bytes(900))

    assert answer.code == "rate.bodies"
    assert {(each.status, each.code) for each in (ended, after)} == {(400, "malformed")}


async def test_large_answers_count_as_bodies_until_they_are_taken(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "WEIGHT", 100)
    path = "/v1/agreements/nor-deu-2026"
    async with running(tmp_path / "relay") as relay, people_of(relay, world) as people:
        await people.agreement("NOR", "DEU")
        device = await people.enrol(NAME)
        client = await people.device(device)
        size = len((await client.get(path)).body)
        whole = [await client.get(path) for _ in range(3)]
    async with (
        running(
            tmp_path / "relay", port=int(relay.url.rpartition(":")[2]),
            max_body_memory_per_device=size - 1,
        ) as again,
        again.client(device.device, device.key) as client,
    ):  # fmt: skip
        await client.login()
        refused = await client.get(path)
        small = await client.get("/v1/channels")

    assert [len(answer.body) for answer in whole] == [size] * 3
    assert (refused.status, refused.code, small.status) == (429, "rate.bodies", 200)


async def test_a_body_is_asked_for_only_when_it_is_wanted(tmp_path: Path, world: World) -> None:
    async with (
        running(tmp_path / "relay", tls="proxy") as relay,
        people_of(relay, world) as people,
    ):
        client = await people.device(NAME)
        port = int(relay.url.rpartition(":")[2])

        async def first_line(token: str, expect: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            lines = (
                "POST /v1/key-packages HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 2",
                f"Expect: {expect}", f"Authorization: Bearer {token}", "", "",
            )  # fmt: skip
            writer.write("\r\n".join(lines).encode())
            line = await reader.readline()
            writer.close()
            return line

        refused = await first_line("guess", "100-continue")
        wanted = await first_line(client.token, "100-continue")
        unknown = await first_line("guess", "the-fleet")

    assert b" 401 " in refused
    assert b" 100 " in wanted
    assert b" 401 " in unknown


async def test_no_stream_is_compressed(people: People) -> None:
    client = await people.device(NAME)

    async with client.session.ws_connect(
        "/v1/stream",
        protocols=(frames.SUBPROTOCOL,),
        headers={"Authorization": f"Bearer {client.token}"},
        compress=15,
    ) as socket:
        assert socket.protocol == frames.SUBPROTOCOL
        assert socket.compress == 0


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path / "relay", request_timeout=0.05) as relay, relay.client() as client:
        gate = asyncio.Event()

        async def never() -> Any:
            yield b"{"
            await gate.wait()

        answer = await client.request("POST", "/v1/session", never())
        gate.set()

    assert (answer.status, answer.code) == (400, "malformed")


async def test_an_address_over_its_rate_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "relay", rate_address=0.5, burst_address=3) as relay,
        relay.client() as client,
    ):
        answers = [await client.get("/v1/relay") for _ in range(4)]

    assert [a.status for a in answers] == [200, 200, 200, 429]
    assert answers[3].code == "rate.exceeded"
    assert int(answers[3].headers["Retry-After"]) >= 1
    # A flood does not go on over the same connection.
    assert answers[3].headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("trusted", "statuses"), [(("127.0.0.1",), [200, 200, 429]), ((), [200, 429, 429])]
)
async def test_only_a_trusted_proxy_may_say_whose_request_it_is(
    tmp_path: Path, trusted: tuple[str, ...], statuses: list[int]
) -> None:
    async with (
        running(
            tmp_path / "relay",
            tls="proxy",
            trusted_proxies=trusted,
            rate_address=0.001,
            burst_address=1,
        ) as relay,
        relay.client() as client,
    ):
        answers = [
            await client.request("GET", "/v1/relay", headers={"X-Forwarded-For": forwarded})
            for forwarded in ("192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.1")
        ]

    assert relay.url.startswith("http://127.0.0.1")
    assert [a.status for a in answers] == statuses
    assert "Strict-Transport-Security" not in answers[0].headers


async def test_guessing_tokens_is_counted_against_the_address(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "relay", rate_address=0.001, burst_address=3) as relay,
        relay.client() as client,
    ):
        client.token = "guess"
        answers = [await client.get("/v1/channels") for _ in range(4)]

    assert [a.status for a in answers] == [401, 401, 401, 429]


async def test_a_device_over_its_rate_is_refused_and_others_are_not(
    tmp_path: Path, world: World
) -> None:
    async with (
        running(tmp_path / "relay", rate_device=0.001, burst_device=4) as relay,
        people_of(relay, world) as people,
    ):
        busy, other = await people.device(NAME), await people.device("deu/lno-j3#d1")
        answers = [await busy.get("/v1/channels") for _ in range(5)]

        assert [a.status for a in answers] == [200, 200, 200, 200, 429]
        assert (await other.get("/v1/channels")).status == 200


async def test_large_bodies_use_up_the_rate_of_a_device(tmp_path: Path, world: World) -> None:
    async with (
        running(tmp_path / "relay", rate_device=0.001, burst_device=5) as relay,
        people_of(relay, world) as people,
    ):
        client = await people.device(NAME)

        answers = [await client.post("/v1/channels", bytes(1 << 20)) for _ in range(2)]

    assert [a.status for a in answers] == [400, 429]


async def test_nothing_unexpected_shows_its_text(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ValueError("the fleet sails at dawn")

    monkeypatch.setattr(relay.app.database.__class__, "check", lambda _self: fail())
    async with relay.client() as client:
        answer = await client.get("/readyz")

    assert (answer.status, answer.code) == (500, "internal")
    assert b"dawn" not in answer.body


async def test_plain_http_on_the_tls_port_gets_no_answer(relay: RunningRelay) -> None:
    port = int(relay.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    finally:
        writer.close()

    assert b"200" not in answer


async def test_the_client_has_to_trust_the_relays_certificate(relay: RunningRelay) -> None:
    port = int(relay.url.rpartition(":")[2])

    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())


# --- enrolment over the wire ------------------------------------------------------------


async def test_an_enrolment_goes_from_invitation_to_reply(people: People, world: World) -> None:
    office, nobody = await people.registrar("NOR"), await people.nobody()
    device, lookup = world.device(NAME), random_bytes(16).hex()
    expires = (world.now + 3600) * 1000
    path = f"/v1/enrolments/{lookup}"

    invited = await office.post(
        "/v1/enrolments", v1.Invitation(lookup=lookup, device=device.device.uri, expires_ms=expires)
    )
    pending = await nobody.get(f"{path}/reply")
    asked = await nobody.post(f"{path}/request", v1.EnrolmentRequest(sealed=b"request"))
    again = await nobody.post(f"{path}/request", v1.EnrolmentRequest(sealed=b"request"))
    other = await nobody.post(f"{path}/request", v1.EnrolmentRequest(sealed=b"another"))
    listed = v1.Enrolments.model_validate_json((await office.get("/v1/enrolments")).body)
    replied = await office.post(
        f"{path}/reply",
        v1.EnrolmentReply(certificates=[list(c) for c in device.chains.values()], sealed=b"reply"),
    )
    fetched = await nobody.get(f"{path}/reply")

    assert (invited.status, asked.status, again.status, replied.status) == (201, 202, 202, 201)
    assert (pending.status, pending.code) == (404, "enrolment.pending")
    assert (other.status, other.code) == (409, "enrolment.already_requested")
    assert [e.sealed_request for e in listed.enrolments] == [b"request"]
    assert v1.SealedReply.model_validate_json(fetched.body).sealed == b"reply"


async def test_an_unknown_lookup_id_takes_no_request(people: People) -> None:
    nobody = await people.nobody()

    answer = await nobody.post(
        f"/v1/enrolments/{CHANNEL}/request", v1.EnrolmentRequest(sealed=b"x")
    )

    assert (answer.status, answer.code) == (404, "enrolment.unknown")


async def test_a_chain_of_another_party_is_not_registered(people: People, world: World) -> None:
    office = await people.registrar("NOR")
    stranger = world.device("deu/lno-j3#d1")
    lookup = random_bytes(16).hex()
    invitation = v1.Invitation(
        lookup=lookup, device=f"liaison://{NAME}", expires_ms=(world.now + 3600) * 1000
    )
    await office.post("/v1/enrolments", invitation)
    await office.post(f"/v1/enrolments/{lookup}/request", v1.EnrolmentRequest(sealed=b"x"))

    answer = await office.post(
        f"/v1/enrolments/{lookup}/reply",
        v1.EnrolmentReply(certificates=[list(c) for c in stranger.chains.values()], sealed=b"r"),
    )

    assert answer.status in (400, 403, 422)


async def test_members_of_an_agreement_see_it_and_each_others_devices(people: People) -> None:
    agreement = await people.agreement("NOR", "DEU")
    nor = await people.device(NAME)
    await people.enrol("deu/lno-j3#d1")

    listed = v1.Agreements.model_validate_json((await nor.get("/v1/agreements")).body)
    document = await nor.get(f"/v1/agreements/{agreement}")
    version = await nor.get(f"/v1/agreements/{agreement}?version=1")
    directory = v1.Directory.model_validate_json(
        (await nor.get(f"/v1/devices?agreement={agreement}")).body
    )

    assert [a.id for a in listed.agreements] == [agreement]
    assert document.body == version.body
    assert {d.device.removeprefix("liaison://") for d in directory.devices} == {
        NAME,
        "deu/lno-j3#d1",
    }


# --- the stream, on the whole relay -----------------------------------------------------


async def test_a_stream_needs_the_subprotocol(people: People) -> None:
    client = await people.device(NAME)

    answer = await client.get("/v1/stream")

    assert answer.status == 400


async def test_a_new_device_is_caught_up_at_once(people: People) -> None:
    client = await people.device(NAME)
    stream = await client.stream()

    ready = await stream.hello()

    assert ready.state_version == 0
    assert await stream.receive() == frames.CaughtUp(0)


async def test_a_message_to_an_unknown_channel_is_refused_and_the_stream_stays(
    people: People,
) -> None:
    client = await people.device(NAME)
    stream = await client.stream()
    await stream.hello(deliver=False)
    send = frames.Send(1, ChannelId(bytes(16)), MessageId(bytes(16)), 0, b"no MLS message")

    await stream.send(send)
    refused = await stream.receive()
    await stream.send(send)

    assert isinstance(refused, frames.Refused)
    assert isinstance(await stream.receive(), frames.Refused)


async def test_revoking_a_device_ends_its_streams_and_no_others(
    people: People, world: World
) -> None:
    revoked, kept = await people.enrol(NAME), await people.enrol("nor/duty-desk#d1")
    ending = await (await people.device(revoked)).stream()
    staying = await (await people.device(kept)).stream()
    for stream in (ending, staying):
        await stream.hello()
        await stream.receive()
    registrar = await people.registrar("NOR")

    await registrar.post("/v1/revocations", v1.Document(envelope=world.revoke("NOR", revoked)))

    assert await ending.close_code() == 4403
    await staying.socket.ping()
    assert not staying.socket.closed


async def test_a_relay_that_stops_tells_its_streams(tmp_path: Path, world: World) -> None:
    async with running(tmp_path / "relay") as relay, people_of(relay, world) as people:
        stream = await (await people.device(NAME)).stream()
        await stream.hello()
        closing = asyncio.create_task(stream.close_code())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await relay.app.streams.end_all(frames.Close.GOING_AWAY)

        assert await closing == frames.Close.GOING_AWAY
