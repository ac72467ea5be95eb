"""Delivery: what a device has not got yet, in the order in which it should get it.

A feed belongs to one connection and remembers what it handed out there; what is
acknowledged is in the database, so the next connection begins where the device
really is. Over several channels the most urgent goes first; within a channel
`queue` decides.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from liaison.fanout import Bus, Subscription, topics
from liaison.fanout.bus import Wake
from liaison.model import ChannelId
from liaison.relay.services.acknowledge import Acknowledge, Acknowledgements
from liaison.relay.services.batch import Batch, carried
from liaison.relay.services.callers import DeviceCaller
from liaison.relay.services.looking import Look, Looks, Opening, acknowledged_beyond
from liaison.relay.services.queue import PER_LANE, Pull, StayQueue, Urgency
from liaison.relay.services.registry import check_standing
from liaison.relay.services.tail import Ready, Stretch, Tail
from liaison.relay.writer import Writer
from liaison.storage import items, joins, progress, unread
from liaison.storage.engine import Database
from liaison.storage.progress import Stay
from liaison.storage.tables import HANDSHAKE_LANE
from liaison.values import dataclass
from liaison.wire.frames import Deliver
from liaison.wire.stream import Delivered

MAX_BYTES: Final = 1 << 20
"""Payload bytes in one batch, where no single item is larger."""
LOOK_AGAIN: Final = 30.0
"""Seconds after which a feed looks by itself: a wake-up may be lost between nodes."""
_Ranked = tuple[Urgency, StayQueue]

_NOTHING: Final = ChannelId(bytes(16)), ()
_NO_NOTES: Final[frozenset[str]] = frozenset()
_KNOWN_AHEAD: Final = 256
"""Items that a feed takes over from memory at once; more it reads from the database."""


@dataclass(frozen=True)
class Delivery:
    """Opens feeds and stores acknowledgements."""

    database: Database
    writer: Writer
    bus: Bus
    tail: Tail
    clock: Callable[[], int]
    acknowledgements: Acknowledgements = field(init=False)
    looks: Looks = field(init=False)

    def __post_init__(self) -> None:
        """Have one place for what many devices do at once, so that it is done together."""
        object.__setattr__(self, "acknowledgements", Acknowledgements(self.tail))
        object.__setattr__(self, "looks", Looks(self.database))

    async def open(self, caller: DeviceCaller) -> Feed:
        """Begin to deliver to a device, at what it has not acknowledged.

        Raises:
            DeviceRevokedError, UnauthenticatedError: it may not read any more.
        """
        own = (topics.device(caller.key), topics.party(caller.party_key))
        channels = await self.looks.channels(caller)
        feed = Feed(self, caller, self.bus.subscribe(*own, *map(topics.channel, channels)))
        try:
            # Asked only now that it listens, so nothing falls between.
            opening = await self.looks.opening(caller)
            check_standing(opening.standing, caller, self.clock())
            feed.begin(opening, channels)
        except BaseException:
            feed.close()
            raise
        return feed

    async def acknowledge(self, caller: DeviceCaller, delivered: Sequence[Delivered]) -> None:
        """Remember that the device has these for good; durable when this returns."""
        if delivered:
            operation = Acknowledge.of(self.acknowledgements, caller.key, delivered)
            await self.writer.submit(operation)


class Feed:
    """The deliveries of one connection.

    After an exception or a cancellation of `next`, close it and open another:
    what it had chosen was not handed out.
    """

    def __init__(
        self, delivery: Delivery, caller: DeviceCaller, subscription: Subscription
    ) -> None:
        self._delivery = delivery
        self._device = caller.key
        self._own = (topics.device(caller.key), topics.party(caller.party_key))
        self._subscription = subscription
        # By channel, the device's stays in it, oldest first.
        self._channels: dict[int, list[StayQueue]] = {}
        # Channels that may have something; the others are not looked at.
        self._busy: set[int] = set()
        self._changed: set[int] = set()
        self._everything_changed = False
        # For the client, whom nobody has told yet.
        self._notes: set[str] = set()
        # One for the feed, not one for each wait: most waits are short.
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LOOK_AGAIN, self._look_again)

    def begin(self, opening: Opening, channels: Sequence[int]) -> None:
        """Take what was found at first.

        Args:
            opening: all there is to read.
            channels: those that were listened to before that was looked for.
        """
        self._take_over(opening.stays, opening.beyond, self._own[0])
        for channel in channels:
            if channel not in self._channels:
                self._subscription.discard(topics.channel(channel))

    def close(self) -> None:
        """Listen no more."""
        self._timer.cancel()
        self._subscription.close()

    def call(self, news: Callable[[], object] | None) -> None:
        """Have something called when there may be something new.

        Args:
            news: as `Subscription.call` has it; None for no more.
        """
        self._subscription.call(news)
        if news is not None and self._notes:
            news()

    def notes(self) -> frozenset[str]:
        """Return notes for the client that came since the last call."""
        if not self._notes:
            return _NO_NOTES
        notes, self._notes = frozenset(self._notes), set()
        return notes

    def _look_again(self) -> None:
        self._subscription.deliver((self._own[0], ""))
        self._timer = self._loop.call_later(LOOK_AGAIN, self._look_again)

    def _note(self, woken: Iterable[Wake]) -> None:
        for topic, note in woken:
            if topic not in self._own:
                self._changed.add(topics.key_of(topic))
            elif note:
                self._notes.add(note)
            else:
                self._everything_changed = True

    # --- what is new and in memory --------------------------------------------------------

    def ready(self, limit: int, max_bytes: int) -> tuple[ChannelId, Sequence[Ready]] | None:
        """Return what is new, the most urgent first, if it is of one channel and all in memory.

        That is what a reader who keeps up finds nearly always; `next` would return the same.

        Args:
            limit: how many at most.
            max_bytes: of payload.

        Returns:
            The channel, and items of it; none when there is nothing. None: ask `next`.
        """
        if self._subscription.has_news:
            self._note(self._subscription.taken())
        if self._everything_changed:
            return None
        if self._busy:
            return None if self._changed else self._run(limit, max_bytes)
        if not self._changed:
            return _NOTHING
        if len(self._changed) > 1:
            return None
        (channel,) = self._changed
        queues = self._channels.get(channel, [])
        if len(queues) != 1 or not queues[0].is_empty:
            return None
        queue = queues[0]
        new = self._delivery.tail.since(channel, queue.upto)
        if new is None or _needs_database(queue, new):
            return None
        mine = new.for_reader(self._device, queue.reader.joined_epoch)
        size = new.size if mine is new.ranked else sum([one.item.size for one in mine])
        if len(mine) > limit or size > max_bytes:
            return None
        self._changed.clear()
        queue.extend(new.last, ())
        return queue.channel, mine

    def _run(self, limit: int, max_bytes: int) -> tuple[ChannelId, Sequence[Ready]] | None:
        """Return what comes next of a backlog in memory, of one channel and precedence."""
        active = self._active()
        if not active:
            return _NOTHING
        queue = active[0]
        stretch = queue.only()
        if len(active) > 1 or stretch is None:
            return None
        found = self._delivery.tail.run(queue.reader, stretch, limit, max_bytes)
        if found is None or not found.items:
            return None
        queue.passed(stretch, found.upto)
        return queue.channel, found.items

    # --- batches ------------------------------------------------------------------------

    async def next(self, limit: int, max_bytes: int = MAX_BYTES) -> list[Deliver]:
        """Return the next items, the most urgent first; nothing when the device has all.

        Args:
            limit: how many at most.
            max_bytes: of payload; one item that is larger comes alone.

        Returns:
            Items without delivery numbers (`number` is 0).
        """
        self._note(self._subscription.taken())
        batch = Batch(limit, max_bytes, self._delivery.tail)
        async with self._delivery.looks.begin() as look:
            await self._refresh(look)
            backlog = await self._from_backlog(limit, max_bytes, look)
            if backlog:
                return backlog
            await self._choose(batch, look)
            for channel, seqs in batch.missing():
                found = await items.payloads(await look.tx(), channel, seqs)
                batch.give(channel, found.values())
        return batch.deliveries()

    async def _from_backlog(self, limit: int, max_bytes: int, look: Look) -> list[Deliver]:
        """Return what comes next where one lane of messages is all that waits, and in no memory."""
        active = self._active()
        stretch = active[0].only() if len(active) == 1 else None
        if stretch is None or self._delivery.tail.has(active[0].reader.channel, stretch.after):
            return []
        (queue,) = active
        tx = await look.tx()
        found = await unread.run(tx, queue.reader, stretch, limit=limit, max_bytes=max_bytes)
        queue.passed(stretch, found[-1].seq if found else stretch.upto)
        return carried(queue.channel, found)

    async def _refresh(self, look: Look) -> None:
        if self._everything_changed:
            self._everything_changed = False
            self._changed.clear()
            tx = await look.tx()
            await self._reload(tx, await progress.stays(tx, self._device))
        while self._changed:
            channel = self._changed.pop()
            if not self._extend(channel):
                tx = await look.tx()
                await self._reload(tx, await progress.stays(tx, self._device, channel), channel)

    def _extend(self, channel: int) -> bool:
        """Take over what is new, if it is in memory."""
        queues = self._channels.get(channel, [])
        if len(queues) != 1:
            return False
        queue = queues[0]
        new = self._delivery.tail.since(channel, queue.upto)
        if new is None or _needs_database(queue, new):
            return False
        count = queue.waiting + len(new.ranked)
        if queue.is_current and not queue.welcomed and count <= _KNOWN_AHEAD:
            mine = new.for_reader(self._device, queue.reader.joined_epoch)
            queue.extend(new.last, [unread.waiting_of(one.item) for one in mine])
        else:
            # It is much: no more is known of it at a time than of a backlog.
            queue.grow(new.last)
        self._busy.add(channel)
        return True

    async def _reload(
        self, tx: AsyncConnection, stays: Sequence[Stay], channel: int | None = None
    ) -> None:
        known = self._known()
        new = [stay for stay in stays if stay.member not in known]
        topic = self._own[0] if channel is None else topics.channel(channel)
        self._take_over(stays, await acknowledged_beyond(tx, new), topic)
        self._forget_ended({stay.member for stay in stays}, channel)

    def _take_over(self, stays: Iterable[Stay], beyond: Mapping[int, set[int]], topic: str) -> None:
        """Take over what the database says of stays; what is asked of it again has a topic."""
        known = self._known()
        for stay in stays:
            self._busy.add(stay.channel)
            if stay.member in known:
                known[stay.member].update(stay)
                continue
            queue = StayQueue(stay, self._device, beyond.get(stay.member, ()))
            self._channels.setdefault(stay.channel, []).append(queue)
            if self._subscription.add(topics.channel(stay.channel)):
                # What was accepted between the look and this woke nobody: look again.
                self._subscription.deliver((topic, ""))

    def _known(self) -> dict[int, StayQueue]:
        return {q.stay.member: q for queues in self._channels.values() for q in queues}

    def _forget_ended(self, alive: set[int], channel: int | None) -> None:
        # A stay that the database calls finished was acknowledged to its end, or replaced.
        for key in [channel] if channel is not None else list(self._channels):
            queues = [q for q in self._channels.get(key, []) if q.stay.member in alive]
            if queues:
                self._channels[key] = queues
            elif self._channels.pop(key, None) is not None:
                self._subscription.discard(topics.channel(key))

    def _active(self) -> list[StayQueue]:
        """Return of each busy channel the stay to read: the first that is not over."""
        found = []
        for channel in tuple(self._busy):
            queues = self._channels.get(channel, [])
            alive = [queue for queue in queues if not queue.is_over]
            if not alive or alive[0].is_empty:
                self._busy.discard(channel)
            else:
                found.append(alive[0])
        return found

    async def _choose(self, batch: Batch, look: Look) -> None:
        """Take from all channels, reading what has to be read."""
        heap: list[_Ranked] = []
        for queue in self._active():
            await self._rank(queue, heap, look)
        while heap and not batch.is_full:
            queue = heapq.heappop(heap)[1]
            if not heap and queue.is_plain:
                # Nothing else waits, so nothing has to be compared.
                if not queue.pour(batch):
                    return
            elif not await self._take(queue, batch, look):
                return
            # A stay that is over gives way to the next one in the same channel.
            for following in self._following(queue):
                await self._rank(following, heap, look)

    def _following(self, queue: StayQueue) -> list[StayQueue]:
        if not queue.is_over:
            return [queue]
        return [q for q in self._channels.get(queue.stay.channel, []) if not q.is_over][:1]

    async def _rank(self, queue: StayQueue, heap: list[_Ranked], look: Look) -> None:
        await self._fill(queue, look)
        urgency = queue.urgency()
        if urgency is not None:
            heapq.heappush(heap, (urgency, queue))

    async def _fill(self, queue: StayQueue, look: Look) -> None:
        reader, upto = queue.reader, queue.upto
        while asked := queue.needs():
            rows = self._delivery.tail.waiting(reader, asked, upto=upto, per_lane=PER_LANE)
            if rows is None:
                tx = await look.tx()
                rows = await unread.waiting(tx, reader, asked, upto=upto, per_lane=PER_LANE)
            queue.fill(asked, rows, PER_LANE)

    async def _take(self, queue: StayQueue, batch: Batch, look: Look) -> bool:
        """Move one item into the batch; False if it does not fit any more."""
        if queue.welcomed:
            return await self._take_welcome(queue, batch, await look.tx())
        found = queue.next()
        if isinstance(found, Pull):
            older = await unread.last_of_older_epochs(
                await look.tx(),
                queue.reader,
                found.after,
                before_seq=found.commit.seq,
                before_epoch=found.before_epoch,
            )
            queue.answer(found, older)
            found = queue.next()
        if found is None or isinstance(found, Pull):
            raise LookupError(f"stay {queue.stay.member} is urgent and has nothing to deliver")
        if not batch.fits(found.size):
            return False
        queue.take(found)
        batch.add(queue, found)
        return True

    async def _take_welcome(self, queue: StayQueue, batch: Batch, tx: AsyncConnection) -> bool:
        found = await joins.welcome(tx, queue.stay.member)
        if found is not None:
            if not batch.fits(len(found.welcome)):
                return False
            batch.add_welcome(queue, found)
        queue.welcomed = False
        return True


def _needs_database(queue: StayQueue, new: Stretch) -> bool:
    # The device may have left with a commit: only the database says so.
    return queue.stay.left_seq is not None or new.topmost == HANDSHAKE_LANE
