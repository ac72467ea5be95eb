"""Two relays on one database: on PostgreSQL that is a deployment, on SQLite a hard test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from liaison.policy.errors import PolicyRefusedError
from liaison.policy.lifecycle import Event
from liaison.relay.services import Services
from liaison.relay.services.errors import AgreementSupersededError, RemovalPendingError
from liaison.tlog.fields import EntryType
from liaison.wire.frames import ItemKind
from tests.relay.services import logbook
from tests.relay.services.forum import Forum
from tests.relay.services.harness import Actor, Relay, another_node, drain, news


@pytest.fixture
async def second(relay: Relay) -> AsyncIterator[Services]:
    """Another node of the relay."""
    async for node in another_node(relay):
        yield node


@pytest.fixture
async def nor(relay: Relay) -> Actor:
    agreement = await relay.admit("NOR", "DEU")
    nor = await relay.enrol("nor/defatt-berlin#d1")
    deu = await relay.enrol("deu/lno-j3#d1")
    await nor.open(agreement, deu)
    await nor.read_all()
    return nor


async def test_two_nodes_give_out_each_number_once(
    relay: Relay, second: Services, nor: Actor
) -> None:
    sends = [nor.message() for _ in range(40)]
    nodes = [relay.services, second]

    answers = await asyncio.gather(
        *(nodes[i % 2].messages.accept(nor.caller, send) for i, send in enumerate(sends))
    )

    assert sorted(a.seq for a in answers) == list(range(2, 42))


async def test_each_node_goes_on_with_the_log_where_the_other_has_left_it(
    relay: Relay, second: Services, nor: Actor
) -> None:
    # In turns, and twice in a row: what a node remembers of the log is mostly old, and sometimes not.
    nodes = (relay.services, second, second, relay.services, relay.services, second)
    accepted = [await node.messages.accept(nor.caller, nor.message()) for node in nodes]

    told = [
        one for one in await logbook.read(relay, "nor-deu-2026") if one.type is EntryType.ACCEPTED
    ]
    assert [one.entry.seq for one in told] == [one.seq for one in accepted]


async def test_a_resend_to_the_other_node_is_a_duplicate(
    relay: Relay, second: Services, nor: Actor
) -> None:
    send = nor.message()

    answers = await asyncio.gather(
        relay.services.messages.accept(nor.caller, send),
        second.messages.accept(nor.caller, send),
    )

    first, again = sorted(answers, key=lambda a: a.duplicate)
    assert again == replace(first, duplicate=True)


async def test_a_suspension_on_one_node_holds_on_the_other_at_once(
    relay: Relay, second: Services
) -> None:
    forum = await Forum.open(relay, "NOR", "DEU", "UN-OCHA")
    nor, deu = await relay.enrol("nor/desk#d1"), await relay.enrol("deu/desk#d1")
    await nor.open(forum.agreement, deu)
    # The other node knows the agreement as it was.
    await second.messages.accept(nor.caller, nor.message())

    await forum.say("DEU", Event.SUSPEND)

    with pytest.raises(RemovalPendingError):
        await second.messages.accept(deu.caller, deu.message())
    with pytest.raises(PolicyRefusedError):
        await second.channels.create(deu.caller, deu.new_channel(forum.agreement))


async def test_of_a_suspension_and_messages_at_once_none_is_accepted_after_it(
    relay: Relay, second: Services
) -> None:
    forum = await Forum.open(relay, "NOR", "DEU", "UN-OCHA")
    nor, deu = await relay.enrol("nor/desk#d1"), await relay.enrol("deu/desk#d1")
    await nor.open(forum.agreement, deu)
    sends = [deu.message() for _ in range(20)]
    suspension = forum.statement("DEU", Event.SUSPEND)

    await asyncio.gather(
        *(second.messages.accept(deu.caller, send) for send in sends),
        forum.publish("DEU", suspension),
        return_exceptions=True,
    )
    items = await nor.read_all()

    proposed = next(i for i, item in enumerate(items) if item.kind is ItemKind.PROPOSAL)
    last = [item.seq for item in items if item.kind is ItemKind.MESSAGE]
    assert all(seq < items[proposed].seq for seq in last)


async def test_a_version_that_one_node_admitted_is_in_force_on_the_other(
    relay: Relay, second: Services
) -> None:
    forum = await Forum.open(relay, "NOR", "DEU")
    nor = await relay.enrol("nor/desk#d1")
    await nor.open(forum.agreement)
    await second.messages.accept(nor.caller, nor.message())

    await forum.amend(forum.next(title="amended"))

    with pytest.raises(AgreementSupersededError):
        await second.messages.accept(nor.caller, nor.message())


async def test_two_nodes_unite_signatures_that_come_at_once(relay: Relay, second: Services) -> None:
    codes = ("NOR", "DEU", "UN-OCHA")
    forum = await Forum.open(relay, *codes)
    new = forum.next(title="amended")
    offices = [await forum.office(code) for code in codes]
    nodes = [relay.services, second, relay.services]

    answers = await asyncio.gather(
        *(
            node.proposals.propose(office, forum.signed(new, str(office.party)))
            for node, office in zip(nodes, offices, strict=True)
        )
    )

    assert sorted(len(one.signed) for one in answers) == [1, 2, 3]
    assert [one.active for one in answers if len(one.signed) == 3] == [True]


async def test_of_two_commits_on_two_nodes_one_wins(
    relay: Relay, second: Services, nor: Actor
) -> None:
    bodies = [nor.body(nor.stage()) for _ in range(2)]

    answers = await asyncio.gather(
        relay.services.channels.commit(nor.caller, nor.channel, bodies[0]),
        second.channels.commit(nor.caller, nor.channel, bodies[1]),
        return_exceptions=True,
    )

    assert sorted(type(a).__name__ for a in answers) == ["EpochConflictError", "Sequenced"]


async def test_a_node_works_with_the_group_that_another_has_changed(
    relay: Relay, second: Services, nor: Actor
) -> None:
    for node in (relay.services, second, relay.services):
        staged = nor.stage()
        await node.channels.commit(nor.caller, nor.channel, nor.body(staged))
        nor.group = staged.group

    assert (await second.channels.get(nor.caller, nor.channel)).epoch == 4


async def test_a_revocation_on_one_node_stops_messages_on_the_other(
    relay: Relay, second: Services, nor: Actor
) -> None:
    mark = await second.registry.revocation_mark()
    third = await relay.enrol("deu/lno-j3#d2")
    await nor.add(third)
    send = nor.message()
    await relay.revoke(third.device)

    with pytest.raises(RemovalPendingError):
        await second.messages.accept(nor.caller, send)
    assert await second.registry.revocation_mark() > mark


async def test_items_of_both_nodes_are_delivered_whole_although_no_wake_up_crosses(
    relay: Relay, second: Services, nor: Actor
) -> None:
    third = await relay.enrol("deu/lno-j3#d2")
    await nor.add(third)
    feed = await third.feed()
    await drain(feed)
    nodes = [relay.services, second]
    accepted = [
        await nodes[turn % 2].messages.accept(nor.caller, nor.message()) for turn in range(6)
    ]
    # The wake-up for the last of the first node's own messages brings everything before it.
    await news(feed)
    items = await drain(feed)
    last = await relay.services.messages.accept(nor.caller, nor.message())
    await news(feed)
    items += await drain(feed)

    assert [i.seq for i in items] == [*(a.seq for a in accepted), last.seq]
    assert {i.kind for i in items} == {ItemKind.MESSAGE}
    feed.close()
