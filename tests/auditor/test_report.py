"""The report: what it counts, and that nothing in a log can break out of its page."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liaison.audit import report
from liaison.audit.events import Event
from liaison.audit.report import calendars, markup, style
from liaison.audit.report.durations import Durations, words
from liaison.audit.report.page import Checked
from liaison.audit.report.summary import MAX_NAMES, MAX_ROWS, Summary
from liaison.tlog.checkpoint import Checkpoint
from liaison.tlog.entries import MAX_TIME
from liaison.tlog.fields import SCHEMAS, EntryType, Kind
from liaison.tlog.note import Note
from liaison.tlog.policy import Cosigned
from tests.support import audit_story
from tests.support.audit_story import DAY, HOSTILE, START, Story
from tests.support.signed_log import SignedLog

# Whatever could load, run or send something, or style beyond the one stylesheet.
FORBIDDEN_TAGS = {"script", "img", "iframe", "object", "embed", "link", "base", "form", "image"}
VOID = {"meta", "col"}


class Reader(HTMLParser):
    """Reads a page: its elements, their nesting, its texts and the tables."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = [[]]
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th", "caption"}:
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            (name,), *rows = self._rows
            self.tables[name] = rows

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if {"td", "th", "caption"} & set(self.open):
            self._rows[-1][-1] += data


def _read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def _report(story: Story, **changes: Any) -> Reader:
    facts = audit_story.facts(**{"end": max(1, len(story.events))} | changes)
    return _read(report.make(facts, story.events))


def test_a_page_of_hostile_values_holds_none_of_their_markup() -> None:
    events = audit_story.long()

    page = _read(report.make(audit_story.facts(len(events)), events))

    assert {tag for tag, _ in page.tags} & FORBIDDEN_TAGS == set()
    assert [tag for tag, _ in page.tags].count("style") == 1
    shown = markup.clean(HOSTILE)
    assert any(shown in text for text in page.texts)
    assert not any("\x1b" in text or "\u202e" in text for text in page.texts)


def test_no_element_has_an_attribute_that_loads_runs_or_styles() -> None:
    events = audit_story.long()

    page = _read(report.make(audit_story.facts(len(events)), events))

    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert "src" not in attributes
        if "href" in attributes:
            assert tag == "a"
            assert (attributes["href"] or "").startswith("#")


@given(text=st.text())
def test_every_text_comes_out_of_the_markup_as_it_was_cleaned(text: str) -> None:
    page = _read(markup.element("p", markup.said(text), title=text))

    shown = "".join(page.texts)
    assert shown == (markup.clean(text) or "—")
    assert page.tags[0][1]["title"] == text


