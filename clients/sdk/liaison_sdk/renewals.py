"""When the keys of each leaf came in, as far as this device has seen it.

A commit brings in the keys of whom it adds, of whoever made it and of whose update it
carries. What counts is when the relay accepted it: everybody has the same time then, and
the relay as well. Of a leaf that was there before this device it is only known that it
has not been renewed since.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from liaison.mls.group import Group
from liaison.policy import membership
from liaison.policy.channel_policy import ChannelPolicy
from liaison_sdk.store.channels import ChannelRecord

_ENTRY: Final = struct.Struct(">IQ")


def known(record: ChannelRecord) -> Mapping[int, int]:
    """Return when the keys of leaves came in, Unix seconds; of others it was not seen."""
    return dict(_ENTRY.iter_unpack(record.renewed))


def after(record: ChannelRecord, before: Group | None, new: Group, at: int) -> ChannelRecord:
    """Return a channel's record with what a commit has renewed.

    Args:
        record: as it was in the epoch before.
        before: the group as it was then; None where this device comes (back) in by `new`.
        new: the group of the new epoch.
        at: Unix seconds, when the relay accepted the commit.
    """
    if before is None:
        return replace(record, renewed=_ENTRY.pack(new.own_leaf, at), watched_since=at)
    seen = known(record)
    keys = {one.leaf: one.leaf_node.encryption_key for one in before.members()}
    renewed = {
        one.leaf: seen.get(one.leaf) if keys.get(one.leaf) == one.leaf_node.encryption_key else at
        for one in new.members()
    }
    packed = (_ENTRY.pack(leaf, time) for leaf, time in renewed.items() if time is not None)
    return replace(record, renewed=b"".join(packed), watched_since=_watched_since(record))


def unseen(record: ChannelRecord, group: Group, policy: ChannelPolicy, now: int) -> list[int]:
    """Return the leaves of others that were not renewed for longer than the policy bears."""
    seen, least = known(record), _watched_since(record)
    return [
        one.leaf
        for one in group.members()
        if one.leaf != group.own_leaf
        and membership.is_unseen(policy, seen.get(one.leaf, least), now)
    ]


def _watched_since(record: ChannelRecord) -> int:
    # A store of a program that did not look: nothing was renewed since its epoch began.
    return record.watched_since or record.epoch_at
