"""The life of an agreement: who takes part, who may say so, and what follows what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.errors import LiaisonError
from liaison.model import EndpointId, PartyCode
from liaison.policy import canonical, dsse, exclusion, lifecycle, participation, signing, succession
from liaison.policy.agreement import Agreement, AgreementKind, UnknownPartyError
from liaison.policy.agreement_rules import ExclusionRule
from liaison.policy.errors import DocumentError, SignatureMissingError, StatementOrderError
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
from liaison.policy.exclusion import Exclusion
from liaison.policy.lifecycle import Event, LifecycleError, Participation, Phase
from liaison.policy.participation import Statement
from liaison.policy.standing import EVERYONE, Standing
from liaison.policy.succession import SuccessionError
from tests.core.policy.documents import ATTACHE, DAY, NOW, OFFICER, agreement, header, world

NOR, DEU, OCHA = PartyCode("NOR"), PartyCode("DEU"), PartyCode("UN-OCHA")
DESK = EndpointId.parse("un-ocha/desk")
OWN_ACTS = (Event.AFFIRM, Event.SUSPEND, Event.RESUME, Event.WITHDRAW)


def coalition(**changes: Any) -> Agreement:
    made = agreement(AgreementKind.MULTILATERAL)
    return replace(made, **changes) if changes else made


def first(party: PartyCode = NOR, under: Agreement | None = None) -> Statement:
    return Statement.first(under or coalition(), party, now=NOW)


def said(*events: Event, party: PartyCode = NOR, start: int = NOW) -> list[Statement]:
    """A party's statements, one for each event, a minute apart."""
    statements = [first(party)]
    for number, event in enumerate(events, 1):
        at = start + 60 * number
        statements.append(statements[-1].after(event, reason="", now=at, max_age=DAY))
    return statements


def signed(statement: Statement) -> bytes:
    return participation.sign(statement, world().party(str(statement.party)).authority_key)


# --- which state follows which ----------------------------------------------------------


@pytest.mark.parametrize("state", Participation)
@pytest.mark.parametrize("event", Event)
def test_the_table_answers_every_event_in_every_state(state: Participation, event: Event) -> None:
    if (state, event) in lifecycle.TRANSITIONS:
        assert lifecycle.after(state, event) is lifecycle.TRANSITIONS[state, event]
    else:
        with pytest.raises(LifecycleError, match=f"can't {event.value}"):
            lifecycle.after(state, event)


@pytest.mark.parametrize("gone", [Participation.WITHDRAWN, Participation.EXCLUDED])
def test_nothing_leads_back_from_having_left(gone: Participation) -> None:
    assert [state for state in Participation if lifecycle.can_reach(gone, state)] == [gone]


@given(events=st.lists(st.sampled_from(OWN_ACTS), max_size=8))
def test_whatever_a_party_says_its_last_word_counts_and_withdrawing_is_final(
    events: list[Event],
) -> None:
    statements, at = [first()], NOW
    for event in events:
        at += 60
        try:
            statements.append(statements[-1].after(event, reason="", now=at, max_age=DAY))
        except LifecycleError:
            continue
    standing = Standing.of(statements)

    assert standing.participation(NOR, at) is statements[-1].state
    states = [one.state for one in statements]
    if Participation.WITHDRAWN in states:
        assert set(states[states.index(Participation.WITHDRAWN) :]) == {Participation.WITHDRAWN}


def test_a_renewal_keeps_since_when_and_why() -> None:
    suspended = first().after(Event.SUSPEND, reason="elections", now=NOW + 1, max_age=DAY)
    renewed = suspended.after(Event.AFFIRM, reason="", now=NOW + 100, max_age=DAY)

    assert (renewed.state, renewed.since, renewed.reason) == (
        Participation.SUSPENDED,
        NOW + 1,
        "elections",
    )
    assert renewed.next_update == NOW + 100 + DAY


def test_a_clock_that_went_back_makes_no_statement() -> None:
    with pytest.raises(StatementOrderError, match="clock"):
        first().after(Event.SUSPEND, reason="", now=NOW - 1, max_age=DAY)


# --- signed statements ------------------------------------------------------------------


def test_a_signed_statement_comes_back_as_it_was() -> None:
    statement = said(Event.SUSPEND)[-1]

    assert participation.verify(signed(statement), coalition()) == statement


