"""What makes a commit valid: its proposals, alone and together, and its path."""

from __future__ import annotations

from dataclasses import replace

import pytest

from liaison.mls import framing, group, tree_kem
from liaison.mls.credentials import Credential
from liaison.mls.errors import ConfirmationTagError, MLSError
from liaison.mls.extensions import (
    Extension,
    ExternalSender,
    external_senders_extension,
    required_capabilities_extension,
)
from liaison.mls.framing import Sender, SenderKind
from liaison.mls.group import CommitStaged, ProposalStored
from liaison.mls.key_package import KeyPackage
from liaison.mls.key_schedule import PskStore
from liaison.mls.leaf import MLS10
from liaison.mls.messages import HPKECiphertext, UpdatePathNode
from liaison.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    ProposalRef,
    PskType,
    ReInit,
    Remove,
    ResumptionUsage,
    Update,
)
from tests.core.mls.support import (
    NOW,
    World,
    commit_of,
    commit_to,
    path_of,
    propose,
    public_message,
    reissue,
    with_path,
    with_path_leaf,
)
from tests.core.mls.test_leaf_checks import update_leaf


@pytest.fixture
def world() -> World:
    return World(members=4)


def refused(world: World, message: bytes, check: str, *, relay: bool = True) -> None:
    """A member, and the relay where it can, refuse a message for one reason and change nothing."""
    before, relay_before = world[1].group, world.relay.snapshot()
    with pytest.raises(MLSError) as caught:
        world[1].process(message)
    assert caught.value.check == check
    if relay:
        with pytest.raises(MLSError) as caught:
            world.relay.apply(message, validator=world.validator, now=NOW)
        assert caught.value.check == check
    assert world[1].group == before
    assert world.relay.snapshot() == relay_before


def psk(name: bytes = b"psk", nonce: bytes = bytes(32)) -> PreSharedKeyID:
    return PreSharedKeyID(PskType.EXTERNAL, nonce, psk_id=name)


def linking(usage: ResumptionUsage) -> PreSharedKeyID:
    return PreSharedKeyID(PskType.RESUMPTION, bytes(32), usage=usage, group_id=b"group", epoch=1)


# --- single proposals: by reference and by value ----------------------------------------------------


@pytest.mark.parametrize(
    ("check", "proposal"),
    [
        ("VAL-0501", Remove(77)),
        ("VAL-0501", Remove(0xFFFF_FFFF)),
        ("VAL-0502", PreSharedKey(linking(ResumptionUsage.REINIT))),
        ("VAL-0502", PreSharedKey(linking(ResumptionUsage.BRANCH))),
        ("VAL-0503", PreSharedKey(psk(nonce=bytes(31)))),
        ("VAL-0503", PreSharedKey(psk(nonce=b""))),
        ("VAL-0504", ReInit(b"new", 0, 1)),
    ],
)
def test_a_proposal_that_is_invalid_by_itself_is_refused(
    world: World, check: str, proposal: Remove | PreSharedKey | ReInit
) -> None:
    refused(world, propose(world[0], proposal), check)
    refused(world, commit_to(world[0], proposal, path=path_of(world[0].commit().commit)), check)


def test_new_extensions_are_supported_by_all(world: World) -> None:
    unknown = GroupContextExtensions((*world.extensions, Extension(0xF0B0, b"")))
    demanding = GroupContextExtensions((required_capabilities_extension(proposal_types=(0xF0,)),))

    for proposal in (unknown, demanding):
        with pytest.raises(MLSError) as caught:
            world[0].commit(proposal)
        assert caught.value.check in {"VAL-0505", "VAL-0212", "VAL-0203"}
        refused(
            world,
            commit_to(world[0], proposal, path=path_of(world[0].commit().commit)),
            "VAL-0505",
        )


def test_members_that_a_commit_removes_need_not_support_its_extensions(world: World) -> None:
    world.accept(world[0], world[0].commit(Remove(3), GroupContextExtensions(world.extensions[1:])))

    world.check_agreement()


# --- the list ------------------------------------------------------------------------------------


def test_nobody_commits_an_own_update(world: World) -> None:
    message = world[0].propose_update()
    world.deliver(message, but=world[0])
    ref = world[1].group.pending[0].ref
    path = path_of(world[0].commit().commit)

    refused(world, commit_to(world[0], ProposalRef(ref), path=path), "VAL-0601")
    refused(world, commit_to(world[0], Update(update_leaf(world[0])), path=path), "VAL-0601")


