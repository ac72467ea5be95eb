"""A member with all the keys who breaks one rule, all else being right, is refused by that rule.

The sister tests in the folder above break the same rules in messages whose
confirmation tag can't hold; here every tag and secret fits, so that without the
check the commit would be taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from liaison.mls.credentials import Credential
from liaison.mls.errors import MLSError
from liaison.mls.extensions import Extension, required_capabilities_extension
from liaison.mls.group import CommitStaged, StagedCommit, group_info
from liaison.mls.leaf import Capabilities, LeafNode, LeafSource, Lifetime
from liaison.mls.messages import UpdatePath
from liaison.mls.proposals import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    PskType,
    ReInit,
    Remove,
    ResumptionUsage,
)
from liaison.mls.snapshot import snapshot_epoch, snapshot_ratchets
from tests.core.mls.frankenstein.forge import (
    commit_with_leaf,
    commit_with_path,
    commit_without_path,
    forged_commit,
    forged_external_commit,
)
from tests.core.mls.support import NOW, OPAQUE_EXTENSION, Client, World

Forgery = Callable[[World], StagedCommit]
NH = 32


@pytest.fixture
def world() -> World:
    return World(members=5)


def adding(world: World, name: bytes = b"new", **changes: object) -> Add:
    """Propose a client whose key package has other things in it, signed by itself."""
    client = Client(name, world.suite.code, world.validator, world.rng)
    package = client.key_package().package
    leaf = replace(package.leaf_node, **changes).signed(world.suite, client.signer, b"", 0)  # type: ignore[arg-type]  # fields by name
    return Add(replace(package, leaf_node=leaf).signed(client.signer))


def psk(nonce: bytes = bytes(NH), **changes: object) -> PreSharedKey:
    return PreSharedKey(
        replace(PreSharedKeyID(PskType.RESUMPTION, nonce, group_id=b"group", epoch=1), **changes)  # type: ignore[arg-type]  # fields by name
    )


def same_init_key(world: World) -> StagedCommit:
    first, second = adding(world), adding(world, b"other")
    client = Client(b"third", world.suite.code, world.validator, world.rng)
    package = client.key_package().package
    package = replace(package, init_key=first.key_package.init_key).signed(client.signer)
    return forged_commit(world[0], first, second, Add(package))


def commit_of_leaf(**changes: object) -> Forgery:
    """Let the committer's new leaf have other things in it."""
    return lambda world: commit_with_leaf(
        world[0],
        lambda leaf: replace(leaf, **changes),  # type: ignore[arg-type]  # fields by name
    )


def commit_of_path(change: Callable[[UpdatePath], UpdatePath]) -> Forgery:
    return lambda world: commit_with_path(world[0], change)


def without_suites(leaf: LeafNode) -> Capabilities:
    return replace(leaf.capabilities, cipher_suites=())


def own_update(world: World) -> StagedCommit:
    message = world[0].propose_update()
    for client in world.members:
        if client is not world[0]:
            client.receive(message)
    world.relay = world.relay.apply(message, validator=world.validator, now=NOW).group
    refs = [queued.ref for queued in world[0].group.pending]
    return forged_commit(world[0], include_pending=refs)


def two_updates(world: World) -> StagedCommit:
    for _ in range(2):
        world.deliver(world[2].propose_update(), but=world[2])
    refs = [queued.ref for queued in world[0].group.pending]
    return forged_commit(world[0], include_pending=refs)


def update_and_remove(world: World) -> StagedCommit:
    world.deliver(world[2].propose_update(), but=world[2])
    refs = [queued.ref for queued in world[0].group.pending]
    return forged_commit(world[0], Remove(2), include_pending=refs)


def one_more_node(path: UpdatePath) -> UpdatePath:
    return replace(path, nodes=(*path.nodes, path.nodes[-1]))


