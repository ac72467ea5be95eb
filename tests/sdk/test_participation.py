"""Who suspends, withdraws or is excluded is out before the next word, whoever is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from liaison.errors import VerificationError
from liaison.mls.group import CommitStaged, process, stage_commit
from liaison.policy import participation
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import Overdue, StatusRules
from liaison.policy.errors import PolicyRefusedError, StatementOrderError
from liaison.policy.lifecycle import Event, Participation, Phase
from liaison.policy.who import Pattern
from liaison_sdk import Client, EventKind, MessageState, duties, judgement
from liaison_sdk.errors import StatusOverdueError
from liaison_sdk.store import channels
from tests.sdk.life import ATTACHE, DESK, MULTI, OFFICER, PARTIES, Life, learn, members
from tests.sdk.support import PASSPHRASE, POLICY, Stage, endpoint, next_message, until

HOUR = 3600


@pytest.mark.parametrize("online", [ATTACHE, OFFICER])
@pytest.mark.parametrize("event", [Event.WITHDRAW, Event.SUSPEND])
async def test_a_party_that_leaves_opens_nothing_that_is_said_after_whoever_is_online(
    life: Life, online: str, event: Event
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu, swe)
    life.publish(life.say("SWE", event))

    async with stage.client(online) as alone:
        life.tell(alone)
        await learn(alone)
        for number in range(5):
            await (await alone.channel(name)).send(f"among us {number}")

        assert await members(alone, name) == {ATTACHE, OFFICER}
    other = OFFICER if online == ATTACHE else ATTACHE
    async with stage.client(other) as reader, stage.client(DESK) as gone:
        life.tell(reader, gone)
        for number in range(5):
            assert (await next_message(reader)).text == f"among us {number}"
        await gone.sync(10)
        assert [m.text for m in await gone.history()] == ["hello"]


async def test_who_has_suspended_is_taken_in_again_when_it_resumes(life: Life) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu, swe)
        now = life.world.now
        life.publish(life.say("SWE", Event.SUSPEND, at=now - HOUR))
        await learn(nor)
        with pytest.raises(PolicyRefusedError, match="suspended"):
            await (await nor.channel(name)).add(endpoint("swe/duty-desk"))
        await (await nor.channel(name)).send("without Sweden")
        await next_message(deu)
        life.publish(life.say("SWE", Event.RESUME, at=now - HOUR // 2))
        for client in (nor, deu, swe):
            await learn(client)
        await (await nor.channel(name)).add(endpoint("swe/duty-desk"))
        await (await nor.channel(name)).send("with Sweden")

        assert (await next_message(swe)).text == "with Sweden"
        assert (await next_message(deu)).text == "with Sweden"
        assert [m.text for m in await swe.history()] == ["hello", "with Sweden"]


async def test_who_has_suspended_itself_sends_nothing_and_is_told_why(life: Life) -> None:
    stage = life.stage
    async with stage.client(DESK) as swe, stage.client(OFFICER) as deu:
        name = await life.gather(swe, deu)
        life.publish(life.say("SWE", Event.SUSPEND))
        await learn(swe)

        with pytest.raises(PolicyRefusedError, match="SWE has suspended its participation"):
            await (await swe.channel(name)).send("one last word")
        with pytest.raises(PolicyRefusedError):
            await swe.create_channel(MULTI, POLICY, "another")
        assert [m.text for m in await swe.history()] == ["hello"]


async def test_what_an_absent_party_says_all_the_same_is_not_shown(life: Life) -> None:
    stage = life.stage
    async with stage.client(DESK) as swe, stage.client(OFFICER) as deu:
        name = await life.gather(swe, deu)
    withdrawal = life.say("SWE", Event.WITHDRAW, at=life.world.now - 600)
    home, passphrase = stage.homes[OFFICER], PASSPHRASE
    async with Client.open(home, passphrase=passphrase, offline=True) as deu:
        # The relay does not know of it, or does not care; nor does the sender.
        env = deu._env
        await env.write(lambda tx: env.trust.keep_statement(tx, MULTI, withdrawal))
    async with stage.client(DESK) as swe:
        await (await swe.channel(name)).send("I am still here")
    async with stage.client(OFFICER) as deu:

        async def withheld() -> bool:
            return any(m.state is MessageState.WITHHELD for m in await deu.history())

        await until(deu, withheld)
        message = (await deu.history())[-1]
        assert message.text == ""
        assert message.reason_code == "party.withdrawn"
        assert message.reason == "SWE has withdrawn for good"


async def test_the_others_exclude_a_party_by_the_agreements_rule_and_not_below_it(
    life: Life,
) -> None:
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu, swe)
        life.publish(life.exclude("SWE", "NOR"))
        await learn(nor)
        await (await nor.channel(name)).send("all three")
        assert len(await members(nor, name)) == 3
        life.documents.clear()
        life.publish(life.exclude("SWE", "NOR", "DEU"))
        await learn(nor)
        await (await nor.channel(name)).send("we two")

        assert await members(nor, name) == {ATTACHE, OFFICER}
        assert [(await next_message(deu)).text for _ in range(2)] == ["all three", "we two"]
        assert [m.text for m in await swe.history()][-1] == "all three"


async def test_a_statement_older_than_the_newest_known_is_refused_and_told(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        life.tell(nor)
        await nor.agreement(MULTI)
        now = life.world.now
        first = life.say("SWE", Event.AFFIRM, at=now - 20)
        life.publish(first, life.say("SWE", Event.WITHDRAW, at=now - 10))
        await learn(nor)
        told: list[str] = []
        nor._env.listeners.add(
            lambda e: told.append(e.text) if e.kind is EventKind.PROBLEM else None
        )

        life.documents[:] = [first]
        await learn(nor)

        standing = await nor._env.read(lambda tx: nor._env.trust.standing(tx, MULTI))
        swe = life.said["SWE"].party
        assert standing.participation(swe, now) is Participation.WITHDRAWN
        assert set(told) == {"the relay shows statement 2 of SWE as its newest, not 3"}
        with pytest.raises(StatementOrderError):
            await nor._env.write(lambda tx: nor._env.trust.keep_statement(tx, MULTI, first))

        life.documents.clear()
        await learn(nor)
        assert told[-1] == "the relay does not show what SWE has said"


async def test_a_statement_that_another_authority_has_signed_is_worth_nothing(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        life.tell(nor)
        await nor.agreement(MULTI)
        forged = _signed_by(life, "DEU", "SWE")

        with pytest.raises(VerificationError):
            await nor._env.write(lambda tx: nor._env.trust.keep_statement(tx, MULTI, forged))

        standing = await nor._env.read(lambda tx: nor._env.trust.standing(tx, MULTI))
        assert standing.phase(life.versions[0], life.world.now) is Phase.ACTIVE


def _signed_by(life: Life, forger: str, party: str) -> bytes:
    life.say(party, Event.WITHDRAW)
    return participation.sign(life.said.pop(party), life.world.party(forger).authority_key)


def hourly(text: Agreement) -> Agreement:
    """An agreement whose parties have to say every hour that they take part, and begin late."""
    begun = text.valid_from - 2 * HOUR
    return replace(text, status=StatusRules(HOUR, Overdue.STOP), valid_from=begun)


async def test_a_relay_that_withholds_a_withdrawal_is_noticed_by_the_maximum_age(
    stage: Stage,
) -> None:
    life = Life(stage)
    await life.open(change=hourly)
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        life.tell(nor)
        channel = await nor.create_channel(MULTI, POLICY, "duty")

        with pytest.raises(StatusOverdueError, match="overdue since") as caught:
            await channel.send("is everybody there?")

        assert "has to affirm" in caught.value.hint
        assert [m.state for m in await nor.outbox()] == [MessageState.QUEUED]
        view = await nor.standing(MULTI)
        assert {str(party) for party in view.overdue} == set(PARTIES)
        for party in PARTIES:
            life.publish(life.say(party, Event.AFFIRM))
        await learn(nor)
        await nor.sync(10)
        assert [m.state for m in await nor.history()] == [MessageState.ACCEPTED]


async def test_where_the_agreement_only_warns_an_overdue_word_is_told_and_nothing_stops(
    stage: Stage,
) -> None:
    life = Life(stage)

    def warns(text: Agreement) -> Agreement:
        late = hourly(text)
        return replace(late, status=StatusRules(HOUR, Overdue.WARN))

    await life.open(change=warns)
    await stage.enrol(ATTACHE)
    async with stage.client(ATTACHE) as nor:
        life.tell(nor)
        channel = await nor.create_channel(MULTI, POLICY, "duty")
        sent = await channel.send("is everybody there?")
        hidden: list[str] = await nor._env.read(
            lambda tx: nor._parts.maintenance._hidden(tx, life.versions[0])
        )

        assert sent.state is MessageState.ACCEPTED
        assert [text.partition(" says")[0] for text in hidden] == [
            f"what {party}" for party in PARTIES
        ]


async def test_a_removal_is_no_breach_once_the_reader_knows_what_the_remover_knew(
    stage: Stage,
) -> None:
    life = Life(stage)

    def only_swedes_remove(text: Agreement) -> Agreement:
        people = (Pattern.parse("SWE"),)
        return replace(
            text, channels=tuple(replace(policy, remove=people) for policy in text.channels)
        )

    await life.open(change=only_swedes_remove)
    for name in (ATTACHE, OFFICER, DESK):
        await stage.enrol(name)
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await life.gather(nor, deu, swe)
        message = await _removal(nor, name, life)

        with pytest.raises(PolicyRefusedError):
            await _judge(swe, name, life, message)
        life.publish(life.say("DEU", Event.WITHDRAW))
        await learn(swe)
        await _judge(swe, name, life, message)


async def _removal(client: Client, name: str, life: Life) -> bytes:
    """Return a commit that removes leaf 1 without giving a reason."""

    def commit(tx: Any) -> bytes:
        env = client._env
        record = next(r for r in channels.load_all(tx) if str(r.channel) == name)
        group = env.groups.load(tx, record)
        return stage_commit(
            group,
            signer=env.account.signer(group.suite.signature),
            rng=env.options.rng,
            now=env.now,
            validator=env.trust.validator(life.versions[0]),
            by_value=duties.removals([1]),
        ).commit

    return await client._env.read(commit)


async def _judge(client: Client, name: str, life: Life, message: bytes) -> None:
    def judge(tx: Any) -> None:
        env = client._env
        record = next(r for r in channels.load_all(tx) if str(r.channel) == name)
        group = env.groups.load(tx, record)
        validator = env.trust.validator(life.versions[0])
        result = process(group, message, now=env.now, validator=validator)
        assert isinstance(result, CommitStaged)
        agreement = life.versions[0]
        judgement.judge_commit(env, tx, record, agreement, group, result.effect, env.now)

    await client._env.read(judge)
