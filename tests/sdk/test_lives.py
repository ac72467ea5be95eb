"""The life of an agreement over a relay that knows of it: nothing is told to clients by hand."""

from __future__ import annotations

import time

import pytest

from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Event, Participation
from liaison.wire.problems import RemoteError
from liaison_sdk import MessageState
from liaison_sdk.errors import MessageRefusedError
from tests.sdk.life import (
    ATTACHE,
    DESK,
    MULTI,
    OFFICER,
    Life,
    agree,
    as_it_was,
    declare,
    meet,
    members,
    without_swedish_readers,
)
from tests.sdk.support import endpoint, next_message, until


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
        name = await meet(nor, deu, swe)
    await declare(life, "SWE", Event.WITHDRAW)

    async with stage.client(online) as alone:
        for number in range(3):
            await (await alone.channel(name)).send(f"among us {number}")

        assert await members(alone, name) == {ATTACHE, OFFICER}
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
        name = await meet(nor, deu, swe)
    await agree(life, life.following(without_swedish_readers))

    async with stage.client(online) as alone:
        await (await alone.channel(name)).send("under the second version")

        assert await members(alone, name) == {ATTACHE, OFFICER}
        assert (await alone.channel(name)).agreement_version == 2
    other = OFFICER if online == ATTACHE else ATTACHE
    async with stage.client(other) as reader, stage.client(DESK) as gone:
        assert (await next_message(reader)).text == "under the second version"
        await gone.sync(20)
        assert [m.text for m in await gone.history()] == ["hello"]


async def test_the_history_says_from_when_on_an_amendment_was_in_force_and_who_signed_it(
    life: Life,
) -> None:
    async with life.stage.client(ATTACHE) as nor:
        await nor.wait_connected()
        earlier = int(time.time())
        await agree(life, life.following(as_it_was))

        first, second = await nor.agreement_history(MULTI)

    async with life.stage.client(ATTACHE, offline=True) as again:
        assert await again.agreement_history(MULTI) == [first, second]
    assert first.valid_from == second.valid_from
    assert first.at <= second.at
    assert earlier <= second.at.timestamp() <= time.time()
    assert [str(code) for code in second.signers] == ["DEU", "NOR", "SWE"]


async def test_members_that_are_online_hear_of_it_and_go_on_without_being_asked(
    life: Life,
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await meet(nor, deu, swe)
        await agree(life, life.following(as_it_was))

        async def amended() -> bool:
            return (await deu.channel(name)).agreement_version == 2

        await until(deu, amended, 20)
        await declare(life, "SWE", Event.SUSPEND)

        async def gone() -> bool:
            return len(await members(deu, name)) == 2

        await until(deu, gone, 20)
        assert await members(deu, name) == {ATTACHE, OFFICER}


async def test_who_has_suspended_sends_nothing_reads_what_was_before_and_comes_back(
    life: Life,
) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(DESK) as swe:
        name = await meet(nor, swe)
        await (await nor.channel(name)).send("before")
        await declare(life, "SWE", Event.SUSPEND)
        with pytest.raises((PolicyRefusedError, MessageRefusedError)):
            await (await swe.channel(name)).send("after")
        await (await nor.channel(name)).send("without Sweden")
        assert (await next_message(swe)).text == "before"
        await declare(life, "SWE", Event.RESUME)
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


async def test_what_was_queued_before_a_suspension_goes_out_once_the_party_is_known_to_be_back(
    life: Life,
) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(DESK) as swe:
        name = await meet(nor, swe)
    async with stage.client(DESK, offline=True) as swe:
        await (await swe.channel(name)).send("in a moment", wait=False)
    await declare(life, "SWE", Event.SUSPEND)
    async with stage.registrar("SWE") as registrar:
        (suspension,) = await registrar.statements(MULTI)
    async with stage.client(DESK, offline=True) as swe:
        env = swe._env
        assert await env.write(lambda tx: env.trust.keep_statement(tx, MULTI, suspension))
    await declare(life, "SWE", Event.RESUME)

    async with stage.client(DESK) as swe, stage.client(ATTACHE) as nor:
        await swe.sync(20)
        assert [m.state for m in await swe.history() if m.outgoing] == [MessageState.ACCEPTED]
        assert (await next_message(nor)).text == "in a moment"


async def test_what_waits_is_refused_once_the_news_says_that_the_party_is_still_away(
    life: Life,
) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(DESK) as swe:
        name = await meet(nor, swe)
    async with stage.client(DESK, offline=True) as swe:
        await (await swe.channel(name)).send("in a moment", wait=False)
    await declare(life, "SWE", Event.SUSPEND)

    async with stage.client(DESK) as swe:
        await swe.sync(20)
        (message,) = [m for m in await swe.history() if m.outgoing]
        assert message.state is MessageState.REFUSED
        assert "has suspended its participation" in message.reason


async def test_the_others_exclude_a_party_at_their_desks(life: Life) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await meet(nor, deu, swe)
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
        assert await members(nor, name) == {ATTACHE, OFFICER}
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