def test_only_the_partys_own_authority_speaks_for_it() -> None:
    others = (world().party("DEU").authority_key, world().party("NOR").registrar_key)

    for key in others:
        with pytest.raises(SignatureMissingError):
            participation.verify(participation.sign(first(), key), coalition())


def test_a_statement_about_another_agreement_or_by_a_stranger_is_refused() -> None:
    elsewhere = replace(first(), agreement_id="another")
    with pytest.raises(DocumentError, match="about another"):
        participation.verify(signed(elsewhere), coalition())

    key = world().party("SWE").authority_key
    stranger = participation.sign(replace(first(), party=PartyCode("SWE")), key)
    with pytest.raises(UnknownPartyError):
        participation.verify(stranger, coalition())


def test_a_statement_can_not_be_made_to_hold_longer_than_agreed() -> None:
    under = coalition()
    eternal = replace(first(), next_update=NOW + under.status.max_age + 1)

    with pytest.raises(DocumentError, match="longer"):
        participation.verify(signed(eternal), under)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "liaison.participation/2"),
        ("state", "excluded"),
        ("state", "gone"),
        ("number", 0),
        ("since", "2100-01-01T00:00:00Z"),
        ("next_update", "2000-01-01T00:00:00Z"),
        ("reason", "x" * 1001),
        ("surplus", 1),
    ],
)
def test_a_statement_with_a_wrong_field_is_refused(field: str, value: Any) -> None:
    document = {**first().document(), field: value}
    payload = canonical.encode(document)
    key = world().party("NOR").authority_key

    with pytest.raises(DocumentError):
        participation.verify(
            dsse.sign(participation.PAYLOAD_TYPE, payload, [key]).encode(), coalition()
        )


def test_a_document_of_another_kind_is_no_statement() -> None:
    key = world().party("NOR").authority_key
    envelope = dsse.sign(exclusion.PAYLOAD_TYPE, canonical.encode(first().document()), [key])

    with pytest.raises(DocumentError, match="not a statement"):
        participation.verify(envelope.encode(), coalition())


def test_an_older_statement_never_replaces_a_newer_one() -> None:
    active, suspended, resumed = said(Event.SUSPEND, Event.RESUME)
    standing = Standing.of([active, suspended, resumed])

    for old in (active, suspended):
        with pytest.raises(StatementOrderError, match="not newer"):
            standing.with_statement(old)
    assert standing.with_statement(resumed) == standing


def test_a_newer_number_can_not_take_a_withdrawal_back_or_date_itself_before() -> None:
    withdrawn = said(Event.WITHDRAW)[-1]

    back = replace(withdrawn, number=9, state=Participation.ACTIVE)
    with pytest.raises(StatementOrderError, match="can't follow"):
        back.check_succeeds(withdrawn)
    earlier = replace(withdrawn, number=9, since=withdrawn.since - 1)
    with pytest.raises(StatementOrderError, match="dated before"):
        earlier.check_succeeds(withdrawn)


def test_statements_in_any_order_make_one_standing() -> None:
    statements = [*said(Event.SUSPEND, Event.RESUME), *said(Event.WITHDRAW, party=DEU)]

    assert Standing.of(reversed(statements)) == Standing.of(statements)


# --- exclusion --------------------------------------------------------------------------


def excluding(*voters: str, party: PartyCode = OCHA) -> bytes:
    statement = Exclusion("nor-deu-2026", party, "persistent breach", NOW)
    data = exclusion.sign(statement, world().party(voters[0]).authority_key)
    for voter in voters[1:]:
        data = exclusion.add_signature(data, world().party(voter).authority_key)
    return data


def test_all_others_exclude_a_party_and_one_less_does_not() -> None:
    assert exclusion.verify(excluding("NOR", "DEU"), coalition()).party == OCHA

    with pytest.raises(
        SignatureMissingError, match="takes 2 of the others, 1 has signed"
    ) as raised:
        exclusion.verify(excluding("NOR"), coalition())
    assert "DEU" in raised.value.hint


@pytest.mark.parametrize("extra", ["UN-OCHA", "SWE"])
def test_the_excluded_and_strangers_have_no_vote(extra: str) -> None:
    with pytest.raises(SignatureMissingError):
        exclusion.verify(excluding("NOR", extra), coalition())


