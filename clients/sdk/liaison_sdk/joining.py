"""Coming into a channel by a Welcome.

What the Welcome needs beside itself (the tree, the agreement, revocation lists)
is fetched first; then group, channel and the used-up key package change in one
transaction. The relay's hint which agreement it is about is only a hint: the
group's own binding decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from liaison.crypto import kdf, suites
from liaison.errors import LiaisonError, RefusedError, UnavailableError, VerificationError
from liaison.mls import extensions as mls_extensions
from liaison.mls import framing, key_schedule
from liaison.mls import welcome as welcomes
from liaison.mls.extensions import Extension
from liaison.mls.group import Group
from liaison.mls.key_packages import KeyPackageBundle
from liaison.mls.public_group import welcome_recipients
from liaison.model import ChannelId
from liaison.policy import membership
from liaison.policy.agreement import Agreement
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding
from liaison.trust.credentials import relay_sender
from liaison.wire.frames import Deliver
from liaison.wire.problems import RemoteError
from liaison_sdk import refreshing
from liaison_sdk.environment import Environment
from liaison_sdk.events import Event, EventKind
from liaison_sdk.groups import limits_of
from liaison_sdk.store import Transaction, channels, commits, items, key_packages, stays
from liaison_sdk.store.channels import ChannelRecord, ChannelState, GroupBlobs

CHANNEL_NAME_EXTENSION: Final = 0xF0A2
"""GroupInfo extension of a Welcome, encrypted with it: the channel's name for its members."""
MAX_NAME: Final = 200


class BadInvitationError(VerificationError):
    """The group that the Welcome leads to is not the channel that it should be."""

    code = "channel.bad_invitation"


class NotForUsError(RefusedError):
    """The agreement does not let this endpoint be a member of the channel."""

    code = "channel.not_for_us"


def name_extension(name: str) -> Extension:
    """Return the extension that tells joiners a channel's name."""
    return Extension(CHANNEL_NAME_EXTENSION, name[:MAX_NAME].encode())