def test_nobody_commits_the_own_removal(world: World) -> None:
    path = path_of(world[0].commit().commit)

    refused(world, commit_to(world[0], Remove(0), path=path), "VAL-0602")
    with pytest.raises(MLSError) as caught:
        world[0].commit(Remove(0))
    assert caught.value.check == "VAL-0602"


def test_a_leaf_is_changed_once(world: World) -> None:
    world.deliver(world[2].propose_update(), but=world[2])
    ref = ProposalRef(world[1].group.pending[0].ref)
    path = path_of(world[0].commit(include_pending=False).commit)

    refused(world, commit_to(world[0], Remove(3), Remove(3), path=path), "VAL-0603")
    refused(world, commit_to(world[0], ref, Remove(2), path=path), "VAL-0603")


def test_a_client_is_added_once(world: World) -> None:
    joiner = world.client(b"new")
    first, second = joiner.key_package().package, joiner.key_package().package

    refused(world, commit_to(world[0], Add(first), Add(first)), "VAL-0604")
    refused(world, commit_to(world[0], Add(first), Add(second)), "VAL-0604")


def test_a_member_is_not_added_again_unless_it_is_removed(world: World) -> None:
    again = world[3].key_package().package

    refused(world, commit_to(world[0], Add(again)), "VAL-0210")
    world.accept(world[0], world[0].commit(Remove(3), Add(again)))


def test_a_psk_is_named_once(world: World) -> None:
    one = PreSharedKey(psk())

    refused(world, commit_to(world[0], one, one), "VAL-0606")


def test_extensions_change_once(world: World) -> None:
    change = GroupContextExtensions(world.extensions)
    path = path_of(world[0].commit().commit)

    refused(world, commit_to(world[0], change, change, path=path), "VAL-0607")


def test_a_reinit_stands_alone(world: World) -> None:
    reinit = ReInit(b"new", MLS10, 0x0001)

    refused(world, commit_to(world[0], reinit, PreSharedKey(psk())), "VAL-0608")
    refused(world, commit_to(world[0], reinit, reinit), "VAL-0608")


def test_a_member_does_not_join(world: World) -> None:
    path = path_of(world[0].commit().commit)

    refused(world, commit_to(world[0], ExternalInit(bytes(32)), path=path), "VAL-0609")
    refused(world, propose(world[0], ExternalInit(bytes(32))), "VAL-0105")


def test_a_proposal_that_nobody_received_can_not_be_committed(world: World) -> None:
    path = path_of(world[0].commit().commit)

    refused(world, commit_to(world[0], ProposalRef(bytes(32)), path=path), "VAL-0710")


def test_a_proposal_is_named_once(world: World) -> None:
    world.deliver(world[2].propose_remove(3), but=world[2])
    ref = ProposalRef(world[1].group.pending[0].ref)
    path = path_of(world[0].commit(include_pending=False).commit)

    refused(world, commit_to(world[0], ref, ref, path=path), "VAL-0711")


def test_proposals_end_with_their_epoch(world: World) -> None:
    world.deliver(world[2].propose_remove(3), but=world[2])
    ref = ProposalRef(world[1].group.pending[0].ref)
    world.accept(world[0], world[0].commit(include_pending=False))
    path = path_of(world[0].commit().commit)

    assert world[1].group.pending == ()
    refused(world, commit_to(world[0], ref, path=path), "VAL-0710")


# --- the path --------------------------------------------------------------------------------------


def test_a_commit_that_needs_a_path_has_one(world: World) -> None:
    world.deliver(world[2].propose_update(), but=world[2])
    update = ProposalRef(world[1].group.pending[0].ref)

    refused(world, commit_to(world[0]), "VAL-0701")
    refused(world, commit_to(world[0], Remove(3)), "VAL-0701")
    refused(world, commit_to(world[0], update), "VAL-0701")
    refused(world, commit_to(world[0], GroupContextExtensions(world.extensions)), "VAL-0701")
    refused(world, commit_to(world[0], update, Add(some_package(world))), "VAL-0701")


def some_package(world: World) -> KeyPackage:
    return world.client(b"new").key_package().package