def moved_keys(path: UpdatePath) -> UpdatePath:
    first, second, *rest = path.nodes
    swapped = (
        replace(first, encryption_key=second.encryption_key),
        replace(second, encryption_key=first.encryption_key),
        *rest,
    )
    return replace(path, nodes=swapped)


def moved_secrets(path: UpdatePath) -> UpdatePath:
    top = path.nodes[-1]
    return replace(path, nodes=(*path.nodes[:-1], replace(top, secrets=top.secrets * 2)))


def refusing_later(world: World) -> StagedCommit:
    staged = forged_commit(world[0], adding(world))
    world.validator.refused.add(b"new")
    return staged


FORGERIES: list[tuple[str, Forgery]] = [
    ("VAL-0201", refusing_later),
    ("VAL-0505", lambda world: forged_commit(world[0], requiring(0xF0B7))),
    ("VAL-0205", lambda world: forged_commit(world[0], adding(world, lifetime=Lifetime(1, 2)))),
    (
        "VAL-0206",
        lambda world: forged_commit(world[0], adding(world, lifetime=Lifetime(0, 2**63))),
    ),
    (
        "VAL-0207",
        lambda world: forged_commit(world[0], adding(world, extensions=(Extension(0xF0B1, b""),))),
    ),
    (
        "VAL-0208",
        lambda world: forged_commit(
            world[0], adding(world, source=LeafSource.UPDATE, lifetime=None)
        ),
    ),
    ("VAL-0210", lambda world: forged_commit(world[0], again(world))),
    (
        "VAL-0212",
        lambda world: forged_commit(world[0], adding(world, capabilities=Capabilities.default())),
    ),
    ("VAL-0216", lambda world: forged_commit(world[0], adding(world, b"3"))),
    ("VAL-0217", lambda world: forged_commit(world[0], adding(world, encryption_key=bytes(32)))),
    ("VAL-0215", commit_of_leaf(credential=Credential.basic(b"another"))),
    ("VAL-0208", commit_of_leaf(source=LeafSource.UPDATE)),
    (
        "VAL-0213",
        commit_of_leaf(capabilities=Capabilities((1,), (), (OPAQUE_EXTENSION,), (), (1,))),
    ),
    (
        "VAL-0214",
        commit_of_leaf(capabilities=Capabilities((1,), (1,), (OPAQUE_EXTENSION,), (), ())),
    ),
    ("VAL-0207", commit_of_leaf(extensions=(Extension(0xF0B1, b""),))),
    ("VAL-0502", lambda world: forged_commit(world[0], psk(usage=ResumptionUsage.BRANCH))),
    ("VAL-0502", lambda world: forged_commit(world[0], psk(usage=ResumptionUsage.REINIT))),
    ("VAL-0503", lambda world: forged_commit(world[0], psk(bytes(NH - 1)))),
    ("VAL-0504", lambda world: forged_commit(world[0], ReInit(b"next", 0, 1, ()))),
    (
        "VAL-0505",
        lambda world: forged_commit(
            world[0],
            GroupContextExtensions((*world.extensions, Extension(0xF0B2, b""))),
            path=False,
        ),
    ),
    ("VAL-0601", own_update),
    ("VAL-0603", two_updates),
    ("VAL-0603", update_and_remove),
    ("VAL-0604", lambda world: forged_commit(world[0], *[adding(world)] * 2)),
    ("VAL-0615", same_init_key),
    ("VAL-0606", lambda world: forged_commit(world[0], psk(), psk())),
    (
        "VAL-0607",
        lambda world: forged_commit(world[0], *[GroupContextExtensions(world.extensions)] * 2),
    ),
    ("VAL-0608", lambda world: forged_commit(world[0], ReInit(b"next", 1, 1, ()), psk())),
    ("VAL-0701", lambda world: commit_without_path(world[0])),
    ("VAL-0701", lambda world: commit_without_path(world[0], Remove(3))),
    (
        "VAL-0701",
        lambda world: commit_without_path(world[0], GroupContextExtensions(world.extensions)),
    ),
    ("VAL-0705", commit_of_path(lambda path: replace(path, nodes=path.nodes[:-1]))),
    ("VAL-0705", commit_of_path(lambda path: replace(path, nodes=()))),
    ("VAL-0704", commit_of_path(one_more_node)),
    ("VAL-0707", commit_of_path(moved_keys)),
    ("VAL-0706", commit_of_path(moved_secrets)),
]