def test_the_page_allows_nothing_but_its_own_style() -> None:
    page = report.make(audit_story.facts(1), [Event(0, EntryType.ADMIN, START)])

    (found,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found.startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert f"<style>{style.CSS}</style>" in page
    assert "url(" not in style.CSS
    assert "@import" not in style.CSS


def test_the_same_events_give_the_same_page() -> None:
    events = audit_story.long(50)
    facts = audit_story.facts(len(events))

    assert report.make(facts, events) == report.make(facts, events)


def test_the_plotting_library_leaves_no_hook_behind() -> None:
    report.make(audit_story.facts(20), audit_story.long(10))

    assert [f for f in sys.meta_path if type(f).__module__.startswith("pygal")] == []


def test_headings_anchors_and_language_are_there() -> None:
    events = audit_story.long(50)

    page = _read(report.make(audit_story.facts(len(events)), events))

    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    targets = [(a["href"] or "")[1:] for t, a in page.tags if t == "a"]
    assert len(ids) == len(set(ids))
    assert set(targets) <= set(ids)
    assert ("html", {"lang": "en"}) in page.tags
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_each_plot_has_a_name_and_a_table() -> None:
    events = audit_story.long()

    page = _read(report.make(audit_story.facts(len(events)), events))

    drawn = [a for tag, a in page.tags if tag == "svg"]
    assert len(drawn) >= 6
    assert all(a["role"] == "img" and a["aria-label"] for a in drawn)
    names = [tag for tag, _ in page.tags if tag in {"figure", "table"}]
    for place, tag in enumerate(names):
        if tag == "figure":
            assert names[place + 1] == "table"


def test_messages_are_counted_by_party_precedence_and_day() -> None:
    story = Story()
    story.message("NOR", "FLASH")
    story.message("DEU", "ROUTINE")
    story.now += DAY
    story.message("NOR", "ROUTINE")
    story.item(EntryType.ACCEPTED, None)
    story.item(EntryType.ACCEPTED, {"party": "NOR", "sender": "NOR/x#1", "kind": "proposal"})

    page = _report(story)

    assert page.tables["Messages per day, by the sender's party"] == [
        ["Day", "NOR", "DEU", "not told", "All"],
        ["2027-01-15", "1", "1", "0", "2"],
        ["2027-01-16", "1", "0", "1", "2"],
    ]
    (heads, nor, deu, unknown) = page.tables["Messages by the sender's party and precedence"]
    assert heads == ["Party", "FLASH", "ROUTINE", "not told", "All"]
    assert nor == ["NOR · Norway", "1", "1", "0", "2"]
    assert deu[1:] == ["0", "1", "0", "1"]
    assert unknown == ["not told", "0", "0", "1", "1"]


def test_handling_times_are_held_against_the_agreements_limits() -> None:
    story = Story()
    story.message("NOR", "FLASH", 599)
    story.message("NOR", "FLASH", 601)
    story.message("NOR", "FLASH")
    story.message("NOR", "ROUTINE", 100_000)

    page = _report(story)

    heads, flash, routine = page.tables["Time to a party's first receipt"]
    assert heads[2:4] == ["Limit", "Receipts"]
    assert (flash[0], flash[2], flash[3], flash[7]) == ("FLASH", "10 min", "2", "1")
    assert flash[6] == "10 min 1 s"
    assert (routine[0], routine[2], routine[7]) == ("ROUTINE", "none", "0")
    # The last one waits since a day, for the message after it was answered so late.
    assert page.tables["Messages without any receipt, of precedences that have a limit"][1:] == [
        ["FLASH", "10 min", "1", "1"]
    ]


def test_only_the_first_receipt_of_each_party_counts() -> None:
    story = Story()
    story.message("NOR", "FLASH", 10)
    first = story.events[-1].values
    story.now += 50_000
    story.item(EntryType.RECEIPT, dict(first or {}))
    story.item(EntryType.RECEIPT, dict(first or {}) | {"party": "UN-OCHA"})

    page = _report(story)

    rows = page.tables["Time to a party's first receipt"][1:]
    assert [(row[1], row[3], row[6]) for row in rows] == [
        (rows[0][1], "1", "10 s"),
        ("UN-OCHA · OCHA", "1", "1 min"),
    ]


def test_deliveries_are_told_by_party() -> None:
    story = Story()
    for first, last in ((1, 4), (5, 5)):
        story.add(EntryType.DELIVERED, {"party": "DEU", "first": first, "last": last})
    story.message("NOR", "FLASH", 10)

    page = _report(story)

    assert page.tables["Items delivered, and receipts sent, by party"][1:] == [
        [f"DEU · {markup.clean('Germany ' + HOSTILE)}", "5", "1"]
    ]


def test_a_receipt_for_an_unknown_message_is_no_handling_time() -> None:
    story = Story()
    story.item(EntryType.RECEIPT, {"party": "NOR", "reply": "ff@NOR/x#1"})

    assert "There is no receipt." in _report(story).texts


def test_refusals_are_counted_by_rule_with_those_that_were_summed_up() -> None:
    story = Story()
    for count in (None, 40):
        story.add(
            EntryType.REFUSED,
            {"party": "NOR", "rule": "clearances", "code": "agreement.refused", "count": count},
        )
    story.add(EntryType.REFUSED, None)

    page = _report(story)

    assert page.tables["Refusals by rule"][1:] == [
        ["clearances", "agreement.refused", "NOR · Norway", "41"]
    ]
    assert any("1 of others, or erased" in text for text in page.texts)


def test_what_there_is_one_of_is_not_told_as_many() -> None:
    story = Story()
    story.item(EntryType.ACCEPTED, {"party": "NOR", "action": "FLASH"})
    story.add(EntryType.REFUSED, None)
    story.add(EntryType.KEY, None)

    texts = "\n".join(_report(story).texts)

    assert "1 of others, or erased, is in the range" in texts
    assert "1 entry of others, or erased, is in the range" in texts
    assert "1 channel has numbered items" in texts


def test_members_are_told_over_time() -> None:
    story = Story()
    for change in ("founded", "added", "renewed"):
        story.add(EntryType.MEMBER, {"party": "NOR", "change": change}, channel="ab" * 16, epoch=0)
    story.now += 2 * DAY
    story.add(EntryType.MEMBER, {"party": "NOR", "change": "removed"}, channel="ab" * 16, epoch=1)

    page = _report(story)

    assert page.tables["Devices in channels, at each day's end"][1:] == [
        ["2027-01-15", "2"],
        ["2027-01-17", "1"],
    ]
    assert page.tables["Came and went"][1:] == [["NOR · Norway", "2", "1"]]


def test_a_range_that_does_not_begin_with_the_log_tells_changes_only() -> None:
    story = Story()
    story.add(EntryType.MEMBER, {"party": "NOR", "change": "removed"}, channel="ab" * 16, epoch=1)

    page = _report(story, first=256, end=257)

    name = "Devices in channels, more or fewer than at the start, at each day's end"
    assert page.tables[name][1:] == [["2027-01-15", "-1"]]


def test_missing_numbers_and_closed_entries_are_told() -> None:
    story = Story()
    story.message("NOR", "FLASH")
    story.seq += 2
    story.message("NOR", "FLASH")
    story.item(EntryType.ACCEPTED, None)

    page = _report(story)

    assert page.tables["Channels with missing numbers"][1:] == [["ab" * 16, "1", "5", "2"]]
    assert page.tables["Entries by what they record"][1:] == [
        ["messages and proposals accepted", "3", "1"]
    ]


def test_long_tables_end_with_what_is_left_out() -> None:
    story = Story()
    for _ in range(MAX_ROWS + 3):
        story.add(EntryType.ADMIN, {"party": "NOR", "act": "party.admitted", "subject": "x"})

    page = _report(story)

    assert len(page.tables["What the operator did"]) == MAX_ROWS + 1
    assert "And 3 more, in events.csv." in page.texts


@pytest.mark.parametrize(
    ("days", "unit"),
    [
        (1, "day"),
        (45, "day"),
        (100, "week"),
        (900, "month"),
        (4000, "year"),
        (2_900_000, "century"),
    ],
)
def test_long_ranges_are_told_in_long_units(days: int, unit: str) -> None:
    story = Story()
    story.message("NOR", "FLASH")
    story.now += (days - 1) * DAY
    story.message("NOR", "FLASH")

    page = _report(story)

    rows = page.tables[f"Messages per {unit}, by the sender's party"][1:]
    assert sum(int(row[-1]) for row in rows) == 2


@settings(max_examples=20)
@given(days=st.integers(0, 60_000), first=st.integers(0, 100_000))
def test_every_day_of_a_range_is_in_one_of_its_units(days: int, first: int) -> None:
    whole = range(first, first + days + 1)

    calendar = calendars.Calendar(whole)

    assert sum(calendar.sums((day, 1) for day in whole)) == len(whole)
    assert len(calendar.labels) <= 50


def test_more_parties_than_there_can_be_are_told_together() -> None:
    story = Story()
    for number in range(MAX_NAMES + 5):
        story.message(f"X{number}", "FLASH")

    rows = _report(story).tables["Messages by the sender's party and precedence"][1:]

    assert len(rows) == MAX_NAMES + 1
    assert ["others", "5", "5"] in rows


_TEXTS = st.one_of(st.text(), st.sampled_from([HOSTILE, "FLASH", "added", "removed", "NOR"]))
_NUMBERS = st.integers(0, 2**53 - 1)
_KINDS = {Kind.TEXT: _TEXTS, Kind.NUMBER: _NUMBERS, Kind.TEXTS: st.lists(_TEXTS).map(tuple)}


@st.composite
def _events(draw: st.DrawFn, index: int, time: int) -> Event:
    type_ = draw(st.sampled_from(EntryType))
    schema = SCHEMAS[type_]
    fields = {n: _KINDS[k] for n, k in schema.sealed.items()}
    values: Any = draw(st.one_of(st.none(), st.fixed_dictionaries({}, optional=fields)))
    if "seq" not in schema.shown:
        return Event(index, type_, time, values=values)
    channel = draw(st.sampled_from(["ab" * 16, "cd" * 16]))
    return Event(index, type_, time, channel, draw(st.integers(1, 99)), values=values)


@given(data=st.data(), times=st.lists(st.integers(0, MAX_TIME), min_size=1, max_size=8))
@settings(max_examples=25)
def test_every_log_has_a_report(data: st.DataObject, times: list[int]) -> None:
    events = [data.draw(_events(n, time)) for n, time in enumerate(sorted(times))]

    page = _read(report.make(audit_story.facts(len(events)), events))

    counted = page.tables["Entries by what they record"][1:]
    assert sum(int(row[1]) for row in counted) == len(events)


def test_a_copy_that_nobody_checked_says_so() -> None:
    page = _report(Story())

    assert "Nothing was checked for this copy." in page.texts


@pytest.mark.parametrize("own", [True, False])
def test_what_was_checked_by_whose_keys_and_who_witnessed_is_told(own: bool) -> None:
    log = SignedLog("relay.example/log/1")
    log.grow(7)
    note: Note = log.note()
    point = Checkpoint.parse(note.text)
    cosigned = Cosigned(point, note, note.verify([log.key]), {"w.example": START // 1000})
    summary = Summary(audit_story.facts(7))
    checked = Checked(
        START,
        7,
        5,
        (cosigned,),
        is_own_policy=own,
        keys=(("log", log.origin, "ab" * 32),),
        owners={"w.example": "NOR"},
        notes=("a note",),
    )

    page = _read(report.render(summary, checked))

    assert page.tables["Checkpoints and who witnessed them"][1:] == [
        ["7", point.root.hex(), "w.example", "NOR · Norway", "2027-01-15 08:00:00"]
    ]
    assert page.tables["Keys that were asked for"][1:] == [["log", log.origin, "ab" * 32]]
    assert ("The bundle is what was signed and witnessed." in page.texts) is own
    assert ("The bundle is what the keys in it have signed." in page.texts) is not own
    assert "a note" in page.texts
    assert "Nothing was checked for this copy." not in page.texts


@given(st.lists(st.floats(0.001, 1e7), min_size=1, max_size=200), st.floats(0.01, 1))
def test_every_quantile_is_at_most_five_percent_too_large(
    values: list[float], share: float
) -> None:
    durations = Durations()
    for value in values:
        durations.add(value, None)

    told = durations.quantile(share)

    ordered = sorted(values)
    true = ordered[min(len(ordered), max(1, -int(-share * len(ordered) // 1))) - 1]
    assert told is not None
    assert true * 0.999 <= told <= true * 1.051


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "—"), (0.25, "0.2 s"), (59.6, "1 min"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_told_in_two_units(seconds: float | None, said: str) -> None:
    assert words(seconds) == said
