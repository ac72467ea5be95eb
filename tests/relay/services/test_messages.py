from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from liaison.crypto.secret import random_bytes
from liaison.envelope.header import Header, Kind
from liaison.errors import LiaisonError
from liaison.mls import group, peek
from liaison.model import ChannelId, MessageId, Precedence
from liaison.policy.errors import PolicyRefusedError
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.errors import (
    DeviceRevokedError,
    EpochStaleError,
    GroupMismatchError,
    MessageIdConflictError,
    MessageInvalidError,
    NotMemberError,
    RemovalPendingError,
    UnauthenticatedError,
    UnknownChannelError,
    UnknownMessageError,
)
from liaison.relay.services.looking import Opening
from liaison.wire import frames
from liaison.wire.frames import ItemKind
from tests.relay.services.harness import Actor, drain, fresh_id, seqs


async def refusal(actor: Actor, send: frames.Send) -> LiaisonError:
    with pytest.raises(LiaisonError) as caught:
        await actor.relay.services.messages.accept(actor.caller, send)
    return caught.value


async def test_a_message_goes_from_one_nation_to_the_other(nor: Actor, deu: Actor) -> None:
    send = nor.message(b"Request a meeting at 1400Z")
    accepted = await nor.relay.services.messages.accept(nor.caller, send)
    items = [i for i in await deu.read_all() if i.kind is ItemKind.MESSAGE]

    assert accepted == frames.Accepted(
        request=7,
        duplicate=False,
        seq=accepted.seq,
        time_ms=nor.relay.clock.ms,
        digest=hashlib.sha256(send.payload).digest(),
    )
    assert seqs(items) == [accepted.seq]
    assert deu.decrypts(items[0]) == b"Request a meeting at 1400Z"
    assert await deu.read_all() == []


async def test_a_resend_is_answered_as_the_first_time_and_stored_once(
    nor: Actor, deu: Actor
) -> None:
    send = nor.message()
    first = await nor.relay.services.messages.accept(nor.caller, send)
    nor.relay.clock.ms += 5_000

    second, third = await asyncio.gather(
        *(nor.relay.services.messages.accept(nor.caller, send) for _ in range(2))
    )

    assert second == third == replace(first, duplicate=True)
    assert len([i for i in await deu.read_all() if i.kind is ItemKind.MESSAGE]) == 1


async def test_a_resend_within_one_group_of_writes_is_stored_once(nor: Actor, deu: Actor) -> None:
    send = nor.message()

    answers = await asyncio.gather(
        *(nor.relay.services.messages.accept(nor.caller, send) for _ in range(3))
    )

    assert [a.duplicate for a in answers] == [False, True, True]
    assert len({a.seq for a in answers}) == 1


async def test_a_resend_is_recognised_after_its_epoch_is_over(nor: Actor, deu: Actor) -> None:
    send = nor.message()
    first = await nor.relay.services.messages.accept(nor.caller, send)
    third = await nor.relay.enrol("deu/lno-j3#d2")
    await nor.add(third)
    await nor.remove(third)

    again = await nor.relay.services.messages.accept(nor.caller, send)

    assert again == replace(first, duplicate=True)


async def test_the_frame_and_the_header_have_to_give_one_id(nor: Actor, deu: Actor) -> None:
    first = nor.message()
    await nor.relay.services.messages.accept(nor.caller, first)

    stolen = replace(nor.message(b"another"), message_id=first.message_id)

    assert isinstance(await refusal(nor, stolen), MessageInvalidError)


async def test_one_id_for_two_ciphertexts_is_a_conflict(nor: Actor, deu: Actor) -> None:
    first = nor.message(b"one")
    await nor.relay.services.messages.accept(nor.caller, first)

    second = encrypted_again(nor, nor.message(b"two"), first.message_id)

    assert isinstance(await refusal(nor, second), MessageIdConflictError)


def encrypted_again(actor: Actor, send: frames.Send, message_id: MessageId) -> frames.Send:
    """Another ciphertext under an id that was used before."""
    header = Header.decode(peek.parse_header(send.payload).authenticated_data)
    actor.group, data = group.encrypt(
        actor.state,
        b"two",
        signer=actor.signer,
        rng=random_bytes,
        authenticated_data=replace(header, message_id=message_id).encode(),
    )
    return replace(send, message_id=message_id, payload=data)


async def test_the_outcome_of_an_own_message_can_be_asked_for(nor: Actor, deu: Actor) -> None:
    send = nor.message()
    accepted = await nor.relay.services.messages.accept(nor.caller, send)
    outcome = nor.relay.services.messages.outcome

    found = await outcome(nor.caller, nor.channel, send.message_id)

    assert (found.seq, found.digest) == (accepted.seq, accepted.digest)
    with pytest.raises(UnknownMessageError):
        await outcome(deu.caller, nor.channel, send.message_id)
    with pytest.raises(UnknownMessageError):
        await outcome(nor.caller, nor.channel, MessageId(fresh_id()))


async def test_what_is_not_an_application_message_is_refused(nor: Actor, deu: Actor) -> None:
    good = nor.message()
    commit = nor.stage().commit

    for payload in (b"", b"\x00", good.payload[:-1], commit):
        error = await refusal(nor, replace(good, payload=payload))
        assert (type(error), error.code) == (MessageInvalidError, "malformed")


async def test_an_unknown_channel_and_a_channel_of_others_are_refused(
    nor: Actor, deu: Actor
) -> None:
    stranger = await nor.relay.enrol("deu/lno-j3#d7")
    send = nor.message()

    unknown = await refusal(nor, replace(send, channel=ChannelId(fresh_id())))
    foreign = await refusal(stranger, send)

    assert isinstance(unknown, UnknownChannelError)
    assert isinstance(foreign, NotMemberError)


