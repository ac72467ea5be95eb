"""Every small change of every kind of message is refused, by a typed error, and leaves no trace.

Three attackers: who has no key and changes bytes or fields; a member who signs
and tags the change; a member who also encrypts it anew. What a change may do is
narrow: the relay can't check tags and ciphertexts, so there it may also be
taken; a member takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from liaison import codec
from liaison.errors import LiaisonError
from liaison.mls import extensions as ext
from liaison.mls import external, framing, group, protection, welcome
from liaison.mls.framing import Content, PrivateMessage, PublicMessage, WireFormat
from liaison.mls.group import ProposalStored, StagedCommit
from liaison.mls.key_package import KeyPackage
from liaison.mls.messages import Commit, GroupInfo
from liaison.mls.proposals import (
    Add,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    PskType,
    ReInit,
    Remove,
    Update,
)
from liaison.mls.public_group import PublicGroup
from liaison.mls.snapshot import snapshot_epoch, snapshot_ratchets
from liaison.mls.tree import RatchetTree
from liaison.mls.validation.leaf import validate_key_package
from tests.core.mls.frankenstein.forge import sealed
from tests.core.mls.frankenstein.mutate import cut, encoded, variants
from tests.core.mls.support import NOW, Client, World, public_message
from tests.core.mls.test_joining import Invitation
from tests.core.mls.test_leaf_checks import update_leaf

EACH = 4
"""Of the changes of long messages every so manyth is tried; the first bytes differ by kind."""


@pytest.fixture
def world() -> World:
    made = World(members=5)
    made.accept(made[3], made[3].commit(Remove(1)))
    made.clients[b"1"].state = None
    return made


def traces(world: World) -> list[bytes]:
    """Give all that a refused message could have changed."""
    return [world.relay.snapshot()] + [
        part
        for client in world.members
        for part in (snapshot_epoch(client.group), snapshot_ratchets(client.group))
    ]


def nobody_takes(
    world: World,
    messages: Iterable[tuple[str, bytes]],
    reader: Client,
    *,
    relay: Callable[[str], bool] = lambda _: False,
) -> int:
    """Offer messages to a member and the relay; give how many there were.

    Args:
        relay: names the changes that the relay can't see through.
    """
    before, tried = traces(world), 0
    for name, message in messages:
        with pytest.raises(LiaisonError):
            pytest.fail(f"{name}: {reader.process(message)}")
        try:
            world.relay.apply(message, validator=world.validator, now=NOW)
        except LiaisonError:
            pass
        else:
            assert relay(name), name
        tried += 1
    assert traces(world) == before
    return tried


def outside_its_sight(name: str) -> bool:
    """Tell whether a change is of what nobody but members can check."""
    return "tag" in name or ".secrets" in name


def sample(messages: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    return islice(messages, 0, None, EACH)


def full_commit(world: World) -> StagedCommit:
    """Make a commit with as many parts as one can have."""
    client = Client(b"new", world.suite.code, world.validator, world.rng)
    psk = PreSharedKeyID(PskType.RESUMPTION, bytes(32), group_id=b"group", epoch=2)
    world.deliver(world[2].propose_update(), but=world[2])
    return world[0].commit(
        Add(client.key_package().package),
        Remove(4),
        GroupContextExtensions(world.extensions),
        PreSharedKey(psk),
        authenticated_data=b"header",
    )


# --- who has no key ------------------------------------------------------------------------------


def test_no_changed_commit_is_taken(world: World) -> None:
    body = public_message(full_commit(world).commit)

    changes = encoded(body, framing.encode_message)

    assert nobody_takes(world, changes, world[3], relay=outside_its_sight) > 300


def test_no_cut_commit_is_taken(world: World) -> None:
    commit = world[0].commit(Remove(4)).commit

    assert nobody_takes(world, cut(commit), world[3]) > 500


def test_no_changed_private_message_is_read(world: World) -> None:
    body = framing.decode_message(world[0].encrypt(b"text", b"header"))
    assert isinstance(body, PrivateMessage)
    message = framing.encode_message(body)

    changes = [*encoded(body, framing.encode_message), *cut(message)]

    assert nobody_takes(world, changes, world[3]) > 300


def test_no_changed_external_commit_is_taken(world: World) -> None:
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)
    staged = joiner.join_externally(world.group_info, world.relay.ratchet_tree())
    body = public_message(staged.commit)

    def unseen(name: str) -> bool:
        return outside_its_sight(name) or "kem_output" in name

    assert nobody_takes(world, encoded(body, framing.encode_message), world[3], relay=unseen) > 200


def test_no_changed_proposal_is_taken(world: World) -> None:
    body = public_message(world[0].propose_add(world.client(b"new").key_package()))

    changes = encoded(body, framing.encode_message)

    assert nobody_takes(world, changes, world[3], relay=outside_its_sight) > 100


def test_no_message_of_another_kind_is_taken(world: World) -> None:
    package = world.client(b"new").key_package()
    staged = world[0].commit(Add(package.package))
    assert staged.welcome is not None
    others = [package.key_package, staged.welcome, staged.group_info, b""]

    assert nobody_takes(world, [("another kind", data) for data in others], world[3]) == 4


# --- a member who signs what it changed ----------------------------------------------------------


def resigned(client: Client, body: PublicMessage) -> Iterator[tuple[str, bytes]]:
    """Change what a public message frames, sign and tag it anew."""
    state = client.group
    context, tag = state.context.encode(), body.authenticated.confirmation_tag

    def signed(framed: Any) -> bytes:
        content = framing.sign(
            state.suite, client.signer, WireFormat.PUBLIC_MESSAGE, framed, context
        )
        content = replace(content, confirmation_tag=tag)
        key = state.secrets.membership_key
        return framing.encode_message(protection.protect_public(state.suite, key, content, context))

    yield from encoded(body.framed, signed, "framed")


def test_no_changed_commit_is_taken_from_its_signer(world: World) -> None:
    body = public_message(full_commit(world).commit)

    changes = resigned(world[0], body)

    # Other proposals may well be valid; it is the confirmation tag that they don't fit.
    assert nobody_takes(world, changes, world[3], relay=lambda _: True) > 300


def proposals(world: World) -> list[Proposal]:
    client = Client(b"new", world.suite.code, world.validator, world.rng)
    psk = PreSharedKeyID(PskType.EXTERNAL, bytes(32), psk_id=b"psk")
    return [
        Add(client.key_package().package),
        Update(update_leaf(world[0])),
        Remove(2),
        PreSharedKey(psk),
        ReInit(b"next", 1, 1, world.extensions),
        GroupContextExtensions(world.extensions),
    ]


def test_a_changed_proposal_is_refused_or_is_another_proposal(world: World) -> None:
    """A member may propose anything that is valid: what is kept is what it signed, and no other."""
    before, kept = traces(world), 0
    for proposal in proposals(world):
        for _, changed in variants(proposal):
            with suppress(OverflowError, LiaisonError, TypeError, AttributeError):
                message = signed_by(world[0], changed)
                done = world[3].process(message)
                assert isinstance(done, ProposalStored)
                assert done.queued.proposal == public_message(message).framed.content
                kept += 1
    assert kept > 10
    assert traces(world) == before


def signed_by(client: Client, content: Content, *, tag: bytes | None = None) -> bytes:
    state = client.group
    sender = framing.Sender(framing.SenderKind.MEMBER, state.own_leaf)
    framed = framing.FramedContent(state.group_id, state.epoch, sender, b"", content)
    context = state.context.encode()
    signed = framing.sign(state.suite, client.signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    signed = replace(signed, confirmation_tag=tag)
    key = state.secrets.membership_key
    return framing.encode_message(protection.protect_public(state.suite, key, signed, context))


# --- a member who encrypts what it changed -------------------------------------------------------


def test_nothing_badly_made_is_read_though_it_decrypts(world: World) -> None:
    sender, reader = world[0], world[3]
    state = sender.group
    content = protection.sign_application(state.keys, sender.signer, 0, b"text", b"")
    good = framing.encode_content(content.framed.content) + content.encode_auth()
    commit = public_message(sender.commit().commit).authenticated
    handshake = framing.encode_content(commit.framed.content) + commit.encode_auth()
    plains: list[tuple[bytes, Content]] = [
        *((data, b"") for _, data in islice(cut(good), len(good))),
        *((good + bytes(at) + b"\1", b"") for at in (0, 1, 200)),
        *((data, commit.framed.content) for _, data in islice(cut(handshake), 0, None, 7)),
        (good, commit.framed.content),
        (handshake, b""),
        (b"", b""),
        (b"\xff" * 300, b""),
    ]

    messages = [("plaintext", sealed(sender, plain, kind)) for plain, kind in plains]

    assert nobody_takes(world, messages, reader) > 100
    assert reader.process(sealed(sender, good)).group is not None


@pytest.mark.parametrize("leaf", [1, 2, 3, 5, 7])
def test_no_sender_data_of_another_leaf_is_believed(world: World, leaf: int) -> None:
    """Blank leaves, other members, the reader itself, and leaves beside the members."""
    sender = world[0]
    content = protection.sign_application(sender.group.keys, sender.signer, leaf, b"text", b"")
    plain = framing.encode_content(b"text") + content.encode_auth()

    message = sealed(sender, plain, leaf=leaf)

    nobody_takes(world, [("leaf", message)], world[3])


# --- Welcome, GroupInfo, tree --------------------------------------------------------------------


def refused_on_joining(
    invitation: Invitation, cases: Iterable[tuple[str, StagedCommit, bytes]]
) -> int:
    """Nobody joins by these, or else into exactly the group that was meant; count them."""
    tried = 0
    meant = invitation.staged.group.epoch_authenticator
    for name, staged, tree in cases:
        try:
            joined = invitation.joiner.join(staged, invitation.bundle, ratchet_tree=tree)
        except LiaisonError:
            pass
        else:
            # Extensions of the GroupInfo that mean nothing to the joiner change nothing.
            assert name.startswith("info.extensions"), name
            assert joined.epoch_authenticator == meant, name
            invitation.joiner.state = None
        tried += 1
    return tried


def test_no_changed_welcome_is_joined_by(world: World) -> None:
    invitation = Invitation(world)
    tree = invitation.staged.ratchet_tree

    def joined(name: str, data: bytes) -> tuple[str, StagedCommit, bytes]:
        return name, replace(invitation.staged, welcome=data), tree

    message = framing.encode_message(invitation.message)
    changes = [*encoded(invitation.message, framing.encode_message), *sample(cut(message))]
    # Naming the client twice, or in another order, is no change of what it is told.
    harmless = [name for name, _ in changes if name == ".secrets[0] twice"]

    assert refused_on_joining(
        invitation, (joined(*change) for change in changes if change[0] not in harmless)
    ) > 100  # fmt: skip


def test_no_changed_group_info_is_joined_by_though_it_is_signed(world: World) -> None:
    invitation = Invitation(world)
    tree = invitation.staged.ratchet_tree

    def cases() -> Iterator[tuple[str, StagedCommit, bytes]]:
        for name, changed in variants(invitation.info, "info"):
            if not name.startswith("info.signature"):
                with suppress(OverflowError, LiaisonError):
                    yield name, invitation.signed(changed), tree
            with suppress(OverflowError, LiaisonError):
                yield f"{name}, old signature", invitation.resealed(changed), tree

    assert refused_on_joining(invitation, cases()) > 150


def test_no_changed_group_secrets_are_joined_by(world: World) -> None:
    invitation = Invitation(world)
    tree = invitation.staged.ratchet_tree
    changes = variants(invitation.secrets)

    cases = ((name, invitation.resealed(invitation.info, made), tree) for name, made in changes)

    assert refused_on_joining(invitation, cases) > 15


def trees(tree: RatchetTree) -> Iterator[tuple[str, bytes]]:
    """Change every node of a tree, put nodes elsewhere, leave them out and add some."""
    nodes, good = [tree.node(index) for index in range(tree.width)], tree.encode()
    for at, node in enumerate(nodes):
        others: list[Any] = [None, nodes[0], nodes[1], nodes[2]]
        others += [changed for _, changed in variants(node)] if node is not None else []
        for number, other in enumerate(others):
            if other != node:
                with suppress(OverflowError, LiaisonError, AttributeError):
                    changed = RatchetTree(tree.suite, [*nodes[:at], other, *nodes[at + 1 :]])
                    if (data := changed.encode()) != good:
                        yield f"node {at}, {number}", data
    yield from (("cut", data) for data in (good[:-1], good + b"\0", b"", b"\0"))
    body = codec.decode(codec.Reader.opaque, good)
    yield "a blank at the end", codec.opaque(body + b"\0")


def test_no_changed_tree_is_joined_with(world: World) -> None:
    invitation = Invitation(world)
    given = invitation.staged.group.public.tree

    cases = ((name, invitation.staged, data) for name, data in trees(given))

    assert refused_on_joining(invitation, cases) > 300


def test_no_changed_tree_is_joined_with_though_its_hash_is_signed(world: World) -> None:
    """A committer who lies about the tree to the joiner alone: the tree's own checks see it."""
    invitation = Invitation(world)
    given, suite = invitation.staged.group.public.tree, world.suite

    def cases() -> Iterator[tuple[str, StagedCommit, bytes]]:
        for name, data in islice(trees(given), 0, None, EACH):
            with suppress(LiaisonError):
                root = RatchetTree.decode(suite, data).root_hash()
                info = invitation.info
                info = replace(info, context=replace(info.context, tree_hash=root))
                yield name, invitation.signed(info), data

    assert refused_on_joining(invitation, cases()) > 80


