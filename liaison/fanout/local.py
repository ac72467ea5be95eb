"""The bus of a relay that is one process."""

from __future__ import annotations

from liaison.fanout.bus import Subscription


class LocalBus:
    """Wakes subscribers in this process."""

    def __init__(self) -> None:
        # A dict keeps the order of subscription, a set would not.
        self._listeners: dict[str, dict[Subscription, None]] = {}

    def wake(self, topic: str, note: str = "") -> None:
        """Wake the topic's subscribers."""
        for subscription in self._listeners.get(topic, ()):
            subscription.deliver((topic, note))

    def subscribe(self, *topics: str) -> Subscription:
        """Begin to listen."""
        subscription = Subscription(self._listen, self._ignore)
        for topic in topics:
            subscription.add(topic)
        return subscription

    def start(self) -> None:
        """There is nobody else to reach."""

    def topics(self) -> tuple[str, ...]:
        """Return what somebody listens to."""
        return tuple(self._listeners)

    async def close(self) -> None:
        """Drop every subscription."""
        self._listeners.clear()

    def _listen(self, topic: str, subscription: Subscription) -> None:
        self._listeners.setdefault(topic, {})[subscription] = None

    def _ignore(self, topic: str, subscription: Subscription) -> None:
        listeners = self._listeners.get(topic, {})
        listeners.pop(subscription, None)
        if not listeners:
            self._listeners.pop(topic, None)
