"""Messages that leave only with the signatures of several persons."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from liaison.crypto.secret import random_bytes
from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.envelope.release import Part, Release, content_digest
from liaison.errors import LiaisonError
from liaison.mls import group
from liaison.model import MessageId, Precedence
from liaison.policy.channel_rules import ReleaseRule
from liaison.policy.errors import PolicyRefusedError
from liaison.policy.who import Pattern
from liaison.relay.services.errors import (
    ReleaseUnregisteredError,
    ReleaseUsedError,
    UnknownMessageError,
)
from liaison.storage import items
from liaison.trust.release import ReleaseInvalidError, sign_draft
from liaison.wire import frames
from tests.relay.services.forum import Forum
from tests.relay.services.harness import Actor, Relay, fresh_id
from tests.support.relay import allow_everything
from tests.support.world import ED25519, Device

TEXT = b"released text"


@pytest.fixture
async def forum(relay: Relay) -> Forum:
    rule = ReleaseRule(
        kinds=(Kind.TEXT,),
        lowest=Precedence.IMMEDIATE,
        review=(),
        release=(Pattern.parse("nor/chief"),),
        persons=2,
    )
    return await Forum.open(relay, "NOR", "DEU", release=rule)


@pytest.fixture
async def nor(forum: Forum) -> Actor:
    """NOR's desk in a channel with DEU's."""
    nor = await forum.relay.enrol("nor/desk#d1")
    await nor.open(forum.agreement, await forum.relay.enrol("deu/desk#d1"))
    await nor.read_all()
    return nor


def drafted(nor: Actor, *signed: tuple[Part, Device]) -> Header:
    """The header of a FLASH by NOR's desk, signed by some."""
    assert nor.agreement is not None
    labels = nor.agreement.labels
    header = Header(
        message_id=MessageId(fresh_id()),
        kind=Kind.TEXT,
        action=Precedence.FLASH,
        info=Precedence.FLASH,
        dtg=nor.relay.clock.ms // 1000,
        label=HeaderLabel(labels.policy, labels.default),
        agreement_id=nor.agreement.agreement_id,
        agreement_version=nor.agreement.version,
        release=Release(content_digest(TEXT)),
    )
    for part, device in signed:
        header = sign_draft(header, nor.channel, part, device.key, device.chains[ED25519])
    return header


def encrypted(nor: Actor, header: Header) -> frames.Send:
    nor.group, data = group.encrypt(
        nor.state,
        TEXT,
        signer=nor.signer,
        rng=random_bytes,
        authenticated_data=header.encode(),
    )
    return frames.Send(7, nor.channel, header.message_id, 1, data)


async def test_a_message_leaves_when_another_person_has_released_it(
    forum: Forum, nor: Actor
) -> None:
    chief = await forum.relay.enrol("nor/chief#d1")
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))

    accepted = await forum.relay.services.messages.accept(nor.caller, encrypted(nor, header))

    assert accepted.duplicate is False


async def test_nobody_releases_an_own_draft_and_no_message_goes_without(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept

    for header in (
        drafted(nor, (Part.DRAFT, nor.device)),
        drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, nor.device)),
        replace(drafted(nor, (Part.DRAFT, nor.device)), release=None),
    ):
        with pytest.raises(PolicyRefusedError) as refused:
            await accept(nor.caller, encrypted(nor, header))
        assert refused.value.rule == "channels.liaison.release"


async def test_a_draft_that_was_changed_after_it_was_signed_is_refused(
    forum: Forum, nor: Actor
) -> None:
    chief = forum.relay.world.device("nor/chief#d1")
    signed = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief))
    changed = replace(signed, action=Precedence.IMMEDIATE, info=Precedence.IMMEDIATE)

    with pytest.raises(ReleaseInvalidError):
        await forum.relay.services.messages.accept(nor.caller, encrypted(nor, changed))


async def test_a_release_by_a_certificate_that_is_not_registered_is_refused_and_nothing_stored(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    stranger = forum.relay.world.device("nor/chief#d1")
    send = encrypted(nor, drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, stranger)))

    with pytest.raises(ReleaseUnregisteredError, match="nor/chief#d1") as refused:
        await accept(nor.caller, send)

    assert refused.value.unchanged == "nothing was stored"
    with pytest.raises(UnknownMessageError):
        await forum.relay.services.messages.outcome(nor.caller, nor.channel, send.message_id)


