"""Where channels end, kept in memory.

With it, and the seats that are kept (`services.seats`), messages are judged without a question. On PostgreSQL, where
other nodes write too, what that relies on is compared by the very statement that writes the messages (`Relied`, and
ADR 31): what it does not find as it was is read, and judged anew. On SQLite the mark tells of all that is written, and a
message that is stored already, or a number that is taken, violates a key: then everything is read there too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.relay.services.seats import Seat
from liaison.storage.relied import rely

_TRUSTED_MS: Final = 600_000
"""For how long what is kept is relied on. The version of a row is the number of a transaction, and comes again
after four thousand million others: no server is that fast."""
_REPEATING_MS: Final = 10_000
"""For how long it is looked up whether a device's messages are stored already, after one was, or was refused: who
sends again what was not answered has more of it, and who is refused may go on."""
_MOST: Final = 4_096
"""Channels, and devices, that are kept."""


class Head(NamedTuple):
    """Where a channel ends.

    Args:
        seq: its last number.
        version: which transaction has written its row.
        at: when that was known, Unix milliseconds.
    """

    seq: int
    version: int
    at: int


class Relied(NamedTuple):
    """What has to be as it was when messages that were judged by what is kept are written.

    Args:
        versions: of the channels' rows, by their keys.
        unrevoked: certificates.
        present: stays.
        changes: agreements, and how often each has changed.
    """

    versions: dict[int, int]
    unrevoked: set[int]
    present: set[int]
    changes: set[tuple[str, int]]

    @classmethod
    def of(cls, heads: Mapping[int, Head], seats: Mapping[tuple[int, bytes], Seat]) -> Relied:
        """Return what some heads, and the seats in these channels, rely on.

        Args:
            heads: by the channels' keys.
            seats: of members, with certificates that are good, by certificate and channel.
        """
        return cls(
            {key: head.version for key, head in heads.items()},
            {certificate for certificate, _ in seats},
            {seat.member.key for seat in seats.values() if seat.member is not None},
            {(seat.agreement.agreement_id, seat.life.changes) for seat in seats.values()},
        )

    async def compare(self, tx: AsyncConnection) -> None:
        """Have all of it compared but the channels' rows, which `channels.set_heads` swaps.

        Args:
            tx: nothing was written in it, and something will be.
        """
        await rely(tx, unrevoked=self.unrevoked, present=self.present, changes=self.changes)


class Heads:
    """Keeps the heads of channels that a writer has written, under the mark that their seats are kept under."""

    def __init__(self) -> None:
        self._heads: dict[int, Head] = {}
        self._mark: Hashable = None
        self._repeating: dict[int, int] = {}

    def recall(
        self, mark: Hashable, channels: Iterable[int], now_ms: int
    ) -> dict[int, Head] | None:
        """Return the heads of channels, if all of them may be relied on.

        Args:
            mark: `remembered.mark` in this transaction.
            channels: their keys.
            now_ms: Unix milliseconds.
        """
        if mark is None or mark != self._mark:
            return None
        found = {}
        for key in channels:
            head = self._heads.get(key)
            if head is None or not 0 <= now_ms - head.at < _TRUSTED_MS:
                return None
            found[key] = head
        return found

    def move(self, mark: Hashable, heads: Mapping[int, Head]) -> None:
        """Take note of the heads of channels, once it is durable what they are.

        Args:
            mark: from before they were read; None where they are not to be relied on.
            heads: by the channels' keys.
        """
        if mark is None or mark != self._mark or len(self._heads) + len(heads) > _MOST:
            self._heads = {}
            self._mark = mark
        if mark is not None:
            self._heads |= heads

    def leave(self, channels: Iterable[int]) -> None:
        """Rely on nothing of channels that are being written, until it is durable where they end."""
        for key in channels:
            self._heads.pop(key, None)

    def repeated(self, devices: Iterable[int], now_ms: int) -> None:
        """Take note of devices that have sent something again, or what was refused."""
        if len(self._repeating) >= _MOST:
            self._repeating.clear()
        self._repeating |= dict.fromkeys(devices, now_ms + _REPEATING_MS)

    def is_new(self, devices: Iterable[int], now_ms: int) -> bool:
        """Whether none of the devices has sent something again, or what was refused, of late."""
        until = self._repeating
        return not until or all(until.get(device, 0) <= now_ms for device in devices)