def test_who_has_left_has_no_vote_and_is_not_waited_for() -> None:
    assert exclusion.verify(excluding("NOR"), coalition(), left=[DEU]).party == OCHA
    with pytest.raises(SignatureMissingError):
        exclusion.verify(excluding("DEU"), coalition(), left=[DEU])


def test_the_agreement_says_how_many_it_takes() -> None:
    majority = coalition(exclusion=ExclusionRule.MAJORITY)
    never = coalition(exclusion=ExclusionRule.NEVER)

    with pytest.raises(SignatureMissingError):
        exclusion.verify(excluding("NOR"), majority)
    assert exclusion.verify(excluding("NOR", "DEU"), majority).party == OCHA
    with pytest.raises(DocumentError, match="excludes nobody"):
        exclusion.verify(excluding("NOR", "DEU"), never)


def test_the_excluded_party_has_no_say_any_more() -> None:
    standing = EVERYONE.with_exclusion(exclusion.verify(excluding("NOR", "DEU"), coalition()))

    with pytest.raises(StatementOrderError, match="excluded"):
        standing.with_statement(first(OCHA))
    assert standing.participation(OCHA, NOW) is Participation.EXCLUDED
    assert standing.participation(OCHA, NOW - 1) is Participation.ACTIVE


# --- the agreement as a whole -----------------------------------------------------------


def test_a_bilateral_agreement_stops_with_one_suspension_and_ends_with_one_withdrawal() -> None:
    pair = agreement()
    suspended = Standing.of(said(Event.SUSPEND))
    withdrawn = Standing.of(said(Event.WITHDRAW))
    later = NOW + 61

    assert EVERYONE.phase(pair, NOW) is Phase.ACTIVE
    assert suspended.phase(pair, NOW) is Phase.ACTIVE
    assert suspended.phase(pair, later) is Phase.SUSPENDED
    assert withdrawn.phase(pair, later) is Phase.TERMINATED
    assert EVERYONE.phase(pair, pair.valid_from - 1) is Phase.PENDING
    assert EVERYONE.phase(pair, pair.valid_until + 1) is Phase.TERMINATED


def test_a_coalition_goes_on_without_one_party() -> None:
    standing = Standing.of(said(Event.WITHDRAW, party=OCHA))

    assert standing.phase(coalition(), NOW + 61) is Phase.ACTIVE
    assert standing.left(coalition(), NOW + 61) == {OCHA}


def test_a_party_that_says_nothing_for_too_long_is_told() -> None:
    under = coalition()
    limit = under.valid_from + under.status.max_age

    assert EVERYONE.overdue(under, limit) == ()
    assert EVERYONE.overdue(under, limit + 1) == under.codes
    fresh = first().after(Event.AFFIRM, reason="", now=limit, max_age=DAY)
    assert Standing.of([fresh]).overdue(under, limit + 1) == (DEU, OCHA)
    # Nobody waits for the word of someone who is gone.
    gone = Standing.of([fresh.after(Event.WITHDRAW, reason="", now=limit, max_age=DAY)])
    assert gone.overdue(under, limit + 2 * DAY) == (DEU, OCHA)


# --- what the decision makes of it ------------------------------------------------------


def decide(request: Request, standing: Standing, now: int = NOW + 61) -> Decision:
    return evaluate(request, coalition(), now, standing=standing)


def message(actor: EndpointId, to: Iterable[EndpointId] = ()) -> SendMessage:
    return SendMessage(actor, "liaison", header(to=tuple(to)), 1000, (ATTACHE, OFFICER, DESK))


@pytest.mark.parametrize(
    ("event", "rule"), [(Event.SUSPEND, "party.suspended"), (Event.WITHDRAW, "party.withdrawn")]
)
def test_an_absent_party_sends_and_gets_nothing_and_the_others_go_on(
    event: Event, rule: str
) -> None:
    standing = Standing.of(said(event))

    for request in (
        message(ATTACHE),
        message(OFFICER, to=[ATTACHE]),
        CreateChannel(ATTACHE, "liaison"),
        AddEndpoint(OFFICER, "liaison", ATTACHE, (OFFICER, DESK, ATTACHE)),
    ):
        assert (decide(request, standing).allow, decide(request, standing).rule) == (False, rule)
    assert decide(message(OFFICER, to=[DESK]), standing).allow


