"""The report: what a part of a log says, as one HTML page that needs nothing else.

`summary.Summary` reads the events once; `page.render` makes the page. `plots` draws with pygal
(extra `report`), which is imported only there. The page loads nothing and runs nothing: its policy
forbids both, and every text of the log is escaped where it enters the markup.
"""

from __future__ import annotations

from collections.abc import Iterable

from liaison.audit.events import Event
from liaison.audit.manifest import Facts
from liaison.audit.report.page import Checked, render
from liaison.audit.report.summary import Summary

__all__ = ["Checked", "Summary", "make", "render"]


def make(facts: Facts, events: Iterable[Event], checked: Checked | None = None) -> str:
    """Read the events of a bundle once and return its report, as HTML.

    Args:
        facts: what the bundle is of.
        events: all of them, in order.
        checked: what an auditor has verified; None for a report that comes with the bundle.

    Raises:
        ModuleNotFoundError: pygal is not installed.
    """
    summary = Summary(facts)
    for event in events:
        summary.add(event)
    return render(summary, checked)
