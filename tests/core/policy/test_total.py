"""The decision over everything that agreements can say and people can ask.

Total, denied by default, and the same for whoever has the same documents: what the
relay reads from its database and a client from its store are these bytes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Header, HeaderLabel, Kind
from liaison.envelope.release import Part
from liaison.labels.builtin import NATO, TLP, UNMARKED
from liaison.model import EndpointId, PartyCode, Precedence
from liaison.policy import exclusion, participation
from liaison.policy.agreement import Agreement, AgreementKind
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.channel_policy import ChannelPolicy
from liaison.policy.channel_rules import GuestRule, Quotas, ReleaseRule, SendRule
from liaison.policy.evaluate import (
    AddEndpoint,
    CreateChannel,
    ReadMessage,
    Released,
    RemoveEndpoint,
    Request,
    SendMessage,
    evaluate,
)
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event, Participation
from liaison.policy.participation import Statement
from liaison.policy.requests import Decision
from liaison.policy.simulate import simulate
from liaison.policy.standing import Standing
from liaison.policy.who import Pattern, Who
from tests.core.policy.documents import DAY, NOW, agreement, header, read_again, world

PARTIES = ("NOR", "DEU", "UN-OCHA")
ENDPOINTS = tuple(
    EndpointId.parse(name)
    for name in (
        "nor/defatt-berlin",
        "nor/duty-desk",
        "deu/lno-j3",
        "un-ocha/desk",
        "swe/desk",
    )
)
POLICIES = (UNMARKED, TLP, NATO)

endpoints = st.sampled_from(ENDPOINTS)
who_lists = st.lists(
    st.sampled_from(["*", "NOR", "DEU", "nor/duty-desk", "deu/lno-*", "role:officers"]),
    max_size=2,
    unique=True,
).map(lambda names: tuple(Pattern.parse(name) for name in names))
kinds = st.lists(
    st.sampled_from([Kind.TEXT, Kind.NOTICE, Kind.FORM, Kind.FILE]),
    min_size=1,
    max_size=4,
    unique=True,
).map(tuple)
precedences = st.sampled_from(list(Precedence))


@st.composite
def send_rules(draw: st.DrawFn) -> SendRule:
    lowest, highest = sorted((draw(precedences), draw(precedences)))
    return SendRule(draw(who_lists), draw(kinds), lowest, highest, draw(who_lists), draw(who_lists))


@st.composite
def release_rules(draw: st.DrawFn) -> ReleaseRule:
    review: Who = draw(who_lists)
    persons = draw(st.integers(2, 3)) if review else 2
    return ReleaseRule(draw(kinds), draw(precedences), review, draw(who_lists), persons)


@st.composite
def policies(draw: st.DrawFn) -> ChannelPolicy:
    return replace(
        agreement().channels[0],
        create=draw(who_lists),
        add=draw(who_lists),
        remove=draw(who_lists),
        read=draw(who_lists),
        acknowledge=draw(who_lists),
        send=tuple(draw(st.lists(send_rules(), max_size=2))),
        max_members=draw(st.integers(1, 6)),
        max_expiry=draw(st.sampled_from([0, 3600])),
        guests=tuple(
            draw(
                st.lists(
                    st.builds(GuestRule, who_lists, who_lists, st.integers(NOW - DAY, NOW + DAY)),
                    max_size=2,
                )
            )
        ),
        release=draw(st.none() | release_rules()),
        quotas=draw(st.none() | st.builds(Quotas, st.integers(1, 3), st.integers(0, 2))),
    )


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    kind = draw(st.sampled_from(list(AgreementKind)))
    labels = draw(st.sampled_from(POLICIES))
    levels = labels.classifications
    return replace(
        agreement(kind),
        labels=LabelRules(labels.policy_id, draw(st.sampled_from(levels)), levels[0]),
        clearances=tuple(
            draw(st.lists(st.builds(ClearanceRule, who_lists, st.sampled_from(levels)), max_size=2))
        ),
        roles={
            "officers": draw(
                who_lists.filter(lambda who: Pattern.parse("role:officers") not in who)
            )
        },
        channels=(draw(policies()),),
    )


@st.composite
def headers(draw: st.DrawFn) -> Header:
    action = draw(precedences)
    dtg = NOW + draw(st.integers(-2 * DAY, 600))
    addressees = sorted(draw(st.sets(endpoints, max_size=3)))
    cut = draw(st.integers(0, len(addressees)))
    labels = draw(st.sampled_from(POLICIES))
    return header(
        kind=draw(st.sampled_from(list(Kind))),
        action=action,
        info=Precedence(draw(st.integers(0, action))),
        dtg=dtg,
        expires=draw(st.none() | st.integers(dtg + 1, dtg + 2 * DAY)),
        agreement_version=draw(st.sampled_from([1, 1, 1, 2])),
        to=tuple(addressees[:cut]),
        copy=tuple(addressees[cut:]),
        label=HeaderLabel(labels.policy_id, draw(st.sampled_from(labels.classifications))),
    )


channels = st.sampled_from(["liaison"] * 9 + ["other"])
groups = st.lists(endpoints, max_size=4).map(tuple)
signed = st.lists(st.builds(Released, st.sampled_from(list(Part)), endpoints), max_size=4)
sends = st.builds(
    SendMessage,
    endpoints,
    st.just("liaison"),
    headers(),
    st.integers(0, 300_000),
    groups,
    signed.map(tuple),
)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(CreateChannel, endpoints, channels),
    st.builds(AddEndpoint, endpoints, channels, endpoints, groups),
    st.builds(RemoveEndpoint, endpoints, channels, endpoints, st.booleans()),
    sends,
    st.builds(ReadMessage, endpoints, channels, headers()),
)
times = st.integers(NOW - 2 * DAY, NOW + 2 * DAY) | st.integers(0, NOW + 400 * DAY)


@cache
def statements(party: str, event: Event) -> tuple[bytes, ...]:
    """A party's signed statements: it takes part, and from an hour ago it does not."""
    under = agreement(AgreementKind.MULTILATERAL)
    first = Statement.first(under, PartyCode(party), now=NOW - DAY)
    then = first.after(event, reason="", now=NOW - 3600, max_age=DAY)
    key = world().party(party).authority_key
    return tuple(participation.sign(one, key) for one in (first, then))


