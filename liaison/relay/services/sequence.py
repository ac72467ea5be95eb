"""Giving items their numbers, and telling readers once they are durable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from liaison.fanout import Bus, topics
from liaison.model import Precedence
from liaison.relay.services.tail import Tail
from liaison.relay.work import Work
from liaison.storage import channels, items
from liaison.storage.channels import ChannelRow
from liaison.storage.items import Item
from liaison.storage.tables import HANDSHAKE_LANE
from liaison.values import dataclass
from liaison.wire.frames import ItemKind

IDENT: Final = 16
"""Bytes of its digest that a handshake is found again by."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A commit or proposal to be sequenced; `sender` is None for the relay's own."""

    kind: ItemKind
    payload: bytes
    sender: int | None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the payload."""
        return hashlib.sha256(self.payload).digest()

    @property
    def ident(self) -> bytes:
        """Sixteen bytes that make a resend recognisable."""
        return self.digest[:IDENT]


@dataclass(frozen=True)
class Sequencer:
    """Appends items to channels that the caller has locked."""

    bus: Bus
    tail: Tail

    async def append(self, work: Work, new: Sequence[Item]) -> None:
        """Store items and, after the commit, wake the channels' readers."""
        await items.append(work.tx, new)
        work.after_commit(lambda: self._publish(new))

    async def handshakes(
        self, work: Work, row: ChannelRow, new: Sequence[Handshake], *, now_ms: int
    ) -> int:
        """Append handshakes of the channel's current epoch; return the last number."""
        numbered = [
            Item(
                channel=row.key,
                seq=row.head + count,
                kind=one.kind,
                lane=HANDSHAKE_LANE,
                precedence=Precedence.ROUTINE,
                epoch=row.epoch,
                sender=one.sender,
                message_id=one.ident,
                accepted_at=now_ms,
                expires_at=None,
                size=len(one.payload),
                digest=one.digest,
                payload=one.payload,
            )
            for count, one in enumerate(new, 1)
        ]
        await self.append(work, numbered)
        head = row.head + len(numbered)
        await channels.set_heads(work.tx, {row.key: head})
        return head

    def _publish(self, new: Sequence[Item]) -> None:
        # First the memory, then the wake-up: who is woken finds it there.
        self.tail.append(new)
        for channel in dict.fromkeys(item.channel for item in new):
            self.bus.wake(topics.channel(channel))
