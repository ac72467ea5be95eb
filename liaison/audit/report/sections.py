"""The parts of the page below its head: each a heading, plots, and tables with the same values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from liaison.audit.events import Event
from liaison.audit.report import plots
from liaison.audit.report.durations import words
from liaison.audit.report.markup import Content, Markup, clean, element, join, said, table
from liaison.audit.report.summary import (
    MAX_ROWS,
    OTHERS,
    PRECEDENCES,
    UNKNOWN,
    Rows,
    Summary,
    acts_of,
)
from liaison.tlog.entries import MAX_TIME
from liaison.tlog.fields import EntryType

_EPOCH: Final = date(1970, 1, 1)
_MOST_BARS: Final = 45
_MOST_REFUSALS: Final = 15
_UNKNOWN_WORDS: Final = "not told"

ACT_WORDS: Final = {
    "certificate": "certificates",
    "known": "certificates from before the log",
    "key_packages": "uploads of key packages",
    "signature": "signatures under agreements",
    "revocations": "revocation lists",
    "revoked": "certificates revoked",
    UNKNOWN: _UNKNOWN_WORDS,
    OTHERS: "others",
}
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


def when(milliseconds: int | None) -> Markup:
    """Return a time of the log, in UTC to the second."""
    if milliseconds is None:
        return element("span", "—", class_="none")
    if milliseconds > MAX_TIME:
        return element("span", "after the year 9999", class_="bad")
    time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return element("time", f"{time:%Y-%m-%d %H:%M:%S}", datetime=f"{time:%Y-%m-%dT%H:%M:%SZ}")


def number(count: int) -> str:
    """Write a count."""
    return f"{count:,}"


def bad(count: int) -> str:
    """Write a count that should be nothing."""
    return element("span", number(count), class_="bad") if count else "0"


def section(name: str, title: str, *content: Content) -> Markup:
    """Return a part of the page; `name` is its anchor."""
    head = element("h2", title, id=name)
    return element("section", [head, *map(join, content)], aria_labelledby=name)


def text(*content: str) -> Markup:
    """Return a paragraph."""
    return element("p", content)


class Parties:
    """Names of parties for people."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def plain(self, code: str) -> str:
        """Return the code, or words for what is not told."""
        return _UNKNOWN_WORDS if code in {UNKNOWN, ""} else clean(code)

    def full(self, code: str) -> Markup:
        """Return code and name."""
        name = self._names.get(code)
        if code in {UNKNOWN, "", OTHERS}:
            return element("span", self.plain(code), class_="none")
        return said(f"{code} · {name}" if name else code)


class Calendar:
    """Days as the labels of a plot: put together to longer units where there are too many."""

    def __init__(self, days: range) -> None:
        self.unit, self._label, step = next(
            (unit, label, step)
            for unit, label, length, step in _UNITS
            if len(days) <= _MOST_BARS * length
        )
        # No unit is shorter than its step, so none is left out.
        seen = [*days[::step], *days[-1:]]
        self.labels = list(dict.fromkeys(map(self._label, seen)))

    def sums(self, counts: Iterable[tuple[int, int]]) -> list[int]:
        """Return the sum for each label of (day, count)."""
        sums: Counter[str] = Counter()
        for day, count in counts:
            sums[self._label(day)] += count
        return [sums[label] for label in self.labels]


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
    by_level = {_level(p): [float(per_level[code, p]) for code in senders] for p in levels}
    return section(
        "messages",
        "Messages",
        text(
            f"Messages accepted: {number(sum(summary.messages.values()))}. Receipts are counted "
            f"apart: {number(summary.types[EntryType.RECEIPT])}. "
            f"“{_UNKNOWN_WORDS.capitalize()}” is what this party may not see, or what was erased."
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
            ["Party", *map(_level, levels), "All"],
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
                    _level(level), parties.full(party), _limit(summary, level), number(d.count),
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
                [_level(p), _limit(summary, p), number(open_[p][0]), bad(open_[p][1])]
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
    intro = text(
        "What the relay refused because the agreement does not allow it. Only the asking party may "
        f"open a refusal: {number(summary.closed[EntryType.REFUSED])} of others, or erased, are in "
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
        _left_out(len(summary.refusals)),
    )


def policy(summary: Summary, parties: Parties) -> Markup:
    """The life of the agreement."""
    return section(
        "policy",
        "The agreement",
        _rows(
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
        _rows(
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
    intro = text(
        "Certificates and revocations are told of every party; key packages and signatures only of "
        f"this one: {number(summary.closed[EntryType.KEY])} entries of others, or erased, are in "
        "the range."
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
        _rows(
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
            f"Of {number(whole)} entries, {number(closed)} are closed: this party may not see what "
            "they say, they lie outside of the times that were asked for, or what opens them was "
            "erased. Which of these it is, nobody can tell from the log."
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
            f"{number(len(summary.channels))} channels have numbered items in the range; "
            "within each, the numbers have to follow one another."
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
        _left_out(len(broken)),
        _rows(
            summary.erasures,
            "Erasures",
            ["When", "Rule", "Entries from", "to", "Contents", "Openings", "Digest of the report"],
            lambda e: [
                when(e.time),
                said(e.text("rule")),
                _number(e, "first"),
                _number(e, "last"),
                _number(e, "contents"),
                _number(e, "openings"),
                element("code", said(e.text("digest"))),
            ],
        ),
        _rows(
            summary.exports,
            "Exports",
            ["When", "For", "Entries from", "to", "Filters", "Opened", "Digest of the manifest"],
            lambda e: [
                when(e.time),
                parties.full(e.text("party")),
                _number(e, "first"),
                _number(e, "last"),
                _texts(e, "filters"),
                _number(e, "count"),
                element("code", said(e.text("digest"))),
            ],
        ),
    )


def _rows(
    rows: Rows, caption: str, heads: Sequence[str], cells: Callable[[Event], Sequence[str]]
) -> Markup:
    shown = table(caption, heads, map(cells, rows.kept), empty="none in this range.")
    return join([shown, _left_out(rows.count)])


def _left_out(count: int) -> Markup:
    rest = count - MAX_ROWS
    return text(f"And {number(rest)} more, in events.csv.") if rest > 0 else Markup()


def _number(event: Event, name: str) -> str:
    value = event.number(name)
    return "—" if value is None else number(value)


def _texts(event: Event, name: str) -> Markup:
    return said("; ".join(event.texts(name)))


def _running(changes: Sequence[int]) -> list[float]:
    sums: list[float] = []
    for change in changes:
        sums.append((sums[-1] if sums else 0) + change)
    return sums


def _level(precedence: str) -> str:
    return _UNKNOWN_WORDS if precedence == UNKNOWN else precedence


def _limit(summary: Summary, precedence: str) -> str:
    limit = summary.limit(precedence)
    return "none" if limit is None else words(limit)


def _day(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def _week(day: int) -> str:
    year, week, _ = (_EPOCH + timedelta(days=day)).isocalendar()
    return f"{year}-W{week:02}"


def _month(day: int) -> str:
    return _day(day)[:7]


def _year(day: int) -> str:
    return _day(day)[:4]


def _century(day: int) -> str:
    return f"{_day(day)[:2]}00s"


_UNITS: Final[tuple[tuple[str, Callable[[int], str], int, int], ...]] = (
    ("day", _day, 1, 1),
    ("week", _week, 7, 7),
    ("month", _month, 30, 28),
    ("year", _year, 365, 365),
    ("century", _century, 1 << 40, 36_524),
)
"""Names, labels, the days that one stands for, and fewer days than the shortest has."""
