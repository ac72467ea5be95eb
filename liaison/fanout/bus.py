"""The seam that several nodes share: topics, wake-ups, subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from liaison.fanout.flag import Flag

Wake = tuple[str, str]
"""A topic and a note; the note is empty, or says what a client should be told."""


class Bus(Protocol):
    """Carries wake-ups."""

    def wake(self, topic: str, note: str = "") -> None:
        """Wake whoever subscribed to the topic, on every node; never blocks, never fails."""
        ...

    def subscribe(self, *topics: str) -> Subscription:
        """Begin to listen; what comes from now on is not missed."""
        ...

    def start(self) -> None:
        """Connect to the other nodes, as soon as they can be reached; returns at once."""
        ...

    async def close(self) -> None:
        """Let go of connections; subscriptions hear nothing more."""
        ...


class Subscription:
    """What one reader listens to. Wakes of one topic that nobody waited for are one wake.

    Made by a bus; `listen` and `ignore` are how it adds and drops a topic there.
    """

    def __init__(
        self,
        listen: Callable[[str, Subscription], None],
        ignore: Callable[[str, Subscription], None],
    ) -> None:
        self._listen = listen
        self._ignore = ignore
        self._topics: set[str] = set()
        self._woken: set[Wake] = set()
        self._event = Flag()
        self._call: Callable[[], object] | None = None

    def add(self, topic: str) -> bool:
        """Listen to one topic more; whether it was not listened to before."""
        if topic in self._topics:
            return False
        self._topics.add(topic)
        self._listen(topic, self)
        return True

    def discard(self, topic: str) -> None:
        """Listen to one topic less."""
        if topic in self._topics:
            self._topics.discard(topic)
            self._ignore(topic, self)

    def deliver(self, wake: Wake) -> None:
        """Take a wake-up; called by the bus."""
        self._woken.add(wake)
        if self._call is None:
            self._event.set()
        else:
            self._call()

    def call(self, news: Callable[[], object] | None) -> None:
        """Have something called at each wake-up, where nobody waits; None for no more.

        Args:
            news: called at once where something came since the last call of `taken`. It must not
                block or raise.
        """
        self._call = news
        if news is not None and self._woken:
            news()

    async def wait(self) -> set[Wake]:
        """Return what came since the last call, waiting for the first. Cancelling loses nothing."""
        if not self._woken:
            await self._event.wait()
        return self.taken()

    @property
    def has_news(self) -> bool:
        """Whether something came since the last call of `taken`."""
        return bool(self._woken)

    def taken(self) -> set[Wake]:
        """Return what came since the last call, and do not wait."""
        self._event.clear()
        woken, self._woken = self._woken, set()
        return woken

    def close(self) -> None:
        """Listen to nothing more."""
        for topic in tuple(self._topics):
            self.discard(topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
