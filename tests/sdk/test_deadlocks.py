"""States in which honest members could not go on, though the agreement lets them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from liaison.mls.proposing import propose_add
from liaison.model import ChannelId
from liaison.policy import exclusion, signing
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.errors import SignatureMissingError, StatementOrderError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event
from liaison.trust import ChannelBinding
from liaison.wire import v1
from liaison_sdk import Client, joining
from liaison_sdk.joining import BadInvitationError
from liaison_sdk.standings import Standings
from liaison_sdk.store import Transaction, channels
from liaison_sdk.store.channels import ChannelRecord, ChannelState
from tests.sdk.life import (
    ATTACHE,
    DESK,
    MULTI,
    OFFICER,
    Life,
    agree,
    as_it_was,
    code,
    declare,
    meet,
)
from tests.sdk.support import POLICY, QUICK, next_message


def _without_sweden(life: Life) -> Agreement:
    two = signing.verify(
        life.world.agreement(
            "NOR",
            "DEU",
            relay=life.stage.relay.identity,
            agreement_id=MULTI,
            kind=AgreementKind.MULTILATERAL,
        )
    )
    last = life.versions[-1]
    return replace(two, version=last.version + 1, previous=last.digest())


async def test_who_was_away_follows_a_version_without_a_party_that_has_left(life: Life) -> None:
    """It hears of the withdrawal only with the version that it has to believe because of it."""
    stage = life.stage
    async with (
        stage.client(ATTACHE) as nor,
        stage.client(OFFICER) as deu,
        stage.client(DESK) as swe,
    ):
        name = await meet(nor, deu, swe)
    await declare(life, "SWE", Event.WITHDRAW)
    await agree(life, _without_sweden(life))
    await agree(life, life.following(as_it_was))
    async with stage.client(ATTACHE) as nor:
        await (await nor.channel(name)).send("among the two of us")

    async with stage.client(OFFICER) as deu:
        assert (await next_message(deu)).text == "among the two of us"
        channel = await deu.channel(name)
        assert channel.agreement_version == 3
        await channel.send("heard")


async def test_a_channel_lives_on_in_which_everybody_was_to_go_for_a_while(life: Life) -> None:
    """Nobody could remove anybody; the proposals to do so wait in the group of each."""
    stage = life.stage
    async with stage.client(OFFICER) as deu:
        name = str((await deu.create_channel(MULTI, POLICY, "own", [])).id)
        await (await deu.channel(name)).send("before")
    await declare(life, "DEU", Event.SUSPEND)
    async with stage.client(OFFICER) as deu:
        await deu.sync(20)
    await declare(life, "DEU", Event.RESUME)

    async with stage.client(OFFICER) as deu:
        await (await deu.channel(name)).send("after")


async def test_who_comes_back_before_it_was_removed_waits_for_nobody(life: Life) -> None:
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await meet(nor, deu)
    await declare(life, "DEU", Event.SUSPEND)
    async with stage.client(OFFICER) as deu:
        await deu.sync(20)
    await declare(life, "DEU", Event.RESUME)

    async with stage.client(OFFICER) as deu:
        await (await deu.channel(name)).send("here again")
    async with stage.client(ATTACHE) as nor:
        assert (await next_message(nor)).text == "here again"


async def _propose_to_add(client: Client, name: str, other: str) -> None:
    """Propose a device, as no client of ours does."""
    env = client._env
    suite = (await env.read(lambda tx: env.trust.agreement(tx, MULTI))).cipher_suite
    package = (await env.api.claim(MULTI, other, suite)).key_packages[0].key_package

    def work(tx: Any) -> v1.Proposal:
        record = next(r for r in channels.load_all(tx) if str(r.channel) == name)
        group = env.groups.load(tx, record)
        agreement = env.trust.agreement(tx, MULTI, record.agreement_version)
        after, message = propose_add(
            group,
            package,
            signer=env.account.signer(group.suite.signature),
            validator=env.trust.validator(agreement),
            now=env.now,
        )
        env.groups.save_epoch(tx, record, after)
        return v1.Proposal(proposal=message, state_version=env.now)

    body = await env.write(work)
    channel = (await client.channel(name)).id
    await env.api.propose(channel, body)


async def test_what_a_member_wants_of_others_keeps_nobody_from_going_on(life: Life) -> None:
    """It may be forbidden by now; the relay then refuses each commit that contains it."""
    stage = life.stage
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await meet(nor, deu)
    async with stage.client(DESK) as swe:
        await swe.sync(20)
    async with stage.client(OFFICER) as deu:
        await deu.sync(20)
        await _propose_to_add(deu, name, "swe/duty-desk")
    await declare(life, "SWE", Event.SUSPEND)

    async with stage.client(ATTACHE) as nor:
        await (await nor.channel(name)).send("all the same")
    async with stage.client(OFFICER) as deu:
        assert (await next_message(deu)).text == "all the same"


async def test_a_clock_that_is_behind_takes_no_amendment_for_a_breach(life: Life) -> None:
    stage = life.stage
    slow = replace(QUICK, clock=lambda: time.time() - 3000)
    async with stage.client(ATTACHE) as nor, stage.client(OFFICER) as deu:
        name = await meet(nor, deu)
    begun = int(time.time()) - 60
    await agree(life, life.following(lambda text: replace(text, valid_from=begun)))
    async with stage.client(ATTACHE) as nor:
        await (await nor.channel(name)).send("under the second version")

    async with stage.client(OFFICER, slow) as deu:
        assert (await next_message(deu)).text == "under the second version"
        assert (await deu.channel(name)).agreement_version == 2


async def test_no_exclusion_counts_by_the_rule_of_a_version_that_is_over(life: Life) -> None:
    """One of two others was a majority; now all have to sign."""
    async with life.stage.client(ATTACHE) as nor:
        await nor.wait_connected()
        old = replace(life.versions[0], exclusion=ExclusionRule.MAJORITY)
        parties = life.world.party("FRA").party, life.world.party("POL").party
        new = replace(old, parties=(*old.parties, *parties), version=2)
        word = Exclusion(MULTI, code("SWE"), "by two of four", life.world.now)
        first, second = (life.world.party(c).authority_key for c in ("NOR", "DEU"))
        signed = exclusion.add_signature(exclusion.sign(word, first), second)
        standings = Standings()

        with pytest.raises(SignatureMissingError):
            await nor._env.write(lambda tx: standings.keep_exclusion(tx, [new, old], signed))
        assert await nor._env.write(lambda tx: standings.keep_exclusion(tx, [old], signed))


def _keep(standings: Standings, life: Life, data: bytes, tx: Transaction) -> bool:
    return standings.keep_statement(tx, life.versions, data)


async def test_a_party_that_affirms_all_the_time_fills_nobodys_store(life: Life) -> None:
    async with life.stage.client(ATTACHE) as nor:
        await nor.wait_connected()
        env, standings, now = nor._env, Standings(), life.world.now
        events = [*[Event.AFFIRM] * 5, Event.SUSPEND, *[Event.AFFIRM] * 5, Event.RESUME]
        said = [life.say("SWE", event, at=now + 9 * n) for n, event in enumerate(events)]

        for data in said:
            await env.write(partial(_keep, standings, life, data))

        kept = await env.read(lambda tx: standings.of(tx, MULTI))
        assert len(kept.statements[code("SWE")]) == 3
        assert not kept.takes_part(code("SWE"), now + 9 * 8)
        with pytest.raises(StatementOrderError):
            await env.write(partial(_keep, standings, life, said[2]))


def _record(agreement: Agreement, version: int) -> ChannelRecord:
    return ChannelRecord(
        channel=ChannelId(bytes(16)),
        stamp=b"",
        state=ChannelState.STALE,
        epoch=3,
        name="duty",
        agreement_id=agreement.agreement_id,
        agreement_version=version,
        policy=POLICY,
    )


async def test_nobody_is_led_back_under_an_older_version_or_another_agreement(life: Life) -> None:
    first = life.versions[0]
    binding = ChannelBinding.of(ChannelId(bytes(16)), first, POLICY)

    with pytest.raises(BadInvitationError):
        joining.check_not_back(_record(first, 2), binding)
    with pytest.raises(BadInvitationError):
        joining.check_not_back(_record(first, 1), replace(binding, agreement_id="another"))
    joining.check_not_back(_record(first, 1), replace(binding, version=2))
