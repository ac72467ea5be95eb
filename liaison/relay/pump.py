"""Deliveries of one connection: from the database to the socket, and acknowledged back.

Items are read from the database only when three things hold: the client granted
them (credit), it has not left too many unacknowledged, and the socket took what
was written before. So a client that is slow at any of these costs no memory. A
batch is small: what is urgent and comes later overtakes all that is not yet read.

Whoever keeps up has no task that works for it: what is new and in memory is written to
its socket by the loop's turn that the writer's callback asked for. The task waits until
that can't be done, because the database has to be asked or the client to be waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from liaison.fanout.flag import Flag
from liaison.fanout.turn import Turn
from liaison.model import ChannelId
from liaison.relay.metrics import Metrics
from liaison.relay.outbox import Outbox, header
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.delivery import Delivery, Feed
from liaison.relay.services.tail import Ready
from liaison.wire import frames
from liaison.wire.stream import Delivered, RelayStream

MAX_OUTSTANDING: Final = 4_096
"""Deliveries sent and not acknowledged; a client that grants more still gets no more."""
MAX_BATCH_BYTES: Final = 128 << 10
"""Payload read from the database at once, except where one item is larger."""


_CAUGHT_UP: Final = header(len(frames.caught_up(0)))


class Pump:
    """Moves one device's items to one connection.

    Args:
        caller: the device.
        delivery: the service that chooses what comes next.
        outbox: the connection's.
        limit: highest delivery number that the client granted at first.
        batch: items read at once.
        failed: called when an acknowledgement can't be made durable; the items
            will be delivered again, so the connection has to end.
        metrics: where it counts.
        turn: when it delivers what is new, as long as it keeps up.
    """

    def __init__(
        self,
        caller: DeviceCaller,
        delivery: Delivery,
        outbox: Outbox,
        *,
        limit: int,
        batch: int,
        failed: Callable[[Exception], None],
        metrics: Metrics,
        turn: Turn,
    ) -> None:
        self._caller = caller
        self._delivery = delivery
        self._outbox = outbox
        self._flow = RelayStream(limit)
        self._batch = batch
        self._failed = failed
        self._metrics = metrics
        self._turn = turn
        self._room = Flag()
        # Set where the feed has what can't be delivered at once.
        self._more = Flag()
        # While all that was there is delivered; None while the task delivers.
        self._idle: Feed | None = None
        self._is_asked = False
        self._waiting: list[Delivered] = []
        self._acknowledging: asyncio.Task[None] | None = None

    def grant(self, limit: int) -> None:
        """Take more credit.

        Raises:
            FlowError: it would be less.
        """
        self._flow.grant(limit)
        self._room.set()

    def acknowledge(self, number: int) -> None:
        """Take a cumulative acknowledgement; it is made durable in the background, in order.

        Raises:
            FlowError: the number was not sent, or went back.
        """
        self._waiting.extend(self._flow.acknowledge(number))
        self._room.set()
        if self._waiting and self._acknowledging is None:
            self._acknowledging = asyncio.create_task(self._store())

    async def _store(self) -> None:
        # One write at a time, each with all that came meanwhile: the cursor never
        # goes back, and a busy client costs one row update for many deliveries.
        try:
            while self._waiting:
                done, self._waiting = self._waiting, []
                await self._delivery.acknowledge(self._caller, done)
        except Exception as error:  # noqa: BLE001 - handed to the connection, which tells and ends
            self._failed(error)
        finally:
            self._acknowledging = None

    async def settled(self) -> None:
        """Wait until every acknowledgement that came is durable, or has failed."""
        if self._acknowledging is not None:
            await self._acknowledging

    async def run(self) -> None:
        """Deliver until cancelled.

        Raises:
            LiaisonError: the device may not read any more, or the database is out of reach.
            ConnectionResetError: the client went away.
        """
        feed = await self._delivery.open(self._caller)
        try:
            while True:
                await self._burst(feed)
                self._outbox.put(frames.encode(frames.CaughtUp(self._flow.sent)))
                # What wakes may bring nothing: a client that does not read costs no memory.
                await self._outbox.drained()
                await self._while_idle(feed)
                self._tell(feed)
                await self._outbox.drained()
        finally:
            feed.close()

    async def _burst(self, feed: Feed) -> None:
        """Deliver until the feed is empty."""
        while True:
            room = await self._granted()
            ready = feed.ready(room, MAX_BATCH_BYTES)
            if ready is None:
                if not await self._from_feed(feed, room):
                    return
            elif ready[1]:
                self._outbox.put_framed(*self._frames(*ready))
            else:
                return
            await self._outbox.drained()

    def _frames(self, channel: ChannelId, ready: Sequence[Ready]) -> tuple[list[bytes], int]:
        """Return the frames of what is in memory, and roughly their size; most of each is made already."""
        for one in ready:
            if not one.begin:
                one.make(channel, header)
        begin = self._flow.number_all([one.delivered for one in ready])
        parts: list[bytes] = []
        size = 0
        for number, one in enumerate(ready, begin):
            payload = one.item.payload
            parts += (one.begin, number.to_bytes(8), one.fields, payload)
            size += len(payload)
        first = ready[0].item
        self._count(len(ready), first.precedence, first.accepted_at)
        return parts, size

    async def _from_feed(self, feed: Feed, room: int) -> bool:
        """Deliver the next batch; whether there was one."""
        items = await feed.next(room, MAX_BATCH_BYTES)
        if items:
            begin = self._flow.number_all(
                [Delivered(item.channel, item.seq, item.kind) for item in items]
            )
            parts: list[bytes] = []
            size = 0
            for number, item in enumerate(items, begin):
                # The payload is the database's own bytes; only the head is made here.
                payload = item.payload
                length = frames.DELIVER_BYTES + len(payload)
                parts += (header(length) + frames.deliver_head(number, item), payload)
                size += length
            self._outbox.put_framed(parts, size)
            self._count(len(items), items[0].precedence, items[0].time_ms)
        return bool(items)

    def _count(self, count: int, precedence: int, accepted_ms: int) -> None:
        if self._metrics.batch(count, precedence):
            self._metrics.age(precedence, time.time() - accepted_ms / 1000)

    async def _granted(self) -> int:
        """Wait until something may be sent; return how much at once."""
        while (room := self._allowed()) <= 0:
            self._room.clear()
            await self._room.wait()
        return room

    def _allowed(self) -> int:
        return min(self._flow.credit, MAX_OUTSTANDING - self._flow.outstanding, self._batch)

    # --- while the client keeps up --------------------------------------------------------

    async def _while_idle(self, feed: Feed) -> None:
        """Deliver what is new as it comes, until there is something that takes longer."""
        self._more.clear()
        self._idle = feed
        feed.call(self._ask)
        try:
            await self._more.wait()
        finally:
            self._idle = None
            feed.call(None)

    def stop(self) -> None:
        """Deliver nothing more from this moment on; `run` is to be cancelled."""
        self._idle = None

    def _ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._turn.add(self._at_turn)

    def _at_turn(self) -> None:
        self._is_asked = False
        feed = self._idle
        if feed is None:
            return
        try:
            if not self._at_once(feed):
                self._idle = None
                self._more.set()
        except Exception as error:  # noqa: BLE001 - handed to the connection, which tells and ends
            self._idle = None
            self._failed(error)

    def _at_once(self, feed: Feed) -> bool:
        """Deliver what is new; whether that could be done."""
        room = self._allowed()
        if room <= 0 or self._outbox.is_full:
            return False
        ready = feed.ready(room, MAX_BATCH_BYTES)
        if ready is None:
            return False
        parts: list[bytes] = []
        if ready[1]:
            parts, _ = self._frames(*ready)
            parts.append(_CAUGHT_UP + frames.caught_up(self._flow.sent))
        # Now, and not when all other readers were served, too.
        self._outbox.send(parts)
        self._tell(feed)
        return True

    def _tell(self, feed: Feed) -> None:
        """Tell the client what is meant for it alone."""
        for note in sorted(feed.notes()):
            self._outbox.put(frames.encode(frames.Notice(note)))
