"""Clearances: everyone who can decrypt is cleared, nobody is without a rule, more never hurts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Header, HeaderLabel
from liaison.labels import spif_xml
from liaison.labels.builtin import NATO, TLP
from liaison.labels.spif import (
    CategoryTag,
    Classification,
    Classifications,
    EnumType,
    PolicyId,
    Spif,
    TagCategory,
    TagSet,
    TagType,
)
from liaison.model import EndpointId
from liaison.policy import agreement_yaml
from liaison.policy import standing as standings
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ClearanceRule, LabelRules
from liaison.policy.errors import DocumentError
from liaison.policy.evaluate import Decision, ReadMessage, SendMessage, evaluate
from liaison.policy.fields import Node
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    agreement,
    document,
    header,
    people,
    read_again,
)

DESK = EndpointId.parse("nor/duty-desk")
OID = "2.25.1234567"
LEVELS = ("OPEN", "INNER", "CORE")
RELEASE, SPECIAL = "Releasable To", "Special"
PAIRS = (
    (RELEASE, "DEU"),
    (RELEASE, "NOR"),
    (SPECIAL, "ALPHA"),
    (SPECIAL, "BRAVO"),
)


def own_policy(**changes: Any) -> Spif:
    """A policy of the parties' own: three levels, one permissive and one restrictive tag."""
    permissive = CategoryTag(
        TagType.ENUMERATED,
        tuple(TagCategory(name, str(n)) for n, name in enumerate(("NOR", "DEU"))),
        name=RELEASE,
        enum_type=EnumType.PERMISSIVE,
    )
    restrictive = CategoryTag(
        TagType.RESTRICTIVE,
        (TagCategory("ALPHA", "0"), TagCategory("BRAVO", "1", not_after=NOW + DAY)),
        name=SPECIAL,
    )
    made = Spif(
        PolicyId("OWN", OID),
        Classifications(
            tuple(Classification(name, lacv=n, hierarchy=n) for n, name in enumerate(LEVELS))
        ),
        (
            TagSet(RELEASE, f"{OID}.1", (permissive,)),
            TagSet(SPECIAL, f"{OID}.2", (restrictive,)),
        ),
    )
    return replace(made, **changes)


@cache
def own_labels() -> LabelRules:
    return LabelRules(OID, "CORE", "OPEN", spif_xml.write(own_policy()).decode())


@cache
def base() -> Agreement:
    return read_again(replace(agreement(), labels=own_labels(), clearances=()))


def cleared(*rules: ClearanceRule) -> Agreement:
    return replace(base(), clearances=rules)


def rule(who: str, highest: str = "CORE", *categories: tuple[str, str]) -> ClearanceRule:
    return ClearanceRule(people(who), highest, tuple(sorted(categories)))


def labelled(level: str, *categories: tuple[str, str], policy: str = OID) -> Header:
    return header(label=HeaderLabel(policy, level, tuple(sorted(categories))))


def send(
    under: Agreement,
    said: Header,
    audience: tuple[EndpointId, ...] = (ATTACHE, OFFICER),
    now: int = NOW,
) -> Decision:
    return evaluate(
        SendMessage(ATTACHE, "liaison", said, 1000, audience),
        under,
        now,
        standing=standings.EVERYONE,
    )


def read(under: Agreement, said: Header, reader: EndpointId = OFFICER, now: int = NOW) -> Decision:
    return evaluate(ReadMessage(reader, "liaison", said), under, now, standing=standings.EVERYONE)


EVERYONE = rule("*", "CORE", *PAIRS)


# --- deny by default --------------------------------------------------------------------


def test_without_a_rule_nobody_is_cleared_not_even_for_the_lowest_level() -> None:
    for decision in (send(cleared(), labelled("OPEN")), read(cleared(), labelled("OPEN"))):
        assert (decision.allow, decision.rule) == (False, "clearances")
    assert "is not cleared for OPEN" in send(cleared(), labelled("OPEN")).reason


