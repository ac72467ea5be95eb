"""Before sending: who gets it, who stops it, who is outside, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import HeaderLabel, Kind
from liaison.labels.builtin import TLP
from liaison.model import EndpointId, PartyCode, Precedence
from liaison.policy.agreement import Agreement, AgreementKind, UnknownChannelPolicyError
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.channel_rules import GuestRule, WatchHours
from liaison.policy.evaluate import SendMessage
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.simulate import Fate, Simulation, simulate
from liaison.policy.standing import EVERYONE, Standing
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    OUTSIDER,
    agreement,
    header,
    people,
    ruled,
)

OCHA = EndpointId.parse("un-ocha/desk")
GUEST = EndpointId.parse("deu/guest")


def ask(
    under: Agreement,
    audience: tuple[EndpointId, ...] = (ATTACHE, OFFICER, OCHA),
    standing: Standing = EVERYONE,
    now: int = NOW,
    **changes: Any,
) -> Simulation:
    request = SendMessage(ATTACHE, "liaison", header(**changes), 1000, audience)
    return simulate(request, under, now, standing=standing)


def coalition() -> Agreement:
    return agreement(AgreementKind.MULTILATERAL)


def tlp(*clearances: ClearanceRule) -> Agreement:
    labels = LabelRules(TLP.policy_id, "TLP:RED", "TLP:CLEAR")
    return replace(coalition(), labels=labels, clearances=clearances)


def fates(found: Simulation) -> dict[EndpointId, Fate]:
    return {one.endpoint: one.fate for one in found.outcomes}


def test_everyone_in_the_channel_gets_what_is_allowed_addressed_or_not() -> None:
    found = ask(coalition(), to=(OFFICER,), copy=(OCHA,))

    assert found.decision.allow
    assert fates(found) == dict.fromkeys((ATTACHE, OFFICER, OCHA), Fate.GETS)
    assert [one.addressed for one in found.outcomes] == ["to", "", "copy"]
    assert [one.endpoint for one in found.outcomes] == sorted([ATTACHE, OFFICER, OCHA])
    assert (found.missing, found.blocking) == ((), ())


def test_one_who_is_not_cleared_stops_it_for_all_and_is_named() -> None:
    under = tlp(ClearanceRule(people("*"), "TLP:AMBER"), ClearanceRule(people("NOR"), "TLP:RED"))
    red = HeaderLabel(TLP.policy_id, "TLP:RED")

    found = ask(under, to=(OFFICER,), label=red)

    assert not found.decision.allow
    assert found.blocking == (OFFICER, OCHA)
    assert fates(found)[ATTACHE] is Fate.REFUSED
    (officer,) = found.missing
    assert officer.reason == (
        "deu/lno-j3 is not cleared for TLP:RED: the label is TLP:RED,"
        " the clearance goes up to TLP:AMBER"
    )
    # Without those who block it is sent.
    narrower = ask(under, audience=(ATTACHE,), label=red)
    assert narrower.decision.allow


def test_an_addressee_outside_the_channel_gets_nothing_and_the_reason_says_why() -> None:
    under = ruled(AgreementKind.MULTILATERAL, read=people("NOR", "DEU"), remove=people("NOR"))

    found = ask(under, audience=(ATTACHE,), to=(OFFICER, OCHA), copy=(OUTSIDER,))

    reasons = {one.endpoint: one.reason for one in found.missing}
    assert fates(found) == {
        ATTACHE: Fate.REFUSED,
        **dict.fromkeys((OFFICER, OCHA, OUTSIDER), Fate.OUTSIDE),
    }
    assert reasons[OFFICER] == "deu/lno-j3 is not in this channel"
    assert reasons[OCHA] == "un-ocha/desk may not be a member of this channel"
    assert reasons[OUTSIDER] == "SWE is not a party to the agreement"


def test_what_is_not_allowed_reaches_nobody_and_nobody_in_particular_stops_it() -> None:
    found = ask(coalition(), action=Precedence.OVERRIDE)

    assert found.decision.rule == "channels.liaison.send.precedence"
    assert set(fates(found).values()) == {Fate.REFUSED}
    assert {one.reason for one in found.outcomes} == {found.decision.reason}
    assert found.blocking == ()


def test_who_must_not_be_there_any_more_is_removed_first_and_stops_nobody() -> None:
    statement = Statement.first(coalition(), PartyCode("UN-OCHA"), now=NOW)
    standing = Standing.of(
        [statement, statement.after(Event.WITHDRAW, reason="", now=NOW + 1, max_age=DAY)]
    )

    before = ask(coalition(), standing=standing)
    after = ask(coalition(), standing=standing, now=NOW + 1)

    assert fates(before)[OCHA] is Fate.GETS
    assert fates(after) == {ATTACHE: Fate.GETS, OFFICER: Fate.GETS, OCHA: Fate.LEAVES}
    assert (after.decision.allow, after.blocking) == (True, ())
    assert [one.reason for one in after.outcomes if one.endpoint == OCHA] == [
        "UN-OCHA has withdrawn for good"
    ]


def test_whose_last_device_has_to_go_does_not_get_it_and_counts_as_missing() -> None:
    request = SendMessage(ATTACHE, "liaison", header(to=(OFFICER,)), 1000, (ATTACHE, OFFICER))
    why = {OFFICER: "the certificate of deu/lno-j3#d1 is revoked", OUTSIDER: "is not even there"}

    found = simulate(request, coalition(), NOW, standing=EVERYONE, leaving=why)

    assert fates(found) == {ATTACHE: Fate.GETS, OFFICER: Fate.LEAVES}
    assert [one.reason for one in found.missing] == [why[OFFICER]]


def test_a_guest_whose_stay_is_over_leaves_though_it_was_cleared() -> None:
    stay = GuestRule(people("deu/guest"), people("NOR"), NOW)
    under = ruled(read=people("NOR", "deu/lno-j3"), guests=(stay,))
    group = (ATTACHE, OFFICER, GUEST)

    assert fates(ask(under, group))[GUEST] is Fate.GETS
    late = ask(under, group, now=NOW + 1)
    assert (late.decision.allow, fates(late)[GUEST]) == (True, Fate.LEAVES)


def test_an_unmanned_desk_gets_the_message_and_is_told() -> None:
    day = WatchHours(people("DEU"), tuple(range(7)), 0, 60)
    under = ruled(watch=(day,))
    midnight = NOW // DAY * DAY

    manned = ask(under, (ATTACHE, OFFICER), now=midnight + 59, dtg=midnight)
    empty = ask(under, (ATTACHE, OFFICER), now=midnight + 60, dtg=midnight)

    def told(found: Simulation) -> list[bool | None]:
        return [one.manned for one in found.outcomes]

    assert told(manned) == [True, None]
    assert told(empty) == [False, None]
    assert set(fates(empty).values()) == {Fate.GETS}


def test_an_unknown_policy_has_no_answer() -> None:
    request = SendMessage(ATTACHE, "unknown", header(), 1, (ATTACHE,))

    with pytest.raises(UnknownChannelPolicyError):
        simulate(request, agreement(), NOW, standing=EVERYONE)


@given(
    group=st.lists(st.sampled_from([ATTACHE, OFFICER, OCHA, OUTSIDER, GUEST]), max_size=4),
    to=st.sets(st.sampled_from([OFFICER, OCHA, OUTSIDER, GUEST]), max_size=2),
    level=st.sampled_from(TLP.classifications),
    kind=st.sampled_from(list(Kind)),
    gone=st.sampled_from([None, Event.SUSPEND, Event.WITHDRAW]),
)
def test_a_simulation_is_the_decision_and_accounts_for_everyone(
    group: list[EndpointId],
    to: set[EndpointId],
    level: str,
    kind: Kind,
    gone: Event | None,
) -> None:
    under = tlp(ClearanceRule(people("*"), "TLP:GREEN"), ClearanceRule(people("NOR"), "TLP:RED"))
    statement = Statement.first(under, PartyCode("UN-OCHA"), now=NOW - 60)
    said = [statement]
    if gone is not None:
        said.append(statement.after(gone, reason="", now=NOW, max_age=DAY))

    found = ask(
        under,
        tuple(group),
        Standing.of(said),
        to=tuple(sorted(to)),
        kind=kind,
        label=HeaderLabel(TLP.policy_id, level),
    )

    assert set(fates(found)) == {*group, *to}
    got = [one for one in found.outcomes if one.fate is Fate.GETS]
    assert found.decision.allow or not got
    if found.decision.allow:
        assert not found.blocking
        assert {one.fate for one in found.outcomes} <= {Fate.GETS, Fate.LEAVES, Fate.OUTSIDE}
    assert all(one.reason for one in found.outcomes)
    assert all(one.endpoint in to and one.addressed for one in found.missing)
