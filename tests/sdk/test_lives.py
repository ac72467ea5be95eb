"""The life of an agreement over a relay that knows of it: nothing is told to clients by hand."""

from __future__ import annotations

import time

import pytest

from liaison.policy import signing
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Event, Participation
from liaison.wire.problems import RemoteError
from liaison_sdk import Client, MessageState
from liaison_sdk.errors import MessageRefusedError
from tests.sdk.life import MULTI, Life
from tests.sdk.support import POLICY, Stage, endpoint, next_message, until
from tests.sdk.test_amendments import as_it_was, without_swedish_readers

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"
DESK = "swe/duty-desk#d1"
_MANY = 5000


@pytest.fixture
async def life(stage: Stage) -> Life:
    made = Life(stage)
    await made.open()
    for name in (ATTACHE, OFFICER, DESK):
        await stage.enrol(name)
    return made


async def _meet(*clients: Client) -> str:
    first, *others = clients
    wanted = [endpoint(str(client.device.endpoint)) for client in others]
    channel = await first.create_channel(MULTI, POLICY, "duty", wanted)
    await channel.send("hello")
    for client in others:
        assert (await next_message(client)).text == "hello"
    return str(channel.id)


async def _declare(life: Life, party: str, event: Event) -> None:
    async with life.stage.registrar(party) as registrar:
        before = life.said.get(party)
        for _ in range(_MANY):
            try:
                return await registrar.declare(MULTI, life.say(party, event, at=int(time.time())))
            except RemoteError as e:
                # In the second in which its device was removed a party can't resume yet.
                if e.remote_code != "statement.outdated" or before is None:
                    raise
                life.said[party] = before
    raise AssertionError("the second never ended")


async def _agree(life: Life, text: Agreement) -> None:
    """Have every party sign the next version at its own desk, one after another."""
    for number, code in enumerate(map(str, text.codes)):
        async with life.stage.registrar(code) as registrar:
            key = life.world.party(code).authority_key
            if number == 0:
                envelope = signing.sign(text, key)
            else:
                envelope = signing.add_signature(await registrar.proposal(text.digest()), key)
            status = await registrar.propose_agreement(envelope)
    assert status.active
    life.versions.append(text)


async def _members(client: Client, name: str) -> set[str]:
    return {str(m.device) for m in await (await client.channel(name)).members()}


@pytest.mark.parametrize("online", [ATTACHE, OFFICER])
async def test_a_withdrawn_party_opens_nothing_that_is_said_after_whoever_is_online(
    life: Life, online: str
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await _meet(nor, deu, swe)
    await _declare(life, "SWE", Event.WITHDRAW)

    async with stage.client(online) as alone:
        for number in range(3):
            await (await alone.channel(name)).send(f"among us {number}")

        assert await _members(alone, name) == {ATTACHE, OFFICER}
    other = OFFICER if online == ATTACHE else ATTACHE
    async with stage.client(other) as reader, stage.client(DESK) as gone:
        assert [(await next_message(reader)).text for _ in range(3)] == [
            f"among us {number}" for number in range(3)
        ]
        await gone.sync(20)
        assert [m.text for m in await gone.history()] == ["hello"]


@pytest.mark.parametrize("online", [ATTACHE, OFFICER])
async def test_an_amendment_that_all_have_signed_comes_into_the_channel_with_the_next_word(
    life: Life, online: str
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await _meet(nor, deu, swe)
    await _agree(life, life.following(without_swedish_readers))

    async with stage.client(online) as alone:
        await (await alone.channel(name)).send("under the second version")

        assert await _members(alone, name) == {ATTACHE, OFFICER}
        assert (await alone.channel(name)).agreement_version == 2
    other = OFFICER if online == ATTACHE else ATTACHE
    async with stage.client(other) as reader, stage.client(DESK) as gone:
        assert (await next_message(reader)).text == "under the second version"
        await gone.sync(20)
        assert [m.text for m in await gone.history()] == ["hello"]


async def test_members_that_are_online_hear_of_it_and_go_on_without_being_asked(
    life: Life,
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await _meet(nor, deu, swe)
        await _agree(life, life.following(as_it_was))

        async def amended() -> bool:
            return (await deu.channel(name)).agreement_version == 2

        await until(deu, amended, 20)
        await _declare(life, "SWE", Event.SUSPEND)

        async def gone() -> bool:
            return len(await _members(deu, name)) == 2

        await until(deu, gone, 20)
        assert await _members(deu, name) == {ATTACHE, OFFICER}


async def test_who_has_suspended_sends_nothing_reads_what_was_before_and_comes_back(
    life: Life,
) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(DESK) as swe:
        name = await _meet(nor, swe)
        await (await nor.channel(name)).send("before")
        await _declare(life, "SWE", Event.SUSPEND)
        with pytest.raises((PolicyRefusedError, MessageRefusedError)):
            await (await swe.channel(name)).send("after")
        await (await nor.channel(name)).send("without Sweden")
        assert (await next_message(swe)).text == "before"
        await _declare(life, "SWE", Event.RESUME)
        await (await nor.channel(name)).add(endpoint("swe/duty-desk"))
        view = await nor.standing(MULTI)
        assert {one.state for one in view.parties} == {Participation.ACTIVE}
        await (await nor.channel(name)).send("with Sweden")

        assert (await next_message(swe)).text == "with Sweden"
        assert [m.text for m in await swe.history() if m.state is MessageState.RECEIVED] == [
            "hello",
            "before",
            "with Sweden",
        ]


async def test_the_others_exclude_a_party_at_their_desks(life: Life) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await _meet(nor, deu, swe)
        async with stage.registrar("NOR") as registrar:
            begun = await registrar.exclude(MULTI, life.exclude("SWE", "NOR"))
            assert (begun.missing, begun.in_force) == (["DEU"], False)
        async with stage.registrar("DEU") as registrar:
            (waiting,) = await registrar.waiting_exclusions(MULTI)
            assert waiting == life.exclude("SWE", "NOR")
            done = await registrar.exclude(MULTI, life.exclude("SWE", "NOR", "DEU"))
            assert done.in_force
        await (await deu.channel(name)).send("we two")

        assert (await next_message(nor)).text == "we two"
        assert await _members(nor, name) == {ATTACHE, OFFICER}
        await swe.sync(20)
        assert [m.text for m in await swe.history()] == ["hello"]


async def test_an_older_statement_is_refused_by_the_relay_too(life: Life) -> None:
    await life.stage.enrol("swe/other#d1")
    first = life.say("SWE", Event.AFFIRM, at=life.world.now - 10)
    second = life.say("SWE", Event.SUSPEND, at=life.world.now)
    async with life.stage.registrar("SWE") as registrar:
        await registrar.declare(MULTI, second)

        with pytest.raises(RemoteError) as caught:
            await registrar.declare(MULTI, first)
        assert caught.value.remote_code == "statement.order"
