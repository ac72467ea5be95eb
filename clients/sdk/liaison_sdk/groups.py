"""MLS groups between the store and memory.

The store's group is the group. Memory keeps the last one read per channel under
the store's stamp, and a stamp changes with every change, so a cached group is
used only where it equals what is stored. Runs inside store transactions only.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from liaison.mls import snapshot
from liaison.mls.group import Group
from liaison.model import ChannelId
from liaison_sdk.errors import ChannelClosedError
from liaison_sdk.store import Transaction, channels
from liaison_sdk.store.channels import ChannelRecord, GroupBlobs

_KEPT: Final = 64


class GroupCache:
    """Groups by channel, each with the stamp of the state that it is."""

    def __init__(self) -> None:
        self._groups: OrderedDict[ChannelId, tuple[bytes, Group]] = OrderedDict()

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

    def save_message(self, tx: Transaction, record: ChannelRecord, group: Group) -> ChannelRecord:
        """Store a group after one message in either direction; return the new record."""
        saved = channels.save_ratchets(tx, record, snapshot.snapshot_ratchets(group))
        # Only once it is durable: a rolled back group must never be used again.
        tx.after_commit(lambda: self._keep(saved, group))
        return saved

    def save_epoch(self, tx: Transaction, record: ChannelRecord, group: Group) -> ChannelRecord:
        """Store a group whose epoch or pending proposals changed; return the new record."""
        record = replace(record, epoch=group.epoch)
        saved = channels.insert(tx, record, blobs_of(group))
        tx.after_commit(lambda: self._keep(saved, group))
        return saved

    def forget(self, channel: ChannelId) -> None:
        """Drop a channel's group from memory."""
        self._groups.pop(channel, None)

    def _keep(self, record: ChannelRecord, group: Group) -> None:
        self._groups[record.channel] = (record.stamp, group)
        self._groups.move_to_end(record.channel)
        if len(self._groups) > _KEPT:
            self._groups.popitem(last=False)


def blobs_of(group: Group) -> GroupBlobs:
    """Return a group's snapshot. Secret."""
    return GroupBlobs(snapshot.snapshot_epoch(group), snapshot.snapshot_ratchets(group))
