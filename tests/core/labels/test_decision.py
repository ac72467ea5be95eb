"""Who may have what: against a second implementation, and what holds for every pair."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.labels import Clearance, Label, compile_policy, decide, decide_all, spif, spif_xml
from liaison.labels import clearance as clearances
from liaison.labels.builtin import DEMO, NATO, TLP, UNMARKED
from liaison.labels.policy import LabelPolicy
from liaison.labels.received import decide_received, read_labels
from liaison.labels.stanag4774 import ConfidentialityLabel, PolicyIdentifier, write
from tests.support import label_naive
from tests.support.label_random import UNKNOWN, Maker
from tests.support.label_values import clearances as any_clearances
from tests.support.label_values import instants
from tests.support.label_values import labels as any_labels

PAIRS = 1000
CLOSED = Label.of("liaison.demo", "CLOSED", [("Releasable To", "NOR"), ("Releasable To", "DEU")])
ROUTES = Label.of("liaison.demo", "CLOSED", [*CLOSED.categories, ("Special Handling", "ROUTES")])


def of(level: str, *values: str, policy: LabelPolicy = DEMO) -> Clearance:
    pairs = [pair for pair in policy.rules.values if pair[1] in values]
    return Clearance.of(policy.policy_id, level, pairs)


def test_a_thousand_random_pairs_are_decided_as_the_naive_implementation_decides_them() -> None:
    make = Maker(random.Random(4774))
    granted = 0

    for number in range(PAIRS):
        if number % 5 == 0:
            source = make.policy()
            written = spif_xml.write(source)
            policy = compile_policy(spif_xml.parse(written))
        label, clearance = write(make.label(source)), clearances.write(make.clearance(source))

        answer = decide_received(policy, clearances.parse(clearance), read_labels(label), now=None)

        expected = label_naive.grants(written, clearance, label)
        assert answer.grant is expected, (answer, written, clearance, label)
        granted += expected
    # Neither answer is the rare one.
    assert PAIRS // 5 < granted < PAIRS - PAIRS // 5


@given(st.integers(0, 2**32), st.data())
def test_more_clearance_never_gives_less(seed: int, data: st.DataObject) -> None:
    make = Maker(random.Random(seed))
    policy = compile_policy(make.policy())
    label = make.label(policy.spif)
    small = make.clearance(policy.spif)
    more = make.clearance(policy.spif)
    large = replace(
        small,
        classifications=(*small.classifications, *more.classifications, UNKNOWN),
        categories=small.categories + more.categories,
    )
    now = data.draw(st.none() | instants)

    before = decide_received(policy, small, [label], now=now)
    after = decide_received(policy, large, [label], now=now)

    assert after.grant or not before.grant


@given(st.none() | any_clearances, st.lists(any_labels, max_size=2), st.none() | instants)
def test_there_is_an_answer_to_everything(
    clearance: clearances.ConfidentialityClearance | None,
    labels: list[ConfidentialityLabel],
    now: int | None,
) -> None:
    for policy in (DEMO, NATO, TLP, UNMARKED):
        answer = decide_received(policy, clearance, labels, now=now)

        assert answer.reason
        assert answer.grant is (answer.rule == "cleared")
        assert answer.decision == ("grant" if answer.grant else "deny")


@given(any_clearances, any_labels)
def test_strangers_are_denied_also_where_they_name_the_policy(
    clearance: clearances.ConfidentialityClearance, label: ConfidentialityLabel
) -> None:
    ours = PolicyIdentifier(DEMO.name)
    label = replace(label, sensitivity=replace(label.sensitivity, policy=ours))

    assert not decide_received(DEMO, replace(clearance, policy=ours), [label], now=None).grant


@pytest.mark.parametrize(
    ("clearance", "label", "rule"),
    [
        (of("CLOSED", "NOR"), CLOSED, "cleared"),
        (of("CLOSED", "DEU"), CLOSED, "cleared"),
        (of("CLOSED", "FRA"), CLOSED, "category.permissive"),
        (of("CLOSED"), CLOSED, "category.permissive"),
        (of("GUARDED", "NOR"), CLOSED, "classification"),
        (of("CLOSED", "NOR"), ROUTES, "category.restrictive"),
        (of("CLOSED", "NOR", "ROUTES"), ROUTES, "cleared"),
        (of("CLOSED", "NOR", "MEDICAL"), ROUTES, "category.restrictive"),
        (Clearance("liaison.demo", ()), Label("liaison.demo", "OPEN"), "classification"),
        (Clearance.of("liaison.demo", "HIGHEST"), Label("liaison.demo", "OPEN"), "classification"),
        (None, Label("liaison.demo", "OPEN"), "clearance.nil"),
        (None, None, "clearance.nil"),
        (of("SECRET", policy=NATO), Label("liaison.demo", "OPEN"), "clearance.policy"),
        (of("OPEN"), Label("tlp-2.0", "TLP:CLEAR"), "label.policy"),
        (of("CLOSED"), Label("liaison.demo", "SECRET"), "label.invalid"),
        (of("CLOSED"), Label("liaison.demo", "CLOSED"), "label.invalid"),
        (of("OPEN"), Label("liaison.demo", "OPEN", (("Administrative", "STAFF"),)), "cleared"),
    ],
)
def test_the_rule_that_decides_is_named(
    clearance: Clearance | None, label: Label | None, rule: str
) -> None:
    answer = decide(DEMO, clearance, label, now=None)

    assert (answer.rule, answer.grant) == (rule, rule == "cleared")


@pytest.mark.parametrize(("number", "end"), [(12, ", T: V11"), (13, ", T: V11 and 1 more")])
def test_a_reason_stays_readable_however_much_is_missing(number: int, end: str) -> None:
    values = tuple(spif.TagCategory(f"V{n:02}", str(n)) for n in range(number))
    tag = spif.CategoryTag(spif.TagType.RESTRICTIVE, values)
    level = spif.Classification("L", 1, 1)
    source = spif.Spif(
        spif.PolicyId("P", "1.2"),
        spif.Classifications((level,)),
        (spif.TagSet("T", "1.2.1", (tag,)),),
    )
    label = Label.of("1.2", "L", [("T", each.name) for each in values])

    answer = decide(compile_policy(source), Clearance.of("1.2", "L"), label, now=None)

    assert answer.rule == "category.restrictive"
    assert answer.reason.endswith(end)


def test_what_has_no_label_has_the_policys_default_or_none() -> None:
    assert decide(DEMO, of("OPEN"), None, now=None).rule == "cleared"
    assert decide(NATO, of("SECRET", policy=NATO), None, now=None).rule == "label.nil"


def test_a_policy_decides_nothing_outside_its_time() -> None:
    policy = compile_policy(replace(DEMO.spif, not_before=100, not_after=200))
    clearance, label = Clearance.of(policy.oid, "OPEN"), Label(policy.oid, "OPEN")

    rules = [decide(policy, clearance, label, now=now).rule for now in (99, 100, 200, 201, None)]

    assert rules == ["policy.validity", "cleared", "cleared", "policy.validity", "cleared"]


def test_an_obsolete_value_still_protects_old_information() -> None:
    old = Label.of("liaison.demo", "LIMITED", [("Special Handling", "COURIER")])

    assert decide(DEMO, of("CLOSED"), old, now=None).rule == "category.restrictive"
    assert decide(DEMO, of("CLOSED", "COURIER"), old, now=None).grant


def test_a_whole_is_open_to_those_only_who_may_have_every_part() -> None:
    plain = Label("liaison.demo", "OPEN")

    assert decide_all(DEMO, of("CLOSED", "NOR"), [plain, CLOSED], now=None).grant
    assert decide_all(DEMO, of("CLOSED"), [plain, CLOSED], now=None).rule == "category.permissive"
    assert decide_all(DEMO, of("CLOSED"), [plain, None], now=None).grant
    assert decide_all(DEMO, of("CLOSED"), [], now=None).rule == "label.nil"


def test_two_clearances_of_one_policy_make_one() -> None:
    endpoint, role = of("OPEN", "NOR"), of("CLOSED", "ROUTES")

    together = endpoint.union(role)

    assert decide(DEMO, together, ROUTES, now=None).grant
    assert not decide(DEMO, endpoint, ROUTES, now=None).grant
    assert not decide(DEMO, role, ROUTES, now=None).grant
