"""Who may be in a group: guests until their date, parties up to their quota, nobody by leaving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Kind
from liaison.model import EndpointId, PartyCode
from liaison.policy import membership
from liaison.policy.agreement import Agreement
from liaison.policy.channel_rules import GuestRule, Quotas
from liaison.policy.evaluate import (
    AddEndpoint,
    CreateChannel,
    Decision,
    ReadMessage,
    RemoveEndpoint,
    Request,
    SendMessage,
    evaluate,
)
from liaison.policy.lifecycle import Event
from liaison.policy.participation import Statement
from liaison.policy.standing import EVERYONE, Standing
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    agreement,
    header,
    people,
    read_again,
    ruled,
)

GUEST = EndpointId.parse("deu/guest")
UNTIL = NOW + DAY
STAY = GuestRule(people("deu/guest"), people("nor/defatt-berlin"), UNTIL)


def hosting(*guests: GuestRule, **changes: Any) -> Agreement:
    """Regular readers are Norway and one German officer; others are guests or nothing."""
    regular = people("NOR", "deu/lno-j3")
    return read_again(ruled(read=regular, guests=guests or (STAY,), **changes))


def decide(
    request: Request, under: Agreement, now: int = NOW, standing: Standing = EVERYONE
) -> Decision:
    return evaluate(request, under, now, standing=standing)


def add(actor: EndpointId, added: EndpointId, *others: EndpointId) -> AddEndpoint:
    return AddEndpoint(actor, "liaison", added, (actor, *others, added))


def send(actor: EndpointId, **changes: Any) -> SendMessage:
    return SendMessage(actor, "liaison", header(**changes), 1000, (ATTACHE, OFFICER))


# --- guests -----------------------------------------------------------------------------


def test_a_guest_comes_by_whom_the_rule_names_and_by_nobody_else() -> None:
    invited = decide(add(ATTACHE, GUEST), hosting())
    refused = decide(add(OFFICER, GUEST), hosting())

    assert (invited.allow, invited.rule) == (True, "channels.liaison.guests")
    # The officer may add readers, and no guests.
    assert decide(add(OFFICER, ATTACHE), hosting()).allow
    assert (refused.allow, refused.rule) == (False, "channels.liaison.guests")
    assert "may not invite deu/guest" in refused.reason


def test_a_guest_stays_until_the_last_second_of_the_stay() -> None:
    under = hosting()
    requests: list[Request] = [
        add(ATTACHE, GUEST),
        add(GUEST, GUEST),
        ReadMessage(GUEST, "liaison", header()),
        send(ATTACHE, dtg=UNTIL, to=(GUEST,)),
        send(GUEST, dtg=UNTIL),
        send(GUEST, dtg=UNTIL, kind=Kind.RECEIPT),
        send(GUEST, dtg=UNTIL, kind=Kind.CONTROL),
        add(GUEST, OFFICER),
        RemoveEndpoint(GUEST, "liaison", OFFICER),
    ]

    for request in requests:
        assert decide(request, under, UNTIL).allow, request
        assert not decide(request, under, UNTIL + 1).allow, request


def test_after_the_stay_the_reason_says_until_when_and_anyone_may_remove_the_guest() -> None:
    under = hosting(remove=())
    removal = RemoveEndpoint(OFFICER, "liaison", GUEST)

    assert not decide(removal, under, UNTIL).allow
    gone = decide(removal, under, UNTIL + 1)
    late = decide(ReadMessage(GUEST, "liaison", header()), under, UNTIL + 1)

    assert (gone.allow, gone.rule) == (True, "member.excluded")
    assert "was a guest until 20" in gone.reason
    assert late.rule == "channels.liaison.guests"


def test_of_two_stays_the_longer_counts_and_each_has_its_own_hosts() -> None:
    short = replace(STAY, invited_by=people("deu/lno-j3"), until=NOW + 60)
    under = hosting(short, STAY)

    assert decide(add(OFFICER, GUEST), under, NOW + 60).allow
    assert not decide(add(OFFICER, GUEST), under, NOW + 61).allow
    assert decide(add(ATTACHE, GUEST), under, NOW + 61).allow


def test_an_empty_list_of_guests_or_hosts_is_nobody() -> None:
    assert not decide(add(ATTACHE, GUEST), hosting(replace(STAY, who=()))).allow
    assert not decide(add(ATTACHE, GUEST), hosting(replace(STAY, invited_by=()))).allow


def test_a_guest_is_of_a_party_whatever_the_rule_says() -> None:
    stranger = EndpointId.parse("swe/desk")
    under = hosting(replace(STAY, who=people("*")))

    decision = decide(add(ATTACHE, stranger), under)

    assert (decision.allow, decision.rule) == (False, "channels.liaison.read")


def test_a_guest_brings_devices_of_its_own_and_opens_no_channel() -> None:
    under = hosting()

    assert decide(add(GUEST, GUEST), under).rule == "channels.liaison.guests"
    assert decide(CreateChannel(GUEST, "liaison"), under).rule == "channels.liaison.read"


def test_a_host_that_is_no_member_invites_nobody() -> None:
    outside = EndpointId.parse("deu/host")
    under = hosting(replace(STAY, invited_by=people("deu/host")))

    assert not decide(add(outside, GUEST), under).allow


@given(now=st.integers(NOW, NOW + 3 * DAY), until=st.integers(NOW, NOW + 3 * DAY))
def test_no_guest_does_anything_after_the_last_stay(now: int, until: int) -> None:
    under = hosting(replace(STAY, until=until))
    requests = (
        add(ATTACHE, GUEST),
        send(GUEST, dtg=now),
        send(GUEST, dtg=now, kind=Kind.RECEIPT),
        ReadMessage(GUEST, "liaison", header()),
    )

    for request in requests:
        assert decide(request, under, now).allow == (now <= until)


# --- quotas -----------------------------------------------------------------------------

DESKS = tuple(EndpointId.parse(f"deu/desk-{number}") for number in range(4))


def test_a_party_has_as_many_devices_as_its_quota_and_the_other_its_own() -> None:
    under = read_again(ruled(quotas=Quotas(devices=2, administrators=9)))
    others = (ATTACHE,) * 2

    assert decide(add(ATTACHE, DESKS[0], DESKS[1], ATTACHE), under).allow
    full = decide(add(ATTACHE, DESKS[0], DESKS[1], DESKS[1]), under)
    own = decide(AddEndpoint(DESKS[0], "liaison", DESKS[0], (DESKS[0],) * 3), under)

    assert (full.allow, full.rule) == (False, "channels.liaison.quotas.devices")
    assert "DEU has at most 2 devices" in full.reason
    assert not own.allow
    assert decide(AddEndpoint(ATTACHE, "liaison", DESKS[0], (*others, DESKS[0])), under).allow


def test_a_party_has_as_many_administrators_as_its_quota_and_any_number_of_others() -> None:
    few = people("deu/desk-0", "deu/desk-1", "deu/desk-2", "NOR")
    under = read_again(ruled(add=few, remove=(), quotas=Quotas(devices=9, administrators=2)))

    assert decide(add(ATTACHE, DESKS[1], DESKS[0]), under).allow
    third = decide(add(ATTACHE, DESKS[2], DESKS[0], DESKS[1]), under)
    second_device = decide(add(ATTACHE, DESKS[1], DESKS[0], DESKS[1]), under)
    plain = decide(add(ATTACHE, DESKS[3], DESKS[0], DESKS[1]), under)

    assert (third.allow, third.rule) == (False, "channels.liaison.quotas.administrators")
    assert second_device.allow
    assert plain.allow
    # Where an amendment has made more of them than the quota, others still come.
    assert decide(add(ATTACHE, DESKS[3], *DESKS[:3]), under).allow


@pytest.mark.parametrize("right", ["add", "remove", "guests"])
def test_whoever_may_bring_or_send_away_others_is_an_administrator(right: str) -> None:
    desks = people("deu/desk-0", "deu/desk-1")
    rights: dict[str, Any] = {"add": people("NOR"), "remove": ()}
    rights[right] = desks if right != "guests" else (GuestRule(people("NOR"), desks, UNTIL),)
    rights["add"] = (*rights["add"], *people("nor/defatt-berlin"))
    under = read_again(ruled(**rights, quotas=Quotas(devices=9, administrators=1)))

    decision = decide(add(ATTACHE, DESKS[1], DESKS[0]), under)

    assert (decision.allow, decision.rule) == (False, "channels.liaison.quotas.administrators")
    if right == "guests":
        assert not decide(add(ATTACHE, DESKS[1], DESKS[0]), under, UNTIL).allow
        # An invitation that can't be made any more counts for nothing.
        assert decide(add(ATTACHE, DESKS[1], DESKS[0]), under, UNTIL + 1).allow


def test_nobody_opens_a_channel_past_a_quota() -> None:
    under = read_again(ruled(quotas=Quotas(devices=1, administrators=0)))

    assert decide(CreateChannel(ATTACHE, "liaison"), under).rule.endswith("quotas.administrators")
    assert decide(CreateChannel(ATTACHE, "liaison"), replace_quotas(under, 1)).allow


def replace_quotas(under: Agreement, administrators: int) -> Agreement:
    policy = replace(under.channels[0], quotas=Quotas(1, administrators))
    return replace(under, channels=(policy,))


def test_the_channels_own_limit_comes_before_quotas() -> None:
    under = ruled(max_members=2, quotas=Quotas(devices=9, administrators=9))

    assert decide(add(ATTACHE, OFFICER), under).allow
    assert decide(add(ATTACHE, OFFICER, OFFICER), under).rule == "channels.liaison.max_members"


# --- those who leave --------------------------------------------------------------------


def absent(event: Event) -> Standing:
    statement = Statement.first(agreement(), PartyCode("NOR"), now=NOW)
    return Standing.of([statement, statement.after(event, reason="", now=NOW + 60, max_age=DAY)])


@pytest.mark.parametrize("event", [Event.SUSPEND, Event.WITHDRAW])
def test_who_is_on_the_way_out_throws_out_nobody(event: Event) -> None:
    standing = absent(event)
    removal = RemoveEndpoint(ATTACHE, "liaison", OFFICER)

    assert decide(removal, agreement(), NOW + 59, standing).allow
    refused = decide(removal, agreement(), NOW + 60, standing)
    assert (refused.allow, refused.rule) == (False, "member.excluded")
    # It still takes its own devices out, and others whose certificate is revoked.
    assert decide(
        RemoveEndpoint(ATTACHE, "liaison", ATTACHE), agreement(), NOW + 60, standing
    ).allow
    justified = RemoveEndpoint(ATTACHE, "liaison", OFFICER, justified=True)
    assert decide(justified, agreement(), NOW + 60, standing).allow


def test_whoever_is_there_removes_what_was_not_seen_for_too_long() -> None:
    under = ruled(remove=())
    removal = RemoveEndpoint(ATTACHE, "liaison", OFFICER)

    refused = decide(removal, under)
    allowed = decide(replace(removal, unseen=True), under)

    assert (refused.allow, refused.rule) == (False, "channels.liaison.remove")
    assert (allowed.allow, allowed.rule) == (True, "channels.liaison.keys.unseen_max_age")
    assert allowed.reason == "a device of deu/lno-j3 has not renewed its keys for 30d"


def test_who_must_go_itself_removes_nobody_for_not_being_seen() -> None:
    removal = RemoveEndpoint(ATTACHE, "liaison", OFFICER, unseen=True)

    refused = decide(removal, agreement(), NOW + 60, absent(Event.SUSPEND))

    assert (refused.allow, refused.rule) == (False, "member.excluded")


@given(age=st.integers(0, 100 * DAY))
def test_keys_are_too_old_one_second_after_the_policys_limit(age: int) -> None:
    policy = agreement().channel("liaison")

    assert membership.is_unseen(policy, NOW - age, NOW) == (age > policy.keys.unseen_max_age)


def test_who_may_not_be_there_adds_and_removes_nobody() -> None:
    under = ruled(read=people("deu/lno-j3"))

    assert decide(add(ATTACHE, OFFICER), under).rule == "channels.liaison.read"
    assert not decide(RemoveEndpoint(ATTACHE, "liaison", OFFICER), under).allow
