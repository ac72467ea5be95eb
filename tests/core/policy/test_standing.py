"""What is known of parties: the same whatever order it came in, and never rewritten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.model import PartyCode
from liaison.policy.errors import StatementOrderError
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event, Participation
from liaison.policy.participation import Statement
from liaison.policy.standing import EVERYONE, Standing
from tests.core.policy.documents import DAY, NOW, agreement

NOR = PartyCode("NOR")


def first() -> Statement:
    return Statement.first(agreement(), NOR, now=NOW)


def suspended(at: int = NOW + 60) -> Statement:
    return first().after(Event.SUSPEND, reason="", now=at, max_age=DAY)


def excluded(at: int) -> Exclusion:
    return Exclusion("nor-deu-2026", NOR, "breach", at)


def test_an_excluded_partys_earlier_word_stays_known() -> None:
    standing = Standing.of([suspended(), first()], [excluded(NOW + 120)])

    assert standing.newest(NOR) == suspended()
    states = [standing.participation(NOR, at) for at in (NOW + 59, NOW + 60, NOW + 120)]
    assert states == [Participation.ACTIVE, Participation.SUSPENDED, Participation.EXCLUDED]
    with pytest.raises(StatementOrderError, match="excluded"):
        standing.with_statement(
            suspended().after(Event.RESUME, reason="", now=NOW + 90, max_age=DAY)
        )


@given(order=st.permutations([NOW + 10, NOW + 20, NOW + 30]))
def test_of_several_exclusions_the_earliest_counts_in_whatever_order_they_came(
    order: list[int],
) -> None:
    standing = EVERYONE
    for at in order:
        standing = standing.with_exclusion(excluded(at))

    assert standing == Standing.of([], [excluded(at) for at in order])
    assert standing.exclusions[NOR].issued_at == NOW + 10


def test_a_change_of_state_does_not_reach_back_before_the_last_word() -> None:
    active = first()
    assert active.since < active.issued_at

    for since in (active.since, active.issued_at - 1):
        backdated = replace(suspended(), since=since)
        with pytest.raises(StatementOrderError, match="dated before"):
            backdated.check_succeeds(active)
    replace(suspended(), since=active.issued_at).check_succeeds(active)


def test_a_renewal_may_say_the_same_date_again_and_no_earlier_one() -> None:
    renewed = suspended().after(Event.AFFIRM, reason="", now=NOW + 90, max_age=DAY)

    renewed.check_succeeds(suspended())
    with pytest.raises(StatementOrderError, match="dated before"):
        replace(renewed, since=suspended().since - 1).check_succeeds(suspended())
    with pytest.raises(StatementOrderError, match="dated before"):
        replace(renewed, issued_at=suspended().issued_at - 1).check_succeeds(suspended())


def test_two_statements_of_one_number_contradict_each_other() -> None:
    withdrawn = first().after(Event.WITHDRAW, reason="", now=NOW + 60, max_age=DAY)

    with pytest.raises(StatementOrderError, match="not newer"):
        Standing.of([suspended(), withdrawn])


@given(
    at=st.integers(NOW, NOW + 400),
    later=st.integers(1, 300),
    event=st.sampled_from([Event.SUSPEND, Event.WITHDRAW]),
)
def test_a_later_word_changes_nothing_of_what_held_before_it(
    at: int, later: int, event: Event
) -> None:
    said = first().after(event, reason="", now=NOW + 200, max_age=DAY)
    more = said.after(Event.AFFIRM, reason="", now=NOW + 200 + later, max_age=DAY)

    before, after = Standing.of([first(), said]), Standing.of([first(), said, more])

    assert before.participation(NOR, at) is after.participation(NOR, at)
