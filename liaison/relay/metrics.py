"""What the relay counts of its own work, as plain numbers; `exposition` gives them to Prometheus.

Counting costs next to nothing, because it is done for groups, batches and requests and never
computes anything. Nothing here knows a party, a device, a channel or an agreement: what is
counted apart is counted by a kind of which there are few, so that whoever reads the numbers learns
how the relay is, and not who talks to whom.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Final

from liaison.model import Precedence
from liaison.values import dataclass

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets that times fall into."""
AGES: Final = (*SECONDS, 60.0, 600.0, 3600.0, 86_400.0)
"""The same for what may have waited for a device that was away."""
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Upper bounds of the buckets that numbers of operations fall into."""
EVERY: Final = 8
"""Of so many batches of deliveries one is timed, and each whose first item is FLASH or above."""
_URGENT: Final = int(Precedence.FLASH)
_SWITCHING: Final = 101


class Histogram:
    """How often a value fell between two bounds.

    Args:
        bounds: upper bounds, ascending; what is larger than the last is counted too.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, as often as it is said to have been seen."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


def _seconds() -> Histogram:
    return Histogram(SECONDS)


@dataclass(slots=True)
class Metrics:
    """The numbers of one relay since it started; only its event loop changes them.

    Args:
        requests: how long requests took, by method and route.
        responses: how many there were, by method, route and status.
        problems: errors that were told to clients, by code, of requests and streams together.
        frames_in: frames that came over streams, by kind.
        frames_out: frames that went out, deliveries excepted, by the name of their class.
        delivered: items that were handed to connections.
        batches: in so many batches.
        closes: streams that ended, by close code.
        groups: operations in each transaction.
        commits: how long a transaction took until it was durable.
        failed_groups: transactions that the database did not take.
        waits: by precedence, from when an operation was handed to the writer until it was durable;
            all of one transaction count with the wait of the one that came first.
        ages: by precedence, from when the relay accepted an item until it was handed to a device's
            connection, of the first item of a batch; see `EVERY`.
        certificate_ends: when the certificate that is served ends, Unix seconds; None for none.
    """

    requests: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    responses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    # No Counter: that takes three times as long, and these count each frame.
    frames_in: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    frames_out: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    delivered: int = 0
    batches: int = 0
    closes: Counter[int] = field(default_factory=Counter)
    groups: Histogram = field(default_factory=lambda: Histogram(SIZES))
    commits: Histogram = field(default_factory=_seconds)
    failed_groups: int = 0
    waits: dict[int, Histogram] = field(default_factory=dict)
    ages: dict[int, Histogram] = field(default_factory=dict)
    certificate_ends: int | None = None

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended.

        Args:
            method: one of the few that there are.
            route: the pattern, never the address with its parameters.
            status: of HTTP.
            seconds: it took.
        """
        self.responses[method, route, status] += 1
        if status == _SWITCHING:
            # A stream's life, not an answer's time.
            return
        histogram = self.requests.get((method, route))
        if histogram is None:
            histogram = self.requests[method, route] = _seconds()
        histogram.observe(seconds)

    def group(self, seconds: float, waited: Iterable[tuple[int, int, float]]) -> None:
        """Count a transaction that is durable.

        Args:
            seconds: it took.
            waited: precedences, how many operations of each there were, and the seconds since the
                first of them was handed in.
        """
        operations = 0
        for precedence, number, wait in waited:
            operations += number
            histogram = self.waits.get(precedence)
            if histogram is None:
                histogram = self.waits[precedence] = _seconds()
            histogram.observe(wait, number)
        self.groups.observe(operations)
        self.commits.observe(seconds)

    def batch(self, count: int, precedence: int) -> bool:
        """Count items that were handed to a connection together; whether the first is to be timed.

        Args:
            count: how many.
            precedence: of the first.
        """
        self.delivered += count
        self.batches += 1
        return precedence >= _URGENT or not self.batches % EVERY

    def age(self, precedence: int, seconds: float) -> None:
        """Time an item.

        Args:
            precedence: its.
            seconds: since the relay accepted it.
        """
        histogram = self.ages.get(precedence)
        if histogram is None:
            histogram = self.ages[precedence] = Histogram(AGES)
        histogram.observe(max(0.0, seconds))
