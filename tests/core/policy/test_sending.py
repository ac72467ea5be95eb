"""Sending: addressees by rule, receipts and reports, and release by several persons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Kind
from liaison.envelope.release import Part
from liaison.model import EndpointId, Precedence
from liaison.policy import sending
from liaison.policy.agreement import Agreement
from liaison.policy.channel_rules import ReleaseRule, SendRule
from liaison.policy.evaluate import Decision, Released, SendMessage, evaluate
from liaison.policy.standing import EVERYONE
from tests.core.policy.documents import ATTACHE, NOW, OFFICER, header, people, read_again, ruled

DESK = EndpointId.parse("nor/duty-desk")
DRAFTER, REVIEWER, RELEASER = (
    EndpointId.parse(f"nor/{name}") for name in ("drafter", "reviewer", "releaser")
)
GROUP = (ATTACHE, OFFICER, DESK)
ALL = people("NOR", "DEU")


def decide(
    under: Agreement,
    actor: EndpointId = ATTACHE,
    released: tuple[Released, ...] = (),
    audience: tuple[EndpointId, ...] = GROUP,
    **changes: Any,
) -> Decision:
    request = SendMessage(actor, "liaison", header(**changes), 1000, audience, released)
    return evaluate(request, under, NOW, standing=EVERYONE)


def verdict(decision: Decision) -> tuple[bool, str]:
    return decision.allow, decision.rule.removeprefix("channels.liaison.")


# --- who attaches -----------------------------------------------------------------------


def test_only_who_could_send_it_may_store_an_attachment() -> None:
    under = read_again(ruled(send=(rule(who=people("nor/defatt-berlin")),)))
    policy = under.channel("liaison")
    closed = replace(policy, attachments=replace(policy.attachments, max_count=0))

    assert verdict(sending.attach(ATTACHE, under, policy)) == (True, "send")
    assert verdict(sending.attach(OFFICER, under, policy)) == (False, "send")
    assert verdict(sending.attach(ATTACHE, under, closed)) == (False, "attachments.max_count")


# --- who sends, and to whom -------------------------------------------------------------


def rule(**changes: Any) -> SendRule:
    plain = SendRule(ALL, (Kind.TEXT,), Precedence.DEFERRED, Precedence.FLASH, ALL, ALL)
    return replace(plain, **changes)


def test_a_rule_says_who_may_be_addressed_for_action_and_who_for_information() -> None:
    under = read_again(ruled(send=(rule(to=people("deu/lno-j3"), copy=people("nor/duty-desk")),)))

    assert verdict(decide(under, to=(OFFICER,), copy=(DESK,))) == (True, "send[0]")
    assert verdict(decide(under, to=(DESK,))) == (False, "send.addressees")
    refused = decide(under, to=(OFFICER,), copy=(ATTACHE,))
    assert verdict(refused) == (False, "send.addressees")
    assert "to nor/defatt-berlin" in refused.reason


def test_one_rule_must_allow_all_addressees_together() -> None:
    one = rule(to=people("deu/lno-j3"), copy=())
    other = rule(to=people("nor/duty-desk"), copy=())
    under = read_again(ruled(send=(one, other)))

    assert verdict(decide(under, to=(OFFICER,))) == (True, "send[0]")
    assert verdict(decide(under, to=(DESK,))) == (True, "send[1]")
    assert verdict(decide(under, to=(OFFICER, DESK))) == (False, "send.addressees")


def test_addressing_nobody_is_addressing_everyone() -> None:
    narrow = read_again(ruled(send=(rule(to=people("deu/lno-j3")),)))
    nobody = read_again(ruled(send=(rule(to=()),)))

    refused = decide(narrow)
    assert verdict(refused) == (False, "send.addressees")
    assert "nor/duty-desk, and addressing nobody" in refused.reason
    assert verdict(decide(nobody)) == (False, "send.addressees")
    # Alone with the one who may be addressed, there is nobody else to mean.
    assert decide(narrow, audience=(ATTACHE, OFFICER)).allow
    # For information only: nobody is to act.
    assert decide(nobody, copy=(OFFICER,)).allow


def test_who_may_not_be_a_member_sends_nothing_whatever_the_rules_say() -> None:
    under = read_again(ruled(read=people("DEU"), send=(rule(),)))

    for kind in (Kind.TEXT, Kind.RECEIPT, Kind.CONTROL):
        assert verdict(decide(under, kind=kind, audience=(OFFICER,))) == (False, "read"), kind


def test_receipts_and_reports_are_as_urgent_as_the_most_urgent_rule() -> None:
    under = read_again(ruled(send=(rule(highest=Precedence.PRIORITY),)))

    for kind, name in ((Kind.RECEIPT, "acknowledge"), (Kind.CONTROL, "read")):
        assert verdict(decide(under, kind=kind, action=Precedence.PRIORITY)) == (True, name)
        urgent = decide(under, kind=kind, action=Precedence.IMMEDIATE)
        assert verdict(urgent) == (False, name)
        assert "PRIORITY at most" in urgent.reason


# --- release ----------------------------------------------------------------------------

WANTED = ReleaseRule(
    (Kind.TEXT,), Precedence.ROUTINE, people("nor/reviewer"), people("nor/releaser"), 3
)
DRAFTED = Released(Part.DRAFT, DRAFTER)
REVIEWED = Released(Part.REVIEW, REVIEWER)
RELEASED = Released(Part.RELEASE, RELEASER)


def releasing(**changes: Any) -> Agreement:
    return read_again(ruled(release=replace(WANTED, **changes)))


def test_three_persons_release_a_message_and_anyone_of_the_party_sends_it() -> None:
    for actor in (ATTACHE, DRAFTER, RELEASER):
        assert decide(releasing(), actor, (DRAFTED, REVIEWED, RELEASED)).allow


NOT_ENOUGH = {
    "nobody": (),
    "no drafter": (REVIEWED, RELEASED),
    "no reviewer": (DRAFTED, RELEASED),
    "no releaser": (DRAFTED, REVIEWED),
    "a drafter alone, with all parts": tuple(Released(part, DRAFTER) for part in Part),
    "a releaser alone, with all parts": tuple(Released(part, RELEASER) for part in Part),
    "a reviewer that drafted": (Released(Part.DRAFT, REVIEWER), REVIEWED, RELEASED),
    "a releaser that drafted": (Released(Part.DRAFT, RELEASER), REVIEWED, RELEASED),
    "a releaser that drafted too": (DRAFTED, Released(Part.DRAFT, RELEASER), REVIEWED, RELEASED),
    "a reviewer that drafted too": (DRAFTED, Released(Part.DRAFT, REVIEWER), REVIEWED, RELEASED),
    "a reviewer without the right": (DRAFTED, Released(Part.REVIEW, DESK), RELEASED),
    "a releaser without the right": (DRAFTED, REVIEWED, Released(Part.RELEASE, DESK)),
    "a reviewer that claims to release": (DRAFTED, REVIEWED, Released(Part.RELEASE, REVIEWER)),
    "two drafters and a reviewer": (DRAFTED, Released(Part.DRAFT, DESK), REVIEWED),
    "a drafter of another party": (Released(Part.DRAFT, OFFICER), REVIEWED, RELEASED),
    "one who may not": (Released(Part.DRAFT, EndpointId.parse("swe/desk")), REVIEWED, RELEASED),
}


@pytest.mark.parametrize("what", NOT_ENOUGH)
def test_signatures_that_are_not_enough_are_refused(what: str) -> None:
    decision = decide(releasing(), released=NOT_ENOUGH[what])

    assert verdict(decision) == (False, "release")
    assert decision.reason.startswith("not signed yet: ")


def test_the_reason_says_what_is_missing_in_the_order_in_which_it_is_done() -> None:
    assert decide(releasing()).reason == (
        "not signed yet: a drafter who may send in this channel,"
        " a reviewer other than the drafter, a releaser other than the drafter"
    )


def test_three_persons_are_three_whoever_else_claims_to_have_drafted() -> None:
    # The reviewer releases too: with the drafter two persons, however many have drafted.
    both = people("nor/reviewer", "nor/releaser")
    second = Released(Part.DRAFT, DESK)
    twice = (DRAFTED, second, REVIEWED, Released(Part.RELEASE, REVIEWER))

    refused = decide(releasing(release=both), released=twice)
    assert verdict(refused) == (False, "release")
    assert refused.reason == "not signed yet: 3 different persons"
    assert decide(releasing(release=both, persons=2), released=twice).allow
    assert decide(releasing(release=both), released=(*twice, RELEASED)).allow


def test_a_signature_counts_for_its_part_only_whatever_else_its_signer_may_do() -> None:
    both = people("nor/reviewer", "nor/releaser")
    under = releasing(review=both, release=both, persons=2)

    for part, missing in ((Part.RELEASE, "a reviewer"), (Part.REVIEW, "a releaser")):
        refused = decide(under, released=(DRAFTED, Released(part, RELEASER)))
        assert refused.reason == f"not signed yet: {missing} other than the drafter"
    reviewed = Released(Part.REVIEW, RELEASER)
    assert decide(under, released=(DRAFTED, reviewed, RELEASED)).allow


def test_two_devices_of_one_post_are_one_person() -> None:
    # Signatures of two devices of an endpoint arrive as the same endpoint twice.
    under = releasing(review=(), release=people("nor/drafter", "nor/releaser"), persons=2)

    assert not decide(under, released=(DRAFTED, Released(Part.RELEASE, DRAFTER))).allow
    assert decide(under, released=(DRAFTED, RELEASED)).allow


def test_nobody_signs_for_another_party() -> None:
    every = people("NOR", "DEU")
    under = releasing(review=(), release=every, persons=2)
    theirs = (Released(Part.DRAFT, OFFICER), Released(Part.RELEASE, EndpointId.parse("deu/desk")))

    assert decide(under, OFFICER, theirs).allow
    assert not decide(under, ATTACHE, theirs).allow
    assert not decide(under, ATTACHE, (DRAFTED, theirs[1])).allow


def test_a_drafter_is_one_who_may_send_in_the_channel() -> None:
    only = rule(who=people("nor/releaser", "nor/defatt-berlin"))
    under = read_again(ruled(release=replace(WANTED, review=(), persons=2), send=(only,)))

    assert not decide(under, released=(DRAFTED, RELEASED)).allow
    assert decide(under, released=(Released(Part.DRAFT, ATTACHE), RELEASED)).allow


def test_an_empty_list_of_releasers_lets_nothing_out() -> None:
    assert not decide(releasing(release=()), released=(DRAFTED, REVIEWED, RELEASED)).allow


def test_a_release_is_asked_for_by_kind_and_from_a_precedence_on() -> None:
    under = releasing(lowest=Precedence.PRIORITY)

    assert decide(under).allow
    assert decide(under, action=Precedence.FLASH, kind=Kind.NOTICE).allow
    assert decide(under, kind=Kind.RECEIPT, action=Precedence.FLASH).allow
    for action in (Precedence.PRIORITY, Precedence.FLASH):
        assert verdict(decide(under, action=action)) == (False, "release")
        # A low precedence for those informed does not make it a lesser message.
        assert not decide(under, action=action, info=Precedence.DEFERRED).allow


def test_a_release_gives_no_right_to_send() -> None:
    under = read_again(ruled(release=WANTED, send=(rule(who=people("nor/drafter")),)))

    assert verdict(decide(under, released=(DRAFTED, REVIEWED, RELEASED))) == (False, "send")


signers = st.sampled_from(
    [DRAFTER, REVIEWER, RELEASER, DESK, OFFICER, EndpointId.parse("swe/desk")]
)
signatures = st.lists(st.builds(Released, st.sampled_from(list(Part)), signers), max_size=4)


@given(signed=signatures, persons=st.integers(2, 3), reviewed=st.booleans())
def test_whatever_is_signed_what_passes_has_that_many_persons_of_the_senders_party(
    signed: list[Released], persons: int, reviewed: bool
) -> None:
    wanted = replace(
        WANTED,
        review=people("nor/reviewer", "nor/duty-desk") if reviewed or persons == 3 else (),
        release=people("nor/releaser", "nor/duty-desk", "DEU"),
        persons=persons,
    )
    under = ruled(release=wanted)

    decision = decide(under, released=tuple(signed))

    drafters = [one.endpoint for one in signed if one.part is Part.DRAFT]
    trios = [
        {drafter.endpoint, releaser.endpoint} | ({reviewer.endpoint} if wanted.review else set())
        for drafter in signed
        for reviewer in (signed if wanted.review else [drafter])
        for releaser in signed
        if (drafter.part, releaser.part) == (Part.DRAFT, Part.RELEASE)
        and drafter.endpoint.party.code == "NOR"
        and under.includes(wanted.release, releaser.endpoint)
        and releaser.endpoint.party.code == "NOR"
        and releaser.endpoint not in drafters
        and (
            not wanted.review
            or (
                reviewer.part is Part.REVIEW
                and reviewer.endpoint not in drafters
                and under.includes(wanted.review, reviewer.endpoint)
            )
        )
    ]
    assert decision.allow == any(len(trio) >= persons for trio in trios)


def test_what_a_draft_still_needs_can_be_asked_before_it_is_sent() -> None:
    under = releasing()
    policy = under.channels[0]

    assert sending.needs_release(header(), policy)
    assert not sending.needs_release(header(), ruled().channels[0])
    assert sending.missing_parts([DRAFTED, REVIEWED], under, policy, WANTED) == [
        "a releaser other than the drafter"
    ]
    assert sending.missing_parts([DRAFTED, REVIEWED, RELEASED], under, policy, WANTED) == []
