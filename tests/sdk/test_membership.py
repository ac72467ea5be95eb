"""Who is in a channel, who is not, and what each can read."""

from __future__ import annotations

import asyncio

import pytest

from liaison.policy.errors import PolicyRefusedError
from liaison.policy.simulate import Fate
from liaison_sdk import ChannelState, Client, Event, EventKind, Message, MessageState, Precedence
from liaison_sdk.errors import ChannelClosedError, EndpointNoDevicesError
from tests.sdk.support import AGREEMENT, POLICY, Stage, endpoint, next_message, until

ATTACHE = "nor/defatt-berlin#d1"
SECOND = "nor/defatt-berlin#d2"
OFFICER = "deu/lno-j3#d1"
THIRD = "deu/duty-desk#d1"


async def _texts(client: Client) -> list[str]:
    return [message.text for message in await client.history()]


async def test_who_is_added_later_reads_nothing_of_before(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER, THIRD):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor, stage.client(THIRD) as third:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("before")
        added = await channel.add(endpoint("deu/duty-desk"))
        await channel.send("after")
        message = await next_message(third)

        assert [str(device) for device in added] == [THIRD]
        assert message.text == "after"
        assert await _texts(third) == ["after"]
        assert len(await channel.members()) == 3


async def test_who_is_removed_learns_it_and_reads_nothing_more(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER, THIRD):
        await stage.enrol(name)
    wanted = [endpoint("deu/lno-j3"), endpoint("deu/duty-desk")]
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(THIRD) as third,
    ):
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", wanted)
        await channel.send("to all")
        await next_message(third)
        removed = await channel.remove(endpoint("deu/duty-desk"))
        await channel.send("to the rest")
        await next_message(deu)
        await next_message(deu)
        theirs = await until(third, lambda: _state_is(third, "duty", ChannelState.REMOVED))

        assert [str(device) for device in removed] == [THIRD]
        assert theirs
        assert await _texts(third) == ["to all"]
        with pytest.raises(ChannelClosedError):
            await (await third.channel("duty")).send("still here?")


async def _state_is(client: Client, name: str, state: ChannelState) -> bool:
    return any(c.name == name and c.state is state for c in await client.channels())


async def test_both_devices_of_a_post_read_and_one_sees_what_the_other_writes(
    stage: Stage,
) -> None:
    for name in (ATTACHE, SECOND, OFFICER):
        await stage.enrol(name)
    async with (
        stage.client(ATTACHE) as first,
        stage.client(SECOND) as second,
        stage.client(OFFICER) as deu,
    ):
        wanted = [endpoint("deu/lno-j3"), endpoint("nor/defatt-berlin")]
        channel = await first.create_channel(AGREEMENT, POLICY, "duty", wanted)
        await channel.send("from the first")
        at_second, at_officer = await next_message(second), await next_message(deu)
        await (await second.channel("duty")).send("from the second")

        assert at_second.text == at_officer.text == "from the first"
        assert str((await next_message(first)).sender) == SECOND