async def test_a_message_for_another_group_is_refused(nor: Actor, deu: Actor) -> None:
    (agreement,) = await nor.relay.services.agreements.all()
    other = Actor(nor.relay, nor.device, nor.caller)
    await other.open(agreement)

    error = await refusal(nor, replace(other.message(), channel=nor.channel))

    assert isinstance(error, GroupMismatchError)


async def test_what_the_agreement_forbids_is_refused_with_its_rule(nor: Actor, deu: Actor) -> None:
    error = await refusal(nor, nor.message(precedence=Precedence.OVERRIDE))

    assert isinstance(error, PolicyRefusedError)
    assert error.rule == "channels.liaison.send.precedence"
    assert error.unchanged


async def test_a_message_of_a_past_epoch_is_taken_while_the_members_stay_the_same(
    nor: Actor, deu: Actor
) -> None:
    late, later, latest = [nor.message(text) for text in (b"1", b"2", b"3")]
    third = await nor.relay.enrol("deu/lno-j3#d2")
    await nor.update()
    accepted = await nor.relay.services.messages.accept(nor.caller, late)

    # Who joins could not read it.
    await nor.add(third)
    after_adding = await refusal(nor, later)
    # Who was removed could.
    await nor.remove(third)
    after_removing = await refusal(nor, latest)

    assert not accepted.duplicate
    assert isinstance(after_adding, EpochStaleError)
    assert isinstance(after_removing, EpochStaleError)


async def test_epochs_further_back_than_the_policy_allows_are_stale(nor: Actor, deu: Actor) -> None:
    send = nor.message()
    (agreement,) = await nor.relay.services.agreements.all()
    for _ in range(agreement.channels[0].keys.past_epochs + 1):
        await nor.update()

    assert isinstance(await refusal(nor, send), EpochStaleError)


async def test_a_future_epoch_is_refused(nor: Actor, deu: Actor) -> None:
    staged = nor.stage()
    ahead = Actor(nor.relay, nor.device, nor.caller, staged.group, nor.channel, nor.agreement)

    assert isinstance(await refusal(nor, ahead.message()), EpochStaleError)


async def test_a_removed_device_sends_nothing_more(nor: Actor, deu: Actor) -> None:
    send = deu.message()
    await nor.remove(deu)

    assert isinstance(await refusal(deu, send), NotMemberError)


async def test_a_revoked_device_sends_nothing_more_even_on_an_open_session(
    nor: Actor, deu: Actor
) -> None:
    send = deu.message()
    await nor.relay.revoke(deu.device)

    assert isinstance(await refusal(deu, send), DeviceRevokedError)


async def test_nobody_sends_before_the_revoked_device_is_removed(nor: Actor, deu: Actor) -> None:
    await nor.relay.revoke(deu.device)

    before = await refusal(nor, nor.message())
    proposals = [i for i in await nor.read_all() if i.kind is ItemKind.PROPOSAL]
    for item in proposals:
        nor.process(item.payload)
    await nor.commit(nor.stage())
    after = await nor.send()

    assert isinstance(before, RemovalPendingError)
    assert len(proposals) == 1
    assert after.seq > proposals[0].seq


async def test_an_expired_certificate_ends_the_session(nor: Actor, deu: Actor) -> None:
    send = nor.message()
    nor.relay.clock.ms += 365 * 24 * 3_600_000

    assert isinstance(await refusal(nor, send), UnauthenticatedError)


async def test_refusals_harm_no_neighbour_and_leave_no_gap(nor: Actor, deu: Actor) -> None:
    good = [nor.message(), deu.message(), nor.message()]
    bad = [
        replace(nor.message(), channel=ChannelId(fresh_id())),
        nor.message(precedence=Precedence.OVERRIDE),
        deu.message(precedence=Precedence.OVERRIDE, kind=Kind.NOTICE),
    ]
    accept = nor.relay.services.messages.accept
    head = (await nor.relay.services.channels.get(nor.caller, nor.channel)).head

    answers = await asyncio.gather(
        accept(nor.caller, good[0]),
        accept(nor.caller, bad[0]),
        accept(deu.caller, good[1]),
        accept(nor.caller, bad[1]),
        accept(deu.caller, bad[2]),
        accept(nor.caller, good[2]),
        return_exceptions=True,
    )

    accepted = [a.seq for a in answers if isinstance(a, frames.Accepted)]
    assert sorted(accepted) == [head + 1, head + 2, head + 3]


async def test_the_latest_state_version_is_remembered(nor: Actor, deu: Actor) -> None:
    sends = [nor.message() for _ in range(3)]
    for send in reversed(sends):
        await nor.relay.services.messages.accept(nor.caller, send)

    assert await nor.relay.services.registry.state_version(nor.caller) == sends[-1].state_version


async def test_what_is_accepted_while_a_device_comes_back_does_not_wait_for_the_next_look(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deu.read_all()
    looks = deu.relay.services.delivery.looks
    look = looks.opening

    async def slowly(caller: DeviceCaller) -> Opening:
        found = await look(caller)
        # The feed does not know yet what was found.
        await nor.send(b"meanwhile")
        return found

    monkeypatch.setattr(looks, "opening", slowly)

    feed = await deu.feed()
    items = await drain(feed)
    feed.close()

    assert [deu.decrypts(item) for item in items] == [b"meanwhile"]
