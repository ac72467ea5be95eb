"""The report: what a part of a log says, as one HTML page that needs nothing else.

`summary.Summary` reads the events once; `page.render` makes the page. `plots` draws with pygal
(extra `report`), which is imported only there. The page loads nothing and runs nothing: its policy
forbids both, and every text of the log is escaped where it enters the markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from liaison.audit import dates
from liaison.audit.dates import Misdated
from liaison.audit.events import Event
from liaison.audit.manifest import Facts
from liaison.audit.report.page import Checked, render
from liaison.audit.report.summary import Summary
from liaison.tlog.policy import Cosigned

__all__ = ["Checked", "Summary", "make", "render", "told"]


def make(facts: Facts, events: Iterable[Event], checkpoints: Sequence[Cosigned] = ()) -> str:
    """Read the events of a bundle once and return the report that comes with it, as HTML.

    Args:
        facts: what the bundle is of.
        events: all of them, in order.
        checkpoints: of the bundle, whose signatures were verified.

    Raises:
        ModuleNotFoundError: pygal is not installed.
    """
    summary = Summary(facts)
    places = dates.places(one.checkpoint.size for one in checkpoints)
    times: dict[int, int] = {}
    for event in events:
        summary.add(event)
        if event.index in places:
            times[event.index] = event.time
    return render(summary, notes=tuple(told(dates.compare(checkpoints, times))))


def told(misdated: Iterable[Misdated]) -> Iterator[str]:
    """Give the sentences about entries that are dated otherwise than witnesses' times allow."""
    for each in misdated:
        line = each.told()
        yield f"{line[:1].upper()}{line[1:]}."