def test_every_reader_is_cleared_and_the_sender_too() -> None:
    norway = cleared(rule("NOR"))

    assert send(norway, labelled("CORE"), (ATTACHE, DESK)).allow
    uncleared = send(norway, labelled("CORE"), (ATTACHE, DESK, OFFICER))
    assert not uncleared.allow
    assert uncleared.reason.startswith("deu/lno-j3 is not cleared for CORE")
    # Also where the sender is not counted among those in the group.
    assert not send(cleared(rule("DEU")), labelled("CORE"), (OFFICER,)).allow
    # Addressees are no readers: who is not in the group needs no clearance to be named.
    assert send(norway, replace(labelled("CORE"), to=(OFFICER,)), (ATTACHE,)).allow


def test_who_is_of_no_party_is_cleared_for_nothing_whatever_the_rule_says() -> None:
    stranger = EndpointId.parse("swe/desk")

    assert not send(cleared(EVERYONE), labelled("OPEN"), (ATTACHE, stranger)).allow


def test_levels_include_those_below_and_none_above() -> None:
    for held, level in ((h, lv) for h in LEVELS for lv in LEVELS):
        allowed = LEVELS.index(level) <= LEVELS.index(held)
        assert send(cleared(rule("*", held)), labelled(level)).allow is allowed


def test_of_restrictive_categories_all_are_held_and_of_permissive_ones_one() -> None:
    alpha, bravo, norway, germany = (
        (SPECIAL, "ALPHA"),
        (SPECIAL, "BRAVO"),
        (RELEASE, "NOR"),
        (RELEASE, "DEU"),
    )

    assert not send(cleared(rule("*", "CORE", alpha)), labelled("OPEN", alpha, bravo)).allow
    assert send(cleared(rule("*", "CORE", alpha, bravo)), labelled("OPEN", alpha, bravo)).allow
    assert send(cleared(rule("*", "CORE", norway)), labelled("OPEN", norway, germany)).allow
    assert not send(cleared(rule("*", "CORE", norway)), labelled("OPEN", germany)).allow


def test_who_is_in_several_rules_holds_their_sum() -> None:
    alpha = (SPECIAL, "ALPHA")
    under = cleared(rule("*", "OPEN", alpha), rule("nor/*", "INNER"), rule("deu/lno-*", "CORE"))

    assert send(under, labelled("INNER", alpha)).allow
    blocked = send(under, labelled("CORE", alpha))
    assert blocked.reason.startswith("nor/defatt-berlin")
    assert send(cleared(*reversed(under.clearances)), labelled("INNER", alpha)).allow


def test_a_category_for_a_time_is_no_longer_given_but_what_was_accepted_stays_readable() -> None:
    bravo = labelled("OPEN", (SPECIAL, "BRAVO"))
    late = NOW + DAY + 1

    assert send(cleared(EVERYONE), bravo, now=NOW + DAY).allow
    assert send(cleared(EVERYONE), replace(bravo, dtg=late), now=late).rule == "labels.policy"
    assert read(cleared(EVERYONE), bravo, now=late).allow


def test_a_policy_that_has_run_out_labels_nothing_new() -> None:
    spif = spif_xml.write(own_policy(not_after=NOW + DAY)).decode()
    under = replace(cleared(EVERYONE), labels=replace(own_labels(), spif=spif))
    late = NOW + 2 * DAY

    assert send(under, labelled("OPEN")).allow
    refused = send(under, replace(labelled("OPEN"), dtg=late), now=late)
    assert (refused.rule, "OWN" in refused.reason) == ("labels.policy", True)
    assert read(under, labelled("OPEN"), now=late).allow


# --- monotone ---------------------------------------------------------------------------

who_lists = st.sampled_from(["*", "NOR", "DEU", "nor/defatt-berlin", "deu/lno-*", "nor/duty-desk"])
pairs = st.sets(st.sampled_from(PAIRS)).map(lambda found: tuple(sorted(found)))
rules = st.builds(
    lambda who, *rest: ClearanceRule(people(who), *rest),
    who_lists,
    st.sampled_from(LEVELS),
    pairs,
)
labels = st.builds(lambda level, found: labelled(level, *found), st.sampled_from(LEVELS), pairs)
groups = st.lists(st.sampled_from([ATTACHE, OFFICER, DESK]), max_size=3).map(tuple)


