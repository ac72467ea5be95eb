"""Devices that nobody has seen for longer than the policy bears, and who is rid of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from liaison.policy import statement
from liaison.policy.agreement import Agreement
from liaison.policy.errors import PolicyRefusedError
from liaison.relay.app import Clocks
from liaison.wire.problems import RemoteError
from liaison_sdk import Client, Options, duties, plans
from liaison_sdk.plans import Order, Plan
from liaison_sdk.store import channels
from liaison_sdk.store.channels import ChannelState
from tests.sdk.life import ATTACHE, DESK, OFFICER, Life, meet, members
from tests.sdk.support import QUICK, Stage, endpoint, next_message, until
from tests.support.relay import RunningRelay, allow_everything, running
from tests.support.world import HOUR, World

LIMIT = 4 * HOUR


class Clock:
    """The relay's and the clients' clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> float:
        return time.time() + self.ahead

    @property
    def options(self) -> Options:
        return replace(QUICK, clock=self)

    @property
    def clocks(self) -> Clocks:
        return Clocks(now_ms=lambda: int(self() * 1000))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def short(text: Agreement) -> Agreement:
    """An agreement in which nobody may remove others, and devices are to be seen every hour."""
    (first, *rest) = text.channels
    keys = replace(first.keys, leaf_max_age=HOUR, unseen_max_age=LIMIT)
    return replace(text, channels=(replace(first, remove=(), keys=keys), *rest))


async def opened(relay: RunningRelay, folder: Path) -> Life:
    stage = Stage(relay, World(), folder)
    await stage.open()
    life = Life(stage)
    await life.open(change=short)
    for name in (ATTACHE, OFFICER, DESK):
        await stage.enrol(name)
    return life


@pytest.fixture
async def life(tmp_path: Path, clock: Clock) -> AsyncIterator[Life]:
    async with running(tmp_path / "relay", clocks=clock.clocks) as relay:
        yield await opened(relay, tmp_path / "devices")


def removing(gone: str) -> Plan:
    """A plan that removes a device whatever is known of it, for not being seen."""

    def plan(tx: object, record: object, agreement: object, group: object) -> Order:
        del tx, record, agreement
        uri = f"liaison://{gone}".encode()
        leaf = group.leaf_of(uri)  # type: ignore[attr-defined]  # a group, which a plan is given
        assert leaf is not None
        return Order(duties.removals([leaf]), reason=statement.encode_unseen())

    return plan


async def test_whoever_is_there_removes_a_device_that_was_not_seen_for_too_long(
    life: Life, clock: Clock
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(OFFICER, clock.options) as deu,
        stage.client(DESK, clock.options) as swe,
    ):
        name = await meet(nor, deu, swe)
    clock.ahead += LIMIT // 2
    async with stage.client(OFFICER, clock.options) as deu:
        await (await deu.channel(name)).update()
    clock.ahead += LIMIT // 2 + HOUR
    async with stage.client(ATTACHE, clock.options) as nor:
        # Away itself until now, it gives the others an hour to come back too.
        await nor.sync(20)
        committer, channel = nor._parts.committer, await nor.channel(name)
        assert not await committer.run(channel.id, plans.unseen(nor._env))
        assert await members(nor, name) == {ATTACHE, OFFICER, DESK}
    clock.ahead += HOUR
    async with stage.client(ATTACHE, clock.options) as nor:

        async def alone() -> bool:
            return await members(nor, name) == {ATTACHE, OFFICER}

        await until(nor, alone, 20)
        await (await nor.channel(name)).send("without the desk")
    async with (
        stage.client(OFFICER, clock.options) as deu,
        stage.client(DESK, clock.options) as swe,
    ):
        assert (await next_message(deu)).text == "without the desk"
        await swe.sync(20)
        assert (await swe.channel(name)).state is ChannelState.REMOVED
        assert [m.text for m in await swe.history()] == ["hello"]


