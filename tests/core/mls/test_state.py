"""State is a value: staging, echoes, storing, exporting, rotating keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.crypto.signing import SigningKey
from liaison.errors import LiaisonError
from liaison.mls import group, key_schedule, peek, snapshot
from liaison.mls.credentials import Credential
from liaison.mls.errors import (
    EpochForgottenError,
    ForbiddenOperationError,
    KeyUsedError,
    MLSError,
    NotAMemberError,
    OwnMessageError,
    SnapshotError,
    StaleEpochError,
    WrongWireFormatError,
)
from liaison.mls.framing import ContentType, Sender, SenderKind, WireFormat
from liaison.mls.group import ApplicationReceived, CommitStaged, Group, Limits, OwnCommitEcho
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.proposals import Add, Remove
from liaison.mls.public_group import PublicGroup
from tests.core.mls.support import CAPABILITIES, LIFETIME, NOW, World, commit_of, path_of


@pytest.fixture
def world() -> World:
    return World(members=3)


def stored(state: Group) -> tuple[bytes, bytes]:
    return snapshot.snapshot_epoch(state), snapshot.snapshot_ratchets(state)


# --- staging -----------------------------------------------------------------------------------


def test_making_a_commit_changes_nothing(world: World) -> None:
    world.deliver(world[1].propose_remove(2), but=world[1])
    before = world[0].group
    bytes_before = stored(before)

    world[0].commit()
    world[0].commit(Add(world.client(b"new").key_package().package))

    assert world[0].group is before
    assert stored(before) == bytes_before


def test_processing_a_commit_changes_nothing_until_it_is_stored(world: World) -> None:
    before = world[1].group
    bytes_before = stored(before)
    staged = world[0].commit(Remove(2))

    done = world[1].process(staged.commit)

    assert isinstance(done, CommitStaged)
    assert [removed.leaf for removed in done.effect.removed] == [2]
    assert stored(before) == bytes_before


def test_a_discarded_commit_leaves_the_group_usable(world: World) -> None:
    world[0].commit()

    world.accept(world[1], world[1].commit())

    world.check_agreement()
    world.check_messages()


def test_an_own_commit_that_comes_back_is_recognised_after_a_restart(world: World) -> None:
    staged = world[0].commit()
    kept = stored(staged.group)
    world[0].state = snapshot.restore(*stored(world[0].group))

    echo = world[0].process(staged.commit)

    assert echo == OwnCommitEcho(world[0].group, staged.commit)
    world[0].state = snapshot.restore(*kept)
    with pytest.raises(StaleEpochError):
        world[0].process(staged.commit)
    world[1].receive(staged.commit)
    world[2].receive(staged.commit)
    assert world[0].group.epoch_authenticator == world[1].group.epoch_authenticator


def test_keys_that_were_used_while_a_commit_was_staged_do_not_come_back(world: World) -> None:
    first, second = world[1].encrypt(b"first"), world[1].encrypt(b"second")
    staged = world[0].commit()
    kept = stored(staged.group)
    world[0].receive(first)

    merged = group.merge(world[0].group, snapshot.restore(*kept))

    with pytest.raises(KeyUsedError):
        group.process(merged, first, now=NOW, validator=world.validator)
    done = group.process(merged, second, now=NOW, validator=world.validator)
    assert isinstance(done, ApplicationReceived)
    assert merged.epoch == world[0].group.epoch + 1
    with pytest.raises(ForbiddenOperationError):
        group.merge(merged, staged.group)


def test_a_removed_member_learns_it_and_keeps_no_state(world: World) -> None:
    staged = world[0].commit(Remove(2))

    done = world[2].process(staged.commit)

    assert isinstance(done, CommitStaged)
    assert done.group is None
    assert done.effect.removed_self


def test_who_was_removed_reads_nothing_from_after(world: World) -> None:
    old = world[2].group
    world.accept(world[0], world[0].commit(Remove(2)))
    message = world[0].encrypt(b"after")

    with pytest.raises(MLSError):
        group.process(old, message, now=NOW, validator=world.validator)


# --- storing -----------------------------------------------------------------------------------


def test_a_state_comes_back_from_its_bytes(world: World) -> None:
    world[1].receive(world[0].encrypt(b"one"))
    world[0].encrypt(b"lost")
    world[1].receive(world[0].encrypt(b"three"))
    world.accept(world[2], world[2].commit())
    world.deliver(world[1].propose_update(), but=world[1])

    for client in world.members:
        restored = snapshot.restore(*stored(client.group))
        assert restored == client.group
        assert stored(restored) == stored(client.group)
    assert PublicGroup.restore(world.relay.snapshot()) == world.relay


def test_a_message_changes_only_the_small_part(world: World) -> None:
    epoch, ratchets = stored(world[0].group)

    world[0].encrypt(b"text")

    assert snapshot.snapshot_epoch(world[0].group) == epoch
    assert snapshot.snapshot_ratchets(world[0].group) != ratchets
    assert len(ratchets) < 1000


def test_parts_of_two_states_are_not_put_together(world: World) -> None:
    old_epoch, old_ratchets = stored(world[0].group)
    world.accept(world[1], world[1].commit())
    epoch, ratchets = stored(world[0].group)

    for parts in ((old_epoch, ratchets), (epoch, old_ratchets)):
        with pytest.raises(SnapshotError):
            snapshot.restore(*parts)


def test_forgotten_epochs_are_gone_from_the_small_part_alone(world: World) -> None:
    world.accept(world[1], world[1].commit())
    forgotten = group.forget_epochs(world[0].group, world[0].group.epoch)

    restored = snapshot.restore(
        snapshot.snapshot_epoch(world[0].group), snapshot.snapshot_ratchets(forgotten)
    )

    assert restored.epochs == (world[0].group.epoch,)


def test_past_epochs_are_kept_for_a_time(world: World) -> None:
    week = 7 * 86_400
    limited = replace(world[0].group, limits=Limits(past_seconds=week))
    late = world[1].encrypt(b"late")
    commit = world[2].commit().commit
    done = group.process(limited, commit, now=NOW, validator=world.validator)
    assert done.group is not None
    kept = snapshot.restore(*stored(done.group))

    read = group.process(kept, late, now=NOW + week, validator=world.validator)

    assert isinstance(read, group.ApplicationReceived)
    with pytest.raises(EpochForgottenError):
        group.process(kept, late, now=NOW + week + 1, validator=world.validator)


def test_a_proposal_long_after_drops_the_keys_of_old_epochs(world: World) -> None:
    limited = replace(world[0].group, limits=Limits(past_seconds=10))
    commit = world[2].commit()
    done = group.process(limited, commit.commit, now=NOW, validator=world.validator)
    world.accept(world[2], commit)
    assert done.group is not None
    assert done.group.epochs == (2, 1, 0)

    after = group.process(
        done.group, world[1].propose_remove(2), now=NOW + 11, validator=world.validator
    )

    assert after.group is not None
    assert after.group.epochs == (2,)


def test_a_group_in_which_nothing_is_said_forgets_its_past_too(world: World) -> None:
    limited = replace(world[0].group, limits=Limits(past_seconds=10))
    done = group.process(limited, world[2].commit().commit, now=NOW, validator=world.validator)
    assert done.group is not None
    assert set(done.group.resumption) == {0, 1}

    kept, gone = group.expire(done.group, NOW + 10), group.expire(done.group, NOW + 11)

    assert kept is done.group
    assert (gone.epochs, gone.resumption) == ((2,), {})


def test_a_clock_that_was_set_back_keeps_no_past_epoch_too_long(world: World) -> None:
    limited = replace(world[0].group, limits=Limits(past_seconds=10), past=())
    first, second = (replace(limited.keys, epoch=n, ended=NOW - n) for n in (0, 9))
    past = replace(limited, past=(second, first))

    after = group.expire(past, NOW + 5)

    assert after.past == (first,)


@given(data=st.data())
def test_a_damaged_state_is_refused_with_a_typed_error(data: st.DataObject) -> None:
    epoch, ratchets = SAMPLE
    which = data.draw(st.integers(0, 2))
    cut = data.draw(st.integers(0, len(epoch) - 1))
    broken = {
        0: (epoch[:cut], ratchets),
        1: (epoch, ratchets[: cut % len(ratchets)]),
        2: (b"\xff" + epoch[1:], ratchets),
    }[which]

    with pytest.raises(LiaisonError):
        snapshot.restore(*broken)


def sample() -> tuple[bytes, bytes]:
    world = World(members=3)
    world.accept(world[1], world[1].commit())
    world[0].encrypt(b"text")
    return stored(world[0].group)


SAMPLE = sample()


def test_unknown_versions_are_refused(world: World) -> None:
    epoch, ratchets = SAMPLE
    for parts in ((b"\x63" + epoch[1:], ratchets), (epoch, b"\x63" + ratchets[1:])):
        with pytest.raises(SnapshotError):
            snapshot.restore(*parts)
    with pytest.raises(SnapshotError):
        PublicGroup.restore(b"\x63" + world.relay.snapshot()[1:])
    bundle = world.client(b"new").key_package()
    assert KeyPackageBundle.decode(bundle.encode()) == bundle
    with pytest.raises(SnapshotError):
        KeyPackageBundle.decode(b"\x63" + bundle.encode()[1:])


def test_no_secret_shows_in_a_repr(world: World) -> None:
    world.deliver(world[0].propose_update(), but=world[0])
    state = world[0].group
    bundle = world.client(b"new").key_package()
    shown = repr(state) + repr(bundle) + repr(state.secrets) + repr(state.keys)

    secrets = [getattr(state.secrets, name) for name in state.secrets.__slots__]
    secrets += [*state.private.values(), *state.own_updates.values(), bundle.init_private]
    secrets += [*state.keys.tree.nodes.values(), bundle.leaf_private]
    for secret in secrets:
        if secret:
            assert repr(secret)[2:-1] not in shown


# --- keys of the own leaf -----------------------------------------------------------------------


def test_a_member_changes_its_signature_key_by_a_commit(world: World) -> None:
    client = world[0]
    fresh = SigningKey.generate(world.suite.signature)

    staged = client.commit(new_signer=fresh, credential=Credential.basic(b"0"))
    world.accept(client, staged)

    assert client.group.own_leaf_node.signature_key == fresh.public_bytes
    with pytest.raises(ForbiddenOperationError):
        client.commit()
    client.signer = fresh
    world.check_messages()
    world.accept(client, client.commit())
    world.check_agreement()


def test_a_member_changes_its_signature_key_by_an_update(world: World) -> None:
    client = world[0]
    fresh = SigningKey.generate(world.suite.signature)
    client.state, message = group.propose_update(
        client.group,
        signer=client.signer,
        rng=client.rng,
        validator=world.validator,
        now=NOW,
        new_signer=fresh,
    )
    world.deliver(message, but=client)

    world.accept(world[1], world[1].commit())
    client.signer = fresh

    world.check_agreement()
    world.check_messages()


def test_a_foreign_signer_is_refused_before_anything_happens(world: World) -> None:
    world[0].signer = world[1].signer

    with pytest.raises(ForbiddenOperationError):
        world[0].encrypt(b"text")
    with pytest.raises(ForbiddenOperationError):
        world[0].propose_remove(1)


# --- what applications use ------------------------------------------------------------------------


def test_exported_secrets_are_shared_and_bound_to_label_context_and_epoch(world: World) -> None:
    first = group.export(world[0].group, b"label", b"context", 40)

    assert group.export(world[1].group, b"label", b"context", 40) == first
    assert len(first) == 40
    assert group.export(world[0].group, b"other", b"context", 40) != first
    assert group.export(world[0].group, b"label", b"other", 40) != first
    world.accept(world[2], world[2].commit())
    assert group.export(world[0].group, b"label", b"context", 40) != first


def test_the_exporter_hashes_its_context(world: World) -> None:
    suite, secret = world.suite, world[0].group.secrets.exporter
    derived = suite.derive_secret(secret, b"label")

    exported = key_schedule.export(suite, secret, b"label", b"context", 32)

    assert exported == suite.expand_with_label(derived, b"exported", suite.hash(b"context"), 32)
    assert exported != suite.expand_with_label(derived, b"exported", b"context", 32)


def test_headers_are_read_without_keys(world: World) -> None:
    text = world[0].encrypt(b"text", b"header")
    proposal = world[0].propose_remove(1)

    assert peek.parse_header(text) == peek.Header(
        WireFormat.PRIVATE_MESSAGE, b"group", 1, ContentType.APPLICATION, b"header", None
    )
    assert peek.parse_header(proposal) == peek.Header(
        WireFormat.PUBLIC_MESSAGE,
        b"group",
        1,
        ContentType.PROPOSAL,
        b"",
        Sender(SenderKind.MEMBER, 0),
    )
    with pytest.raises(WrongWireFormatError):
        peek.parse_header(world.group_info)
    with pytest.raises(LiaisonError):
        peek.parse_header(text + b"\0")
    with pytest.raises(LiaisonError):
        peek.parse_header(text[:-1])


def test_messages_are_numbered_by_their_sender(world: World) -> None:
    numbers = []
    for _ in range(3):
        done = world[1].receive(world[0].encrypt(b"text"))
        assert isinstance(done, ApplicationReceived)
        numbers.append(done.generation)

    assert numbers == [0, 1, 2]
    assert world[0].group.sent_generation == 3
    assert world[1].group.sent_generation == 0


def test_members_are_found_by_leaf_and_by_identity(world: World) -> None:
    state = world[0].group

    assert [member.leaf for member in state.members()] == [0, 1, 2]
    assert state.leaf_of(b"2") == 2
    assert state.leaf_of(b"nobody") is None
    assert state.member(1).leaf_node.credential == Credential.basic(b"1")
    with pytest.raises(NotAMemberError):
        state.member(7)


def test_pending_proposals_can_be_dropped(world: World) -> None:
    world.deliver(world[1].propose_update(), but=world[1])

    world[1].state = group.clear_pending(world[1].group)

    assert world[1].group.pending == ()
    assert not world[1].group.own_updates
    assert world.relay.clear_pending().pending == ()


def test_a_sender_of_an_earlier_epoch_is_named_as_it_was(world: World) -> None:
    late = world[2].encrypt(b"late")
    world.accept(world[0], world[0].commit(Remove(2)))
    world.add(world[0], b"heir")

    done = world[1].receive(late)

    assert isinstance(done, ApplicationReceived)
    assert done.sender_leaf == 2
    assert done.sender.leaf_node.credential == Credential.basic(b"2")
    assert world[1].group.member(2).leaf_node.credential == Credential.basic(b"heir")


def test_a_state_from_a_backup_is_noticed_by_its_own_messages(world: World) -> None:
    backup = world[0].group
    message = world[0].encrypt(b"sent after the backup")

    with pytest.raises(OwnMessageError):
        group.process(backup, message, now=NOW, validator=world.validator)


def test_two_messages_from_one_state_use_one_key_and_only_one_is_read(world: World) -> None:
    """Why a state is stored before its message is sent."""
    before = world[0].group
    first = world[0].encrypt(b"first")
    world[0].state = before
    second = world[0].encrypt(b"second")

    world[1].receive(first)

    with pytest.raises(KeyUsedError):
        world[1].process(second)


def test_a_group_of_one_commits_alone() -> None:
    world = World(members=1)

    world.accept(world[0], world[0].commit())

    assert path_of(world[0].commit().commit).nodes == ()
    assert commit_of(world[0].commit().commit).proposals == ()
    assert world[0].group.own_leaf_node.lifetime is None
    assert LIFETIME.not_before < NOW
    assert world[0].group.own_leaf_node.capabilities == CAPABILITIES
    world.check_agreement()
