"""What the scenarios of faults find, added up for the last line of the run.

A scenario is a test that has the fixture `tally` and counts once: what was acknowledged against
what was shown. The counts travel with the test's report, so that it does not matter which process
of the test run had it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest

_PROPERTY = "faults"


@dataclass
class Tally:
    """The counts of one scenario."""

    item: pytest.Item

    def count(
        self,
        acknowledged: Iterable[str],
        shown: Mapping[str, int],
        *,
        explained: Iterable[str] = (),
        strange: Iterable[object] = (),
    ) -> None:
        """Compare, note the result for the last line, and fail unless it is nothing thrice.

        Args:
            acknowledged: what its sender was told to be safe.
            shown: what was shown, and how often.
            explained: what was not shown, and its reader knows why.
            strange: whatever nobody can explain: gaps, failures, things that nobody has sent.
        """
        lost = sorted(set(acknowledged) - set(shown) - set(explained))
        duplicated = sorted(what for what, times in shown.items() if times > 1)
        unexplained = list(strange)
        counts = (len(lost), len(duplicated), len(unexplained))
        self.item.user_properties.append((_PROPERTY, counts))
        assert (lost, duplicated, unexplained) == ([], [], [])


def summary(reports: Iterable[pytest.TestReport]) -> str | None:
    """Return the last line of a run; None where no scenario was in it."""
    found = [
        counts for report in reports for name, counts in report.user_properties if name == _PROPERTY
    ]
    if not found:
        return None
    lost, duplicated, unexplained = (sum(column) for column in zip(*found, strict=True))
    return (
        f"faults: {len(found)} scenarios, {lost} lost, {duplicated} duplicated,"
        f" {unexplained} unexplained"
    )