async def test_a_device_that_was_seen_in_time_is_removed_by_nobody(
    life: Life, clock: Clock
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(OFFICER, clock.options) as deu,
    ):
        name = await meet(nor, deu)
        clock.ahead += LIMIT - HOUR
        committer, env = nor._parts.committer, nor._env

        assert not await committer.run((await nor.channel(name)).id, plans.unseen(env))

        with pytest.raises(PolicyRefusedError) as caught:
            await committer.run((await nor.channel(name)).id, removing(OFFICER))
        assert caught.value.rule == "channels.liaison.remove"
        assert await members(nor, name) == {ATTACHE, OFFICER}


async def test_a_device_that_is_only_ever_open_for_a_moment_renews_its_keys(
    life: Life, clock: Clock
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(OFFICER, clock.options) as deu,
    ):
        await meet(nor, deu)
    for _ in range(3):
        clock.ahead += HOUR
        moment = int(clock())

        async with stage.client(OFFICER, clock.options) as deu:
            await deu.sync(20)

        async with stage.client(OFFICER, clock.options, offline=True) as deu:
            (record,) = await deu._env.read(channels.load_all)
        assert record.leaf_at >= moment - 1


async def test_a_relay_takes_no_removal_of_a_device_that_was_seen_in_time(
    life: Life, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(OFFICER, clock.options) as deu,
    ):
        name = await meet(nor, deu)
        # A program that asks nobody.
        monkeypatch.setattr("liaison_sdk.staging._check_own", lambda *_: None)

        with pytest.raises(RemoteError) as caught:
            await nor._parts.committer.run((await nor.channel(name)).id, removing(OFFICER))

        assert caught.value.remote_code == "policy.refused"
        assert await members(nor, name) == {ATTACHE, OFFICER}


async def test_members_follow_no_removal_of_a_device_that_they_have_seen_in_time(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "lax", clocks=clock.clocks, judge=allow_everything) as lax:
        stage = (await opened(lax, tmp_path / "devices")).stage
        async with (
            stage.client(ATTACHE, clock.options) as nor,
            stage.client(OFFICER, clock.options) as deu,
            stage.client(DESK, clock.options) as swe,
        ):
            name = await meet(nor, deu, swe)
            await (await swe.channel(name)).update()
            await (await deu.channel(name)).send("All here.")
            await next_message(nor)
            with monkeypatch.context() as patched:
                patched.setattr("liaison_sdk.staging._check_own", lambda *_: None)
                await nor._parts.committer.run((await nor.channel(name)).id, removing(DESK))

            for client in (deu, swe):
                await until(client, lambda c=client: _is_rejected(c, name), 20)  # type: ignore[misc]  # a default argument binds the loop's value
                assert "may not remove swe/duty-desk" in (await client.channel(name)).reason


async def test_who_came_later_follows_a_removal_of_who_was_not_seen_before(
    life: Life, clock: Clock
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(DESK, clock.options) as swe,
    ):
        name = await meet(nor, swe)
    clock.ahead += LIMIT - HOUR // 2
    async with (
        stage.client(ATTACHE, clock.options) as nor,
        stage.client(OFFICER, clock.options) as deu,
    ):
        await (await nor.channel(name)).add(endpoint("deu/lno-j3"))
        await (await nor.channel(name)).send("Welcome.")
        await next_message(deu)
        clock.ahead += HOUR

        assert not await deu._parts.committer.run(
            (await deu.channel(name)).id, plans.unseen(deu._env)
        )
        await nor._parts.committer.run((await nor.channel(name)).id, plans.unseen(nor._env))
        await (await nor.channel(name)).send("Two of us.")

        assert (await next_message(deu)).text == "Two of us."
        assert await members(deu, name) == {ATTACHE, OFFICER}


async def _is_rejected(client: Client, name: str) -> bool:
    return (await client.channel(name)).state is ChannelState.REJECTED
