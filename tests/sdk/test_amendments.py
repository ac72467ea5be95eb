"""A later version of an agreement comes into the channels, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from liaison.mls.group import stage_commit
from liaison.mls.proposals import GroupContextExtensions
from liaison.model import ChannelId
from liaison.policy.succession import SuccessionError
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.wire import v1
from liaison.wire.problems import RemoteError
from liaison_sdk import Client, duties, judgement, refreshing
from liaison_sdk.errors import RelayBrokenError
from liaison_sdk.judgement import BindingChangedError
from liaison_sdk.store import channels
from tests.sdk.life import (
    ATTACHE,
    DESK,
    MULTI,
    OFFICER,
    Life,
    as_it_was,
    without_swedish_readers,
)
from tests.sdk.support import POLICY, endpoint, next_message


async def _version(client: Client, name: str) -> int:
    return (await client.channel(name)).agreement_version


@pytest.mark.parametrize("online", [ATTACHE, OFFICER])
async def test_any_one_member_brings_an_amendment_in_and_removes_whom_it_excludes(
    life: Life, online: str
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu, swe)
    await life.amend(without_swedish_readers)

    async with stage.client(online) as alone:
        life.tell(alone)
        await alone.agreements()
        channel = await alone.channel(name)
        await channel.send("under the second version")

        members = {str(m.device) for m in await channel.members()}
        assert members == {ATTACHE, OFFICER}
        assert await _version(alone, name) == 2
    other = OFFICER if online == ATTACHE else ATTACHE
    async with stage.client(other) as reader, stage.client(DESK) as swe:
        life.tell(reader, swe)
        assert (await next_message(reader)).text == "under the second version"
        assert await _version(reader, name) == 2
        await swe.sync(10)
        assert [m.text for m in await swe.history()] == ["hello"]


async def test_a_reader_fetches_a_version_that_it_has_not_heard_of(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        await life.amend(as_it_was)
        await nor.agreements()
        await (await nor.channel(name)).send("under the second version")

        assert (await next_message(deu)).text == "under the second version"
        assert await _version(deu, name) == 2


@pytest.mark.parametrize("heard", [False, True])
async def test_a_version_that_is_over_before_its_commit_arrives_gives_way_to_the_next(
    life: Life, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    async with life.stage.client(ATTACHE) as nor, life.stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        await life.amend(as_it_was)
        await nor.agreements()
        api, told = nor._env.api, list[str]()
        commit = api.commit

        async def late(channel: ChannelId, body: v1.Commit) -> v1.Sequenced:
            if not told:
                await life.amend(as_it_was)
                if heard:
                    await refreshing.refresh(nor._env, MULTI)
            try:
                return await commit(channel, body)
            except RemoteError as error:
                told.append(error.remote_code)
                raise

        monkeypatch.setattr(api, "commit", late)
        await (await nor.channel(name)).send("under the third version")

        assert "agreement.not_active" in told
        assert await _version(nor, name) == 3


async def test_a_version_of_the_future_waits_for_its_day(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        later = life.world.now + 3600
        await life.amend(lambda text: replace(text, valid_from=later))
        await nor.agreements()
        env = nor._env
        record = await env.read(lambda tx: channels.load(tx, (channels.load_all(tx))[0].channel))
        assert record is not None

        before = await env.read(lambda tx: env.trust.in_force(tx, MULTI, later - 1, least=1))
        after = await env.read(lambda tx: env.trust.in_force(tx, MULTI, later, least=1))
        group = await env.read(lambda tx: env.groups.load(tx, record))
        due = await env.read(lambda tx: duties.due(env, tx, record, group))

        assert (before.version, after.version) == (1, 2)
        assert not due
        assert await _version(nor, name) == 1


async def test_a_channel_of_a_kind_that_is_no_more_takes_no_message(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        await life.amend(lambda text: replace(text, channels=text.channels[1:]))
        await nor.agreements()

        with pytest.raises(Exception, match="no channels of the kind liaison"):
            await (await nor.channel(name)).send("anybody here?")


def _forced(client: Client, name: str, binding: ChannelBinding, *removed: int) -> Any:
    """Make the commit that a dishonest member would make, and judge it as a receiver does."""
    env = client._env

    def work(tx: Any) -> None:
        record = next(r for r in channels.load_all(tx) if str(r.channel) == name)
        group = env.groups.load(tx, record)
        agreement = env.trust.agreement(tx, MULTI, 1)
        extensions = tuple(
            binding.extension() if e.type == CHANNEL_BINDING_EXTENSION else e
            for e in group.context.extensions
        )
        staged = stage_commit(
            group,
            signer=env.account.signer(group.suite.signature),
            rng=env.options.rng,
            now=env.now,
            validator=env.trust.strict_validator(tx, agreement),
            by_value=(GroupContextExtensions(extensions), *duties.removals(removed)),
        )
        judgement.judge_commit(env, tx, record, agreement, group, staged.effect, env.now)

    return env.read(work)


async def test_a_commit_that_leaves_an_excluded_member_in_is_not_followed(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(DESK) as swe:
        name = await life.gather(nor, swe)
        text = await life.whisper(nor, without_swedish_readers)
        channel = await nor.channel(name)
        binding = ChannelBinding.of(channel.id, text, POLICY)

        with pytest.raises(BindingChangedError, match=r"swe/duty-desk#d1 stays under version 2"):
            await _forced(nor, name, binding)
        await _forced(nor, name, binding, 1)


async def test_a_commit_binds_to_nothing_but_a_later_version_of_the_same_agreement(
    life: Life,
) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await life.gather(nor, deu)
        text = await life.whisper(nor, as_it_was)
        channel = await nor.channel(name)
        right = ChannelBinding.of(channel.id, text, POLICY)
        wrong = [
            replace(right, agreement_id="another"),
            replace(right, policy="notices"),
            replace(right, version=1, digest=life.versions[0].digest(), channel=right.channel),
            replace(right, digest=bytes(32)),
            replace(right, version=3),
        ]

        for binding in wrong[:2]:
            with pytest.raises(BindingChangedError):
                await _forced(nor, name, binding)
        for binding in wrong[3:]:
            with pytest.raises(Exception, match=r"bound to|is not here"):
                await _forced(nor, name, binding)
        await _forced(nor, name, right)


async def test_what_is_added_under_a_new_version_waits_for_the_commit_that_brings_it_in(
    life: Life,
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu)
        life.tell(swe)
        await life.amend(as_it_was)
        await nor.agreements()
        await (await nor.channel(name)).add(endpoint("swe/duty-desk"))
        await (await nor.channel(name)).send("to all three")

        assert (await next_message(swe)).text == "to all three"
        assert await _version(swe, name) == 2
        assert (await next_message(deu)).text == "to all three"


async def test_an_older_version_is_never_taken_back(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        life.tell(nor)
        await nor.wait_connected()
        env = nor._env
        await life.amend(as_it_was)
        first, second = (life.sign(text) for text in life.versions)
        await env.trust.fetch_agreement(env.api, env.store, MULTI)

        async def replay(agreement: str, version: int | None = None) -> v1.Document:
            return v1.Document(envelope=first)

        env.api.agreement = replay  # type: ignore[method-assign]
        with pytest.raises(RelayBrokenError, match="version 2 is here"):
            await env.trust.fetch_agreement(env.api, env.store, MULTI)

        current = await env.read(lambda tx: env.trust.current(tx, MULTI, env.now))
        assert current.version == 2
        assert second


async def test_of_two_successors_the_first_counts(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        life.tell(nor)
        await nor.wait_connected()
        env = nor._env
        other = life.sign(life.following(without_swedish_readers))
        await life.amend(as_it_was)
        await env.trust.fetch_agreement(env.api, env.store, MULTI)

        async def replay(agreement: str, version: int | None = None) -> v1.Document:
            return v1.Document(envelope=other)

        env.api.agreement = replay  # type: ignore[method-assign]
        with pytest.raises(SuccessionError, match="another version 2"):
            await env.trust.fetch_agreement(env.api, env.store, MULTI, 2)


async def test_a_version_made_from_another_one_is_not_taken(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        life.tell(nor)
        await nor.wait_connected()
        env = nor._env
        await env.trust.fetch_agreement(env.api, env.store, MULTI)
        broken = replace(life.following(as_it_was), previous=bytes(32))

        async def serve(agreement: str, version: int | None = None) -> v1.Document:
            return v1.Document(envelope=life.sign(broken))

        env.api.agreement = serve  # type: ignore[method-assign]
        with pytest.raises(SuccessionError, match="made from another version 1"):
            await env.trust.fetch_agreement(env.api, env.store, MULTI, 2)