class Joiner:
    """Takes Welcomes."""

    def __init__(self, environment: Environment) -> None:
        self._env: Final = environment

    async def take(self, item: Deliver) -> None:
        """Join the channel, or note why that is not possible.

        Raises:
            ConnectionLostError, RemoteError: something could not be fetched; it is
                to be tried again.
        """
        env = self._env
        if await env.read(lambda tx: items.is_taken(tx, item.channel, item.seq)):
            return
        missing: LiaisonError | None = None
        fetched: tuple[Agreement, bytes] | None = None
        try:
            fetched = await self._fetch(item)
        except UnavailableError:
            raise
        except LiaisonError as e:
            if isinstance(e, RemoteError) and refreshing.may_pass(e):
                raise
            missing = e

        def join(tx: Transaction) -> None:
            if items.is_taken(tx, item.channel, item.seq):
                return
            items.take(tx, item.channel, item.seq, kdf.sha256(item.payload))
            if fetched is None:
                self._note_failure(tx, item.channel, missing or BadInvitationError())
                return
            try:
                self._join(tx, item, *fetched)
            except LiaisonError as e:
                self._note_failure(tx, item.channel, e)

        await env.write(join)

    async def _fetch(self, item: Deliver) -> tuple[Agreement, bytes]:
        env = self._env
        hint = await env.api.channel(item.channel)
        agreement = await env.trust.fetch_agreement(
            env.api, env.store, hint.agreement, hint.agreement_version
        )
        await env.trust.revocations.refresh(env.api, env.store, agreement)
        await refreshing.statements(env, agreement.agreement_id)
        return agreement, (await env.api.tree(item.channel, item.epoch)).tree

    def _join(self, tx: Transaction, item: Deliver, agreement: Agreement, tree: bytes) -> None:
        env = self._env
        refs = welcome_recipients(item.payload)
        bundles = [found for ref in refs if (found := key_packages.load(tx, ref)) is not None]
        used = welcomes.bundle_for(item.payload, bundles)
        now = min(item.time_ms // 1000, env.now)
        joined = welcomes.join(
            item.payload,
            [used],
            ratchet_tree=tree,
            now=now,
            validator=env.trust.validator(agreement),
        )
        binding = check_channel(env, item.channel, agreement, joined)
        known = channels.load(tx, item.channel)
        if known is not None:
            check_not_back(known, binding)
        # The policy's name stands inside the Welcome.
        joined = replace(joined, limits=limits_of(agreement, binding.policy))
        record = ChannelRecord(
            channel=item.channel,
            stamp=b"",
            state=ChannelState.ACTIVE,
            epoch=joined.epoch,
            name=_name(_extensions(item.payload, used), item.channel),
            agreement_id=agreement.agreement_id,
            agreement_version=agreement.version,
            policy=binding.policy,
            epoch_at=now,
            leaf_at=now,
            versions=((joined.epoch, agreement.version),),
            watched_since=now,
        )
        commits.delete(tx, item.channel)
        env.groups.save_epoch(tx, record, joined)
        stays.begin(tx, item.channel, item.seq, joined.epoch, welcomed=True)
        if not used.last_resort:
            key_packages.delete(tx, used.ref)
        env.announce(tx, Event(EventKind.CHANNEL, item.channel, ChannelState.ACTIVE.value))

    def _note_failure(self, tx: Transaction, channel: ChannelId, error: LiaisonError) -> None:
        """The device has a leaf that it can't use; the resync replaces it, where that helps."""
        env = self._env
        known = channels.load(tx, channel)
        record = known or ChannelRecord(
            channel=channel,
            stamp=b"",
            state=ChannelState.STALE,
            epoch=0,
            name=_unnamed(channel),
            agreement_id="",
            agreement_version=0,
            policy="",
        )
        reason = f"the invitation can't be used: {error.message}"
        record = replace(record, state=ChannelState.STALE, reason=reason)
        if known is None:
            channels.insert(tx, record, GroupBlobs(b"", b""))
        channels.forget_group(tx, record)
        env.announce(tx, Event(EventKind.RESYNC, channel, reason))


def check_channel(
    env: Environment, channel: ChannelId, agreement: Agreement, group: Group
) -> ChannelBinding:
    """Check that a group is this channel, under this agreement, with its relay and suite.

    Raises:
        BadInvitationError, BindingError, BindingMismatchError: it is another.
        NotForUsError: this endpoint may not be a member.
    """
    binding = ChannelBinding.decode(group.extension(CHANNEL_BINDING_EXTENSION))
    policy = binding.check(agreement)
    if binding.channel != channel:
        raise BadInvitationError("the group is bound to another channel")
    if group.suite.code != agreement.cipher_suite:
        raise BadInvitationError("the group does not use the agreement's cipher suite")
    senders = mls_extensions.external_senders(group.context.extensions)
    if senders != (
        relay_sender(agreement.relay, agreement.relay.sender_key(group.suite.signature)),
    ):
        raise BadInvitationError("the group lets someone else than the relay propose")
    member = membership.may_be_member(agreement, policy, env.account.device.endpoint, env.now)
    if not member.allow:
        raise NotForUsError(f"{member.reason} under {policy.name}")
    return binding


def check_not_back(record: ChannelRecord, binding: ChannelBinding) -> None:
    """Check that a channel that is known here is entered under its agreement, and no older version.

    Raises:
        BadInvitationError: the group is bound to what the channel was bound to before, or
            never was.
    """
    if not record.agreement_id:
        return
    if binding.agreement_id != record.agreement_id or binding.version < record.agreement_version:
        raise BadInvitationError(
            f"the channel is under {record.agreement_id} version {record.agreement_version}, the"
            f" group is bound to {binding.agreement_id} version {binding.version}"
        )


def _extensions(welcome: bytes, used: KeyPackageBundle) -> tuple[Extension, ...]:
    """Return the extensions of a Welcome's GroupInfo; the group was joined by it already."""
    message = framing.decode_welcome(welcome)
    suite = suites.suite(message.cipher_suite)
    entry = next(entry for entry in message.secrets if entry.new_member == used.ref)
    opened = welcomes.open_secrets(suite, message, entry, used.init_private)
    psk_secret = key_schedule.psk_secret(suite, ())
    member = key_schedule.member_secret(suite, opened.joiner_secret, psk_secret)
    return welcomes.open_group_info(suite, message, member).extensions


def _name(extensions: tuple[Extension, ...], channel: ChannelId) -> str:
    data = mls_extensions.find(extensions, CHANNEL_NAME_EXTENSION)
    text = (data or b"").decode("utf-8", errors="replace")[:MAX_NAME].strip()
    return text if text and text.isprintable() else _unnamed(channel)


def _unnamed(channel: ChannelId) -> str:
    return f"channel-{str(channel)[:8]}"
