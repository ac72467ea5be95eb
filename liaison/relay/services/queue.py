"""The order in which one reader gets the items of one channel. No I/O: it is told what waits.

Items wait in lanes (`liaison.storage.tables`): one for each precedence, one for
handshakes. The rules:

1. Within a lane, items leave in the order of their numbers.
2. A message never overtakes a handshake: its epoch may begin with it.
3. Otherwise the highest precedence goes first. What is urgent and stands behind
   a handshake pulls the handshake forward, past messages that are less urgent...
4. ...unless that commit would make the reader drop the keys of such a message:
   members keep a limited number of past epochs. Then those messages go first.

So memory does not grow with the backlog: a few rows per lane are known at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from operator import attrgetter
from typing import Final, Protocol

from liaison.model import ChannelId, Precedence
from liaison.storage.progress import Stay
from liaison.storage.tables import HANDSHAKE_LANE, LANES
from liaison.storage.unread import LaneStretch, Reader, Waiting
from liaison.values import dataclass
from liaison.wire.frames import ItemKind

_BY_SEQ: Final = attrgetter("seq")
PER_LANE: Final = 128
"""Rows of a lane that are known at a time."""

Urgency = tuple[int, int, int]
"""Orders channels: the least first. Precedence (negative), time of acceptance, stay."""


@dataclass(slots=True)
class Lane:
    """What is known of one lane."""

    after: int
    rows: deque[Waiting] = field(default_factory=deque)
    ended: bool = False
    """Nothing waits between `after` and the channel's known head."""


@dataclass(frozen=True, slots=True)
class Pull:
    """A commit could be pulled forward: are messages of older epochs in its way?

    Args:
        commit: what would be pulled.
        before_epoch: messages of earlier epochs are in the way.
        after: by lane, from where on to look.
    """

    commit: Waiting
    before_epoch: int
    after: Mapping[int, int]