def test_no_changed_group_info_lets_anybody_join_or_the_relay_begin(world: World) -> None:
    info, tree = framing.decode_group_info(world.group_info), world.relay.ratchet_tree()
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)

    def offered() -> Iterator[tuple[str, bytes]]:
        yield from encoded(info, framing.encode_message)
        yield from sample(cut(world.group_info))

    tried = 0
    for name, data in offered():
        with pytest.raises(LiaisonError):
            pytest.fail(f"{name}: {joiner.join_externally(data, tree)}")
        with pytest.raises(LiaisonError):
            PublicGroup.from_group_info(data, tree, validator=world.validator, now=NOW)
        with pytest.raises(LiaisonError):
            world.relay.check_group_info(data)
        tried += 1
    assert tried > 200


@pytest.mark.parametrize("pub", [b"", b"\0", b"\x05abc", codec.opaque(bytes(32)), b"\x40"])
def test_a_signed_group_info_with_a_bad_key_can_not_be_joined_with(
    world: World, pub: bytes
) -> None:
    info = framing.decode_group_info(world.group_info)
    changed = replace(info, extensions=(ext.Extension(ext.EXTERNAL_PUB, pub),), signer=0)
    data = framing.encode_message(changed.signed(world.suite, world[0].signer))
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)

    with pytest.raises(LiaisonError):
        joiner.join_externally(data, world.relay.ratchet_tree())
    with pytest.raises(LiaisonError):
        world.relay.check_group_info(data)


