"""What the relay counts of its own work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.relay.metrics import SECONDS, Histogram, Metrics


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5))))
def test_a_histogram_counts_every_value_in_the_one_bucket_that_it_falls_into(
    values: list[tuple[float, int]],
) -> None:
    histogram = Histogram(SECONDS)

    for value, times in values:
        histogram.observe(value, times)

    for at, bound in enumerate(SECONDS):
        below = sum(times for value, times in values if value <= bound)
        assert sum(histogram.counts[: at + 1]) == below
    assert histogram.count == sum(times for _, times in values)
    assert histogram.total == pytest.approx(sum(value * times for value, times in values))


def test_of_a_group_each_precedence_counts_with_its_longest_wait() -> None:
    metrics = Metrics()

    metrics.group(0.002, [(1, 2, 0.5), (4, 1, 0.003)])

    assert metrics.waits[1].total == 1.0
    assert metrics.waits[4].total == 0.003
    assert (metrics.groups.count, metrics.groups.total) == (1, 3.0)
    assert (metrics.commits.count, metrics.commits.total) == (1, 0.002)


def test_a_stream_counts_as_an_answer_and_not_for_the_time_that_it_lived() -> None:
    metrics = Metrics()

    metrics.request("GET", "/v1/stream", 101, 3600.0)

    assert metrics.responses["GET", "/v1/stream", 101] == 1
    assert not metrics.requests
