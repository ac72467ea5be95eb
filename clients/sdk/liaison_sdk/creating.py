"""Opening a channel: a group of one, bound to its agreement, registered at the relay."""

from __future__ import annotations

from dataclasses import replace

from liaison.crypto import suites
from liaison.mls.credentials import X509, Credential
from liaison.mls.extensions import (
    external_senders_extension,
    required_capabilities_extension,
)
from liaison.mls.group import Group, create, group_info
from liaison.model import ChannelId
from liaison.policy.agreement import Agreement
from liaison.policy.evaluate import CreateChannel
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.trust.credentials import relay_sender
from liaison.wire.problems import RemoteError
from liaison_sdk import judgement, key_packages
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.groups import limits_of
from liaison_sdk.store import Transaction, channels, meta, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState


async def open_channel(env: Environment, agreement: Agreement, policy: str, name: str) -> ChannelId:
    """Open a channel with this device as its only member.

    Raises:
        PolicyRefusedError: the agreement does not let this endpoint.
        RemoteError: the relay refused; the channel is forgotten.
        ConnectionLostError: the relay can't be reached; the channel is registered
            at the next connection.
    """
    actor = env.account.device.endpoint
    wanted = CreateChannel(actor, policy)
    await env.read(lambda tx: judgement.decide(env, tx, wanted, agreement).require())
    channel = ChannelId(env.options.rng(16))
    await env.write(lambda tx: _make(env, tx, channel, agreement, policy, name))
    await _register(env, channel)
    return channel


async def resume(env: Environment) -> None:
    """Register the channels whose registration was interrupted."""
    for record in await env.read(channels.load_all):
        if record.state is ChannelState.CREATING:
            await _register(env, record.channel, again=True)


def _make(
    env: Environment,
    tx: Transaction,
    channel: ChannelId,
    agreement: Agreement,
    policy: str,
    name: str,
) -> None:
    group = _group(env, tx, channel, agreement, policy)
    meta.next_state_version(tx)
    record = ChannelRecord(
        channel=channel,
        stamp=b"",
        state=ChannelState.CREATING,
        epoch=group.epoch,
        name=name,
        agreement_id=agreement.agreement_id,
        agreement_version=agreement.version,
        policy=policy,
        epoch_at=env.now,
        leaf_at=env.now,
        versions=((group.epoch, agreement.version),),
        watched_since=env.now,
    )
    env.groups.save_epoch(tx, record, group)
    stays.begin_own(tx, channel, group.epoch)


def _group(
    env: Environment, tx: Transaction, channel: ChannelId, agreement: Agreement, policy: str
) -> Group:
    scheme = suites.suite(agreement.cipher_suite).signature
    sender = relay_sender(agreement.relay, agreement.relay.sender_key(scheme))
    extensions = (
        ChannelBinding.of(channel, agreement, policy).extension(),
        external_senders_extension((sender,)),
        required_capabilities_extension(
            extension_types=(CHANNEL_BINDING_EXTENSION,), credential_types=(X509,)
        ),
    )
    return create(
        agreement.cipher_suite,
        channel.value,
        env.account.signer(scheme),
        Credential.x509(env.account.chain(scheme)),
        lifetime=key_packages.lifetime(env.now),
        rng=env.options.rng,
        now=env.now,
        validator=env.trust.strict_validator(tx, agreement),
        extensions=extensions,
        capabilities=key_packages.CAPABILITIES,
        limits=limits_of(agreement, policy),
    )


async def _register(env: Environment, channel: ChannelId, *, again: bool = False) -> None:
    info, tree = await env.read(lambda tx: _public_part(env, tx, channel))
    try:
        await env.api.create_channel(channel, info, tree)
    except RemoteError as e:
        if e.remote_code == "channel.exists":
            # The answer to an earlier attempt was lost; ours if we are in it.
            await env.api.channel(channel)
        else:
            # Of a second attempt that came too soon, the relay may have it from the first one.
            is_undecided = e.problem.status >= 500 or (again and e.is_rate)
            if not is_undecided:
                await env.write(lambda tx: channels.delete(tx, channel))
            raise
    await env.write(lambda tx: _activate(env, tx, channel))


def _public_part(env: Environment, tx: Transaction, channel: ChannelId) -> tuple[bytes, bytes]:
    record = channels.load(tx, channel)
    if record is None:
        raise KeyError(channel)
    group = env.groups.load(tx, record)
    signer = env.account.signer(group.suite.signature)
    return group_info(group, signer=signer), group.ratchet_tree()


def _activate(env: Environment, tx: Transaction, channel: ChannelId) -> None:
    record = channels.load(tx, channel)
    if record is not None and record.state is ChannelState.CREATING:
        channels.save(tx, replace(record, state=ChannelState.ACTIVE))
        env.announce(tx, Event(EventKind.CHANNEL, channel, ChannelState.ACTIVE.value))
