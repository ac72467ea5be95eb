"""Devices that have not renewed their keys for longer than the policy bears."""

from __future__ import annotations

import pytest

from liaison.crypto.secret import random_bytes
from liaison.mls import group
from liaison.mls.proposals import Remove
from liaison.policy import statement
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.who import Pattern
from liaison.relay.services.errors import CommitInvalidError
from liaison.wire import v1
from tests.relay.services.forum import CODES, DAY, Forum, take_handshakes
from tests.relay.services.harness import NOW, Actor, Relay

LIMIT = 30 * DAY
UNSEEN = statement.encode_unseen()


@pytest.fixture
async def forum(relay: Relay) -> Forum:
    # Nobody may remove others but NOR: what the others do, they do for the reason.
    return await Forum.open(relay, *CODES, remove=(Pattern.parse("NOR"),))


@pytest.fixture
async def members(forum: Forum) -> tuple[Actor, Actor, Actor]:
    return await forum.meet()


async def remove(actor: Actor, gone: Actor, reason: bytes = UNSEEN) -> v1.Sequenced:
    """Commit a removal and give the reason for it."""
    leaf = actor.state.leaf_of(gone.id.uri.encode())
    assert leaf is not None
    staged = group.stage_commit(
        actor.state,
        signer=actor.signer,
        rng=random_bytes,
        now=NOW,
        validator=actor.validator,
        by_value=(Remove(leaf),),
        authenticated_data=reason,
    )
    return await actor.commit(staged)


async def test_any_member_removes_a_device_that_was_not_seen_for_too_long(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, deu, ocha = members
    forum.wait(LIMIT + 1)

    await remove(ocha, deu)

    assert [item.epoch for item in await nor.read_all()] == [1]
    await ocha.send(b"among those who are there")


async def test_a_device_that_is_as_old_as_the_policy_bears_stays(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, ocha = members
    forum.wait(LIMIT)

    with pytest.raises(PolicyRefusedError) as caught:
        await remove(ocha, deu)

    assert caught.value.rule == "channels.liaison.remove"


async def test_a_device_that_has_renewed_its_keys_is_not_removed_for_that(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, ocha = members
    forum.wait(LIMIT)
    await deu.update()
    await take_handshakes(ocha)
    forum.wait(DAY)

    with pytest.raises(PolicyRefusedError):
        await remove(ocha, deu)


async def test_a_device_that_came_in_late_is_not_as_old_as_the_channel(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, ocha = members
    forum.wait(LIMIT)
    late = await forum.relay.enrol("deu/late#d1")
    await nor.add(late)
    await take_handshakes(ocha)
    forum.wait(DAY)

    with pytest.raises(PolicyRefusedError):
        await remove(ocha, late)


async def test_a_device_that_came_back_from_outside_counts_as_seen(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, ocha = members
    forum.wait(LIMIT)
    service = forum.relay.services.channels
    await deu.commit(deu.resync(await service.group_state(deu.caller, deu.channel)))
    await take_handshakes(ocha)
    forum.wait(DAY)

    with pytest.raises(PolicyRefusedError):
        await remove(ocha, deu)


async def test_who_opened_the_channel_counts_from_then_on(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    nor, _, ocha = members
    forum.wait(LIMIT + 1)

    await remove(ocha, nor)

    assert ocha.state.leaf_of(nor.id.uri.encode()) is None


async def test_without_the_reason_age_is_none(
    forum: Forum, members: tuple[Actor, Actor, Actor]
) -> None:
    _, deu, ocha = members
    forum.wait(2 * LIMIT)

    for reason in (b"", b"unseen", statement.encode_agreement()):
        with pytest.raises(PolicyRefusedError) as caught:
            await remove(ocha, deu, reason)
        assert caught.value.rule == "channels.liaison.remove"


async def test_what_is_no_commit_is_refused_for_that(
    members: tuple[Actor, Actor, Actor],
) -> None:
    nor, _, _ = members
    body = nor.body(nor.stage()).model_copy(update={"commit": b"nothing"})

    with pytest.raises(CommitInvalidError):
        await nor.relay.services.channels.commit(nor.caller, nor.channel, body)
