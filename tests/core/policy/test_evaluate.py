"""The decision: deny by default, one rule named, the same answer every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import HeaderLabel, Kind
from liaison.labels.builtin import TLP
from liaison.model import EndpointId, Precedence
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.channel_rules import SendRule
from liaison.policy.errors import PolicyRefusedError
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
from liaison.policy.standing import EVERYONE
from liaison.policy.who import Pattern
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    OUTSIDER,
    agreement,
    header,
)

ANYONE = (Pattern.parse("*"),)
NORWAY = (Pattern.parse("NOR"),)
DESK = EndpointId.parse("nor/duty-desk")


def ruled(**changes: Any) -> Agreement:
    """The bilateral agreement with some fields of its channel policy changed."""
    draft = agreement()
    return replace(draft, channels=(replace(draft.channels[0], **changes),))


def send(actor: EndpointId = ATTACHE, size: int = 1000, **changes: Any) -> SendMessage:
    return SendMessage(actor, "liaison", header(**changes), size, (ATTACHE, OFFICER))


def decide(request: Request, under: Agreement | None = None, now: int = NOW) -> Decision:
    return evaluate(request, under or agreement(), now, standing=EVERYONE)


ALLOWED = [
    CreateChannel(ATTACHE, "liaison"),
    AddEndpoint(ATTACHE, "liaison", OFFICER, (ATTACHE, OFFICER)),
    RemoveEndpoint(OFFICER, "liaison", ATTACHE),
    send(),
    send(action=Precedence.FLASH),
    send(kind=Kind.RECEIPT),
    send(kind=Kind.CONTROL),
    send(to=(OFFICER,), copy=(DESK,), expires=NOW + 60),
    ReadMessage(OFFICER, "liaison", header()),
]


@pytest.mark.parametrize("request_", ALLOWED)
def test_what_the_template_allows_is_allowed_and_the_rule_named(request_: Request) -> None:
    decision = decide(request_)

    assert decision.allow
    assert decision.rule.startswith("channels.liaison.")
    decision.require()


DENIED = [
    (CreateChannel(OUTSIDER, "liaison"), "channels.liaison.create"),
    (CreateChannel(ATTACHE, "hotline"), "channel.unknown"),
    (AddEndpoint(OUTSIDER, "liaison", OFFICER, (ATTACHE, OFFICER)), "channels.liaison.add"),
    (AddEndpoint(ATTACHE, "liaison", OUTSIDER, (ATTACHE, OUTSIDER)), "channels.liaison.read"),
    (AddEndpoint(ATTACHE, "liaison", OFFICER, (OFFICER,) * 201), "channels.liaison.max_members"),
    (RemoveEndpoint(OUTSIDER, "liaison", OFFICER), "channels.liaison.remove"),
    (send(OUTSIDER), "channels.liaison.send"),
    (send(OUTSIDER, kind=Kind.RECEIPT), "channels.liaison.acknowledge"),
    (send(OUTSIDER, kind=Kind.CONTROL), "channels.liaison.read"),
    (send(action=Precedence.OVERRIDE), "channels.liaison.send.precedence"),
    (send(kind=Kind.RECEIPT, action=Precedence.OVERRIDE), "channels.liaison.acknowledge"),
    (send(kind=Kind.CONTROL, action=Precedence.OVERRIDE), "channels.liaison.read"),
    (send(size=256 * 1024 + 1), "channels.liaison.max_message_bytes"),
    (send(agreement_version=2), "agreement.version"),
    (send(agreement_id="other"), "agreement.version"),
    (send(dtg=NOW + 301), "times.dtg_ahead"),
    (send(dtg=NOW - DAY - 1), "times.dtg_behind"),
    (send(dtg=NOW - 9, expires=NOW), "message.expired"),
    (send(to=(OUTSIDER,)), "channels.liaison.read"),
    (send(copy=(OUTSIDER,)), "channels.liaison.read"),
    (send(label=HeaderLabel("tlp-2.0", "TLP:RED")), "labels.policy"),
    (send(label=HeaderLabel("liaison.unmarked", "SECRET")), "labels.policy"),
    (
        send(label=HeaderLabel("liaison.unmarked", "UNMARKED", (("releasable", "NOR"),))),
        "labels.policy",
    ),
    (ReadMessage(OUTSIDER, "liaison", header()), "channels.liaison.read"),
    (ReadMessage(ATTACHE, "liaison", header(expires=NOW + 1)), "message.expired"),
]


@pytest.mark.parametrize(("request_", "rule"), DENIED)
def test_what_is_not_allowed_is_denied_and_the_rule_named(request_: Request, rule: str) -> None:
    now = NOW + 2 if isinstance(request_, ReadMessage) else NOW

    decision = decide(request_, now=now)

    assert (decision.allow, decision.rule) == (False, rule)
    with pytest.raises(PolicyRefusedError) as caught:
        decision.require()
    assert caught.value.rule == rule
    assert caught.value.message == decision.reason


@pytest.mark.parametrize("grant", ["create", "add", "remove", "read", "acknowledge"])
def test_an_empty_list_is_nobody(grant: str) -> None:
    under = ruled(**{grant: ()})
    requests: dict[str, Request] = {
        "create": CreateChannel(ATTACHE, "liaison"),
        "add": AddEndpoint(ATTACHE, "liaison", OFFICER, (ATTACHE, OFFICER)),
        "remove": RemoveEndpoint(ATTACHE, "liaison", OFFICER),
        "read": ReadMessage(ATTACHE, "liaison", header()),
        "acknowledge": send(kind=Kind.RECEIPT),
    }

    assert not decide(requests[grant], under).allow


def test_who_may_not_be_a_member_opens_no_channel() -> None:
    decision = decide(CreateChannel(OFFICER, "liaison"), ruled(read=NORWAY))

    assert (decision.allow, decision.rule) == (False, "channels.liaison.read")


def test_without_send_rules_nobody_sends() -> None:
    assert not decide(send(), ruled(send=())).allow


def test_a_rule_counts_for_those_it_names() -> None:
    under = ruled(
        send=(
            SendRule(NORWAY, (Kind.TEXT,), Precedence.ROUTINE, Precedence.PRIORITY, ANYONE, ANYONE),
        )
    )

    assert decide(send(ATTACHE), under).rule == "channels.liaison.send[0]"
    assert decide(send(OFFICER), under).rule == "channels.liaison.send"
    assert decide(send(kind=Kind.FORM), under).rule == "channels.liaison.send.kinds"
    assert not decide(send(action=Precedence.FLASH), under).allow
    assert not decide(send(info=Precedence.DEFERRED), under).allow


def test_any_one_rule_is_enough() -> None:
    low = SendRule(NORWAY, (Kind.TEXT,), Precedence.DEFERRED, Precedence.ROUTINE, ANYONE, ANYONE)
    high = SendRule(NORWAY, (Kind.TEXT,), Precedence.ROUTINE, Precedence.FLASH, ANYONE, ANYONE)

    decision = decide(send(action=Precedence.FLASH), ruled(send=(low, high)))

    assert decision.rule == "channels.liaison.send[1]"


def test_a_post_adds_its_own_devices_where_it_may_read() -> None:
    under = ruled(add=())

    assert decide(AddEndpoint(ATTACHE, "liaison", ATTACHE, (ATTACHE, ATTACHE)), under).allow
    assert not decide(
        AddEndpoint(ATTACHE, "liaison", ATTACHE, (ATTACHE, ATTACHE)), ruled(read=(), add=())
    ).allow


def test_leaving_and_justified_removal_need_no_right() -> None:
    under = ruled(remove=())

    assert decide(RemoveEndpoint(ATTACHE, "liaison", ATTACHE), under).rule == "member.leave"
    justified = RemoveEndpoint(ATTACHE, "liaison", OFFICER, justified=True)
    assert decide(justified, under).rule == "member.excluded"
    gone = RemoveEndpoint(ATTACHE, "liaison", OUTSIDER)
    assert decide(gone, under).rule == "member.excluded"


@pytest.mark.parametrize("now", [agreement().valid_from - 1, agreement().valid_until + 1])
def test_outside_its_period_an_agreement_allows_nothing_new(now: int) -> None:
    for request in (
        CreateChannel(ATTACHE, "liaison"),
        AddEndpoint(ATTACHE, "liaison", OFFICER, (ATTACHE, OFFICER)),
    ):
        assert decide(request, now=now).rule == "agreement.validity"
    assert decide(send(dtg=now), now=now).rule == "agreement.validity"


def test_after_the_end_people_still_read_and_leave() -> None:
    now = agreement().valid_until + 1

    assert decide(ReadMessage(ATTACHE, "liaison", header()), now=now).allow
    assert decide(RemoveEndpoint(ATTACHE, "liaison", ATTACHE), now=now).allow


@pytest.mark.parametrize(
    ("classification", "rule"),
    [("TLP:GREEN", "channels.liaison.send[0]"), ("TLP:RED", "labels.ceiling")],
)
def test_nothing_above_the_ceiling_is_sent(classification: str, rule: str) -> None:
    labels = LabelRules(TLP.policy_id, "TLP:AMBER", "TLP:GREEN")
    cleared = (ClearanceRule(ANYONE, "TLP:RED"),)
    under = replace(agreement(), labels=labels, clearances=cleared)

    decision = decide(send(label=HeaderLabel(TLP.policy_id, classification)), under)

    assert decision.rule == rule


def test_a_policy_that_is_not_known_here_denies() -> None:
    under = replace(agreement(), labels=LabelRules("nato", "NS", "NU"))

    assert decide(send(label=HeaderLabel("nato", "NU")), under).rule == "labels.policy"


def test_a_message_may_not_live_longer_than_the_policy_says() -> None:
    under = ruled(max_expiry=3600)

    assert decide(send(expires=NOW + 3600), under).allow
    assert decide(send(expires=NOW + 3601), under).rule == "channels.liaison.max_expiry"


endpoints = st.sampled_from([ATTACHE, OFFICER, OUTSIDER, DESK])
channels = st.sampled_from(["liaison", "notices", "exercise", "", "x" * 100])
precedences = st.sampled_from(list(Precedence))


@st.composite
def headers(draw: st.DrawFn) -> Any:
    action = draw(precedences)
    dtg = draw(st.integers(NOW - 2 * DAY, NOW + 2 * DAY))
    return header(
        kind=draw(st.sampled_from(list(Kind))),
        action=action,
        info=Precedence(draw(st.integers(0, action))),
        dtg=dtg,
        expires=draw(st.none() | st.integers(dtg + 1, dtg + 3 * DAY)),
        agreement_version=draw(st.integers(1, 2)),
        to=tuple(sorted(draw(st.sets(endpoints, max_size=2)))),
        label=HeaderLabel(
            draw(st.sampled_from(["liaison.unmarked", "tlp-2.0", "x"])),
            draw(st.sampled_from(["UNMARKED", "TLP:RED", "TLP:GREEN"])),
        ),
    )


groups = st.lists(endpoints, max_size=4).map(tuple)
requests = st.one_of(
    st.builds(CreateChannel, endpoints, channels),
    st.builds(AddEndpoint, endpoints, channels, endpoints, groups),
    st.builds(RemoveEndpoint, endpoints, channels, endpoints, st.booleans()),
    st.builds(SendMessage, endpoints, channels, headers(), st.integers(0, 300_000), groups),
    st.builds(ReadMessage, endpoints, channels, headers()),
)
agreements = st.sampled_from([agreement(kind) for kind in AgreementKind])
times = st.integers(NOW - 3 * DAY, NOW + 400 * DAY)


@given(request=requests, under=agreements, now=times)
def test_every_request_has_an_answer_with_rule_and_reason(
    request: Request, under: Agreement, now: int
) -> None:
    decision = evaluate(request, under, now, standing=EVERYONE)

    assert decision.rule
    assert decision.reason
    assert decision == evaluate(request, under, now, standing=EVERYONE)


@given(request=requests, under=agreements, now=times)
def test_nobody_outside_the_parties_is_ever_allowed_to_act(
    request: Request, under: Agreement, now: int
) -> None:
    decision = evaluate(request, under, now, standing=EVERYONE)
    actor = request.reader if isinstance(request, ReadMessage) else request.actor

    if not under.has_party(actor.party) and not isinstance(request, RemoveEndpoint):
        assert not decision.allow


@given(request=requests, under=agreements, now=times)
def test_taking_all_rights_away_denies_everything_but_leaving(
    request: Request, under: Agreement, now: int
) -> None:
    bare = replace(
        under,
        channels=tuple(
            replace(c, create=(), add=(), remove=(), read=(), acknowledge=(), send=())
            for c in under.channels
        ),
    )

    decision = evaluate(request, bare, now, standing=EVERYONE)

    assert not decision.allow or decision.rule in ("member.leave", "member.excluded")
