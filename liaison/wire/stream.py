"""The delivery protocol of one connection, sans I/O, both ends.

A delivery's number counts on this connection from 1. The client grants a
*limit*, the highest number it is ready for (credit), and acknowledges
cumulatively in the same numbers. The relay remembers what each number was, so
that a FLASH that was read before a hundred ROUTINE acknowledges nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from liaison.errors import MalformedError
from liaison.model import ChannelId, Seq
from liaison.values import dataclass
from liaison.wire import frames

DEFAULT_WINDOW: Final = 256
"""Deliveries that a client allows to be under way."""


class FlowError(MalformedError):
    """The peer broke the rules of flow control."""

    code = "frame.flow"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery number stood for."""

    channel: ChannelId
    seq: Seq
    kind: frames.ItemKind


@dataclass(slots=True)
class RelayStream:
    """The relay's side of one connection: numbers out, acknowledgements in."""

    limit: int
    sent: int = 0
    acknowledged: int = 0
    # Made for the first delivery: most connections wait for one most of the time.
    _pending: deque[Delivered] | None = None

    @property
    def credit(self) -> int:
        """How many deliveries may be sent now."""
        return self.limit - self.sent

    @property
    def outstanding(self) -> int:
        """How many deliveries are sent and not acknowledged."""
        return len(self._pending) if self._pending else 0

    def number(self, item: Delivered) -> int:
        """Give the next number to an item.

        Raises:
            FlowError: the client granted no more; the caller has to wait.
        """
        if self.credit <= 0:
            raise FlowError("the client has not granted this delivery")
        return self.number_all((item,))

    def number_all(self, items: Sequence[Delivered]) -> int:
        """Give the next numbers to items; return the first of them.

        Raises:
            FlowError: the client granted fewer; the caller has to wait.
        """
        if self.credit < len(items):
            raise FlowError("the client has not granted these deliveries")
        first = self.sent + 1
        self.sent += len(items)
        if self._pending is None:
            self._pending = deque()
        self._pending.extend(items)
        return first

    def grant(self, limit: int) -> None:
        """Raise the limit.

        Raises:
            FlowError: it would shrink.
        """
        if limit < self.limit:
            raise FlowError("a limit was lowered")
        self.limit = limit

    def acknowledge(self, number: int) -> list[Delivered]:
        """Return what the client now has for good, in the order of delivery.

        Raises:
            FlowError: the number was never sent, or went back.
        """
        if not self.acknowledged <= number <= self.sent:
            raise FlowError(f"delivery {number} can't be acknowledged")
        waiting = self._pending or deque()
        done = [waiting.popleft() for _ in range(number - self.acknowledged)]
        self.acknowledged = number
        return done


@dataclass(slots=True)
class ClientStream:
    """The client's side: checks the numbers, says when to acknowledge and grant."""

    window: int = DEFAULT_WINDOW
    received: int = 0
    acknowledged: int = 0
    limit: int = 0

    def hello(self, state_version: int, *, deliver: bool) -> frames.Hello:
        """Open the connection with a full window."""
        self.limit = self.window if deliver else 0
        return frames.Hello(deliver, self.limit, state_version)

    def receive(self, number: int) -> None:
        """Check a delivery's number.

        Raises:
            FlowError: a number is missing, repeated or was not granted.
        """
        if number != self.received + 1 or number > self.limit:
            raise FlowError(f"delivery {number} came after {self.received}")
        self.received = number

    def stored(self, number: int) -> list[frames.Ack | frames.Credit]:
        """Return the frames to send once everything up to `number` is in the store.

        Only after the store's commit: the relay forgets what is acknowledged.

        Raises:
            FlowError: `number` was not received.
        """
        if not self.acknowledged <= number <= self.received:
            raise FlowError(f"delivery {number} was not received")
        self.acknowledged = number
        answer: list[frames.Ack | frames.Credit] = [frames.Ack(number)]
        if self.limit - number <= self.window // 2:
            self.limit = number + self.window
            answer.append(frames.Credit(self.limit))
        return answer