def requiring(extension_type: int) -> GroupContextExtensions:
    return GroupContextExtensions((required_capabilities_extension([extension_type]),))


def again(world: World) -> Add:
    """Propose a new client under the signature key of a member."""
    member = world[3]
    client = Client(b"new", world.suite.code, world.validator, world.rng)
    client.signer = member.signer
    return Add(client.key_package().package)


def refused(world: World, commit: bytes, check: str) -> None:
    """All members and the relay give the same reason, and are as they were."""
    others = [client for client in world.members if client.group.own_leaf != 0]
    before = [(snapshot_epoch(o.group), snapshot_ratchets(o.group)) for o in others]
    public = world.relay.snapshot()
    for client in others:
        with pytest.raises(MLSError) as caught:
            client.process(commit)
        assert caught.value.check == check
    with pytest.raises(MLSError) as caught:
        world.relay.apply(commit, validator=world.validator, now=NOW)
    assert caught.value.check == check
    assert [(snapshot_epoch(o.group), snapshot_ratchets(o.group)) for o in others] == before
    assert world.relay.snapshot() == public


@pytest.mark.parametrize(
    ("check", "forgery"),
    FORGERIES,
    ids=[f"{check}-{number}" for number, (check, _) in enumerate(FORGERIES)],
)
def test_a_commit_that_breaks_one_rule_is_refused_by_it(
    world: World, check: str, forgery: Forgery
) -> None:
    refused(world, forgery(world).commit, check)


def test_a_forger_who_breaks_no_rule_is_believed(world: World) -> None:
    """Else the refusals above might come from the forging."""
    for staged in (
        forged_commit(world[0], adding(world), Remove(4), psk()),
        commit_with_leaf(world[0], lambda leaf: leaf),
        commit_with_path(world[0], lambda path: path),
        commit_without_path(world[0], psk()),
    ):
        done = world[1].process(staged.commit)
        assert isinstance(done, CommitStaged)
        assert done.group is not None
        assert done.group.epoch_authenticator == staged.group.epoch_authenticator


# --- external commits --------------------------------------------------------------------------


EXTERNAL: list[tuple[str, Callable[[World], list[Proposal]]]] = [
    ("VAL-0611", lambda _: [ExternalInit(bytes(32))]),
    ("VAL-0612", lambda _: [Remove(1), Remove(2)]),
    ("VAL-0613", lambda world: [adding(world, b"friend")]),
    ("VAL-0613", lambda world: [GroupContextExtensions(world.extensions)]),
    ("VAL-0613", lambda _: [ReInit(b"next", 1, 1, ())]),
    ("VAL-0215", lambda _: [Remove(2)]),
]


@pytest.mark.parametrize(
    ("check", "proposals"),
    EXTERNAL,
    ids=[f"{check}-{number}" for number, (check, _) in enumerate(EXTERNAL)],
)
def test_an_external_commit_that_breaks_one_rule_is_refused_by_it(
    world: World, check: str, proposals: Callable[[World], list[Proposal]]
) -> None:
    info = group_info(world[0].group, signer=world[0].signer)
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)
    more = proposals(world)

    staged = forged_external_commit(joiner, info, world.relay.ratchet_tree(), *more)

    refused(world, staged.commit, check)


def test_an_external_commit_with_the_key_of_a_member_is_refused(world: World) -> None:
    info = group_info(world[0].group, signer=world[0].signer)
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)
    joiner.signer = world[2].signer

    staged = forged_external_commit(joiner, info, world.relay.ratchet_tree())

    refused(world, staged.commit, "VAL-0210")
