"""Keys of past epochs: kept as the agreement says, by count and by age."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from liaison.mls.group import Group, Limits
from liaison.policy.channel_rules import KeyRules
from liaison_sdk import Client, plans
from liaison_sdk.store import Transaction, channels
from tests.sdk.support import POLICY, QUICK, Stage, until

ATTACHE = "nor/defatt-berlin#d1"
OFFICER = "deu/lno-j3#d1"


@pytest.fixture
async def pair(pair: Stage) -> Stage:
    """Both are in the channel."""
    async with pair.client(OFFICER) as deu:
        await deu.sync(10)
    return pair


async def group_of(client: Client) -> Group:
    env, channel = client._env, await client.channel("duty")

    def load(tx: Transaction) -> Group:
        record = channels.load(tx, channel.id)
        assert record is not None
        return env.groups.load(tx, record)

    return await env.read(load)


@pytest.mark.parametrize("name", [ATTACHE, OFFICER])
async def test_every_member_keeps_what_the_policy_says(pair: Stage, name: str) -> None:
    async with pair.client(name) as client:
        env = client._env

        def rules(tx: Transaction) -> KeyRules:
            (record,) = channels.load_all(tx)
            agreement = env.trust.agreement(tx, record.agreement_id, record.agreement_version)
            return agreement.channel(POLICY).keys

        keys, limits = await env.read(rules), (await group_of(client)).limits

    assert (limits.past_epochs, limits.past_seconds) == (keys.past_epochs, keys.past_max_age)


async def test_old_keys_go_though_nothing_is_said(pair: Stage) -> None:
    async with pair.client(ATTACHE) as client:
        env, channel = client._env, await client.channel("duty")
        group = await group_of(client)
        assert len(group.epochs) > 1

        def shorten(tx: Transaction) -> None:
            record = channels.load(tx, channel.id)
            assert record is not None
            limits = Limits(group.limits.past_epochs, past_seconds=60)
            env.groups.save_epoch(tx, record, replace(env.groups.load(tx, record), limits=limits))

        await env.write(shorten)
    moment = datetime.now(UTC).timestamp() + 120
    async with pair.client(ATTACHE, replace(QUICK, clock=lambda: moment)) as client:

        async def forgotten() -> bool:
            return (await group_of(client)).epochs == (group.epoch,)

        assert await until(client, forgotten)


async def test_who_says_very_much_begins_a_new_epoch_before_readers_lose_keys(
    pair: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MOST_IN_EPOCH", 3)
    texts = [f"position {number}" for number in range(8)]
    async with pair.client(ATTACHE) as nor:
        before = (await group_of(nor)).epoch
        channel = await nor.channel("duty")
        for text in texts:
            await channel.send(text)
        await nor.sync(10)
        after = await group_of(nor)
    async with pair.client(OFFICER) as deu:
        await deu.sync(10)
        read = [m.text for m in await deu.history()]

    assert after.epoch >= before + 2
    assert after.sent_generation <= 3
    assert read == texts
