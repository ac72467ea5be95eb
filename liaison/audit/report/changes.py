"""The sections on what changed: the agreement, members, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from liaison.audit.report import plots
from liaison.audit.report.calendars import Calendar
from liaison.audit.report.markup import Markup, element, said, table
from liaison.audit.report.parts import (
    UNKNOWN_WORDS,
    Parties,
    counted,
    listed,
    number,
    section,
    text,
    when,
)
from liaison.audit.report.summary import OTHERS, UNKNOWN, Summary, acts_of
from liaison.tlog.fields import EntryType
from liaison.words import noun

ACT_WORDS: Final = {
    "certificate": "certificates",
    "known": "certificates from before the log",
    "key_packages": "uploads of key packages",
    "signature": "signatures under agreements",
    "revocations": "revocation lists",
    "revoked": "certificates revoked",
    UNKNOWN: UNKNOWN_WORDS,
    OTHERS: "others",
}


def policy(summary: Summary, parties: Parties) -> Markup:
    """The life of the agreement."""
    return section(
        "policy",
        "The agreement",
        listed(
            summary.policy,
            "Steps in the life of the agreement",
            ["When", "Step", "Document", "Version", "Party", "Digest", "Entry"],
            lambda e: [
                when(e.time),
                said(e.text("step")),
                said(e.text("document")),
                "—" if e.policy is None else str(e.policy),
                parties.full(e.text("party")) if e.text("party") else "—",
                element("code", said(e.text("digest"))),
                number(e.index),
            ],
        ),
        listed(
            summary.admin,
            "What the operator did",
            ["When", "Act", "Subject", "Party", "Entry"],
            lambda e: [
                when(e.time),
                said(e.text("act")),
                said(e.text("subject")),
                parties.full(e.text("party")) if e.text("party") else "—",
                number(e.index),
            ],
        ),
    )


def members(summary: Summary, parties: Parties) -> Markup:
    """Members over time."""
    codes = summary.ordered({party for _, party in summary.changes})
    if not codes:
        return section("members", "Members", text("Nobody came or went in this range."))
    calendar = Calendar(summary.days())
    lines: dict[str, Sequence[float]] = {}
    for code in codes:
        changed = calendar.sums(
            (d, n) for (d, party), n in summary.changes.items() if party == code
        )
        lines[parties.plain(code)] = _running(changed)
    whole = summary.facts.first == 0
    what = (
        "Devices in channels" if whole else "Devices in channels, more or fewer than at the start"
    )
    return section(
        "members",
        "Members",
        text(
            "A device counts once for each channel that it is in. Told are the channels in which "
            "this party had a device itself."
        ),
        plots.figure(
            f"{what}, at each {calendar.unit}'s end",
            plots.steps(what, calendar.labels, lines),
            list(lines),
        ),
        table(
            f"{what}, at each {calendar.unit}'s end",
            [calendar.unit.capitalize(), *lines],
            (
                [label, *(number(int(values[i])) for values in lines.values())]
                for i, label in enumerate(calendar.labels)
                if i == 0 or any(values[i] != values[i - 1] for values in lines.values())
            ),
            numbers=len(lines),
        ),
        table(
            "Came and went",
            ["Party", "Came", "Went"],
            ([parties.full(c), number(summary.joined[c]), number(summary.left[c])] for c in codes),
            numbers=2,
        ),
    )


def keys(summary: Summary, parties: Parties) -> Markup:
    """Keys over time."""
    acts = list(acts_of(summary))
    closed = summary.closed[EntryType.KEY]
    intro = text(
        "Certificates and revocations are told of every party, without the names of devices that were "
        "never in a channel with this one's; key packages and signatures only of "
        f"this one: {counted(closed, 'entry', 'entries')} of others, or erased, "
        f"{noun(closed, 'is', 'are')} in the range."
    )
    if not acts:
        return section("keys", "Keys", intro, text("None is told in this range."))
    calendar = Calendar(summary.days())
    series = {
        ACT_WORDS.get(act, act): calendar.sums(
            (day, n) for (day, other), n in summary.keys.items() if other == act
        )
        for act in acts
    }
    codes = summary.ordered({party for party, _ in summary.acts})
    return section(
        "keys",
        "Keys",
        intro,
        plots.figure(
            f"Entries about keys per {calendar.unit}",
            plots.bars(f"Entries about keys per {calendar.unit}", calendar.labels, series),
            list(series),
        ),
        table(
            f"Entries about keys per {calendar.unit}",
            [calendar.unit.capitalize(), *(said(name) for name in series)],
            (
                [label, *(number(values[i]) for values in series.values())]
                for i, label in enumerate(calendar.labels)
                if any(values[i] for values in series.values())
            ),
            numbers=len(series),
        ),
        table(
            "Entries about keys, by party",
            ["Party", *(said(ACT_WORDS.get(act, act)) for act in acts)],
            ([parties.full(c), *(number(summary.acts[c, act]) for act in acts)] for c in codes),
            numbers=len(acts),
        ),
        listed(
            summary.revoked,
            "Revoked",
            ["When", "What", "Party", "Device or list", "Serial", "Entry"],
            lambda e: [
                when(e.time),
                said(ACT_WORDS.get(e.text("act"), e.text("act"))),
                parties.full(e.text("party")),
                said(e.text("subject")),
                element("code", said(e.text("serial"))),
                number(e.index),
            ],
        ),
    )


def _running(changes: Sequence[int]) -> list[float]:
    sums: list[float] = []
    for change in changes:
        sums.append((sums[-1] if sums else 0) + change)
    return sums
