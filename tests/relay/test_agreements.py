"""The life of an agreement over HTTP: offices bring documents, devices hear of it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from liaison.model import PartyCode
from liaison.policy import exclusion, participation, signing, templates
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.dsse import Envelope
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.wire import frames, v1
from tests.relay.test_admin import ask
from tests.support.client import RawClient
from tests.support.people import People
from tests.support.world import FAST_SUITE, HOUR

CODES = ("NOR", "DEU", "UN-OCHA")
ID = "life-2026"
PATH = f"/v1/agreements/{ID}"


@pytest.fixture
async def offices(people: People) -> dict[str, RawClient]:
    """The registrars of three admitted parties."""
    return {code: await people.registrar(code) for code in CODES}


def drafted(people: People) -> Agreement:
    return templates.new(
        AgreementKind.MULTILATERAL,
        agreement_id=ID,
        parties=[people.world.party(code).party for code in CODES],
        relay=people.relay.identity,
        valid_from=people.world.now - HOUR,
        valid_until=people.world.now + 24 * HOUR,
        cipher_suite=FAST_SUITE,
    )


def signed(people: People, agreement: Agreement, code: str) -> v1.Document:
    return v1.Document(envelope=signing.sign(agreement, people.world.party(code).authority_key))


def suspension(people: People, agreement: Agreement, code: str) -> v1.Document:
    now = people.world.now
    first = Statement.first(agreement, PartyCode(code), now=now - 60)
    said = first.after(Event.SUSPEND, reason="", now=now, max_age=HOUR)
    return v1.Document(envelope=participation.sign(said, people.world.party(code).authority_key))


async def admitted(people: People, offices: dict[str, RawClient]) -> Agreement:
    agreement = drafted(people)
    for code in CODES:
        await offices[code].post("/v1/agreements", signed(people, agreement, code))
    await ask(people.relay, do="agreement.admit", id=ID)
    return agreement


async def test_parties_sign_an_agreement_one_after_another_and_the_operator_admits_it(
    people: People, offices: dict[str, RawClient]
) -> None:
    agreement = drafted(people)
    first = await offices["NOR"].post("/v1/agreements", signed(people, agreement, "NOR"))
    listed = v1.Proposals.model_validate_json((await offices["DEU"].get("/v1/proposals")).body)
    (waiting,) = listed.proposals
    document = await offices["DEU"].get(f"/v1/proposals/{waiting.digest.hex()}")
    for code in ("DEU", "UN-OCHA"):
        await offices[code].post("/v1/agreements", signed(people, agreement, code))

    answer = await ask(people.relay, do="agreement.admit", id=ID)

    assert (first.status, waiting.signed, waiting.missing) == (201, ["NOR"], ["DEU", "UN-OCHA"])
    assert v1.Document.model_validate_json(document.body) == signed(people, agreement, "NOR")
    assert answer["digest"] == agreement.digest().hex()
    assert (await offices["NOR"].get(PATH)).status == 200


async def test_a_statement_reaches_every_device_that_is_connected(
    people: People, offices: dict[str, RawClient]
) -> None:
    agreement = await admitted(people, offices)
    device = await people.device("nor/desk#d1")
    stream = await device.stream()
    await stream.hello()
    while not isinstance(await stream.receive(), frames.CaughtUp):
        pass

    document = suspension(people, agreement, "DEU")
    answer = await offices["DEU"].post(f"{PATH}/statements", document)
    async with asyncio.timeout(30):
        while await stream.receive() != frames.Notice("agreements.changed"):
            pass

    assert answer.status == 201
    listed = v1.Documents.model_validate_json((await device.get(f"{PATH}/statements")).body)
    assert listed.documents == [document]


async def test_an_exclusion_is_signed_by_one_after_another(
    people: People, offices: dict[str, RawClient]
) -> None:
    await admitted(people, offices)
    word = Exclusion(ID, PartyCode("DEU"), "for cause", people.world.now)
    answers = []
    for code in ("NOR", "UN-OCHA"):
        data = exclusion.sign(word, people.world.party(code).authority_key)
        answers.append(await offices[code].post(f"{PATH}/exclusions", v1.Document(envelope=data)))
        waiting = await offices["UN-OCHA"].get(f"{PATH}/exclusions")

    found = [v1.ExclusionStatus.model_validate_json(answer.body) for answer in answers]
    assert [one.in_force for one in found] == [False, True]
    assert v1.Documents.model_validate_json(waiting.body).documents == []


async def test_what_waits_is_taken_back_by_who_has_brought_it(
    people: People, offices: dict[str, RawClient]
) -> None:
    agreement = await admitted(people, offices)
    following = replace(agreement, version=2, previous=agreement.digest(), title="Too early")
    await offices["NOR"].post("/v1/agreements", signed(people, following, "NOR"))
    word = Exclusion(ID, PartyCode("DEU"), "for cause", people.world.now)
    begun = exclusion.sign(word, people.world.party("NOR").authority_key)
    await offices["NOR"].post(f"{PATH}/exclusions", v1.Document(envelope=begun))
    digest = hashlib.sha256(Envelope.decode(begun).payload).hexdigest()
    paths = (f"/v1/proposals/{following.digest().hex()}", f"{PATH}/exclusions/{digest}")

    foreign = [await offices["UN-OCHA"].request("DELETE", path) for path in paths]
    own = [await offices["NOR"].request("DELETE", path) for path in paths]
    again = [await offices["NOR"].request("DELETE", path) for path in paths]
    malformed = await offices["NOR"].request("DELETE", "/v1/proposals/xyz")

    assert [one.code for one in foreign] == ["party.foreign"] * 2
    assert [one.status for one in own] == [204, 204]
    assert [one.code for one in again] == ["proposal.unknown"] * 2
    assert malformed.status == 400


async def test_devices_bring_no_documents_of_the_authority(
    people: People, offices: dict[str, RawClient]
) -> None:
    agreement = await admitted(people, offices)
    device = await people.device("deu/desk#d1")
    document = suspension(people, agreement, "DEU")

    answers = [
        await device.post("/v1/agreements", signed(people, agreement, "DEU")),
        await device.post(f"{PATH}/statements", document),
        await device.post(f"{PATH}/exclusions", document),
        await device.get("/v1/proposals"),
        await device.get(f"{PATH}/exclusions"),
    ]

    assert {answer.code for answer in answers} == {"session.wrong_principal"}


async def test_what_is_no_such_document_is_refused(
    people: People, offices: dict[str, RawClient]
) -> None:
    agreement = await admitted(people, offices)
    wrong, office = signed(people, agreement, "DEU"), offices["DEU"]

    answers = [
        await office.post("/v1/agreements", suspension(people, agreement, "DEU")),
        await office.post(f"{PATH}/statements", wrong),
        await office.post(f"{PATH}/exclusions", wrong),
        await office.get("/v1/proposals/xyz"),
    ]

    assert [(answer.status, answer.code) for answer in answers] == [
        (400, "document.invalid"),
        (400, "document.invalid"),
        (400, "document.invalid"),
        (400, "malformed"),
    ]
