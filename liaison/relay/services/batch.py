"""One batch of deliveries: what was chosen for a reader, in order, and then its payloads."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from liaison.model import Epoch, Precedence, Seq
from liaison.relay.services.queue import StayQueue
from liaison.storage.items import Waiting
from liaison.storage.members import Join
from liaison.values import dataclass
from liaison.wire.frames import Deliver, ItemKind

_KINDS: Final = {kind.value: kind for kind in ItemKind}
_LEVELS: Final = {level.value: level for level in Precedence}


@dataclass(slots=True)
class Batch:
    """What was chosen, in order; payloads come afterwards, read together."""

    limit: int
    max_bytes: int
    _bytes: int = 0
    _chosen: list[tuple[StayQueue, Waiting] | Deliver] = field(default_factory=list)
    _payloads: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)

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
        self._chosen.append((queue, row))

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

    def open(self) -> list[tuple[int, int]]:
        """Return the items that still lack their payload: channel and number."""
        pairs = (one for one in self._chosen if not isinstance(one, Deliver))
        return [(queue.stay.channel, row.seq) for queue, row in pairs]

    def set_payload(self, channel: int, seq: int, kind: int, payload: bytes) -> None:
        """Give an item its payload, and its kind at the moment of reading."""
        self._payloads[channel, seq] = (kind, payload)

    def deliveries(self) -> list[Deliver]:
        """Return everything, in the order in which it was chosen."""
        return [one if isinstance(one, Deliver) else self._deliver(*one) for one in self._chosen]

    def _deliver(self, queue: StayQueue, row: Waiting) -> Deliver:
        kind, payload = self._payloads[queue.stay.channel, row.seq]
        return Deliver(
            0, _KINDS[kind], _LEVELS[row.precedence], queue.channel, Seq(row.seq), Epoch(row.epoch),
            row.accepted_at, payload,
        )  # fmt: skip