def test_a_commit_that_needs_a_path_gets_one(world: World) -> None:
    assert commit_of(world[0].commit(path=False).commit).path is not None
    assert commit_of(world[0].commit(Remove(3), path=False).commit).path is not None
    assert commit_of(world[0].commit(Add(some_package(world)), path=False).commit).path is None


def test_the_path_s_keys_are_new(world: World) -> None:
    commit = world[0].commit().commit
    nodes = path_of(commit).nodes
    taken = world[2].group.own_leaf_node.encryption_key
    root = world[1].group.public.tree.node(3)
    assert root is not None
    leaf = path_of(commit).leaf_node

    def with_first(key: bytes) -> bytes:
        changed = (replace(nodes[0], encryption_key=key), *nodes[1:])
        return with_path(world[0], commit, nodes=changed)

    refused(world, with_first(taken), "VAL-0704")
    refused(world, with_first(root.encryption_key), "VAL-0704")
    refused(world, with_first(nodes[1].encryption_key), "VAL-0704")
    refused(world, with_first(leaf.encryption_key), "VAL-0704")
    refused(world, with_path_leaf(world[0], commit, encryption_key=taken), "VAL-0704")


def test_the_path_s_keys_are_keys(world: World) -> None:
    commit = world[0].commit().commit
    first, *rest = path_of(commit).nodes

    for key in (b"", bytes(32), bytes(31)):
        changed = (replace(first, encryption_key=key), *rest)
        refused(world, with_path(world[0], commit, nodes=changed), "VAL-0709")


def test_the_path_covers_the_filtered_direct_path(world: World) -> None:
    commit = world[0].commit().commit
    nodes = path_of(commit).nodes
    extra = UpdatePathNode(world.suite.derive_key_pair(b"extra" * 8).public, ())

    refused(world, with_path(world[0], commit, nodes=nodes[:-1]), "VAL-0705")
    refused(world, with_path(world[0], commit, nodes=()), "VAL-0705")
    refused(world, with_path(world[0], commit, nodes=(*nodes, extra)), "VAL-0705")


def test_the_path_s_secrets_go_to_all_who_need_them(world: World) -> None:
    commit = world[0].commit().commit
    first, *rest = path_of(commit).nodes
    fewer = replace(first, secrets=first.secrets[:-1])
    more = replace(first, secrets=(*first.secrets, *first.secrets))

    refused(world, with_path(world[0], commit, nodes=(fewer, *rest)), "VAL-0706")
    refused(world, with_path(world[0], commit, nodes=(more, *rest)), "VAL-0706")


def test_new_members_get_no_path_secret_but_by_their_welcome(world: World) -> None:
    """The leaf that a commit adds is left out of the copath's resolutions."""
    joiner = world.client(b"new")
    bundle = joiner.key_package()
    staged = world[0].commit(Add(bundle.package))
    steps = staged.group.public.tree.filtered_path(0)
    path = path_of(staged.commit)
    leaf = staged.effect.added[0].leaf
    above = [step for step in steps if 2 * leaf in step.resolution]

    assert above
    for step, node in zip(steps, path.nodes, strict=True):
        assert len(node.secrets) == len([n for n in step.resolution if n != 2 * leaf])
    world.accept(world[0], staged)
    joiner.join(staged, bundle)
    world.check_agreement()


def test_the_committer_s_leaf_signs_the_path(world: World) -> None:
    commit = world[0].commit().commit
    nodes = path_of(commit).nodes
    other = world.suite.derive_key_pair(b"other" * 8).public
    changed = (*nodes[:-1], replace(nodes[-1], encryption_key=other))

    refused(world, with_path_leaf(world[0], commit, parent_hash=bytes(32)), "VAL-0707")
    refused(world, with_path_leaf(world[0], commit, parent_hash=b""), "VAL-0707")
    refused(world, with_path(world[0], commit, nodes=changed), "VAL-0707")


def test_a_path_secret_that_can_not_be_opened_is_refused_by_members_alone(world: World) -> None:
    """The relay can't see it: this is the commit that must not brick a channel."""
    commit = world[0].commit().commit
    first, *rest = path_of(commit).nodes
    garbage = HPKECiphertext(first.secrets[0].kem_output, bytes(48))
    spoiled = replace(first, secrets=(garbage, *first.secrets[1:]))

    message = with_path(world[0], commit, nodes=(spoiled, *rest))

    refused(world, message, "VAL-0712", relay=False)
    world.relay.apply(message, validator=world.validator, now=NOW)


