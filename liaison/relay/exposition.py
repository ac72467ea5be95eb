"""The relay's numbers as Prometheus reads them.

`FAMILIES` is the whole list: what is not in it is not given out, and
`docs/operating/observability.md` is made from it. No label names a party, a device, a channel, an
agreement or a witness; each has few values. Reading changes nothing, and what is read from the database is read in `scrape`.

Only a scrape loads this module: the library takes a tenth of a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Self, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from liaison.model import Precedence
from liaison.relay import log
from liaison.relay.app import Relay
from liaison.relay.metrics import EVERY, Histogram, Metrics
from liaison.relay.scrape import Facts, Scrape
from liaison.relay.version import VERSION
from liaison.relay.writer import MAX_WAITING
from liaison.values import dataclass

Value = tuple[tuple[str, ...], float | Histogram]
"""The labels' values, and what is counted."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Args:
        name: as it is given out, with its unit.
        kind: `counter`, `gauge` or `histogram`.
        labels: what it is counted apart by.
        text: what it counts.
        read: gives its values.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    read: Callable[[Relay, Facts], Iterable[Value]]


def _one(value: float | Histogram) -> list[Value]:
    return [((), value)]


def _labelled(values: Mapping[str, float] | Mapping[int, float]) -> list[Value]:
    return [((str(label),), value) for label, value in values.items()]


def _frames(metrics: Metrics) -> list[Value]:
    sent = {name.lower(): count for name, count in metrics.frames_out.items()}
    return _labelled({**sent, "deliver": metrics.delivered})


def _by_precedence(values: Mapping[int, int] | Mapping[int, Histogram]) -> list[Value]:
    return [((Precedence(each).name,), value) for each, value in values.items()]


def _some(found: T | None, values: Callable[[T], list[Value]]) -> list[Value]:
    return [] if found is None else values(found)


