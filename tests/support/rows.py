"""Channels, devices and items as bare rows, for tests that need no MLS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.model import DeviceId
from liaison.relay.services.callers import DeviceCaller
from liaison.storage import agreements, channels, devices, items, members, parties
from liaison.storage.channels import GroupRow
from liaison.storage.devices import NewCertificate
from liaison.storage.items import Item
from liaison.storage.tables import HANDSHAKE_LANE

FOREVER = 1 << 50


@dataclass(frozen=True)
class Row:
    """An item to be made: kind 0 is a message, 1 a commit, 2 a proposal."""

    kind: int = 0
    precedence: int = 1
    epoch: int = 0
    sender: int | None = None
    payload: bytes = b"payload"


async def add_device(tx: AsyncConnection, name: str) -> DeviceCaller:
    """A registered device with one certificate."""
    device = DeviceId.parse(name)
    party = await parties.save(tx, str(device.party), b"{}", now_ms=0)
    key = await devices.register(tx, name, str(device.endpoint), party, now_ms=0)
    fingerprint = hashlib.sha256(name.encode()).digest()
    new = NewCertificate("ed25519", fingerprint, b"public", name[-30:], (b"der",), FOREVER)
    await devices.add_certificate(tx, key, new)
    (row,) = await devices.by_fingerprint(tx, name, fingerprint)
    return DeviceCaller(device, key, row.key, device.party, party)


async def add_channel(tx: AsyncConnection, id_: bytes, *, past_epochs: int = 8) -> int:
    """A channel under an agreement that says nothing."""
    row = await agreements.find(tx, "rows")
    if row is None:
        party = await parties.save(tx, "NOR", b"{}", now_ms=0)
        await agreements.add(tx, "rows", 1, bytes(32), b"{}", [party], now_ms=0)
        row = await agreements.find(tx, "rows")
    assert row is not None
    key = await channels.add(
        tx,
        id=id_,
        group_id=id_,
        agreement=row.key,
        policy="liaison",
        suite=1,
        epoch=0,
        oldest_epoch=0,
        past_epochs=past_epochs,
        head=0,
        group_version=1,
        created_at=0,
    )
    await channels.add_group(tx, key, GroupRow(b"", b""))
    return key


async def add_member(
    tx: AsyncConnection, channel: int, device: int, leaf: int, *, seq: int = 0, epoch: int = 0
) -> int:
    """A member since a commit."""
    return await members.join(tx, channel, device, leaf, f"s{leaf}", seq=seq, epoch=epoch)


async def add_items(
    tx: AsyncConnection, channel: int, rows: Sequence[Row], *, first: int = 1
) -> list[Item]:
    """Items with the numbers from `first` on."""
    new = [
        Item(
            channel=channel,
            seq=seq,
            kind=row.kind,
            lane=row.precedence if row.kind == 0 else HANDSHAKE_LANE,
            precedence=row.precedence if row.kind == 0 else 1,
            epoch=row.epoch,
            sender=row.sender,
            message_id=seq.to_bytes(16, "big"),
            accepted_at=1000 + seq,
            expires_at=None,
            size=len(row.payload),
            digest=hashlib.sha256(row.payload).digest(),
            payload=row.payload,
        )
        for seq, row in enumerate(rows, first)
    ]
    await items.append(tx, new)
    await channels.set_heads(tx, {channel: first - 1 + len(rows)})
    return new
