"""A channel from end to end: certificates, agreement, binding, group, and a justified removal."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from liaison.crypto import suites
from liaison.crypto.secret import random_bytes
from liaison.crypto.signing import SignatureScheme
from liaison.envelope import content
from liaison.envelope.content import Content
from liaison.envelope.header import Header
from liaison.mls import external_sender, group, welcome
from liaison.mls.credentials import Credential
from liaison.mls.effects import CommitEffect
from liaison.mls.errors import CredentialInvalidError
from liaison.mls.extensions import external_senders_extension
from liaison.mls.group import Group
from liaison.mls.key_package import KeyPackage
from liaison.mls.key_packages import KeyPackageBundle, new_key_package
from liaison.mls.leaf import Capabilities, Lifetime
from liaison.mls.proposals import Add
from liaison.mls.public_group import PublicGroup
from liaison.model import ChannelId, DeviceId
from liaison.policy import statement
from liaison.policy.errors import RemovalReasonError
from liaison.policy.evaluate import SendMessage, evaluate
from liaison.policy.standing import EVERYONE
from liaison.trust import (
    CHANNEL_BINDING_EXTENSION,
    AgreementValidator,
    ChannelBinding,
    certified_leaf,
)
from liaison.trust.credentials import relay_sender
from tests.core.policy.documents import (
    NOW,
    agreement,
    header,
    relay,
    relay_keys,
    world,
)
from tests.support.world import Device

SUITE = suites.DEFAULT
CHANNEL = ChannelId(bytes(range(16)))
LIFETIME = Lifetime(NOW - 60, NOW + 30 * 86_400)
CAPABILITIES = Capabilities.default(extensions=(CHANNEL_BINDING_EXTENSION,))


def credential(device: Device) -> Credential:
    return Credential.x509(device.chains[SignatureScheme.ED25519])


def key_package(device: Device) -> KeyPackageBundle:
    return new_key_package(
        SUITE,
        device.key,
        credential(device),
        LIFETIME,
        rng=random_bytes,
        capabilities=CAPABILITIES,
    )


@dataclass
class Channel:
    """Two members and the relay's view of their group."""

    nor: Device
    deu: Device
    validator: AgreementValidator
    norwegian: Group
    german: Group
    public: PublicGroup


@pytest.fixture
def channel() -> Channel:
    nor, deu = world().device("nor/defatt-berlin#d1"), world().device("deu/lno-j3#d1")
    validator = AgreementValidator(agreement())
    sender = relay_sender(relay(), relay().sender_key(SignatureScheme.ED25519))
    first = group.create(
        SUITE,
        CHANNEL.value,
        nor.key,
        credential(nor),
        lifetime=LIFETIME,
        rng=random_bytes,
        now=NOW,
        validator=validator,
        extensions=(
            ChannelBinding.of(CHANNEL, agreement(), "liaison").extension(),
            external_senders_extension([sender]),
        ),
        capabilities=CAPABILITIES,
    )
    public = PublicGroup.from_group_info(
        group.group_info(first, signer=nor.key), first.ratchet_tree(), validator=validator, now=NOW
    )
    bundle = key_package(deu)
    staged = group.stage_commit(
        first,
        signer=nor.key,
        rng=random_bytes,
        now=NOW,
        validator=validator,
        by_value=(Add(KeyPackage.parse(bundle.key_package)),),
    )
    assert staged.welcome is not None
    joined = welcome.join(
        staged.welcome,
        [bundle],
        ratchet_tree=staged.ratchet_tree,
        now=NOW,
        validator=validator,
    )
    after = public.apply(staged.commit, validator=validator, now=NOW).group
    return Channel(nor, deu, validator, staged.group, joined, after)


def test_members_and_relay_read_the_same_binding(channel: Channel) -> None:
    for view in (channel.norwegian, channel.german, channel.public):
        binding = ChannelBinding.decode(view.extension(CHANNEL_BINDING_EXTENSION))

        assert binding.channel == CHANNEL
        assert binding.check(agreement()).name == "liaison"


def test_a_message_arrives_with_its_header_and_a_certified_sender(channel: Channel) -> None:
    outer = header()
    inner = Content(random_bytes(16), content.text("Hei"))
    _, message = group.encrypt(
        channel.norwegian,
        inner.encode(),
        signer=channel.nor.key,
        rng=random_bytes,
        authenticated_data=outer.encode(),
    )

    received = group.process(channel.german, message, now=NOW, validator=channel.validator)

    assert isinstance(received, group.ApplicationReceived)
    sender = certified_leaf(received.sender.leaf_node.credential).device
    assert Content.decode(received.plaintext) == inner
    assert sender == DeviceId.parse("nor/defatt-berlin#d1")
    seen = Header.decode(received.authenticated_data)
    request = SendMessage(sender.endpoint, "liaison", seen, len(message), (sender.endpoint,))
    assert evaluate(request, agreement(), NOW, standing=EVERYONE).allow


def test_a_device_of_no_party_does_not_get_in(channel: Channel) -> None:
    swede = key_package(world().device("swe/desk#d1"))

    with pytest.raises(CredentialInvalidError):
        group.stage_commit(
            channel.norwegian,
            signer=channel.nor.key,
            rng=random_bytes,
            now=NOW,
            validator=channel.validator,
            by_value=(Add(KeyPackage.parse(swede.key_package)),),
        )


def test_a_revoked_device_is_proposed_by_the_relay_and_removed_by_a_member(
    channel: Channel,
) -> None:
    reason = statement.encode_removal(world().revoke("DEU", channel.deu))
    proposal = propose(channel, reason)
    queued = group.process(channel.norwegian, proposal, now=NOW, validator=channel.validator)
    assert isinstance(queued, group.ProposalStored)
    check_reason(channel, queued.queued.authenticated_data)

    staged = group.stage_commit(
        queued.group,
        signer=channel.nor.key,
        rng=random_bytes,
        now=NOW,
        validator=channel.validator,
    )

    effect: CommitEffect = staged.effect
    assert [certified_leaf(r.leaf_node.credential).device for r in effect.removed] == [
        channel.deu.device
    ]
    public = channel.public.apply(proposal, validator=channel.validator, now=NOW).group
    public.apply(staged.commit, validator=channel.validator, now=NOW)


def test_a_relay_that_proposes_without_a_good_reason_is_ignored(channel: Channel) -> None:
    other = world().device("deu/lno-j3#d9")
    for reason in (b"", statement.encode_removal(world().revoke("DEU", other))):
        queued = group.process(
            channel.norwegian, propose(channel, reason), now=NOW, validator=channel.validator
        )
        assert isinstance(queued, group.ProposalStored)

        with pytest.raises(RemovalReasonError):
            check_reason(channel, queued.queued.authenticated_data)


def propose(channel: Channel, reason: bytes) -> bytes:
    return external_sender.propose_remove(
        channel.public,
        channel.german.own_leaf,
        signer=relay_keys()[SignatureScheme.ED25519],
        sender_index=0,
        authenticated_data=reason,
    )


def check_reason(channel: Channel, reason: bytes) -> None:
    leaf = channel.norwegian.member(channel.german.own_leaf)
    certified = certified_leaf(leaf.leaf_node.credential)
    statement.verify_removal(
        reason,
        agreement=agreement(),
        policy=agreement().channel("liaison"),
        device=certified.device,
        serial=certified.serial,
        standing=EVERYONE,
        renewed=None,
        now=NOW,
    )