FAMILIES: Final = (
    Family(
        "liaison_build_info",
        "gauge",
        ("version",),
        "1; the label says which release runs.",
        lambda *_: [((VERSION,), 1)],
    ),
    Family(
        "liaison_ready",
        "gauge",
        (),
        "1 where messages could be accepted now, as `/readyz`.",
        lambda _, facts: _one(facts.is_ready),
    ),
    Family(
        "liaison_http_requests_total",
        "counter",
        ("method", "route", "status"),
        "Requests that have ended. `route` is the pattern; status 499: the client went away.",
        lambda relay, _: [((m, r, str(s)), n) for (m, r, s), n in relay.metrics.responses.items()],
    ),
    Family(
        "liaison_http_request_duration_seconds",
        "histogram",
        ("method", "route"),
        "How long they took, streams excepted.",
        lambda relay, _: relay.metrics.requests.items(),
    ),
    Family(
        "liaison_problems_total",
        "counter",
        ("code",),
        "Errors that clients were told, of requests and of messages on streams, by code.",
        lambda relay, _: _labelled(relay.metrics.problems),
    ),
    Family(
        "liaison_connections",
        "gauge",
        (),
        "Connections that are open, streams among them.",
        lambda relay, _: _one(len(relay.connections)),
    ),
    Family(
        "liaison_connections_unproven",
        "gauge",
        (),
        "Those on which nobody has shown a session yet.",
        lambda relay, _: _one(relay.connections.unproven),
    ),
    Family(
        "liaison_connections_refused_total",
        "counter",
        (),
        "Connections that were closed at once, because there were too many.",
        lambda relay, _: _one(relay.connections.refused),
    ),
    Family(
        "liaison_streams",
        "gauge",
        (),
        "WebSocket connections that are open.",
        lambda relay, _: _one(len(relay.streams)),
    ),
    Family(
        "liaison_streams_delivering",
        "gauge",
        (),
        "Those of them that take deliveries.",
        lambda relay, _: _one(relay.streams.delivering),
    ),
    Family(
        "liaison_streams_limit",
        "gauge",
        (),
        "How many may be open: `max_streams`.",
        lambda relay, _: _one(relay.streams.most),
    ),
    Family(
        "liaison_streams_closed_total",
        "counter",
        ("close",),
        "Connections that have ended, by WebSocket close code.",
        lambda relay, _: _labelled(relay.metrics.closes),
    ),
    Family(
        "liaison_stream_frames_received_total",
        "counter",
        ("kind",),
        "Frames of clients: `send`, `ack`, `credit`.",
        lambda relay, _: _labelled(relay.metrics.frames_in),
    ),
    Family(
        "liaison_stream_frames_sent_total",
        "counter",
        ("kind",),
        "Frames to clients: `ready`, `accepted`, `refused`, `deliver`.",
        lambda relay, _: _frames(relay.metrics),
    ),
    Family(
        "liaison_writer_waiting_operations",
        "gauge",
        ("precedence",),
        "Operations, most of them messages, that wait to be written.",
        lambda relay, _: _by_precedence(relay.writer.waiting()),
    ),
    Family(
        "liaison_writer_waiting_bytes",
        "gauge",
        (),
        "What they keep in memory.",
        lambda relay, _: _one(relay.writer.waiting_bytes),
    ),
    Family(
        "liaison_writer_waiting_operations_limit",
        "gauge",
        (),
        "How many may wait; beyond it clients are told to come back.",
        lambda *_: _one(MAX_WAITING),
    ),
    Family(
        "liaison_writer_group_operations",
        "histogram",
        (),
        "Operations in one transaction.",
        lambda relay, _: _one(relay.metrics.groups),
    ),
    Family(
        "liaison_writer_commit_duration_seconds",
        "histogram",
        (),
        "How long a transaction took, from its first statement until it was durable.",
        lambda relay, _: _one(relay.metrics.commits),
    ),
    Family(
        "liaison_writer_failed_groups_total",
        "counter",
        (),
        "Transactions that the database did not take; nobody was told that they were stored.",
        lambda relay, _: _one(relay.metrics.failed_groups),
    ),
    Family(
        "liaison_operation_wait_seconds",
        "histogram",
        ("precedence",),
        "From when an operation was handed to the writer until it was durable. All of one "
        "transaction count with the wait of the one that came first.",
        lambda relay, _: _by_precedence(relay.metrics.waits),
    ),
    Family(
        "liaison_delivery_age_seconds",
        "histogram",
        ("precedence",),
        "From when an item was accepted until it was handed to a device's connection, of the "
        f"first item of a batch: of one in {EVERY}, and of each that begins with FLASH or above. A "
        "device that was away counts with the time that it was.",
        lambda relay, _: _by_precedence(relay.metrics.ages),
    ),
    Family(
        "liaison_undelivered_items",
        "gauge",
        (),
        "Deliveries that devices have not acknowledged, each device's counted. With over 50,000 stays "
        "of devices in channels, added up over several scrapes.",
        lambda _, facts: _some(facts.backlog, lambda found: _one(found.items)),
    ),
    Family(
        "liaison_undelivered_items_longest",
        "gauge",
        (),
        "The same, of the one device and channel with the most.",
        lambda _, facts: _some(facts.backlog, lambda found: _one(found.longest)),
    ),
    Family(
        "liaison_logs",
        "gauge",
        ("state",),
        "Logs: `ok`, `waiting` for a quorum, `unconfirmed` since the start: nothing is signed until "
        "a quorum says that it has seen no more, `refused`.",
        lambda _, facts: _some(facts.logs, lambda found: _labelled(found.states)),
    ),
    Family(
        "liaison_log_entries",
        "gauge",
        ("stage",),
        "Entries of all logs: `recorded`, `published` under a signed checkpoint, `cosigned`.",
        lambda _, facts: _some(facts.logs, lambda found: _labelled(found.entries)),
    ),
    Family(
        "liaison_log_lag_seconds",
        "gauge",
        ("stage",),
        "Age of the oldest entry that is not `published`, not `cosigned`; 0 where all are.",
        lambda _, facts: _some(facts.logs, lambda found: _labelled(found.lags)),
    ),
    Family(
        "liaison_log_witnesses",
        "gauge",
        ("problem",),
        "Witnesses, once for each log that they cosign, by what is wrong: `none`, `unasked`, or "
        "a code of `liaison-relay log status`.",
        lambda _, facts: _some(facts.logs, lambda found: _labelled(found.witnesses)),
    ),
    Family(
        "liaison_database_up",
        "gauge",
        (),
        "1 where the database answered this scrape.",
        lambda _, facts: _one(facts.logs is not None),
    ),
    Family(
        "liaison_database_connections",
        "gauge",
        ("pool", "state"),
        "Connections to the database that are `busy` and `idle`.",
        lambda relay, _: relay.database.connections(),
    ),
    Family(
        "liaison_database_size_bytes",
        "gauge",
        ("file",),
        "Size of SQLite's files, `database` and `wal`; absent with PostgreSQL.",
        lambda _, facts: _labelled(facts.files),
    ),
    Family(
        "liaison_disk_free_bytes",
        "gauge",
        (),
        "Free on the disk of the data directory.",
        lambda _, facts: _one(facts.disk[0]),
    ),
    Family(
        "liaison_disk_size_bytes",
        "gauge",
        (),
        "Size of that disk.",
        lambda _, facts: _one(facts.disk[1]),
    ),
    Family(
        "liaison_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        (),
        "When the certificate that is served ends, Unix time; absent behind a proxy.",
        lambda relay, _: _some(relay.metrics.certificate_ends, _one),
    ),
    Family(
        "liaison_log_lines_total",
        "counter",
        ("event", "level"),
        "Warnings and errors in the relay's own log, by the line's constant name.",
        lambda *_: log.counts.items(),
    ),
)
"""Every metric of the relay's own."""

_KINDS: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


def table() -> str:
    """Return the metrics as the Markdown table of the operating guide."""
    rows = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for one in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} |")
    return "\n".join(rows) + "\n"


@dataclass
class Exposition:
    """Gives out the numbers of one relay.

    Args:
        scrape: reads what the counters do not tell.
    """

    scrape: Scrape

    @classmethod
    def of(cls, relay: Relay) -> Self:
        """Return what gives out a relay's numbers."""
        return cls(Scrape(relay))

    async def text(self) -> bytes:
        """Return all metrics in the text format."""
        facts = await self.scrape.facts()
        # Made here, where nobody counts meanwhile; what is left reads files.
        metrics = [_metric(family, self.scrape.relay, facts) for family in FAMILIES]
        return await asyncio.to_thread(_encode, metrics)


def _metric(family: Family, relay: Relay, facts: Facts) -> Metric:
    values = family.read(relay, facts)
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, value in values:
            if isinstance(value, Histogram):
                histogram.add_metric(labels, _buckets(value), value.total)
        return histogram
    metric: CounterMetricFamily | GaugeMetricFamily
    metric = _KINDS[family.kind](family.name, family.text, labels=family.labels)
    for labels, value in values:
        if not isinstance(value, Histogram):
            metric.add_metric(labels, value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    found, below = [], 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        found.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
    return found


class _Made(Collector):
    """Gives metrics that were made before."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Return them."""
        yield from self._metrics


def _encode(metrics: Iterable[Metric]) -> bytes:
    # Of its own each time: two relays in one process know nothing of each other.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Made(metrics))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return generate_latest(registry)