async def test_a_member_who_leaves_is_removed_by_another(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("hello")
        await next_message(deu)
        await (await deu.channel("duty")).leave()
        await until(deu, lambda: _state_is(deu, "duty", ChannelState.LEFT))

        assert [str(m.device) for m in await channel.members()] == [ATTACHE]


async def test_a_revoked_device_is_removed_by_whoever_is_there(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER, THIRD):
        await stage.enrol(name)
    wanted = [endpoint("deu/lno-j3"), endpoint("deu/duty-desk")]
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", wanted)
        await channel.send("hello")
        await next_message(deu)
        await stage.revoke(THIRD)

        async def gone() -> bool:
            return len(await channel.members()) == 2

        await until(nor, gone)
        await channel.send("without them")

        assert (await next_message(deu)).text == "without them"
        assert len(await (await deu.channel("duty")).members()) == 2


async def test_who_is_asked_before_a_revoked_device_was_removed_is_told_that_it_goes(
    stage: Stage,
) -> None:
    for name in (ATTACHE, OFFICER, THIRD):
        await stage.enrol(name)
    duty = endpoint("deu/duty-desk")
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(
            AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3"), duty]
        )
    await stage.revoke(THIRD)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.channel("duty")
        env, agreement = nor._env, await nor.agreement(AGREEMENT)
        await env.trust.revocations.refresh(env.api, env.store, agreement)

        found = await channel.simulate("is anybody there?", to=[duty])

        fates = {one.endpoint: one.fate for one in found.outcomes}
        assert fates.get(duty) in {Fate.LEAVES, Fate.OUTSIDE}
        assert [one.endpoint for one in found.missing] == [duty]


async def test_a_revoked_device_is_told_and_its_client_ends(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER):
        await stage.enrol(name)
    async with stage.client(OFFICER) as deu:
        await deu.wait_connected()
        await stage.revoke(OFFICER)

        with pytest.raises(Exception, match="revoked"):
            await asyncio.wait_for(anext(deu.messages()), 10)


async def test_an_endpoint_without_devices_is_named(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty")

        with pytest.raises(EndpointNoDevicesError, match="deu/nobody"):
            await channel.add(endpoint("deu/nobody"))


async def test_no_channel_is_opened_for_an_endpoint_without_devices(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        with pytest.raises(EndpointNoDevicesError, match="deu/nobody"):
            await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/nobody")])

        assert await nor.channels() == []


async def test_a_name_means_the_channel_that_is_not_being_left(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    await stage.enrol(OFFICER)
    async with stage.client(ATTACHE) as nor:
        first = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        second = await nor.create_channel(AGREEMENT, POLICY, "duty")
        await first.leave()

        assert (await nor.channel("duty")).id == second.id


async def test_a_stranger_to_the_agreement_is_refused_before_anything_is_asked(
    stage: Stage,
) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty")

        with pytest.raises(PolicyRefusedError):
            await channel.add(endpoint("swe/desk"))


async def test_a_message_above_the_highest_precedence_is_refused_and_not_stored(
    stage: Stage,
) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty")

        with pytest.raises(PolicyRefusedError):
            await channel.send("now!", precedence=Precedence.OVERRIDE)
        assert await nor.history() == []


async def test_two_members_who_commit_at_once_both_get_their_way(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER, SECOND, THIRD):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        await channel.send("hello")
        await next_message(deu)
        theirs = await deu.channel("duty")
        await asyncio.gather(
            channel.add(endpoint("nor/defatt-berlin")), theirs.add(endpoint("deu/duty-desk"))
        )

        async def four() -> bool:
            return len(await channel.members()) == len(await theirs.members()) == 4

        await until(nor, four)
        await channel.send("all four")
        assert (await next_message(deu)).text == "all four"


async def test_an_offline_reader_gets_flash_before_routine(stage: Stage) -> None:
    for name in (ATTACHE, OFFICER):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        for number in range(5):
            await channel.send(f"routine {number}")
        await channel.send("flash", precedence=Precedence.FLASH)
    async with stage.client(OFFICER) as deu:
        await deu.sync(10)
        first: Message = await next_message(deu)
        rest = [(await next_message(deu)).text for _ in range(5)]

        assert first.text == "flash"
        assert rest == [f"routine {number}" for number in range(5)]
        assert all(m.state is MessageState.RECEIVED for m in await deu.history())


async def test_what_is_sent_on_coming_back_reaches_who_was_added_meanwhile(
    stage: Stage,
) -> None:
    for name in (ATTACHE, OFFICER, THIRD):
        await stage.enrol(name)
    async with stage.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [endpoint("deu/lno-j3")])
        async with stage.client(OFFICER) as deu:
            await deu.sync(10)
        await channel.add(endpoint("deu/duty-desk"))
    async with stage.client(OFFICER) as deu, stage.client(THIRD) as third:
        await (await deu.channel("duty")).send("back on watch")

        assert (await next_message(third)).text == "back on watch"


async def test_events_tell_what_happens(stage: Stage) -> None:
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        seen: list[Event] = []
        nor._env.listeners.add(seen.append)
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty")
        await nor.sync(10)

        assert (EventKind.CHANNEL, channel.id) in {(e.kind, e.channel) for e in seen}
