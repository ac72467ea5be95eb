"""What the relay can't decide now, or will not take in one channel, ends no connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from liaison.wire.problems import Problem, RemoteError
from liaison_sdk import Client, Event, EventKind, MessageState, creating, maintenance, outbound
from liaison_sdk.channel import Channel
from liaison_sdk.errors import ConnectionLostError, UndecidedError
from liaison_sdk.store import Transaction, channels, commits
from liaison_sdk.store.channels import ChannelState
from tests.sdk.support import AGREEMENT, CALM, POLICY, Stage, endpoint, until

ATTACHE = "nor/defatt-berlin#d1"


def refusing(client: Client, status: int, code: str, times: int = 1_000_000) -> None:
    """Have a client's relay refuse commits for a while."""
    api: Any = client._env.api
    taken, left = api.commit, [code] * times

    async def commit(*asked: Any) -> Any:
        if left:
            raise RemoteError(Problem(left.pop(), status, "not now"))
        return await taken(*asked)

    api.commit = commit


def told(client: Client) -> list[EventKind]:
    """Return what is told from now on."""
    found: list[EventKind] = []

    def note(event: Event) -> None:
        found.append(event.kind)

    client._env.listeners.add(note)
    return found


async def become_stale(client: Client, *those: Channel) -> None:
    """Bring a client out of step with channels, without anybody noticing yet."""

    def work(tx: Transaction) -> None:
        for channel in those:
            record = channels.load(tx, channel.id)
            assert record is not None
            channels.save(tx, replace(record, state=ChannelState.STALE))

    await client._env.write(work)


async def test_a_channel_that_may_be_registered_is_not_forgotten_because_the_relay_is_busy(
    enrolled: Stage,
) -> None:
    async with enrolled.client(ATTACHE, CALM) as nor:
        await nor.sync(10)
        api: Any = nor._env.api
        registered = api.create_channel

        async def without_answer(*asked: Any) -> None:
            await registered(*asked)
            raise ConnectionLostError

        async def busy(*_: Any) -> None:
            raise RemoteError(Problem("rate.exceeded", 429, "not now"))

        api.create_channel = without_answer
        with pytest.raises(ConnectionLostError):
            await nor.create_channel(AGREEMENT, POLICY, "duty", [])
        api.create_channel = busy
        with pytest.raises(RemoteError):
            await creating.resume(nor._env)
        api.create_channel = registered
        await creating.resume(nor._env)

        assert (await nor.channel("duty")).state is ChannelState.ACTIVE


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "rate.bodies")])
async def test_a_commit_that_can_not_be_decided_now_waits_and_the_connection_stays(
    enrolled: Stage, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setattr(maintenance, "_SOON", 0.01)
    async with enrolled.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [])
        refusing(nor, status, code)
        with pytest.raises(UndecidedError):
            await channel.add(endpoint("deu/lno-j3"))
    async with enrolled.client(ATTACHE) as nor:
        refusing(nor, status, code, times=5)
        events = told(nor)

        async def added() -> bool:
            return len(await nor.members(channel.id)) == 2

        assert await until(nor, added)
        assert EventKind.PROBLEM in events
        assert EventKind.DISCONNECTED not in events


async def test_an_addition_that_a_log_without_witnesses_forbids_does_not_wait(
    enrolled: Stage,
) -> None:
    async with enrolled.client(ATTACHE) as nor:
        channel = await nor.create_channel(AGREEMENT, POLICY, "duty", [])
        refusing(nor, 503, "log.grace_over", times=1)
        with pytest.raises(RemoteError) as caught:
            await channel.add(endpoint("deu/lno-j3"))

        assert caught.value.remote_code == "log.grace_over"
        assert await nor._env.read(commits.waiting) == []
        await channel.update()


async def test_a_channel_that_can_not_be_joined_anew_stops_no_other(
    enrolled: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "_BLOCKED_PAUSE", 0.01)
    async with enrolled.client(ATTACHE) as nor:
        names = ("shut", "open")
        shut, free = [await nor.create_channel(AGREEMENT, POLICY, name, []) for name in names]
        await nor.sync(10)
        api: Any = nor._env.api
        asked = api.group

        async def group(channel: Any) -> Any:
            if channel == shut.id:
                raise RemoteError(Problem("channel.shut", 403, "not this one"))
            return await asked(channel)

        api.group = group
        events = told(nor)
        await become_stale(nor, shut, free)
        await shut.send("waits", wait=False)
        await nor._parts.maintenance.resync()
        sent = await asyncio.wait_for(free.send("goes out"), 10)

        assert sent.state is MessageState.ACCEPTED
        assert (await nor.channel("shut")).state is ChannelState.STALE
        assert EventKind.DISCONNECTED not in events
