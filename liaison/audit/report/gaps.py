"""The section on what is missing: closed entries, gaps, erasures, and what was exported."""

from __future__ import annotations

from typing import Final

from liaison.audit.report.durations import words
from liaison.audit.report.markup import Markup, element, said, table
from liaison.audit.report.parts import (
    Parties,
    bad,
    counted,
    left_out,
    listed,
    number,
    number_of,
    section,
    text,
    texts_of,
    when,
)
from liaison.audit.report.summary import MAX_ROWS, Summary
from liaison.tlog.fields import EntryType

TYPE_WORDS: Final = {
    EntryType.ACCEPTED: "messages and proposals accepted",
    EntryType.RECEIPT: "receipts accepted",
    EntryType.COMMIT: "changes of a group's keys",
    EntryType.DELIVERED: "deliveries, as ranges",
    EntryType.REFUSED: "refusals",
    EntryType.POLICY: "steps of the agreement",
    EntryType.ADMIN: "acts of the operator",
    EntryType.MEMBER: "devices that came or went",
    EntryType.KEY: "keys",
    EntryType.EXPORT: "exports",
    EntryType.ERASURE: "erasures",
    EntryType.CHECKPOINT: "checkpoints of other logs",
}


def gaps(summary: Summary, parties: Parties) -> Markup:
    """Gaps and erasures."""
    length, since = summary.quiet
    broken = [(name, c) for name, c in summary.channels.items() if c.missing]
    closed = sum(summary.closed.values())
    whole = sum(summary.types.values())
    return section(
        "gaps",
        "Gaps and erasures",
        text(
            f"Of {counted(whole, 'entry', 'entries')}, {counted(closed, 'is', 'are')} closed: this "
            "party may not see what is said there, it lies outside of the times that were asked for, "
            "or what opens it was erased. Which of these it is, nobody can tell from the log."
        ),
        text(
            "The longest time without an entry is ",
            words(length / 1000) if length else "—",
            ", from ",
            when(since if length else None),
            " on.",
        ),
        table(
            "Entries by what they record",
            ["What", "Entries", "Closed"],
            (
                [TYPE_WORDS.get(kind, kind.value), number(n), number(summary.closed[kind])]
                for kind, n in sorted(summary.types.items(), key=lambda item: -item[1])
            ),
            numbers=2,
        ),
        text(
            f"{counted(len(summary.channels), 'channel has', 'channels have')} numbered items in the "
            "range; within each, the numbers have to follow one another."
        ),
        table(
            "Channels with missing numbers",
            ["Channel (pseudonym)", "From", "To", "Missing"],
            (
                [element("code", n), number(c.first), number(c.last), bad(c.missing)]
                for n, c in broken[:MAX_ROWS]
            ),
            numbers=3,
            empty="no number is missing.",
        ),
        left_out(len(broken)),
        listed(
            summary.erasures,
            "Erasures",
            ["When", "Rule", "Entries from", "to", "Contents", "Openings", "Digest of the report"],
            lambda e: [
                when(e.time),
                said(e.text("rule")),
                number_of(e, "first"),
                number_of(e, "last"),
                number_of(e, "contents"),
                number_of(e, "openings"),
                element("code", said(e.text("digest"))),
            ],
        ),
        listed(
            summary.exports,
            "Exports",
            ["When", "For", "Entries from", "to", "Filters", "Opened", "Digest of the manifest"],
            lambda e: [
                when(e.time),
                parties.full(e.text("party")),
                number_of(e, "first"),
                number_of(e, "last"),
                texts_of(e, "filters"),
                number_of(e, "count"),
                element("code", said(e.text("digest"))),
            ],
        ),
    )
