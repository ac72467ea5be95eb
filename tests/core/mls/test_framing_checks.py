"""What frames a message: who sends it, where it belongs, its signature, tags and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.mls import framing, group, protection
from liaison.mls.errors import (
    DecryptError,
    EpochForgottenError,
    FutureEpochError,
    KeyUsedError,
    MLSError,
    OwnMessageError,
    StaleEpochError,
    TooFarAheadError,
    WrongGroupError,
    WrongWireFormatError,
)
from liaison.mls.framing import (
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderKind,
    WireFormat,
)
from liaison.mls.group import ApplicationReceived, Limits
from liaison.mls.proposals import GroupContextExtensions, Proposal, Remove, Update
from tests.core.mls.support import NOW, Client, World, commit_of, propose, public_message, reissue


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


@pytest.fixture
def world() -> World:
    return World(members=3)


def private(message: bytes) -> PrivateMessage:
    body = framing.decode_message(message)
    assert isinstance(body, PrivateMessage)
    return body


# --- VAL-0101: the signature -----------------------------------------------------------------


def test_a_commit_without_a_good_signature_is_refused(world: World) -> None:
    message = public_message(world[0].commit().commit)
    for signature in (b"", bytes(64), message.authenticated.signature[:-1]):
        content = replace(message.authenticated, signature=signature)
        state = world[0].group
        # The membership tag is right: only the signature is not.
        forged = protection.protect_public(
            state.suite, state.secrets.membership_key, content, state.context.encode()
        )
        refused(world, framing.encode_message(forged), "VAL-0101")


def test_a_member_can_not_sign_as_another(world: World) -> None:
    message = world[0].commit().commit

    forged = reissue(world[0], message, sender=Sender(SenderKind.MEMBER, 2))

    refused(world, forged, "VAL-0101")


def test_a_message_is_signed_for_its_wire_format(world: World) -> None:
    state = world[0].group
    framed = FramedContent(
        state.group_id, state.epoch, Sender(SenderKind.MEMBER, 0), b"", Remove(2)
    )
    context = state.context.encode()
    signed = framing.sign(state.suite, world[0].signer, WireFormat.PRIVATE_MESSAGE, framed, context)
    moved = replace(signed, wire_format=WireFormat.PUBLIC_MESSAGE)
    message = protection.protect_public(state.suite, state.secrets.membership_key, moved, context)

    refused(world, framing.encode_message(message), "VAL-0101")


def test_an_application_message_of_another_signer_is_refused(world: World) -> None:
    state = world[0].group
    content = protection.sign_application(state.keys, world[2].signer, 0, b"forged", b"")
    _, message, _ = protection.protect_private(state.keys, content, rng=world.rng)

    refused(world, framing.encode_message(message), "VAL-0101", relay=False)


# --- VAL-0102, VAL-0103: group and epoch --------------------------------------------------------


def test_a_message_of_another_group_is_refused(world: World) -> None:
    stranger = World(members=1)
    stranger[0].create(b"another group")

    message = stranger[0].commit().commit

    refused(world, message, "VAL-0102")
    with pytest.raises(WrongGroupError):
        world[1].process(stranger[0].encrypt(b"hello"))


def test_a_handshake_of_another_epoch_is_refused(world: World) -> None:
    stale = world[0].commit().commit
    world.accept(world[2], world[2].commit())
    ahead = Client(b"ahead", world.suite.code, world.validator, world.rng)
    ahead.signer, ahead.state = world[0].signer, world[0].commit().group

    refused(world, stale, "VAL-0103")
    refused(world, ahead.commit().commit, "VAL-0103")
    with pytest.raises(StaleEpochError):
        world[1].process(stale)
    with pytest.raises(FutureEpochError):
        world[1].process(ahead.commit().commit)
    with pytest.raises(FutureEpochError):
        world[1].process(ahead.encrypt(b"from the future"))


def test_messages_of_forgotten_epochs_are_refused(world: World) -> None:
    late = world[0].encrypt(b"late")
    world.accept(world[2], world[2].commit())
    forgotten = group.forget_epochs(world[1].group, world[1].group.epoch)

    with pytest.raises(EpochForgottenError):
        group.process(forgotten, late, now=NOW, validator=world.validator)
    assert isinstance(world[1].process(late), ApplicationReceived)


def test_past_epochs_are_kept_by_count() -> None:
    world = World(members=2, limits=Limits(past_epochs=2))
    messages = []
    for _ in range(4):
        messages.append(world[0].encrypt(b"late"))
        world.accept(world[0], world[0].commit())

    assert world[1].group.epochs == (5, 4, 3)
    for message in messages[:2]:
        with pytest.raises(EpochForgottenError):
            world[1].process(message)
    for message in messages[2:]:
        assert isinstance(world[1].process(message), ApplicationReceived)


# --- VAL-0104, VAL-0105, VAL-0106: senders and what they may send -------------------------------


def test_a_sender_that_is_nobody_is_refused(world: World) -> None:
    commit = world[0].commit().commit
    proposal = world[0].propose_remove(2)

    refused(world, reissue(world[0], commit, sender=Sender(SenderKind.MEMBER, 77)), "VAL-0104")
    refused(world, reissue(world[0], proposal, sender=Sender(SenderKind.EXTERNAL, 1)), "VAL-0104")


def test_a_removed_member_is_nobody(world: World) -> None:
    world.accept(world[0], world[0].commit(Remove(1)))
    commit = world[0].commit().commit
    world.clients[b"1"] = world[2]

    refused(world, reissue(world[0], commit, sender=Sender(SenderKind.MEMBER, 1)), "VAL-0104")


@pytest.mark.parametrize(
    "kind", [SenderKind.EXTERNAL, SenderKind.NEW_MEMBER_PROPOSAL], ids=["external", "new member"]
)
def test_who_is_outside_can_not_commit(world: World, kind: SenderKind) -> None:
    message = reissue(world[0], world[0].commit().commit, sender=Sender(kind, 0))

    refused(world, message, "VAL-0105")


@pytest.mark.parametrize("kind", [SenderKind.EXTERNAL, SenderKind.NEW_MEMBER_PROPOSAL])
def test_who_is_outside_proposes_only_what_it_may(world: World, kind: SenderKind) -> None:
    update = public_message(world[0].propose_update()).framed.content
    assert isinstance(update, Update)

    message = reissue(world[0], propose(world[0], update), sender=Sender(kind, 0))

    refused(world, message, "VAL-0105")


def test_application_data_must_be_encrypted(world: World) -> None:
    state = world[0].group
    framed = FramedContent(
        state.group_id, state.epoch, Sender(SenderKind.MEMBER, 0), b"", b"in the clear"
    )
    context = state.context.encode()
    content = framing.sign(state.suite, world[0].signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    tag = state.suite.mac(state.secrets.membership_key, b"whatever")

    message = framing.encode_message(PublicMessage(content, tag))

    with pytest.raises(MLSError):
        world[1].process(message)
    with pytest.raises(MLSError) as caught:
        world.relay.apply(message, validator=world.validator, now=NOW)
    assert caught.value.check == "VAL-0106"
    with pytest.raises(MLSError) as caught:
        protection.protect_public(state.suite, state.secrets.membership_key, content, context)
    assert caught.value.check == "VAL-0106"


def test_the_relay_takes_no_private_message_and_nobody_a_welcome(world: World) -> None:
    with pytest.raises(WrongWireFormatError):
        world.relay.apply(world[0].encrypt(b"x"), validator=world.validator, now=NOW)
    with pytest.raises(WrongWireFormatError):
        world[1].process(world.group_info)


# --- VAL-0107, VAL-0108: the tags ------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tag: b"",
        lambda tag: tag[:-1],
        lambda tag: tag[:16],
        lambda tag: tag + b"\0",
        lambda tag: bytes([tag[0] ^ 1]) + tag[1:],
        lambda tag: tag[:-1] + bytes([tag[-1] ^ 1]),
    ],
    ids=["missing", "short", "half", "long", "first bit", "last bit"],
)
def test_both_tags_must_be_whole_and_right(world: World, spoil: Callable[[bytes], bytes]) -> None:
    commit = world[0].commit().commit
    message = public_message(commit)
    assert message.membership_tag is not None
    assert message.authenticated.confirmation_tag is not None

    without = framing.encode_message(replace(message, membership_tag=spoil(message.membership_tag)))
    tag = spoil(message.authenticated.confirmation_tag)
    unconfirmed = reissue(world[0], commit, tag=tag)

    refused(world, without, "VAL-0107", relay=False)
    refused(world, unconfirmed, "VAL-0108", relay=not tag)


def test_a_relay_can_not_make_a_member_s_message(world: World) -> None:
    """It has no membership key; a signature it saw does not help."""
    message = public_message(world[0].propose_remove(2))

    forged = replace(message, membership_tag=world.suite.mac(bytes(32), b""))

    refused(world, framing.encode_message(forged), "VAL-0107", relay=False)


# --- VAL-0109, VAL-0110: inside a PrivateMessage --------------------------------------------------


def test_padding_is_zeros(world: World) -> None:
    keys = world[0].group.keys
    content = protection.sign_application(keys, world[0].signer, 0, b"text", b"")
    plain = framing.encode_content(b"text") + content.encode_auth()

    for padding, good in ((bytes(9), True), (bytes(8) + b"\1", False), (b"\1" + bytes(8), False)):
        message = sealed(world[0], plain + padding)
        if good:
            assert isinstance(world[1].process(message), ApplicationReceived)
        else:
            refused(world, message, "VAL-0109", relay=False)
    refused(world, sealed(world[0], plain[:-1]), "VAL-0111", relay=False)


def sealed(client: Client, plain: bytes) -> bytes:
    """Encrypt any bytes as the content of an application message."""
    state = client.group
    sender = Sender(SenderKind.MEMBER, state.own_leaf)
    framed = FramedContent(state.group_id, state.epoch, sender, b"", b"")
    _, message, _ = protection.seal(state.keys, framed, plain, client.rng)
    return framing.encode_message(message)


@pytest.mark.parametrize("leaf", [3, 77, 0xFFFF_FFFF])
def test_sender_data_names_a_member(world: World, leaf: int) -> None:
    keys = world[0].group.keys
    message = private(world[0].encrypt(b"text"))
    key, nonce = protection.sender_data_key(keys, message.ciphertext)
    data = leaf.to_bytes(4, "big") + bytes(8)
    aad = (
        bytes([len(message.group_id)])
        + message.group_id
        + message.epoch.to_bytes(8, "big")
        + bytes([message.content_type])
    )
    forged = replace(message, encrypted_sender_data=world.suite.aead_seal(key, nonce, aad, data))

    refused(world, framing.encode_message(forged), "VAL-0110", relay=False)


# --- VAL-0112, VAL-0113: one key, one message -----------------------------------------------------


def test_a_replayed_message_is_refused(world: World) -> None:
    message = world[0].encrypt(b"once")
    world[1].receive(message)
    for _ in range(3):
        world[1].receive(world[0].encrypt(b"more"))

    refused(world, message, "VAL-0112", relay=False)
    with pytest.raises(KeyUsedError) as caught:
        world[1].process(message)
    assert caught.value.sender_leaf == 0


def test_a_message_that_was_refused_did_not_use_its_key_up(world: World) -> None:
    message = world[0].encrypt(b"text", b"header")
    forged = replace(private(message), authenticated_data=b"hoader")

    with pytest.raises(DecryptError):
        world[1].process(framing.encode_message(forged))

    assert isinstance(world[1].receive(message), ApplicationReceived)


def test_skips_are_bounded() -> None:
    world = World(members=2, limits=Limits(forward=4, skipped=2))
    messages = [world[0].encrypt(b"%d" % number) for number in range(10)]

    with pytest.raises(TooFarAheadError) as caught:
        world[1].process(messages[5])
    assert caught.value.check == "VAL-0113"
    world[1].receive(messages[4])

    for number in (0, 1):
        with pytest.raises(KeyUsedError):
            world[1].process(messages[number])
    for number in (2, 3, 8):
        world[1].receive(messages[number])


def test_keys_that_were_used_are_gone_from_the_state(world: World) -> None:
    message = world[0].encrypt(b"text")
    before = world[1].group.keys.tree
    world[1].receive(message)
    after = world[1].group.keys.tree

    used = set(before.nodes.values())
    left = set(after.nodes.values())
    for pair in after.ratchets.values():
        left |= {ratchet.secret for ratchet in pair}
    assert used.isdisjoint(left)
    assert world[1].group.secrets.encryption == b""


def test_own_messages_are_recognised(world: World) -> None:
    message = world[0].encrypt(b"text")

    with pytest.raises(OwnMessageError):
        world[0].process(message)


@cache
def samples() -> tuple[World, bytes, bytes]:
    """A world of two, a message and a commit; nobody processes them."""
    world = World(members=2)
    return world, world[0].encrypt(b"text", b"header"), world[0].commit().commit


@given(data=st.data())
def test_a_message_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    world, message, _ = samples()
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    flipped = bytearray(message)
    flipped[bit // 8] ^= 1 << bit % 8

    with pytest.raises(LiaisonError):
        world[1].process(bytes(flipped))


@given(data=st.data())
def test_a_commit_with_any_bit_flipped_is_refused(data: st.DataObject) -> None:
    world, _, message = samples()
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    flipped = bytearray(message)
    flipped[bit // 8] ^= 1 << bit % 8

    with pytest.raises(LiaisonError):
        world[1].process(bytes(flipped))


@given(data=st.binary(max_size=200), cut=st.integers(0, 300))
def test_garbage_raises_nothing_but_typed_errors(data: bytes, cut: int) -> None:
    world, text, commit = samples()
    for message in (data, commit[:cut], text[:cut]):
        with pytest.raises(LiaisonError):
            world[1].process(message)
        with pytest.raises(LiaisonError):
            world.relay.apply(message, validator=world.validator, now=NOW)


def test_messages_are_padded_to_buckets(world: World) -> None:
    sizes = {len(private(world[0].encrypt(bytes(length))).ciphertext) for length in range(100)}
    large = len(private(world[0].encrypt(bytes(70_000))).ciphertext)

    assert sizes == {256 + 16}
    assert large == 2 * 65_536 + 16


def test_a_proposal_that_breaks_nothing_is_kept(world: World) -> None:
    proposals: list[Proposal] = [Remove(2), GroupContextExtensions(world.extensions)]
    for proposal in proposals:
        world.deliver(propose(world[0], proposal), but=world[0])

    assert [queued.proposal for queued in world[1].group.pending] == proposals
    assert commit_of(world[1].commit().commit).proposals
