"""What items have to say in the log, derived from the items themselves.

By the same words as the relay's (`liaison.trust.log_items`), and from nothing that the relay has
said: from headers and signatures that the group has checked, and from what a commit did to the
group. `log_settling` compares it with what the log says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from liaison.envelope.header import Header
from liaison.errors import LiaisonError
from liaison.mls import extensions, peek
from liaison.mls.effects import CommitEffect, QueuedProposal
from liaison.mls.framing import SenderKind
from liaison.mls.group import Group
from liaison.model import DeviceId
from liaison.tlog.fields import EntryType
from liaison.trust import CHANNEL_BINDING_EXTENSION, ChannelBinding, log_items
from liaison.wire.frames import Deliver
from liaison_sdk.store.channels import ChannelRecord
from liaison_sdk.store.items import Told
from liaison_sdk.trust_store import device_of

_SENDER: Final = ("party", "sender")


def of_message(
    sender: DeviceId,
    header: Header,
    digest: bytes,
    *,
    epoch: int,
    size: int,
    time_ms: int,
    version: int,
) -> Told:
    """Return what a message has to say: one that was decrypted, or that was sent from here."""
    fields = log_items.message(sender, header, digest)
    type_ = log_items.type_of(header).value
    return Told(type_, epoch, size, time_ms, version, fields)


def of_unread(record: ChannelRecord | None, item: Deliver, digest: bytes) -> Told | None:
    """Return what a message has to say that was not decrypted here: who has sent it is not known.

    Its header is not authenticated, but the relay was given the same bytes.
    """
    try:
        outer = peek.parse_header(item.payload)
        header = Header.decode(outer.authenticated_data)
    except LiaisonError:
        return None
    return Told(
        log_items.type_of(header).value,
        outer.epoch,
        len(item.payload),
        item.time_ms,
        None if record is None else dict(record.versions).get(outer.epoch),
        log_items.message(None, header, digest),
        _SENDER,
    )


def of_proposal(
    record: ChannelRecord,
    item: Deliver,
    digest: bytes,
    sender: DeviceId | None,
    *,
    known: bool = True,
) -> Told:
    """Return what a proposal has to say.

    Args:
        record: the channel.
        item: the proposal.
        digest: SHA-256 of it.
        sender: whose it is; None for the relay's own.
        known: whether that is known.
    """
    return Told(
        EntryType.ACCEPTED.value,
        item.epoch,
        len(item.payload),
        item.time_ms,
        dict(record.versions).get(item.epoch),
        log_items.proposal(sender, digest),
        () if known else _SENDER,
    )


def proposer(group: Group, queued: QueuedProposal) -> DeviceId | None:
    """Return who has made a proposal; None where it is the relay's own."""
    if queued.sender.kind is not SenderKind.MEMBER:
        return None
    return device_of(group.member(queued.sender.index).leaf_node.credential)


def of_commit(
    before: Group | None, effect: CommitEffect, digest: bytes, *, size: int, time_ms: int = 0
) -> Told:
    """Return what a commit has to say.

    Args:
        before: the group that it changes; None where this device comes back by it.
        effect: what it does.
        digest: SHA-256 of it.
        size: in bytes.
        time_ms: when it was accepted; filled in later for one that was not yet.
    """
    removed = [device_of(one.leaf_node.credential) for one in effect.removed]
    added = [device_of(one.leaf_node.credential) for one in effect.added]
    sender: DeviceId | None = None
    if effect.external:
        # It replaces its maker's own leaf; one that does not is not followed.
        sender = removed[0] if len(removed) == 1 else None
        added += removed[:1]
    elif before is not None:
        sender = device_of(before.member(effect.committer).leaf_node.credential)
    unknown: tuple[str, ...] = ()
    fields: Mapping[str, str | int | tuple[str, ...] | None] = {}
    if sender is None:
        unknown = (*_SENDER, "added", "removed")
    else:
        fields = log_items.commit(sender, digest, added=added, removed=removed)
    return Told(
        EntryType.COMMIT.value, effect.epoch - 1, size, time_ms, _version(effect), fields, unknown
    )


def _version(effect: CommitEffect) -> int | None:
    """Return the version that the group is bound to after a commit."""
    data = extensions.find(effect.extensions_after, CHANNEL_BINDING_EXTENSION)
    try:
        return None if data is None else ChannelBinding.decode(data).version
    except LiaisonError:
        return None
