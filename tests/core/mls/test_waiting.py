"""Proposals that wait for a commit: none keeps the others from being committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from liaison.mls import framing
from liaison.mls.errors import (
    CommitRequiredError,
    ForbiddenOperationError,
    InvalidLeafNodeError,
    InvalidProposalError,
)
from liaison.mls.extensions import Extension
from liaison.mls.framing import FramedContent, PublicMessage, Sender, SenderKind, WireFormat
from liaison.mls.key_package import KeyPackage
from liaison.mls.leaf import LeafSource
from liaison.mls.messages import MAX_EPOCH, Commit
from liaison.mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    PskType,
    Remove,
    Update,
)
from tests.core.mls.support import NOW, Client, World, propose

Made = Callable[[World, Client], Proposal]


@pytest.fixture
def world() -> World:
    return World(members=4)


def updated(world: World, client: Client, **changes: Any) -> Update:
    fresh: dict[str, Any] = {"encryption_key": world.suite.generate_key_pair().public}
    leaf = replace(
        client.group.own_leaf_node,
        source=LeafSource.UPDATE,
        lifetime=None,
        parent_hash=b"",
        **(fresh | changes),
    )
    return Update(
        leaf.signed(world.suite, client.signer, client.group.group_id, client.group.own_leaf)
    )


def of_few_capabilities(world: World, client: Client) -> Proposal:
    capabilities = replace(client.group.own_leaf_node.capabilities, extensions=())
    return updated(world, client, capabilities=capabilities)


def with_a_key_of_another(world: World, client: Client) -> Proposal:
    return updated(world, client, encryption_key=world[0].group.own_leaf_node.encryption_key)


def that_few_support(world: World, client: Client) -> Proposal:
    del client
    return GroupContextExtensions((*world.extensions, Extension(0xF0FF, b"")))


def of_a_key_that_nobody_has(world: World, client: Client) -> Proposal:
    psk = PreSharedKeyID(PskType.EXTERNAL, client.rng(world.suite.nh), psk_id=b"nobody's")
    return PreSharedKey(psk)


def of_a_client_with_a_key_of_another(world: World, client: Client) -> Proposal:
    joiner = world.client(b"joiner")
    package = joiner.key_package().package
    leaf = replace(
        package.leaf_node, encryption_key=client.group.own_leaf_node.encryption_key
    ).signed(world.suite, joiner.signer, b"", 0)
    return Add(replace(package, leaf_node=leaf).signed(joiner.signer))


BAD: dict[str, Made] = {
    "VAL-0212": of_few_capabilities,
    "VAL-0211": with_a_key_of_another,
    "VAL-0505": that_few_support,
    "VAL-0708": of_a_key_that_nobody_has,
    "VAL-0211 added": of_a_client_with_a_key_of_another,
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_proposal_that_spoils_the_commit_is_left_out_of_it(world: World, make: Made) -> None:
    world.deliver(propose(world[1], make(world, world[1])), but=world[1])
    world.deliver(world[2].propose_update(), but=world[2])
    world.deliver(world[3].propose_remove(3), but=world[3])

    staged = world[0].commit()
    world[3].state = None
    world.clients.pop(b"joiner", None)
    world.accept(world[0], staged)

    assert [type(q.proposal) for q in staged.effect.proposals] == [Update, Remove]
    world.check_agreement()


def test_of_two_clients_with_one_init_key_one_is_added(world: World) -> None:
    first, second = (world.client(name) for name in (b"first", b"second"))
    bundle = first.key_package()
    copied = replace(second.key_package().package, init_key=bundle.package.init_key)
    for package in (bundle.package, copied.signed(second.signer)):
        world.deliver(propose(world[1], Add(package)), but=world.client(b"nobody"))

    staged = world[0].commit()
    world.accept(world[0], staged)
    first.join(staged, bundle)

    assert len(staged.effect.added) == 1
    world.check_agreement()


def test_what_the_committer_brings_itself_is_not_left_out(world: World) -> None:
    world.deliver(propose(world[1], that_few_support(world, world[1])), but=world[1])
    package: KeyPackage = world.client(b"new").key_package(capabilities=None).package

    with pytest.raises(InvalidLeafNodeError) as caught:
        world[0].commit(Add(package))

    assert caught.value.check == "VAL-0212"


def test_a_proposal_that_was_asked_for_by_name_is_not_left_out(world: World) -> None:
    world.deliver(propose(world[1], that_few_support(world, world[1])), but=world[1])

    with pytest.raises(InvalidProposalError) as caught:
        world[0].commit(include_pending=[q.ref for q in world[0].group.pending])

    assert caught.value.check == "VAL-0505"


def test_nothing_is_said_while_a_removal_waits(world: World) -> None:
    world.deliver(world[1].propose_remove(3), but=world[1])

    with pytest.raises(CommitRequiredError):
        world[0].encrypt(b"not for 3")

    staged = world[0].commit()
    world[3].state = None
    world.accept(world[0], staged)
    world.check_messages()


def test_no_epoch_comes_after_the_last(world: World) -> None:
    client = world[0]
    last = replace(client.group.public.context, epoch=MAX_EPOCH)
    public = replace(client.group.public, context=last)
    commit = Commit((Add(world.client(b"new").key_package().package),), None)
    framed = FramedContent(b"group", MAX_EPOCH, Sender(SenderKind.MEMBER, 0), b"", commit)
    content = framing.sign(
        world.suite, client.signer, WireFormat.PUBLIC_MESSAGE, framed, last.encode()
    )
    message = framing.encode_message(PublicMessage(replace(content, confirmation_tag=b"tag"), b""))

    with pytest.raises(ForbiddenOperationError):
        public.apply(message, validator=world.validator, now=NOW)
    client.state = replace(client.group, public=public)
    with pytest.raises(ForbiddenOperationError):
        client.commit()