def test_a_path_secret_leads_to_the_path_s_keys(world: World) -> None:
    commit = world[0].commit().commit
    state = world[0].group
    first, *rest = path_of(commit).nodes
    recipient = world[1].group.own_leaf_node.encryption_key
    context = world[0].commit().group.context
    provisional = replace(
        context, confirmed_transcript_hash=state.context.confirmed_transcript_hash
    )
    assert tree_kem.LABEL == b"UpdatePathNode"
    tree = state.public.tree.copy()
    steps = tree.filtered_path(0)
    keys = [node.encryption_key for node in path_of(commit).nodes]
    tree.set_path(0, steps, keys)
    tree.set_leaf(0, path_of(commit).leaf_node)
    provisional = replace(provisional, tree_hash=tree.root_hash())
    for secret, check in ((bytes(32), "VAL-0713"), (bytes(31), "VAL-0712")):
        sealed = world.suite.encrypt_with_label(
            recipient, tree_kem.LABEL, provisional.encode(), secret
        )
        spoiled = replace(first, secrets=(HPKECiphertext(*sealed),))

        message = with_path(world[0], commit, nodes=(spoiled, *rest))

        refused(world, message, check, relay=False)


def test_every_commit_brings_fresh_and_unrelated_keys(world: World) -> None:
    one, two = world[0].commit(), world[0].commit()

    keys = [path_of(staged.commit) for staged in (one, two)]
    publics = [path.leaf_node.encryption_key for path in keys]
    publics += [node.encryption_key for path in keys for node in path.nodes]
    assert len(set(publics)) == len(publics)
    for path in keys:
        assert path.leaf_node.signature != world[0].group.own_leaf_node.signature
        assert path.leaf_node.lifetime is None


def test_the_commit_secret_is_one_step_beyond_the_last_path_secret(world: World) -> None:
    path = tree_kem.ratchet_up(world.suite, bytes(32), [1, 3])

    assert path.secrets[1] == world.suite.derive_secret(path.secrets[0], b"path")
    assert path.commit_secret == world.suite.derive_secret(path.secrets[1], b"path")


# --- pre-shared keys -------------------------------------------------------------------------------


def test_a_psk_that_is_missing_or_wrong_keeps_a_member_out(world: World) -> None:
    staged = world[0].commit(PreSharedKey(psk()), psks=PskStore({b"psk": b"right"}))

    refused(world, staged.commit, "VAL-0708", relay=False)
    with pytest.raises(ConfirmationTagError):
        world[1].process(staged.commit, psks=PskStore({b"psk": b"wrong"}))
    done = world[1].process(staged.commit, psks=PskStore({b"psk": b"right"}))
    assert isinstance(done, CommitStaged)
    assert done.group is not None
    assert done.group.epoch_authenticator == staged.group.epoch_authenticator


def test_a_group_can_mix_in_its_own_earlier_epochs(world: World) -> None:
    world.accept(world[0], world[0].commit())
    former = world[0].group.epoch - 1
    resumption = PreSharedKeyID(
        PskType.RESUMPTION,
        bytes(32),
        usage=ResumptionUsage.APPLICATION,
        group_id=b"group",
        epoch=former,
    )

    world.accept(world[0], world[0].commit(PreSharedKey(resumption)))

    world.check_agreement()
    with pytest.raises(MLSError) as caught:
        world[0].commit(PreSharedKey(replace(resumption, epoch=77)))
    assert caught.value.check == "VAL-0708"


def test_psks_count_in_the_order_of_the_commit(world: World) -> None:
    store = PskStore({b"a": b"1", b"b": b"2"})
    a, b = PreSharedKey(psk(b"a")), PreSharedKey(psk(b"b"))

    staged = world[0].commit(a, b, psks=store)
    done = world[1].process(staged.commit, psks=store)

    assert isinstance(done, CommitStaged)
    assert done.effect.psks == (a.psk, b.psk)


# --- external senders --------------------------------------------------------------------------------


def test_the_relay_s_removal_carries_its_reason_to_the_commit(world: World) -> None:
    world.propose_from_relay(3, b"revocation list 7")

    staged = world[1].commit()

    (removed,) = staged.effect.removed
    assert removed.by == Sender(SenderKind.EXTERNAL, 0)
    assert removed.authenticated_data == b"revocation list 7"
    world.accept(world[1], staged)
    assert world[3].state is None


