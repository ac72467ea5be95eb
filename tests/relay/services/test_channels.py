from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from liaison import codec
from liaison.crypto.signing import SigningKey
from liaison.errors import LiaisonError
from liaison.mls import group, peek
from liaison.mls.key_package import KeyPackage
from liaison.mls.proposals import Add
from liaison.mls.tree import RatchetTree
from liaison.model import ChannelId, DeviceId
from liaison.policy import revocation, statement
from liaison.policy.keys import VerifyKey
from liaison.relay.services.errors import (
    AgreementNotActiveError,
    ChannelExistsError,
    CommitInvalidError,
    DeviceRevokedError,
    EpochConflictError,
    GroupMismatchError,
    GroupRefusedError,
    NotMemberError,
    RejectionUnfoundedError,
    RemovalPendingError,
    UnknownAgreementError,
    UnknownChannelError,
    UnknownEpochError,
)
from liaison.relay.services.removals import Removals
from liaison.relay.work import Operation
from liaison.trust.rejection import Rejection
from liaison.wire import v1
from liaison.wire.frames import ItemKind
from tests.relay.services.harness import NOW, Actor, Relay, fresh_id, seqs
from tests.support.world import ED25519


async def refusal(actor: Actor, body: v1.Commit) -> LiaisonError:
    with pytest.raises(LiaisonError) as caught:
        await actor.relay.services.channels.commit(actor.caller, actor.channel, body)
    return caught.value


# --- opening ------------------------------------------------------------------------------


async def test_a_channel_begins_with_its_creator(relay: Relay, nor: Actor) -> None:
    assert nor.agreement is not None
    answer = await relay.services.channels.create(nor.caller, nor.new_channel(nor.agreement))
    (channel,) = (await relay.services.channels.listing(nor.caller)).channels

    assert (answer.seq, answer.epoch) == (0, 0)
    assert channel == await relay.services.channels.get(nor.caller, nor.channel)
    assert channel.members == [v1.Member(leaf=0, device="nor/defatt-berlin#d1")]
    assert (channel.agreement, channel.policy, channel.epoch) == ("nor-deu-2026", "liaison", 0)


