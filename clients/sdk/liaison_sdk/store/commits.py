"""Own commits that the relay has not ruled on: staged, stored, and only then sent."""

from __future__ import annotations

from typing import Any

from liaison.crypto import kdf
from liaison.envelope import cbor
from liaison.model import ChannelId
from liaison.values import dataclass
from liaison_sdk.store.base import Transaction
from liaison_sdk.store.channels import GroupBlobs


@dataclass(frozen=True, slots=True)
class StagedRecord:
    """A commit with what the group becomes if it is accepted.

    Args:
        channel: its channel.
        epoch: the epoch that it would end.
        external: whether it joins anew, in the place of the own old leaf.
        commit, welcome, group_info: what is uploaded.
        blobs: the new epoch's group. Secret.
        fresh_leaf: whether it gives the own leaf a new key.
        state_version: the store's, when it was staged.
        told: what it has to say in the log, encoded; empty where that was not noted.
    """

    channel: ChannelId
    epoch: int
    external: bool
    commit: bytes
    welcome: bytes | None
    group_info: bytes
    blobs: GroupBlobs
    fresh_leaf: bool
    state_version: int
    told: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the commit: names it in the relay's answers and deliveries."""
        return kdf.sha256(self.commit)


def load(tx: Transaction, channel: ChannelId) -> StagedRecord | None:
    """Return the channel's staged commit, or None."""
    row = tx.one("SELECT epoch, body FROM commits WHERE channel = ?", (channel.value,))
    if row is None:
        return None
    item: Any = cbor.decode(tx.unseal(_label(channel), row[1]))
    external, commit, welcome, group_info, epoch_blob, ratchets, fresh_leaf, version, *told = item
    return StagedRecord(
        channel=channel,
        epoch=row[0],
        external=external,
        commit=commit,
        welcome=welcome,
        group_info=group_info,
        blobs=GroupBlobs(epoch_blob, ratchets),
        fresh_leaf=fresh_leaf,
        state_version=version,
        # One that an earlier program has staged has nothing there.
        told=told[0] if told else b"",
    )


def save(tx: Transaction, record: StagedRecord) -> None:
    """Keep a staged commit, in the place of an earlier one."""
    item: list[Any] = [
        record.external,
        record.commit,
        record.welcome,
        record.group_info,
        record.blobs.epoch,
        record.blobs.ratchets,
        record.fresh_leaf,
        record.state_version,
        record.told,
    ]
    tx.execute(
        "INSERT OR REPLACE INTO commits (channel, epoch, digest, body) VALUES (?, ?, ?, ?)",
        (
            record.channel.value,
            record.epoch,
            record.digest,
            tx.seal(_label(record.channel), cbor.encode(item)),
        ),
    )


def delete(tx: Transaction, channel: ChannelId) -> None:
    """Forget the staged commit: it was merged, or it lost."""
    tx.execute("DELETE FROM commits WHERE channel = ?", (channel.value,))


def waiting(tx: Transaction) -> list[ChannelId]:
    """Return the channels that have one."""
    return [ChannelId(row[0]) for row in tx.all("SELECT channel FROM commits")]


def _label(channel: ChannelId) -> str:
    return f"staged commit {channel}"
