"""MLS groups between the store and memory.

The store's group is the group. Memory keeps the last one read per channel under
the store's stamp, and a stamp changes with every change, so a cached group is
used only where it equals what is stored. Stamps are random and written with the
group, so one that was rolled back is never found again. Runs inside store
transactions only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from liaison.crypto.x509_path import CertifiedDevice
from liaison.mls import snapshot
from liaison.mls.effects import Member
from liaison.mls.group import Group, Limits
from liaison.mls.protection import MessageKeys
from liaison.model import ChannelId, EndpointId
from liaison.policy.agreement import Agreement
from liaison.trust import certified_leaf
from liaison_sdk.errors import ChannelClosedError
from liaison_sdk.store import Transaction, channels
from liaison_sdk.store.channels import ChannelRecord, GroupBlobs

_KEPT: Final = 64


CertifiedLeaf: TypeAlias = tuple[int, CertifiedDevice]
"""A leaf's place in the tree, and what its certificate says."""


class GroupCache:
    """Groups by channel, each with the stamp of the state that it is."""

    def __init__(self) -> None:
        self._groups: OrderedDict[ChannelId, tuple[bytes, Group]] = OrderedDict()
        self._certified: OrderedDict[tuple[ChannelId, bytes], tuple[CertifiedLeaf, ...]] = (
            OrderedDict()
        )

    def load(self, tx: Transaction, record: ChannelRecord) -> Group:
        """Return the stored group of a channel.

        Raises:
            ChannelClosedError: the device is not a member, so there is none.
        """
        cached = self._groups.get(record.channel)
        if cached is not None and cached[0] == record.stamp:
            return cached[1]
        blobs = channels.load_group(tx, record.channel)
        if blobs is None:
            raise ChannelClosedError(f"this device is not a member of {record.name or 'it'}")
        group = snapshot.restore(blobs.epoch, blobs.ratchets)
        self._keep(record, group)
        return group

    def certified(self, tx: Transaction, record: ChannelRecord) -> tuple[CertifiedLeaf, ...]:
        """Return each leaf of the group with what its certificate says.

        Raises:
            ChannelClosedError: the device is not a member.
        """
        return self._read(record.channel, self.load(tx, record).keys)

    def audience(self, tx: Transaction, record: ChannelRecord) -> frozenset[EndpointId]:
        """Return the endpoints of all devices in the group: whoever can decrypt.

        Raises:
            ChannelClosedError: the device is not a member.
        """
        return frozenset(one.device.endpoint for _, one in self.certified(tx, record))

    def audience_of(self, channel: ChannelId, group: Group, epoch: int) -> frozenset[EndpointId]:
        """Return who could decrypt in an epoch whose keys are still here; nobody where they are not."""
        return frozenset(
            one.device.endpoint
            for keys in (group.keys, *group.past)
            if keys.epoch == epoch
            for _, one in self._read(channel, keys)
        )

    def _read(self, channel: ChannelId, keys: MessageKeys) -> tuple[CertifiedLeaf, ...]:
        # Not by the epoch's number: a relay may invite into another group that has the same.
        key = (channel, keys.context)
        known = self._certified.get(key)
        if known is None:
            # Reading a thousand certificates takes a while, and nobody comes or goes
            # within an epoch.
            known = certified(Member(leaf, node) for leaf, node in keys.members.items())
            self._certified[key] = known
            if len(self._certified) > _KEPT:
                self._certified.popitem(last=False)
        return known

    def save_message(self, tx: Transaction, record: ChannelRecord, group: Group) -> ChannelRecord:
        """Store a group after one message in either direction; return the new record."""
        saved = channels.save_ratchets(tx, record, snapshot.snapshot_ratchets(group))
        self._keep(saved, group)
        return saved

    def save_epoch(self, tx: Transaction, record: ChannelRecord, group: Group) -> ChannelRecord:
        """Store a group whose epoch or pending proposals changed; return the new record."""
        record = replace(record, epoch=group.epoch)
        saved = channels.insert(tx, record, blobs_of(group))
        self._keep(saved, group)
        return saved

    def forget(self, channel: ChannelId) -> None:
        """Drop a channel's group from memory."""
        self._groups.pop(channel, None)

    def _keep(self, record: ChannelRecord, group: Group) -> None:
        self._groups[record.channel] = (record.stamp, group)
        self._groups.move_to_end(record.channel)
        if len(self._groups) > _KEPT:
            self._groups.popitem(last=False)


def certified(members: Iterable[Member]) -> tuple[CertifiedLeaf, ...]:
    """Return what the certificates of leaves say that a validator has accepted."""
    return tuple((one.leaf, certified_leaf(one.leaf_node.credential)) for one in members)


def limits_of(agreement: Agreement, policy: str) -> Limits:
    """Return how much members of a policy's channels keep for late messages."""
    keys = agreement.channel(policy).keys
    return Limits(past_epochs=keys.past_epochs, past_seconds=keys.past_max_age)


def blobs_of(group: Group) -> GroupBlobs:
    """Return a group's snapshot. Secret."""
    return GroupBlobs(snapshot.snapshot_epoch(group), snapshot.snapshot_ratchets(group))