@given(held=st.lists(rules, max_size=3), more=rules, said=labels, group=groups)
def test_another_clearance_never_turns_a_yes_into_a_no(
    held: list[ClearanceRule], more: ClearanceRule, said: Header, group: tuple[EndpointId, ...]
) -> None:
    before, after = cleared(*held), cleared(*held, more)

    if send(before, said, group).allow:
        assert send(after, said, group).allow
    if read(before, said).allow:
        assert read(after, said).allow


@given(held=st.lists(rules, min_size=1, max_size=3), data=st.data(), said=labels, group=groups)
def test_a_higher_clearance_or_one_category_more_never_turns_a_yes_into_a_no(
    held: list[ClearanceRule], data: st.DataObject, said: Header, group: tuple[EndpointId, ...]
) -> None:
    place = data.draw(st.integers(0, len(held) - 1))
    least = LEVELS.index(held[place].highest)
    raised = list(held)
    raised[place] = replace(
        held[place],
        highest=LEVELS[data.draw(st.integers(least, len(LEVELS) - 1))],
        categories=tuple(sorted({*held[place].categories, *data.draw(pairs)})),
    )

    if send(cleared(*held), said, group).allow:
        assert send(cleared(*raised), said, group).allow


@given(held=st.lists(rules, max_size=3), said=labels, group=groups)
def test_a_message_passes_exactly_when_each_reader_alone_would_be_cleared(
    held: list[ClearanceRule], said: Header, group: tuple[EndpointId, ...]
) -> None:
    under = cleared(*held)

    def naive(endpoint: EndpointId) -> bool:
        mine = [one for one in held if under.includes(one.who, endpoint)]
        level = max((LEVELS.index(one.highest) for one in mine), default=-1)
        have = {pair for one in mine for pair in one.categories}
        wanted = set(said.label.categories)
        special = {pair for pair in wanted if pair[0] == SPECIAL}
        nations = {pair for pair in wanted if pair[0] == RELEASE}
        enough = level >= LEVELS.index(said.label.classification)
        return enough and special <= have and (not nations or bool(nations & have))

    assert send(under, said, group).allow == all(map(naive, {ATTACHE, *group}))


# --- the agreement's own label policy ---------------------------------------------------


def test_a_policy_in_the_agreement_means_the_same_to_everyone_who_reads_it() -> None:
    under = cleared(EVERYONE)
    read_from_json = read_again(under)
    read_from_yaml = agreement_yaml.parse(agreement_yaml.render(under))

    assert read_from_json == read_from_yaml == under
    for said in (labelled("CORE", PAIRS[0]), labelled("CORE", (SPECIAL, "DELTA"))):
        assert send(under, said) == send(read_from_json, said) == send(read_from_yaml, said)


def with_labels(**changes: Any) -> dict[str, Any]:
    return document(labels={**own_labels().document(), **changes}, clearances=[])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spif": "<a"}, r"labels\.spif is not a label policy"),
        ({"spif": "<a/>"}, r"labels\.spif is not a label policy"),
        ({"spif": "<!DOCTYPE a><a/>"}, r"labels\.spif is not a label policy: .*document type"),
        ({"spif": ""}, r"labels\.spif must have 1 to"),
        ({"spif": None}, r"labels\.spif must be text"),
        ({"policy": "2.25.7"}, r"labels\.policy is not the id of the policy that stands in spif"),
        ({"ceiling": "NONE"}, "the policy 'OWN' has no classification 'NONE'"),
        ({"default": "CORE", "ceiling": "OPEN"}, r"labels\.default is above the ceiling"),
    ],
)
def test_a_wrong_label_policy_is_refused_with_its_field(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DocumentError, match=words):
        Agreement.from_node(Node.of(with_labels(**changes)))