async def test_a_tree_of_blanks_is_refused_before_it_is_hashed(
    relay: Relay, nor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nor.agreement is not None
    body = nor.new_channel(nor.agreement)
    leaf = codec.Reader(body.tree).nested().rest()
    tree = codec.opaque(leaf + bytes(10_001) + leaf)
    hashed: list[object] = []
    monkeypatch.setattr(RatchetTree, "decode", lambda *found: hashed.append(found))

    for other in (tree, body.tree + b"\0", b"\1\0", b"\x40"):
        with pytest.raises(GroupRefusedError):
            await relay.services.channels.create(
                nor.caller, body.model_copy(update={"tree": other})
            )

    assert hashed == []


async def test_opening_again_is_answered_as_the_first_time(relay: Relay, nor: Actor) -> None:
    assert nor.agreement is not None
    body = nor.new_channel(nor.agreement)
    first = await relay.services.channels.create(nor.caller, body)

    assert await relay.services.channels.create(nor.caller, body) == first
    other = nor.new_channel(nor.agreement)
    with pytest.raises(ChannelExistsError):
        await relay.services.channels.create(nor.caller, other)


async def test_a_channel_of_another_shape_is_refused(relay: Relay, nor: Actor) -> None:
    assert nor.agreement is not None
    create = relay.services.channels.create
    good = nor.new_channel(nor.agreement)
    deu = await relay.enrol("deu/lno-j3#d1")

    with pytest.raises(GroupRefusedError):
        await create(deu.caller, good)
    with pytest.raises(GroupRefusedError):
        await create(nor.caller, good.model_copy(update={"channel": fresh_id().hex()}))
    with pytest.raises(GroupRefusedError):
        await create(nor.caller, good.model_copy(update={"tree": b"\x00"}))
    with pytest.raises(GroupRefusedError):
        await create(nor.caller, good.model_copy(update={"group_info": b"\x00"}))
    assert (await relay.services.channels.listing(nor.caller)).channels == []


async def test_a_group_that_admits_another_external_sender_is_refused(
    relay: Relay, nor: Actor
) -> None:
    assert nor.agreement is not None
    honest = relay.identity
    stranger = VerifyKey.of(SigningKey.generate(ED25519))
    relay.identity = replace(honest, sender_keys=(stranger,))
    nor.agreement = replace(nor.agreement, relay=relay.identity)
    body = nor.new_channel(nor.agreement)
    relay.identity = honest

    with pytest.raises(GroupRefusedError):
        await relay.services.channels.create(nor.caller, body)


async def test_an_unknown_agreement_and_an_old_version_open_no_channel(
    relay: Relay, nor: Actor
) -> None:
    assert nor.agreement is not None
    create, admitted = relay.services.channels.create, nor.agreement

    with pytest.raises(UnknownAgreementError):
        await create(nor.caller, nor.new_channel(replace(admitted, agreement_id="other")))
    with pytest.raises(AgreementNotActiveError):
        await create(nor.caller, nor.new_channel(replace(admitted, version=2)))


async def test_a_channel_is_not_opened_by_a_certificate_that_is_revoked_meanwhile(
    nor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nor.agreement is not None
    body = nor.new_channel(nor.agreement)
    submit = nor.relay.writer.submit

    async def overtaken(operation: Operation[Any]) -> Any:
        monkeypatch.undo()
        # As another node would, after this one has read that the certificate is good.
        monkeypatch.setattr("liaison.relay.services.handshakes._check_caller", nothing)
        await nor.relay.revoke(nor.device)
        return await submit(operation)

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(nor.relay.writer, "submit", overtaken)

    with pytest.raises(DeviceRevokedError):
        await nor.relay.services.channels.create(nor.caller, body)


async def test_others_do_not_see_the_channel(relay: Relay, nor: Actor, deu: Actor) -> None:
    stranger = await relay.enrol("deu/lno-j3#d9")
    channels = relay.services.channels

    assert (await channels.listing(stranger.caller)).channels == []
    with pytest.raises(NotMemberError):
        await channels.get(stranger.caller, nor.channel)
    with pytest.raises(NotMemberError):
        await channels.group_state(stranger.caller, nor.channel)
    with pytest.raises(UnknownChannelError):
        await channels.get(nor.caller, ChannelId(fresh_id()))


# --- commits ------------------------------------------------------------------------------


async def test_of_two_commits_of_one_epoch_one_wins(relay: Relay, nor: Actor, deu: Actor) -> None:
    bodies = [(actor, actor.body(actor.stage())) for actor in (nor, deu)]
    commit = relay.services.channels.commit

    answers = await asyncio.gather(
        *(commit(actor.caller, actor.channel, body) for actor, body in bodies),
        return_exceptions=True,
    )

    assert sorted(type(a).__name__ for a in answers) == ["EpochConflictError", "Sequenced"]
    assert (await relay.services.channels.get(nor.caller, nor.channel)).epoch == 2


async def test_the_losers_error_names_the_current_epoch(nor: Actor, deu: Actor) -> None:
    body = deu.body(deu.stage())
    await nor.update()

    error = await refusal(deu, body)

    assert isinstance(error, EpochConflictError)
    assert "epoch 2" in error.message


async def test_the_same_commit_again_is_answered_as_the_first_time(nor: Actor, deu: Actor) -> None:
    staged = nor.stage()
    body = nor.body(staged)
    commit = nor.relay.services.channels.commit
    first = await commit(nor.caller, nor.channel, body)
    nor.group = staged.group
    nor.relay.clock.ms += 1_000
    await nor.update()

    assert await commit(nor.caller, nor.channel, body) == first


async def test_a_commit_reaches_everyone_its_maker_too(nor: Actor, deu: Actor) -> None:
    await nor.read_all()
    await deu.read_all()
    answer = await nor.update()

    for actor in (nor, deu):
        (item,) = await actor.read_all()
        assert (item.kind, item.seq, item.epoch) == (ItemKind.COMMIT, answer.seq, 1)


async def test_a_commit_by_another_device_than_the_session_is_refused(
    nor: Actor, deu: Actor
) -> None:
    body = deu.body(deu.stage())
    channels = nor.relay.services.channels

    with pytest.raises(CommitInvalidError):
        await channels.commit(nor.caller, nor.channel, body)


async def test_a_welcome_has_to_be_there_exactly_when_somebody_is_added(
    nor: Actor, deu: Actor
) -> None:
    third = await nor.relay.enrol("deu/lno-j3#d2")
    package = KeyPackage.parse(third.key_package().key_package)
    adding, plain = nor.body(nor.stage(Add(package))), nor.body(nor.stage())

    without = await refusal(nor, adding.model_copy(update={"welcome": None}))
    needless = await refusal(nor, plain.model_copy(update={"welcome": adding.welcome}))
    foreign = await refusal(nor, adding.model_copy(update={"group_info": plain.group_info}))

    assert [type(e) for e in (without, needless, foreign)] == [CommitInvalidError] * 3
    assert (await nor.relay.services.channels.get(nor.caller, nor.channel)).epoch == 1


async def test_bytes_that_are_no_commit_are_refused(nor: Actor, deu: Actor) -> None:
    body = nor.body(nor.stage())

    for data in (b"\x00", body.commit[:-1], nor.message().payload):
        error = await refusal(nor, body.model_copy(update={"commit": data}))
        assert isinstance(error, CommitInvalidError)


async def test_a_commit_for_another_group_is_refused(nor: Actor, deu: Actor) -> None:
    assert nor.agreement is not None
    other = Actor(nor.relay, nor.device, nor.caller)
    await other.open(nor.agreement)
    body = other.body(other.stage())

    assert isinstance(await refusal(nor, body), GroupMismatchError)


async def test_who_was_removed_learns_it_and_reads_nothing_more(nor: Actor, deu: Actor) -> None:
    await deu.read_all()
    await nor.send(b"before")
    removal = await nor.remove(deu)
    await nor.send(b"after")

    items = await deu.read_all()

    assert seqs(items) == [removal.seq - 1, removal.seq]
    assert [i.kind for i in items] == [ItemKind.MESSAGE, ItemKind.COMMIT]
    assert (await nor.relay.services.channels.listing(deu.caller)).channels == []


async def test_who_joins_reads_from_the_welcome_on(nor: Actor, deu: Actor) -> None:
    await nor.send(b"before")
    third = await nor.relay.enrol("deu/lno-j3#d2")
    answer = await nor.add(third)
    await nor.send(b"after")

    items = await third.read_all()

    assert [i.kind for i in items] == [ItemKind.WELCOME, ItemKind.MESSAGE]
    assert (items[0].seq, items[0].epoch) == (answer.seq, answer.epoch)
    assert third.decrypts(items[1]) == b"after"


async def test_the_tree_is_there_for_as_long_as_a_welcome_waits(nor: Actor, deu: Actor) -> None:
    third, fourth = [await nor.relay.enrol(f"deu/lno-j3#d{n}") for n in (2, 3)]
    answer = await nor.add(third, fourth)
    tree = nor.state.ratchet_tree()
    await nor.update()
    read = nor.relay.services.channels.tree

    assert (await read(third.caller, nor.channel, answer.epoch)).tree == tree
    await third.read_all()
    assert (await read(fourth.caller, nor.channel, answer.epoch)).tree == tree
    await fourth.read_all()
    with pytest.raises(UnknownEpochError):
        await read(fourth.caller, nor.channel, answer.epoch)
    current = await read(nor.caller, nor.channel, answer.epoch + 1)
    assert current.tree == nor.state.ratchet_tree()


async def test_who_was_removed_does_not_get_the_tree_of_later_epochs(
    nor: Actor, deu: Actor
) -> None:
    await nor.remove(deu)

    with pytest.raises(NotMemberError):
        await nor.relay.services.channels.tree(deu.caller, deu.channel, nor.state.epoch)
    mine = await nor.relay.services.channels.tree(deu.caller, deu.channel, 1)
    assert mine.epoch == 1


async def test_a_device_added_again_reads_both_stays_in_order(nor: Actor, deu: Actor) -> None:
    await nor.send(b"first stay")
    await nor.remove(deu)
    await nor.send(b"between")
    await nor.add(deu)
    await nor.send(b"second stay")

    kinds = [i.kind for i in await deu.read_all()]

    assert kinds == [
        ItemKind.WELCOME,
        ItemKind.MESSAGE,
        ItemKind.COMMIT,
        ItemKind.WELCOME,
        ItemKind.MESSAGE,
    ]
    assert await deu.read_all() == []


async def test_an_unregistered_device_is_not_added(relay: Relay, nor: Actor) -> None:
    assert nor.agreement is not None
    await nor.open(nor.agreement)
    ghost = Actor(relay, relay.world.device("deu/ghost#d1"), nor.caller)
    package = KeyPackage.parse(ghost.key_package().key_package)

    error = await refusal(nor, nor.body(nor.stage(Add(package))))

    assert error.code == "device.unknown"


async def test_a_device_of_no_party_to_the_agreement_is_not_added(relay: Relay, nor: Actor) -> None:
    assert nor.agreement is not None
    await nor.open(nor.agreement)
    await relay.services.registry.add_party(relay.world.party("FRA").document)
    fra = await relay.enrol("fra/desk#d1")
    package = KeyPackage.parse(fra.key_package().key_package)
    lenient = replace(
        nor.agreement, parties=(*nor.agreement.parties, relay.world.party("FRA").party)
    )
    honest, nor.agreement = nor.agreement, lenient
    staged = nor.stage(Add(package))
    nor.agreement = honest

    assert isinstance(await refusal(nor, nor.body(staged)), CommitInvalidError)


# --- proposals ----------------------------------------------------------------------------


async def test_who_leaves_proposes_it_and_another_commits(nor: Actor, deu: Actor) -> None:
    await nor.read_all()
    deu.group, message = group.propose_self_remove(deu.state, signer=deu.signer)
    answer = await nor.relay.services.channels.propose(
        deu.caller, deu.channel, v1.Proposal(proposal=message, state_version=3)
    )
    (item,) = await nor.read_all()
    nor.process(item.payload)
    await nor.commit(nor.stage())

    assert (item.kind, item.seq) == (ItemKind.PROPOSAL, answer.seq)
    assert (await nor.relay.services.channels.listing(deu.caller)).channels == []
    again = v1.Proposal(proposal=message, state_version=3)
    channels = nor.relay.services.channels
    assert await channels.propose(deu.caller, deu.channel, again) == answer


async def test_a_proposal_of_another_member_or_kind_is_refused(nor: Actor, deu: Actor) -> None:
    propose = nor.relay.services.channels.propose
    _, remove = group.propose_remove(deu.state, 0, signer=deu.signer)
    _, extensions = group.propose_extensions(
        nor.state,
        nor.state.context.extensions,
        signer=nor.signer,
        validator=nor.validator,
        now=NOW,
    )

    for message in (remove, extensions):
        with pytest.raises(CommitInvalidError):
            await propose(nor.caller, nor.channel, v1.Proposal(proposal=message, state_version=1))


# --- coming back --------------------------------------------------------------------------


async def test_a_device_comes_back_by_external_commit(nor: Actor, deu: Actor) -> None:
    await nor.read_all()
    await deu.read_all()
    await nor.send(b"sent before the return")
    state = await nor.relay.services.channels.group_state(deu.caller, deu.channel)
    staged = deu.resync(state)
    answer = await deu.commit(staged)
    waited, echo = await deu.read_all()
    (item,) = await nor.read_all()
    nor.process(item.payload)
    await nor.send(b"readable again")
    (message,) = await deu.read_all()

    assert (waited.kind, waited.seq) == (ItemKind.MESSAGE, answer.seq - 1)
    assert (echo.seq, echo.payload) == (answer.seq, staged.commit)
    assert deu.decrypts(message) == b"readable again"


async def come_back(deu: Actor, report: Rejection) -> tuple[int, int]:
    """Come back with a report; return the channel's epoch before and after."""
    channels = deu.relay.services.channels
    before = (await channels.get(deu.caller, deu.channel)).epoch
    state = await channels.group_state(deu.caller, deu.channel)
    with contextlib.suppress(RejectionUnfoundedError):
        await deu.commit(deu.resync(state, report.encode()))
    return before, (await channels.get(deu.caller, deu.channel)).epoch


async def test_a_report_is_taken_only_of_a_commit_that_was(nor: Actor, deu: Actor) -> None:
    staged = nor.stage()
    await nor.commit(staged)
    digest = hashlib.sha256(staged.commit).digest()
    epoch = staged.group.epoch - 1
    true = Rejection(epoch, digest, nor.id, "mls.confirmation_tag")

    for lie in (
        replace(true, digest=hashlib.sha256(b"another").digest()),
        replace(true, digest=digest[:16] + bytes(16)),
        replace(true, epoch=epoch + 1),
        replace(true, committer=deu.id),
        replace(true, committer=DeviceId.parse("fra/nobody#d1")),
    ):
        before, after = await come_back(deu, lie)
        assert after == before
    before, after = await come_back(deu, true)
    assert after == before + 1


async def test_a_member_that_came_back_can_report_only_what_comes_after(
    nor: Actor, deu: Actor
) -> None:
    staged = nor.stage()
    await nor.commit(staged)
    digest = hashlib.sha256(staged.commit).digest()
    report = Rejection(staged.group.epoch - 1, digest, nor.id, "mls.confirmation_tag")

    first, second = await come_back(deu, report), await come_back(deu, report)

    assert (first[1] - first[0], second[1] - second[0]) == (1, 0)


async def test_what_a_device_never_took_its_welcome_for_is_not_kept_when_it_comes_back(
    nor: Actor, deu: Actor
) -> None:
    await nor.send(b"no key for it was ever there")
    state = await nor.relay.services.channels.group_state(deu.caller, deu.channel)
    staged = deu.resync(state)
    await deu.commit(staged)

    assert [(i.kind, i.payload) for i in await deu.read_all()] == [(ItemKind.COMMIT, staged.commit)]


async def test_who_is_not_a_member_cannot_come_in_from_outside(nor: Actor, deu: Actor) -> None:
    stranger = await nor.relay.enrol("deu/lno-j3#d2")
    stranger.agreement, stranger.channel = nor.agreement, nor.channel
    state = await nor.relay.services.channels.group_state(nor.caller, nor.channel)
    staged = stranger.resync(state)

    assert isinstance(await refusal(stranger, stranger.body(staged)), NotMemberError)


# --- revocation ---------------------------------------------------------------------------


async def test_a_revoked_member_is_proposed_for_removal_with_the_reason(
    nor: Actor, deu: Actor
) -> None:
    await nor.read_all()
    await nor.relay.revoke(deu.device)
    (item,) = await nor.read_all()
    reason = peek.parse_header(item.payload).authenticated_data
    (certified,) = deu.device.certified
    channel = await nor.relay.services.channels.get(nor.caller, nor.channel)

    given = statement.read_removal(reason)
    assert given.kind is statement.ReasonKind.REVOCATION
    assert revocation.read(given.document).contains(certified.serial)
    assert channel.pending_removals == [1]


async def test_a_commit_that_leaves_the_revoked_member_is_refused(nor: Actor, deu: Actor) -> None:
    staged = nor.stage()
    await nor.relay.revoke(deu.device)

    assert isinstance(await refusal(nor, nor.body(staged)), RemovalPendingError)


async def test_a_commit_that_was_judged_before_the_revocation_does_not_undo_it(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, submit = nor.relay, nor.relay.writer.submit

    async def overtaken(operation: Operation[Any]) -> Any:
        # The list is in force, its proposals are not made yet: the commit stands in between.
        monkeypatch.undo()
        monkeypatch.setattr("liaison.relay.services.removals.Removals.propose", nothing)
        await relay.revoke(deu.device)
        return await submit(operation)

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(relay.writer, "submit", overtaken)
    staged = nor.stage()

    assert isinstance(await refusal(nor, nor.body(staged)), RemovalPendingError)
    with pytest.raises(RemovalPendingError):
        await nor.send()


async def test_after_a_return_from_outside_the_removal_is_proposed_again(
    nor: Actor, deu: Actor
) -> None:
    third = await nor.relay.enrol("nor/defatt-berlin#d2")
    await nor.add(third)
    await nor.relay.revoke(deu.device)
    await third.read_all()
    state = await nor.relay.services.channels.group_state(third.caller, third.channel)
    await third.commit(third.resync(state))

    items = await third.read_all()

    assert [i.kind for i in items] == [ItemKind.COMMIT, ItemKind.PROPOSAL]
    third.process(items[1].payload)
    await third.commit(third.stage())
    channel = await nor.relay.services.channels.get(third.caller, third.channel)
    assert channel.pending_removals == []
    assert [m.device for m in channel.members] == ["nor/defatt-berlin#d1", "nor/defatt-berlin#d2"]


async def test_a_relay_that_stopped_before_it_proposed_does_so_when_it_starts(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(*_: object) -> None:
        raise ConnectionError

    await nor.read_all()
    with monkeypatch.context() as patch:
        patch.setattr("liaison.relay.services.removals.Removals.propose", stopped)
        with pytest.raises(ConnectionError):
            await nor.relay.revoke(deu.device)
    assert await nor.read_all() == []

    nor.relay.services = nor.relay.build()
    await nor.relay.services.resume()

    assert [i.kind for i in await nor.read_all()] == [ItemKind.PROPOSAL]


async def test_a_channel_whose_removal_cannot_be_proposed_holds_up_no_other(
    nor: Actor, deu: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = nor.relay
    first, second = nor.channel, ChannelId(fresh_id())
    other = replace(nor, channel=second, group=None)
    assert nor.agreement is not None
    await other.open(nor.agreement, deu)
    await other.read_all()
    propose = Removals.propose

    async def broken(self: Removals, channel: ChannelId) -> None:
        if channel == first:
            raise KeyError(channel)
        await propose(self, channel)

    monkeypatch.setattr(Removals, "propose", broken)
    with pytest.raises(KeyError):
        await relay.revoke(deu.device)

    assert [(i.channel, i.kind) for i in await other.read_all()] == [(second, ItemKind.PROPOSAL)]


async def test_a_restarted_relay_goes_on_from_the_database(nor: Actor, deu: Actor) -> None:
    _, message = group.propose_self_remove(deu.state, signer=deu.signer)
    await nor.relay.services.channels.propose(
        deu.caller, deu.channel, v1.Proposal(proposal=message, state_version=1)
    )
    nor.relay.services = nor.relay.build()
    nor.process(message)

    answer = await nor.commit(nor.stage())

    assert answer.epoch == 2
