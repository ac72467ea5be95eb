"""The bus of a relay that is several processes: wake-ups travel over NATS.

All nodes listen to one subject. A message there names topics and nothing else, so who reads the bus
learns that something is new for number 17 and not what; who writes to it makes nodes look into
their database in vain. The nodes' own subscribers are woken without NATS.

NATS delivers at most once. What is lost while a node is cut off is made good when it is back: it
wakes all of its own subscribers, and has the other nodes wake all of theirs. Nothing here waits for
NATS, and a relay starts and serves without it; readers on other nodes then find what is new when
they look by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from ssl import SSLContext
from typing import Any, Final

from liaison.fanout.bus import Subscription, Wake
from liaison.fanout.local import LocalBus
from liaison.values import dataclass

AT_ONCE: Final = 1_000
"""Wake-ups in one message; with them it is far below NATS's limit of a mebibyte."""
EVERYTHING: Final = "*"
"""The topic of a message that wakes all subscribers of every node."""
PAUSE: Final = 1.0
"""Seconds between two attempts to reach a server."""
PATIENCE: Final = 5
PING: Final = 10
"""Seconds for one answer of a server, and between two looks whether it is still there."""
_TOPIC: Final = re.compile(r"(?:channel|device|party)\.[0-9]{1,19}|revocations")
_NOTE: Final = re.compile(r"[a-z0-9._-]{0,64}")


class WakeFormatError(ValueError):
    """A message on the bus is not from a node of this program; it woke nobody."""


def subject_of(origin: str) -> str:
    """Return the subject of a relay's nodes: others may share the NATS server.

    Args:
        origin: of the relay.
    """
    return f"liaison.{hashlib.sha256(origin.encode()).hexdigest()[:32]}.wake"


def encode(wakes: Sequence[Wake]) -> bytes:
    """Return the message for at most `AT_ONCE` wake-ups."""
    return json.dumps(wakes, separators=(",", ":")).encode()


def decode(data: bytes) -> list[Wake]:
    """Return the wake-ups of a message.

    Raises:
        WakeFormatError: it is not one.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise WakeFormatError("not JSON") from e
    if not isinstance(found, list) or len(found) > AT_ONCE:
        raise WakeFormatError(f"not a list of at most {AT_ONCE}")
    return [_wake(item) for item in found]


def _wake(item: object) -> Wake:
    match item:
        case [str(topic), str(note)] if _NOTE.fullmatch(note) and (
            topic == EVERYTHING or _TOPIC.fullmatch(topic)
        ):
            return topic, note
        case _:
            raise WakeFormatError("not a topic with a note")


@dataclass(slots=True)
class Counts:
    """What has happened since the start, for who watches the relay.

    Args:
        sent: wake-ups that were given to NATS.
        received: from other nodes.
        lost: that could not be sent.
        unreadable: messages that were no wake-ups.
        connected: whether NATS can be reached now.
    """

    sent: int = 0
    received: int = 0
    lost: int = 0
    unreadable: int = 0
    connected: bool = False


def _unheard(_event: str, _why: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class NatsBus:
    """Wakes subscribers in this process and on other nodes.

    Args:
        servers: URLs, `tls://user:password@host:4222`, all of one scheme; they are never logged.
        subject: see `subject_of`.
        context: whom to trust as a server; None for the system's authorities.
        report: told `bus_connected`, `bus_lost` and (once) `bus_unreadable`, and why.
        counts: see `Counts`.
    """

    servers: tuple[str, ...] = field(repr=False)
    subject: str
    context: SSLContext | None = field(default=None, repr=False)
    report: Callable[[str, str], None] = _unheard
    counts: Counts = field(default_factory=Counts)
    _local: LocalBus = field(default_factory=LocalBus)
    _waiting: dict[Wake, None] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _told: bool = False

    # --- what a bus does ---

    def wake(self, topic: str, note: str = "") -> None:
        """Wake the topic's subscribers, here at once and elsewhere soon."""
        self._local.wake(topic, note)
        if self.counts.connected:
            self._waiting[topic, note] = None
            self._news.set()
        else:
            self.counts.lost += 1

    def subscribe(self, *topics: str) -> Subscription:
        """Begin to listen."""
        return self._local.subscribe(*topics)

    def start(self) -> None:
        """Connect, now or when a server can be reached; returns at once."""
        self._task = asyncio.create_task(self._run(), name="bus")

    async def close(self) -> None:
        """Let go of the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._local.close()

    # --- the connection ---

    async def _run(self) -> None:
        # Only a relay of several nodes needs it.
        from nats.aio.client import Client  # noqa: PLC0415
        from nats.errors import Error  # noqa: PLC0415

        while True:
            client = Client()
            try:
                await self._serve(client)
            except (Error, OSError) as e:
                # `OSError` holds the time-outs as well.
                self._lost(type(e).__name__)
            finally:
                await client.close()
            await asyncio.sleep(PAUSE)

    # nats-py ships no types.
    async def _serve(self, client: Any) -> None:
        """Connect once, and send wake-ups until the connection ends."""
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()
            self._news.set()

        await client.connect(
            servers=list(self.servers),
            tls=self.context,
            # Else the server's first words, which anybody on the way can change, decide whether the
            # password goes over the network as it is.
            tls_handshake_first=self.servers[0].startswith("tls://"),
            no_echo=True,
            # It would keep what can't be sent, and try for ever with servers that refuse the
            # password.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=PAUSE,
            connect_timeout=PATIENCE,
            ping_interval=PING,
            closed_cb=on_closed,
            error_cb=self._on_error,
        )
        await client.subscribe(self.subject, cb=self._on_message)
        # Only now the server is known to have the subscription: what it got before woke nobody
        # here.
        await client.flush(PATIENCE)
        self._connected()
        while not closed.is_set():
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = tuple(self._waiting), {}
            for wakes in _batches(waiting):
                await client.publish(self.subject, encode(wakes))
                self.counts.sent += len(wakes)
        self._lost("closed")

    def _connected(self) -> None:
        self.counts.connected = True
        self.report("bus_connected", "")
        self._wake_all()
        self._waiting[EVERYTHING, ""] = None
        self._news.set()

    def _lost(self, why: str) -> None:
        # Whoever was to be woken is when the connection is back.
        self.counts.lost += len(self._waiting)
        self._waiting.clear()
        if self.counts.connected or not self._told:
            self.counts.connected, self._told = False, True
            self.report("bus_lost", why)

    # --- what NATS tells ---

    async def _on_error(self, error: Exception) -> None:
        from nats.errors import SlowConsumerError  # noqa: PLC0415

        if isinstance(error, SlowConsumerError):
            # Messages were dropped: which, nobody knows.
            self._wake_all()

    async def _on_message(self, message: Any) -> None:
        try:
            wakes = decode(message.data)
        except WakeFormatError:
            if not self.counts.unreadable:
                self.report("bus_unreadable", "")
            self.counts.unreadable += 1
            return
        self.counts.received += len(wakes)
        for topic, note in wakes:
            if topic == EVERYTHING:
                self._wake_all()
            else:
                self._local.wake(topic, note)

    def _wake_all(self) -> None:
        for topic in self._local.topics():
            self._local.wake(topic)


def _batches(wakes: Sequence[Wake]) -> Iterator[Sequence[Wake]]:
    everything = EVERYTHING, ""
    if everything in wakes:
        # It says all the others, but for those with a note.
        wakes = [everything, *(wake for wake in wakes if wake[1])]
    for first in range(0, len(wakes), AT_ONCE):
        yield wakes[first : first + AT_ONCE]