async def test_a_certificate_that_only_has_the_name_of_a_registered_one_releases_nothing(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    forged = forum.relay.world.device("nor/chief#d1")
    genuine = await forum.relay.enrol("nor/chief#d1")

    with pytest.raises(ReleaseUnregisteredError):
        await accept(
            nor.caller,
            encrypted(nor, drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, forged))),
        )

    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, genuine.device))
    assert not (await accept(nor.caller, encrypted(nor, header))).duplicate


async def test_a_resend_is_answered_though_a_signer_was_revoked_since(
    forum: Forum, nor: Actor
) -> None:
    chief = await forum.relay.enrol("nor/chief#d1")
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))
    send, late = encrypted(nor, header), replace(header, message_id=MessageId(fresh_id()))
    first = await forum.relay.services.messages.accept(nor.caller, send)
    await forum.relay.revoke(chief.device)

    again = await forum.relay.services.messages.accept(nor.caller, send)

    assert again == replace(first, duplicate=True)
    with pytest.raises(LiaisonError) as refused:
        await forum.relay.services.messages.accept(nor.caller, encrypted(nor, late))
    assert refused.value.code == "release.invalid"


async def second_device(forum: Forum, nor: Actor) -> Actor:
    """NOR's chief, who is in the channel too and has what NOR's desk has."""
    chief = await forum.relay.enrol("nor/chief#d1")
    await nor.add(chief)
    await chief.read_all()
    return chief


async def test_a_release_is_sent_once_whichever_device_of_the_party_sends_it(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    chief = await second_device(forum, nor)
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))
    first = encrypted(nor, header)
    accepted = await accept(nor.caller, first)

    with pytest.raises(ReleaseUsedError):
        await accept(chief.caller, encrypted(chief, header))

    assert await accept(nor.caller, first) == replace(accepted, duplicate=True)
    another = drafted(chief, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))
    assert not (await accept(chief.caller, encrypted(chief, another))).duplicate


async def test_of_two_devices_that_send_a_release_in_one_instant_one_is_refused(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    chief = await second_device(forum, nor)
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))

    answers = await asyncio.gather(
        accept(nor.caller, encrypted(nor, header)),
        accept(chief.caller, encrypted(chief, header)),
        return_exceptions=True,
    )

    assert {type(one) for one in answers} == {frames.Accepted, ReleaseUsedError}


async def test_a_release_whose_message_has_expired_was_sent_all_the_same(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    chief = await second_device(forum, nor)
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))
    await accept(nor.caller, encrypted(nor, header))
    async with forum.relay.database.write() as tx:
        far = forum.relay.clock.ms + 400 * 86_400_000
        assert await items.expire(tx, now_ms=far, limit=10)

    with pytest.raises(ReleaseUsedError):
        await accept(chief.caller, encrypted(chief, header))


async def test_a_message_of_the_same_id_without_the_release_keeps_nobody_from_sending_it(
    forum: Forum, nor: Actor
) -> None:
    accept = forum.relay.services.messages.accept
    chief = await second_device(forum, nor)
    header = drafted(nor, (Part.DRAFT, nor.device), (Part.RELEASE, chief.device))
    calm: dict[str, Any] = {
        "action": Precedence.ROUTINE,
        "info": Precedence.ROUTINE,
        "release": None,
    }
    await accept(chief.caller, encrypted(chief, replace(header, **calm)))

    assert not (await accept(nor.caller, encrypted(nor, header))).duplicate


async def test_a_relay_whose_check_is_off_takes_what_the_agreement_forbids(
    forum: Forum, nor: Actor
) -> None:
    """Only tests can make one: to see that honest clients show none of it."""
    services = forum.relay.build(judge=allow_everything)
    header = replace(drafted(nor), release=None, agreement_version=9)

    accepted = await services.messages.accept(nor.caller, encrypted(nor, header))

    assert accepted.duplicate is False
