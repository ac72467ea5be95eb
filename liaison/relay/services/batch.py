"""One batch of deliveries: what was chosen for a reader, in order, with its payloads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import field
from typing import Final

from liaison.model import ChannelId, Epoch, Precedence, Seq
from liaison.relay.services.queue import StayQueue
from liaison.relay.services.tail import Tail
from liaison.storage.items import Payload
from liaison.storage.joins import Join
from liaison.storage.unread import Carried, Waiting
from liaison.values import dataclass
from liaison.wire.frames import Deliver, ItemKind

_KINDS: Final = {kind.value: kind for kind in ItemKind}
_LEVELS: Final = {level.value: level for level in Precedence}


@dataclass(slots=True)
class Batch:
    """What was chosen, in order.

    Args:
        limit: items at most.
        max_bytes: of payload at most; one item that is larger comes alone.
        tail: the newest items; what is not among them is `missing` until it was read.
    """

    limit: int
    max_bytes: int
    tail: Tail
    _bytes: int = 0
    _chosen: list[Deliver | None] = field(default_factory=list)
    _missing: defaultdict[int, dict[int, tuple[int, StayQueue, Waiting]]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken."""
        return len(self._chosen) >= self.limit

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may come in; the first item always may."""
        return not self._chosen or self._bytes + size <= self.max_bytes

    def add(self, queue: StayQueue, row: Waiting) -> None:
        """Take an item of a stay."""
        self._bytes += row.size
        channel = queue.stay.channel
        item = self.tail.payload(channel, row.seq)
        if item is None:
            self._missing[channel][row.seq] = (len(self._chosen), queue, row)
            self._chosen.append(None)
        else:
            self._chosen.append(_deliver(queue, row, item.kind, item.payload))

    def add_welcome(self, queue: StayQueue, join: Join) -> None:
        """Take a stay's Welcome, which comes with its bytes."""
        self._bytes += len(join.welcome)
        self._chosen.append(
            Deliver(
                number=0,
                kind=ItemKind.WELCOME,
                precedence=Precedence.ROUTINE,
                channel=queue.channel,
                seq=Seq(queue.stay.joined_seq),
                epoch=Epoch(join.epoch),
                time_ms=join.accepted_at,
                payload=join.welcome,
            )
        )

    def missing(self) -> list[tuple[int, list[int]]]:
        """Return the items that still lack their payload: their numbers, by channel."""
        return [(channel, list(rows)) for channel, rows in self._missing.items()]

    def give(self, channel: int, payloads: Iterable[Payload]) -> None:
        """Give items of a channel their payloads, and their kinds at the moment of reading."""
        rows = self._missing[channel]
        for seq, kind, payload in payloads:
            at, queue, row = rows.pop(seq)
            self._chosen[at] = _deliver(queue, row, kind, payload)

    def deliveries(self) -> list[Deliver]:
        """Return everything, in the order in which it was chosen.

        Raises:
            LookupError: something still lacks its payload.
        """
        if any(self._missing.values()):
            raise LookupError("an item that was chosen has no payload")
        return [one for one in self._chosen if one is not None]


def carried(channel: ChannelId, found: Iterable[Carried]) -> list[Deliver]:
    """Return items of a channel that were read with their payloads."""
    return [
        Deliver(0, _KINDS[kind], _LEVELS[level], channel, Seq(seq), Epoch(epoch), time_ms, payload)
        for seq, kind, level, epoch, time_ms, payload, _ in found
    ]


def _deliver(queue: StayQueue, row: Waiting, kind: int, payload: bytes) -> Deliver:
    return Deliver(
        0, _KINDS[kind], _LEVELS[row.precedence], queue.channel, Seq(row.seq), Epoch(row.epoch),
        row.accepted_at, payload,
    )  # fmt: skip
