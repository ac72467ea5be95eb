"""Works off what the relay delivers: checks it, decrypts it, stores it.

An item and everything that follows from it (the group's next state, the
message, a receipt to be sent) are stored in one transaction; only then may the
item be acknowledged. An item that comes again is recognised and skipped.

What follows from a message is for `receiving`, from a proposal or a commit for
`handshakes`, from a Welcome for `joining`. Where judging an item lacks something
that the relay may have, it is fetched here, and the item judged again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from liaison.crypto import kdf
from liaison.errors import LiaisonError
from liaison.mls import peek
from liaison.mls.framing import ContentType
from liaison.model import ChannelId
from liaison.wire.frames import Deliver, ItemKind
from liaison_sdk import handshakes, log_told, receiving, refreshing
from liaison_sdk.delivered import Delivered, NotYetError
from liaison_sdk.environment import Environment
from liaison_sdk.joining import Joiner
from liaison_sdk.log_following import LogFollower
from liaison_sdk.store import Transaction, channels, items
from liaison_sdk.store.items import Told

_KINDS: Final = {
    ContentType.APPLICATION: ItemKind.MESSAGE,
    ContentType.PROPOSAL: ItemKind.PROPOSAL,
    ContentType.COMMIT: ItemKind.COMMIT,
}
_BATCH: Final = 64
"""Items in one transaction: one sync of the disk for all of them."""


class Inbound:
    """Takes deliveries, in their order."""

    def __init__(self, environment: Environment, joiner: Joiner, follower: LogFollower) -> None:
        self._env: Final = environment
        self._joiner: Final = joiner
        self._follower: Final = follower
        self._looked_up: tuple[ChannelId, int] | None = None
        self._lacking = NotYetError()

    async def take(self, delivered: Sequence[Deliver]) -> None:
        """Store everything that follows from these items; then they may be acknowledged.

        Raises:
            ConnectionLostError, RemoteError: a Welcome needs something from the
                relay; nothing of it was stored, and it will be delivered again.
            StoreError: the store failed; what was not stored comes again.
        """
        rest = [_as_it_says(item) for item in delivered]
        while rest:
            if rest[0].kind is ItemKind.WELCOME:
                await self._joiner.take(rest.pop(0))
                continue
            batch = list(itertools.takewhile(_needs_no_relay, rest[:_BATCH]))
            taken = await self._env.write(lambda tx, b=batch: self._take_all(tx, b))  # type: ignore[misc]  # a default argument binds the loop's value
            del rest[:taken]
            if taken < len(batch):
                await self._look_up(batch[taken])

    def _take_all(self, tx: Transaction, batch: Sequence[Deliver]) -> int:
        """Store what follows from items; return how many, up to one that something lacks for."""
        for number, item in enumerate(batch):
            if items.is_taken(tx, item.channel, item.seq):
                continue
            try:
                self._take(tx, item, kdf.sha256(item.payload))
            except NotYetError as e:
                self._lacking = e
                return number
        return len(batch)

    async def _look_up(self, item: Deliver) -> None:
        """Fetch what the parties have signed since, or ask the log: then the item is judged.

        Raises:
            ConnectionLostError, RemoteError: that could not be fetched; the item is
                delivered again.
        """
        lacking = self._lacking
        if lacking.agreement is not None:
            await self._follower.require(lacking.agreement, lacking.credentials)
            return
        record = await self._env.read(lambda tx: channels.load(tx, item.channel))
        if record is not None:
            await refreshing.refresh(self._env, record.agreement_id)
        self._looked_up = (item.channel, item.seq)

    def _take(self, tx: Transaction, item: Deliver, digest: bytes) -> None:
        if item.kind is ItemKind.GAP:
            items.take(tx, item.channel, item.seq, digest)
            return
        record = channels.load(tx, item.channel)
        told: Told | None = None
        if items.is_repeated(tx, item.channel, digest):
            # The relay sequenced the same bytes twice; what they say is known.
            told = log_told.of_unread(record, item, digest)
            items.take(tx, item.channel, item.seq, digest, told)
            return
        is_looked_up = self._looked_up == (item.channel, item.seq)
        delivered = Delivered.of(item, digest, self._env.now, is_looked_up=is_looked_up)
        match item.kind:
            case ItemKind.MESSAGE:
                told = receiving.take(self._env, tx, record, delivered)
            case ItemKind.COMMIT if record is not None:
                told = handshakes.take_commit(self._env, tx, record, delivered)
            case ItemKind.PROPOSAL if record is not None:
                told = handshakes.take_proposal(self._env, tx, record, delivered)
        # After what may find that something lacks for it, and before the transaction ends.
        items.take(tx, item.channel, item.seq, digest, told)


def _as_it_says(item: Deliver) -> Deliver:
    """Return an item as what its own bytes say that it is, whatever the relay calls it.

    A message that passed for something else would be taken, found in the log by its digest, and
    shown to nobody.
    """
    try:
        kind = _KINDS[peek.parse_header(item.payload).content_type]
    except LiaisonError:
        return item
    return item if item.kind is kind else replace(item, kind=kind)


def _needs_no_relay(item: Deliver) -> bool:
    return item.kind is not ItemKind.WELCOME