@cache
def exclusions(party: str) -> tuple[bytes, ...]:
    said = Exclusion("nor-deu-2026", PartyCode(party), "breach", NOW - 1800)
    voters = [world().party(code).authority_key for code in PARTIES if code != party]
    data = exclusion.sign(said, voters[0])
    return (exclusion.add_signature(data, voters[1]),)


def standing(said: list[bytes], excluded: list[bytes]) -> Standing:
    under = agreement(AgreementKind.MULTILATERAL)
    return Standing.of(
        [participation.verify(one, under) for one in said],
        [exclusion.verify(one, under) for one in excluded],
    )


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """What authorities have signed, in the order in which it came."""
    said: list[bytes] = []
    for party in PARTIES:
        event = draw(st.sampled_from([None, None, Event.SUSPEND, Event.WITHDRAW]))
        said.extend(() if event is None else statements(party, event))
    gone = draw(st.sampled_from([None, None, None, *PARTIES]))
    return list(draw(st.permutations(said))), [] if gone is None else list(exclusions(gone))


def sent_over(request: Request) -> Request:
    """The request as somebody else has it: the header from its bytes."""
    if isinstance(request, SendMessage | ReadMessage):
        return replace(request, header=Header.decode(request.header.encode()))
    return request


@given(request=requests, under=agreements(), known=documents(), now=times)
def test_relay_and_client_answer_the_same_to_everything(
    request: Request, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> None:
    said, excluded = known

    here = evaluate(request, under, now, standing=standing(said, excluded))
    there = evaluate(
        sent_over(request), read_again(under), now, standing=standing(said[::-1], excluded)
    )

    assert here == there
    assert here.rule
    assert here.reason
    assert here.reason.isprintable()


def actor_of(request: Request) -> EndpointId:
    return request.reader if isinstance(request, ReadMessage) else request.actor


def answer(
    request: Request, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> Decision:
    return evaluate(request, under, now, standing=standing(*known))


@given(request=requests, under=agreements(), known=documents(), now=times)
def test_nobody_acts_whose_party_does_not_belong_or_does_not_take_part(
    request: Request, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> None:
    decision = answer(request, under, known, now)

    party = actor_of(request).party
    active = standing(*known).participation(party, now) is Participation.ACTIVE
    if isinstance(request, RemoveEndpoint):
        if not (under.has_party(party) and active):
            assert not decision.allow or decision.rule in ("member.leave", "member.excluded")
    elif not under.has_party(party) or not (active or isinstance(request, ReadMessage)):
        assert not decision.allow


@given(request=requests, under=agreements(), known=documents(), now=times)
def test_nothing_new_happens_outside_the_agreed_period(
    request: Request, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> None:
    decision = answer(request, under, known, now)

    if not under.is_in_force(now) and not isinstance(request, ReadMessage | RemoveEndpoint):
        assert not decision.allow


@given(request=requests, under=agreements(), known=documents(), now=times)
def test_where_every_list_is_empty_people_leave_and_are_taken_out_and_nothing_else(
    request: Request, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> None:
    policy = under.channels[0]
    bare = replace(
        under,
        clearances=(),
        channels=(
            replace(
                policy,
                create=(),
                add=(),
                remove=(),
                read=(),
                acknowledge=(),
                send=(),
                guests=(),
            ),
        ),
    )

    decision = answer(request, bare, known, now)

    assert not decision.allow or decision.rule in ("member.leave", "member.excluded")


@given(request=sends, under=agreements(), known=documents(), now=times)
def test_a_simulation_decides_as_the_decision_does_where_nobody_has_to_leave(
    request: SendMessage, under: Agreement, known: tuple[list[bytes], list[bytes]], now: int
) -> None:
    found = simulate(request, under, now, standing=standing(*known))

    assert {one.endpoint for one in found.outcomes} == {
        *request.audience,
        *request.header.to,
        *request.header.copy,
    }
    if not any(one.fate == "leaves" for one in found.outcomes):
        assert found.decision == answer(request, under, known, now)