# --- key packages --------------------------------------------------------------------------------


def test_no_changed_key_package_is_taken(world: World) -> None:
    package = world.client(b"new").key_package(last_resort=True).package
    data = package.message()

    tried = 0
    for name, changed in [*encoded(package, KeyPackage.message), *cut(data)]:
        with pytest.raises(LiaisonError):
            pytest.fail(
                f"{name}: {validate_key_package(changed, validator=world.validator, now=NOW)}"
            )
        tried += 1
    assert tried > 300


def test_a_key_package_that_its_client_changed_is_refused_or_another_good_one(
    world: World,
) -> None:
    client = world.client(b"new")
    package = client.key_package(last_resort=True).package

    for _, changed in variants(package):
        with suppress(OverflowError, LiaisonError):
            leaf = changed.leaf_node.signed(world.suite, client.signer, b"", 0)
            message = replace(changed, leaf_node=leaf).signed(client.signer).message()
            found, _ = validate_key_package(message, validator=world.validator, now=NOW)
            assert found.message() == message


# --- what is large ----------------------------------------------------------------------------------


def test_large_claims_cost_no_more_than_their_bytes(world: World) -> None:
    """Lengths, indices and counts that promise much end at once, with a typed error."""
    suite = world.suite
    huge = b"\xbf\xff\xff\xff"
    before = traces(world)
    for data in (
        huge,
        b"\0\1\0\1" + huge,
        b"\0\1\0\3\0\1" + huge,
        b"\0\1\0\4\0\1\0\1" + huge,
    ):
        with pytest.raises(LiaisonError):
            world[0].process(data)
    for data in (huge, codec.opaque(bytes(200_000)), codec.opaque(b"\0" * 200_000 + b"\1\1")):
        with pytest.raises(LiaisonError):
            RatchetTree.decode(suite, data)
    for leaf in (2**22, 2**31, 2**32 - 1):
        with pytest.raises(LiaisonError):
            world[3].process(signed_by(world[0], Remove(leaf)))
    many = tuple(Remove(leaf) for leaf in range(20_000))
    message = signed_by(world[0], Commit(many, None), tag=bytes(32))
    with pytest.raises(LiaisonError):
        world[3].process(message)
    assert traces(world) == before


def test_the_untouched_messages_are_taken(world: World) -> None:
    """Else all the refusals above might mean nothing."""
    message = world[0].encrypt(b"text")
    staged = full_commit(world)
    joiner = Client(b"joiner", world.suite.code, world.validator, world.rng)
    body = framing.decode_message(message)

    assert isinstance(framing.decode_group_info(staged.group_info), GroupInfo)
    assert isinstance(body, PrivateMessage)
    assert isinstance(world[3].process(message), group.ApplicationReceived)
    assert isinstance(world[3].process(staged.commit), group.CommitStaged)
    done = world.relay.apply(staged.commit, validator=world.validator, now=NOW)
    assert done.group.epoch == world.relay.epoch + 1
    joined = joiner.join_externally(world.group_info, world.relay.ratchet_tree())
    assert isinstance(world[3].process(joined.commit), group.CommitStaged)
    assert external.own_leaf(
        world.group_info, world.relay.ratchet_tree(), b"0", validator=world.validator, now=NOW
    ) == 0  # fmt: skip
    invitation = Invitation(world)
    assert welcome.bundle_for(invitation.staged.welcome or b"", [invitation.bundle]).ref
    invitation.joiner.join(invitation.staged, invitation.bundle)