def test_a_label_policy_that_contradicts_itself_is_refused() -> None:
    twice = Classifications((Classification("A", lacv=1, hierarchy=1),) * 2)
    spif = spif_xml.write(own_policy(classifications=twice)).decode()

    with pytest.raises(DocumentError, match=r"labels\.spif is not a label policy"):
        Agreement.from_node(Node.of(with_labels(spif=spif)))


def test_an_error_in_a_label_policy_names_the_line() -> None:
    text = agreement_yaml.render(base()).replace(f"policy: {OID}", "policy: 2.25.7")
    line = 1 + text.splitlines().index("  policy: 2.25.7")

    with pytest.raises(DocumentError, match=rf"line {line}: labels\.policy is not the id"):
        agreement_yaml.parse(text)


@pytest.mark.parametrize(
    ("clearance", "words"),
    [
        ({"highest": "SECRET"}, r"clearances\[0\] names 'SECRET', which is not a level of 'OWN'"),
        ({"categories": [{"tag": SPECIAL, "value": "X"}]}, "names the category Special=X"),
        ({"who": ["role:x"]}, "role x, which is not defined"),
        ({"who": ["SWE"]}, "SWE is not a party here"),
        (
            {"categories": [{"tag": t, "value": v} for t, v in reversed(PAIRS)]},
            r"clearances\[0\]\.categories must be ordered",
        ),
        (
            {"categories": [{"tag": SPECIAL, "value": "ALPHA"}] * 2},
            r"clearances\[0\]\.categories must be ordered",
        ),
        ({"surplus": 1}, r"clearances\[0\]\.surplus is not a field"),
    ],
)
def test_a_wrong_clearance_is_refused_with_its_field(clearance: dict[str, Any], words: str) -> None:
    plain = {"who": ["NOR"], "highest": "CORE", "categories": []}
    made = {**with_labels(), "clearances": [{**plain, **clearance}]}

    with pytest.raises(DocumentError, match=words):
        Agreement.from_node(Node.of(made))


# --- policies that are built in ---------------------------------------------------------


def nato(*rules: ClearanceRule) -> Agreement:
    labels = LabelRules(NATO.policy_id, "SECRET", "UNCLASSIFIED")
    return read_again(replace(agreement(), labels=labels, clearances=rules))


def test_natos_policy_knows_its_levels_categories_and_ceiling() -> None:
    releasable = ("Releasable To", "DEU")
    under = nato(rule("*", "SECRET", releasable))

    def said(level: str, *categories: tuple[str, str]) -> Decision:
        return send(under, labelled(level, *categories, policy=NATO.policy_id))

    assert said("SECRET", releasable).allow
    assert said("TOP SECRET").rule == "labels.ceiling"
    assert said("SECRET", ("Releasable To", "SWE")).rule == "clearances"
    assert said("RESTRICTED", ("Additional Sensitivity", "ATOMAL")).rule == "labels.policy"
    assert said("SECRET", ("Additional Sensitivity", "ATOMAL")).rule == "clearances"
    assert said("COSMIC TOP SECRET").rule == "labels.policy"


def test_under_a_policy_that_is_not_known_here_nothing_is_sent_or_read() -> None:
    unknown = replace(cleared(EVERYONE), labels=LabelRules("2.25.9", "CORE", "OPEN"))

    for decision in (send(unknown, labelled("OPEN")), read(unknown, labelled("OPEN"))):
        assert (decision.allow, decision.rule) == (False, "labels.policy")
        assert "2.25.9 is not known here" in decision.reason


@pytest.mark.parametrize("level", TLP.classifications)
def test_a_label_of_another_policy_is_never_taken_for_one_of_this(level: str) -> None:
    under = nato(rule("*", "SECRET"))

    assert send(under, labelled(level, policy=TLP.policy_id)).rule == "labels.policy"
    assert read(under, labelled(level, policy=TLP.policy_id)).rule == "labels.policy"