class Room(Protocol):
    """What items are moved into."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken."""
        ...

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may come in."""
        ...

    def add(self, queue: StayQueue, row: Waiting) -> None:
        """Take an item."""
        ...


class StayQueue:
    """What waits for one stay of a device in a channel."""

    def __init__(self, stay: Stay, device: int, acknowledged: Iterable[int] = ()) -> None:
        self.stay = stay
        self.reader = Reader(stay.channel, device, stay.member, stay.joined_epoch)
        self.welcomed = stay.welcomed
        self.upto = end_of(stay)
        self._acknowledged = set(acknowledged)
        is_read = stay.cursor >= self.upto
        self._lanes = [Lane(stay.cursor, ended=is_read) for _ in range(LANES)]
        self.channel = ChannelId(stay.id)
        # Whether a lane may have to be read.
        self._hungry = not is_read
        # A commit that may not be pulled forward, and by lane the last message that it waits for.
        self._held: tuple[int, Mapping[int, int]] | None = None
        self._free: int | None = None

    # --- what is known ------------------------------------------------------------------

    def needs(self) -> dict[int, int]:
        """Return the lanes whose next rows have to be read, and from where on."""
        if not self._hungry:
            return {}
        found = {
            number: lane.after
            for number, lane in enumerate(self._lanes)
            if not lane.rows and not lane.ended
        }
        self._hungry = bool(found)
        return found

    def fill(self, asked: Mapping[int, int], rows: Sequence[Waiting], per_lane: int) -> None:
        """Take the rows that were read for `needs`."""
        found: dict[int, list[Waiting]] = {number: [] for number in asked}
        for row in rows:
            found[row.lane].append(row)
        for number, new in found.items():
            lane = self._lanes[number]
            if len(new) < per_lane:
                lane.ended, lane.after = True, self.upto
            else:
                lane.after = max(row.seq for row in new)
            new.sort(key=_BY_SEQ)
            done = self._acknowledged
            lane.rows.extend([row for row in new if row.seq not in done] if done else new)

    def update(self, stay: Stay) -> None:
        """Take what the database says of the stay: the channel's new head, or that it has ended."""
        self.stay = stay
        self.grow(end_of(stay))

    def extend(self, head: int, rows: Iterable[Waiting]) -> None:
        """Take everything that came between the known head and a new one.

        Only for a queue whose lanes have all ended.
        """
        for row in rows:
            self._lanes[row.lane].rows.append(row)
        self.upto = head
        for lane in self._lanes:
            lane.after = head

    @property
    def waiting(self) -> int:
        """How many items are known to wait."""
        return sum(len(lane.rows) for lane in self._lanes)

    @property
    def is_plain(self) -> bool:
        """Whether messages alone are known to wait, and nothing has to be read to know which."""
        return not (self._hungry or self.welcomed or self._lanes[HANDSHAKE_LANE].rows)

    def only(self) -> LaneStretch | None:
        """Return what waits, if it is messages of one precedence and nothing else."""
        if self.welcomed or self._acknowledged:
            return None
        waits = [n for n, lane in enumerate(self._lanes) if lane.rows or not lane.ended]
        if len(waits) != 1 or waits[0] == HANDSHAKE_LANE:
            return None
        lane = self._lanes[waits[0]]
        after = lane.rows[0].seq - 1 if lane.rows else lane.after
        return LaneStretch(waits[0], after, self.upto)

    def passed(self, stretch: LaneStretch, upto: int) -> None:
        """Take it that all of a stretch that `only` has returned is being delivered, up to a number."""
        lane = self._lanes[stretch.lane]
        lane.rows.clear()
        lane.after, lane.ended = upto, upto == self.upto
        self._hungry = not lane.ended

    @property
    def is_current(self) -> bool:
        """Whether everything up to the known head was read."""
        return all(lane.ended for lane in self._lanes)

    @property
    def is_over(self) -> bool:
        """Whether the stay has ended and nothing is left of it."""
        return self.stay.left_seq is not None and self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known to wait, and nothing remains to be read."""
        if self.welcomed:
            return False
        # No generator: this is asked of each reader for each message.
        for lane in self._lanes:  # noqa: SIM110 - as said
            if lane.rows or not lane.ended:
                return False
        return True

    def grow(self, upto: int) -> None:
        """Take the channel's new head: what came since the known one has to be read."""
        if upto > self.upto:
            self.upto = upto
            self._hungry = True
            for lane in self._lanes:
                lane.ended = False

    # --- what comes next ----------------------------------------------------------------

    def urgency(self) -> Urgency | None:
        """Return how urgent the channel is: as urgent as the most urgent item in it."""
        heads = [lane.rows[0] for lane in self._lanes if lane.rows]
        if not heads:
            return (-Precedence.ROUTINE, 0, self.stay.member) if self.welcomed else None
        highest = max(row.precedence for row in heads)
        return (-highest, min(row.accepted_at for row in heads), self.stay.member)

    def next(self) -> Waiting | Pull | None:
        """Return the item that comes next, or a question to be answered first.

        None means that a Welcome is next, or nothing. Give a `Pull` its `answer`,
        then ask again.
        """
        commits = self._lanes[HANDSHAKE_LANE].rows
        if not commits:
            return self._head_of(self._top())
        handshake = commits[0]
        ready = self._top(before=handshake.seq)
        if ready is None:
            return handshake
        if ready == self._top() or self._is_held(handshake):
            return self._head_of(ready)
        if handshake.kind != ItemKind.COMMIT or self._free == handshake.seq:
            return handshake
        return self._pull(handshake)

    def take(self, row: Waiting) -> None:
        """Remove an item that `next` returned: it is being delivered."""
        lane = self._lanes[row.lane]
        if lane.rows.popleft() is not row:
            raise LookupError(f"item {row.seq} is not the one that comes next")
        self._hungry = self._hungry or (not lane.rows and not lane.ended)

    def pour(self, batch: Room) -> bool:
        """Move messages into a batch, in the order in which `next` would return them.

        Only for a queue that `is_plain`. It ends when the batch is full, or something has to be read.

        Returns:
            False if one did not fit.
        """
        for lane in reversed(self._lanes[:HANDSHAKE_LANE]):
            rows = lane.rows
            while rows:
                if batch.is_full:
                    return True
                if not batch.fits(rows[0].size):
                    return False
                batch.add(self, rows.popleft())
                if not rows and not lane.ended:
                    self._hungry = True
                    return True
        return True

    def answer(self, pull: Pull, last: Mapping[int, int]) -> None:
        """Say by lane what the last message in the way of a commit is; nothing: let it pass."""
        # No more can come to stand in its way: what is new has a higher number.
        if last:
            self._held = (pull.commit.seq, last)
        else:
            self._free = pull.commit.seq

    def _is_held(self, handshake: Waiting) -> bool:
        if self._held is None or self._held[0] != handshake.seq:
            return False
        waiting = ((self._lanes[number].rows, last) for number, last in self._held[1].items())
        if any(rows and rows[0].seq <= last for rows, last in waiting):
            return True
        self._held, self._free = None, handshake.seq
        return False

    def _top(self, before: int | None = None) -> int | None:
        """Return the highest lane with a message, or with one before a number."""
        for number in range(HANDSHAKE_LANE - 1, -1, -1):
            rows = self._lanes[number].rows
            if rows and (before is None or rows[0].seq < before):
                return number
        return None

    def _head_of(self, lane: int | None) -> Waiting | None:
        return None if lane is None else self._lanes[lane].rows[0]

    def _pull(self, commit: Waiting) -> Pull | Waiting:
        before_epoch = commit.epoch + 1 - self.stay.past_epochs
        if before_epoch <= self.reader.joined_epoch:
            return commit
        after = {
            number: lane.rows[0].seq - 1 if lane.rows else lane.after
            for number, lane in enumerate(self._lanes[:HANDSHAKE_LANE])
        }
        return Pull(commit, before_epoch, after)


def end_of(stay: Stay) -> int:
    """Return the last number that a stay may read so far."""
    return stay.head if stay.left_seq is None else min(stay.left_seq, stay.head)