def test_what_was_accepted_before_the_suspension_stays_allowed() -> None:
    standing = Standing.of(said(Event.SUSPEND))

    assert decide(message(ATTACHE), standing, now=NOW + 59).allow
    assert not decide(message(ATTACHE), standing, now=NOW + 60).allow
    assert decide(ReadMessage(ATTACHE, "liaison", header()), standing).allow


def test_anyone_may_remove_a_device_of_an_absent_party() -> None:
    nobody = replace(coalition().channels[0], remove=())
    under = coalition(channels=(nobody,))
    request = RemoveEndpoint(OFFICER, "liaison", ATTACHE)

    assert not evaluate(request, under, NOW + 61, standing=EVERYONE).allow
    decision = evaluate(request, under, NOW + 61, standing=Standing.of(said(Event.SUSPEND)))
    assert (decision.allow, decision.rule) == (True, "member.excluded")


def test_with_too_few_left_nobody_sends() -> None:
    standing = Standing.of([*said(Event.SUSPEND), *said(Event.WITHDRAW, party=OCHA)])

    decision = decide(message(OFFICER), standing)

    assert (decision.allow, decision.rule) == (False, "agreement.suspended")


# --- amendments -------------------------------------------------------------------------


def amended(**changes: Any) -> Agreement:
    before = coalition()
    return replace(before, version=2, previous=before.digest(), title="amended", **changes)


def without(*codes: PartyCode) -> Agreement:
    kept = tuple(party for party in coalition().parties if party.code not in codes)
    return amended(parties=kept)


def test_a_version_follows_the_one_that_it_names() -> None:
    succession.check(coalition(), amended(), EVERYONE, NOW)


WRONG = {
    "another text": lambda: replace(amended(), previous=bytes(32)),
    "a gap": lambda: replace(amended(), version=3),
    "another agreement": lambda: replace(amended(), agreement_id="another"),
    "another kind": lambda: replace(amended(), kind=AgreementKind.EXERCISE),
    "another suite": lambda: replace(amended(), cipher_suite=1),
    "another relay": lambda: replace(
        amended(), relay=replace(coalition().relay, origin="other.example")
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_version_that_does_not_follow_is_refused(what: str) -> None:
    with pytest.raises(SuccessionError):
        succession.check(coalition(), WRONG[what](), EVERYONE, NOW)


def test_nobody_is_dropped_on_the_way() -> None:
    with pytest.raises(SuccessionError, match="UN-OCHA, which takes part"):
        succession.check(coalition(), without(OCHA), EVERYONE, NOW)
    suspended = Standing.of(said(Event.SUSPEND, party=OCHA))
    with pytest.raises(SuccessionError, match="takes part"):
        succession.check(coalition(), without(OCHA), suspended, NOW + 61)


@pytest.mark.parametrize(
    "standing",
    [
        Standing.of(said(Event.WITHDRAW, party=OCHA)),
        EVERYONE.with_exclusion(Exclusion("nor-deu-2026", OCHA, "breach", NOW)),
    ],
)
def test_who_has_left_is_left_out_and_does_not_come_back(standing: Standing) -> None:
    succession.check(coalition(), without(OCHA), standing, NOW + 61)

    with pytest.raises(SuccessionError, match="has left"):
        succession.check(coalition(), amended(), standing, NOW + 61)


@given(
    kept=st.sets(st.sampled_from([NOR, DEU, OCHA])), gone=st.sets(st.sampled_from([NOR, DEU, OCHA]))
)
def test_a_version_may_follow_exactly_when_it_has_everyone_who_has_not_left(
    kept: set[PartyCode], gone: set[PartyCode]
) -> None:
    standing = Standing.of([one for code in gone for one in said(Event.WITHDRAW, party=code)])
    following = without(*({NOR, DEU, OCHA} - kept))

    if kept == {NOR, DEU, OCHA} - gone:
        succession.check(coalition(), following, standing, NOW + 61)
    else:
        with pytest.raises(LiaisonError):
            succession.check(coalition(), following, standing, NOW + 61)


def test_a_signed_agreement_with_its_new_fields_comes_back_as_it_was() -> None:
    pair = replace(agreement(), duties={NOR: "Keeps the desk manned."}, residual_duties="Secrecy.")
    data = signing.sign(pair, world().party("NOR").authority_key)

    assert signing.read(data)[1] == pair
