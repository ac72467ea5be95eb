"""The sections on what was sent: messages, deliveries, handling times, refusals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from liaison.audit.report import plots
from liaison.audit.report.calendars import Calendar
from liaison.audit.report.durations import words
from liaison.audit.report.markup import Markup, element, said, table
from liaison.audit.report.parts import (
    UNKNOWN_WORDS,
    Parties,
    bad,
    left_out,
    level_of,
    limit_of,
    number,
    section,
    text,
)
from liaison.audit.report.summary import MAX_ROWS, PRECEDENCES, UNKNOWN, Summary
from liaison.tlog.fields import EntryType
from liaison.words import noun

_MOST_REFUSALS: Final = 15


def messages(summary: Summary, parties: Parties) -> Markup:
    """Messages per party, precedence and day."""
    senders = summary.senders()
    if not senders:
        return section("messages", "Messages", text("No message was accepted in this range."))
    calendar = Calendar(summary.days())
    per_day = {
        parties.plain(code): calendar.sums(
            (day, n) for (day, party, _), n in summary.messages.items() if party == code
        )
        for code in senders
    }
    levels = [p for p in (*PRECEDENCES, UNKNOWN) if any(p == q for _, _, q in summary.messages)]
    per_level: Counter[tuple[str, str]] = Counter()
    for (_, party, level), n in summary.messages.items():
        per_level[party, level] += n
    by_level = {level_of(p): [float(per_level[code, p]) for code in senders] for p in levels}
    return section(
        "messages",
        "Messages",
        text(
            f"Messages accepted: {number(sum(summary.messages.values()))}. Receipts are counted "
            f"apart: {number(summary.types[EntryType.RECEIPT])}. "
            f"“{UNKNOWN_WORDS.capitalize()}” is what this party may not see, or what was erased."
        ),
        plots.figure(
            f"Messages per {calendar.unit}, by the sender's party",
            plots.bars(f"Messages per {calendar.unit}", calendar.labels, per_day),
            list(per_day),
        ),
        table(
            f"Messages per {calendar.unit}, by the sender's party",
            [calendar.unit.capitalize(), *map(parties.plain, senders), "All"],
            (
                [label, *(number(values[i]) for values in per_day.values()), number(total)]
                for i, label in enumerate(calendar.labels)
                if (total := sum(values[i] for values in per_day.values()))
            ),
            numbers=len(senders) + 1,
        ),
        plots.figure(
            "Messages by precedence and the sender's party",
            plots.rows("Messages by precedence", [parties.plain(c) for c in senders], by_level),
            list(by_level),
        ),
        table(
            "Messages by the sender's party and precedence",
            ["Party", *map(level_of, levels), "All"],
            (
                [
                    parties.full(code),
                    *(number(per_level[code, level]) for level in levels),
                    number(sum(per_level[code, level] for level in levels)),
                ]
                for code in senders
            ),
            numbers=len(levels) + 1,
        ),
    )


def deliveries(summary: Summary, parties: Parties) -> Markup:
    """What the parties' devices have taken, and acknowledged."""
    codes = summary.ordered({*summary.delivered, *summary.receipts})
    return section(
        "deliveries",
        "Deliveries",
        text(
            "A device tells the relay up to where it has a channel's items; each of a party's "
            "devices counts by itself. Items are messages, receipts and handshakes."
        ),
        table(
            "Items delivered, and receipts sent, by party",
            ["Party", "Items delivered", "Receipts"],
            (
                [parties.full(c), number(summary.delivered[c]), number(summary.receipts[c])]
                for c in codes
            ),
            numbers=2,
            empty="none in this range.",
        ),
    )


def handling(summary: Summary, parties: Parties) -> Markup:
    """Handling times from receipts, against the agreement's limits."""
    open_ = summary.unanswered()
    measured = sorted(
        summary.handling, key=lambda key: (PRECEDENCES.index(key[1]), summary.ordered({key[0]}))
    )
    levels = [p for p in PRECEDENCES if p in open_ or any(p == q for _, q in measured)]
    intro = text(
        "From the acceptance of a message to the first receipt of each party that sent one, against "
        "the agreement's limit for its precedence. A receipt says that a device has acknowledged, "
        "not that a person has read."
    )
    if not levels:
        return section("handling", "Handling times", intro, text("There is no receipt."))
    limited = [p for p in levels if summary.limit(p) is not None]
    late = {p: sum(d.late for (_, q), d in summary.handling.items() if p == q) for p in limited}
    all_ = {p: sum(d.count for (_, q), d in summary.handling.items() if p == q) for p in limited}
    shares: dict[str, Sequence[float]] = {
        "within the limit": [all_[p] - late[p] for p in limited],
        "late": [late[p] for p in limited],
        "without a receipt, past the limit": [open_.get(p, (0, 0))[1] for p in limited],
    }
    return section(
        "handling",
        "Handling times",
        intro,
        plots.figure(
            "Receipts within and past the limit, by precedence",
            plots.rows("Receipts by precedence", limited, shares),
            list(shares),
        )
        if limited
        else text("The agreement has no limit for a precedence of these."),
        table(
            "Time to a party's first receipt",
            ["Precedence", "Party", "Limit", "Receipts", "Half within", "95 % within", "Longest",
             "Late"],
            (
                [
                    level_of(level), parties.full(party), limit_of(summary, level), number(d.count),
                    words(d.quantile(0.5)), words(d.quantile(0.95)), words(d.longest), bad(d.late),
                ]
                for party, level in measured
                for d in (summary.handling[party, level],)
            ),
            numbers=6,
        ),
        table(
            "Messages without any receipt, of precedences that have a limit",
            ["Precedence", "Limit", "Without", "Of these past the limit"],
            (
                [level_of(p), limit_of(summary, p), number(open_[p][0]), bad(open_[p][1])]
                for p in levels
                if p in open_
            ),
            numbers=3,
            empty="every one has a receipt.",
        ),
    )  # fmt: skip


def refusals(summary: Summary, parties: Parties) -> Markup:
    """Refusals by rule."""
    by_rule: Counter[str] = Counter()
    for (rule, _, _), n in summary.refusals.items():
        by_rule[rule] += n
    closed = summary.closed[EntryType.REFUSED]
    intro = text(
        "What the relay refused because the agreement does not allow it. Only the asking party may "
        f"open a refusal: {number(closed)} of others, or erased, {noun(closed, 'is', 'are')} in "
        "the range. More than one a second is told as a count."
    )
    if not by_rule:
        return section("refusals", "Refusals", intro, text("None is told in this range."))
    top = [rule for rule, _ in by_rule.most_common(_MOST_REFUSALS)]
    return section(
        "refusals",
        "Refusals",
        intro,
        plots.figure(
            "Refusals by rule of the agreement",
            plots.rows("Refusals by rule", top, {"refusals": [float(by_rule[r]) for r in top]}),
            ["refusals"],
        ),
        table(
            "Refusals by rule",
            ["Rule", "Code", "Party", "Refusals"],
            (
                [said(rule), element("code", said(code)), parties.full(party), number(n)]
                for (rule, code, party), n in summary.refusals.most_common(MAX_ROWS)
            ),
            numbers=1,
        ),
        left_out(len(summary.refusals)),
    )