def test_only_a_listed_sender_proposes_from_outside(world: World) -> None:
    message = world.propose_from_relay(3, b"reason")
    world.extensions = (world.extensions[0],)
    world.accept(world[1], world[1].commit(GroupContextExtensions(world.extensions)))

    epoch = world[1].group.epoch
    body = public_message(message)
    content = replace(body.authenticated, framed=replace(body.framed, epoch=epoch))
    forged = replace(body, authenticated=content)
    refused(world, framing.encode_message(forged), "VAL-0104")


def test_a_relay_s_key_is_bound_to_the_group_context(world: World) -> None:
    impostor = external_senders_extension(
        [ExternalSender(world[3].signer.public_bytes, Credential.basic(b"relay"))]
    )
    message = world.propose_from_relay(2, b"reason")
    world.accept(world[1], world[1].commit(GroupContextExtensions((impostor,)), include_pending=[]))
    body = public_message(message)
    content = replace(body.authenticated, framed=replace(body.framed, epoch=world[1].group.epoch))
    refused(
        world,
        framing.encode_message(replace(body, authenticated=content)),
        "VAL-0101",
    )


# --- what the committer chooses ------------------------------------------------------------------------


def test_removes_beat_updates_and_the_latest_update_counts(world: World) -> None:
    for message in (world[2].propose_update(), world[2].propose_update()):
        world.deliver(message, but=world[2])
    world.deliver(world[3].propose_update(), but=world[3])
    world.deliver(world[1].propose_remove(3), but=world[1])
    world.deliver(world[0].propose_update(), but=world[0])
    latest = [q for q in world[0].group.pending if q.sender.index == 2][-1]

    staged = world[0].commit()

    refs = {
        item.ref for item in commit_of(staged.commit).proposals if isinstance(item, ProposalRef)
    }
    assert latest.ref in refs
    assert len(refs) == 2
    assert [removed.leaf for removed in staged.effect.removed] == [3]
    assert {updated.leaf for updated in staged.effect.updated} == {0, 2}
    world.accept(world[0], staged)
    world.check_agreement()


def test_what_is_not_valid_any_more_is_left_out(world: World) -> None:
    joiner = world.client(b"new")
    bundle = joiner.key_package()
    world.deliver(world[1].propose_add(bundle), but=world[1])
    world.validator.refused.add(b"new")

    staged = world[0].commit()

    assert staged.effect.added == ()
    world.accept(world[0], staged)


def test_a_reinit_waits_for_everything_else_and_then_ends_the_group(world: World) -> None:
    reinit = ReInit(b"new", MLS10, 0x0001)
    world[0].state, message = group.propose_reinit(world[0].group, reinit, signer=world[0].signer)
    world.deliver(message, but=world[0])
    assert isinstance(world[1].process(propose(world[0], reinit)), ProposalStored)

    staged = world[1].commit()
    world.accept(world[1], staged)

    assert staged.effect.reinit == reinit
    for client in world.members:
        with pytest.raises(MLSError):
            client.encrypt(b"too late")
        with pytest.raises(MLSError):
            client.commit()


def test_proposals_by_chosen_references_are_exactly_those(world: World) -> None:
    world.deliver(world[2].propose_update(), but=world[2])
    world.deliver(world[3].propose_update(), but=world[3])
    chosen = world[0].group.pending[1].ref

    staged = world[0].commit(include_pending=[chosen])

    assert commit_of(staged.commit).proposals == (ProposalRef(chosen),)
    with pytest.raises(MLSError):
        world[0].commit(include_pending=[bytes(32)])


def test_a_commit_is_bound_to_the_extensions_it_brings(world: World) -> None:
    """Path secrets are encrypted under the new extensions, the new epoch, the new tree."""
    new = (Extension(0xF0A1, b"agreement 2"), world.extensions[1])

    staged = world[0].commit(GroupContextExtensions(new))
    world.accept(world[0], staged)

    world.check_agreement()
    assert world[1].group.extension(0xF0A1) == b"agreement 2"
    assert staged.effect.extensions_before == world.extensions
    assert staged.effect.extensions_after == new
    other = reissue(world[0], world[0].commit().commit, content=commit_of(world[0].commit().commit))
    refused(world, other, "VAL-0108", relay=False)
