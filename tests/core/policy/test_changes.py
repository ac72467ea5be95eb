"""Before an amendment is signed: every field and every right that it would change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope.header import Kind
from liaison.labels.builtin import TLP
from liaison.model import EndpointId, Precedence
from liaison.policy.agreement import Agreement
from liaison.policy.agreement_rules import ClearanceRule, LabelRules, Witness
from liaison.policy.changes import (
    Rights,
    changed_fields,
    changed_rights,
    named_endpoints,
    rights,
)
from liaison.policy.channel_rules import GuestRule, ReleaseRule, SendRule, WatchHours
from liaison.policy.fields import format_instant
from tests.core.policy.documents import (
    ATTACHE,
    DAY,
    NOW,
    OFFICER,
    OUTSIDER,
    agreement,
    people,
    ruled,
    world,
)

DESK = EndpointId.parse("nor/duty-desk")


def said(after: Agreement, *endpoints: EndpointId, before: Agreement | None = None) -> list[str]:
    return [str(one) for one in changed_rights(before or agreement(), after, endpoints, NOW)]


# --- rights -----------------------------------------------------------------------------


def test_the_same_agreement_changes_nothing() -> None:
    assert said(agreement(), ATTACHE, OFFICER, OUTSIDER) == []
    assert changed_fields(agreement(), agreement()) == ()


def test_each_right_is_named_for_whom_it_changes_and_for_nobody_else() -> None:
    norway = people("NOR")
    for name in ("create", "add", "remove", "acknowledge"):
        change: dict[str, Any] = {name: norway}
        after = ruled(**change)
        assert said(after, ATTACHE, OFFICER) == [f"deu/lno-j3 in liaison: {name}: yes -> no"]
    assert said(ruled(read=norway), ATTACHE, OFFICER) == [
        "deu/lno-j3 in liaison: member: yes -> no"
    ]


def test_what_may_be_sent_is_told_by_kind_and_range() -> None:
    everyone = people("NOR", "DEU")
    low = SendRule(
        everyone, (Kind.TEXT,), Precedence.DEFERRED, Precedence.ROUTINE, everyone, everyone
    )
    flash = replace(low, lowest=Precedence.FLASH, highest=Precedence.FLASH)

    assert said(ruled(send=(low,)), ATTACHE) == [
        "nor/defatt-berlin in liaison: send file: DEFERRED-FLASH -> no",
        "nor/defatt-berlin in liaison: send form: DEFERRED-FLASH -> no",
        "nor/defatt-berlin in liaison: send notice: DEFERRED-FLASH -> no",
        "nor/defatt-berlin in liaison: send text: DEFERRED-FLASH -> DEFERRED-ROUTINE",
    ]
    # A gap between two rules is a change too, though the ends are the same.
    gap = said(ruled(send=(flash, low)), ATTACHE)
    assert gap[-1].endswith("send text: DEFERRED-FLASH -> DEFERRED-ROUTINE, FLASH-FLASH")


def test_who_can_not_be_addressed_any_more_is_told() -> None:
    rule = agreement().channels[0].send[0]
    after = ruled(send=(replace(rule, to=people("NOR"), copy=people("nor/*", "DEU")),))

    assert said(after, ATTACHE, OFFICER) == [
        "deu/lno-j3 in liaison: addressed: for action and for information -> for information"
    ]
    assert said(ruled(send=(replace(rule, to=(), copy=()),)), OFFICER)[0].endswith("-> no")


def test_guests_reviewers_and_releasers_are_told() -> None:
    rule = ReleaseRule((Kind.TEXT,), Precedence.ROUTINE, people("nor/duty-desk"), people("DEU"), 2)
    stay = GuestRule(people("nor/duty-desk"), people("DEU"), NOW + DAY)
    before = ruled(read=people("DEU"))

    assert said(ruled(release=rule), ATTACHE, OFFICER, DESK) == [
        "deu/lno-j3 in liaison: release: no -> yes",
        "nor/duty-desk in liaison: review: no -> yes",
    ]
    came = said(ruled(read=people("DEU"), guests=(stay,)), DESK, before=before)
    until, later = format_instant(stay.until), format_instant(stay.until + DAY)
    assert came == [f"nor/duty-desk in liaison: member: no -> guest until {until}"]
    longer = ruled(read=people("DEU"), guests=(replace(stay, until=stay.until + DAY),))
    shorter = ruled(read=people("DEU"), guests=(stay,))
    assert said(longer, DESK, before=shorter) == [
        f"nor/duty-desk in liaison: member: guest until {until} -> guest until {later}"
    ]


def test_clearances_are_told_with_level_and_categories() -> None:
    labels = LabelRules(TLP.policy_id, "TLP:RED", "TLP:CLEAR")
    before = replace(
        agreement(), labels=labels, clearances=(ClearanceRule(people("NOR"), "TLP:RED"),)
    )
    after = replace(before, clearances=(ClearanceRule(people("NOR", "DEU"), "TLP:GREEN"),))

    assert said(after, ATTACHE, OFFICER, before=before) == [
        "deu/lno-j3 in liaison: cleared: for nothing -> TLP:GREEN",
        "nor/defatt-berlin in liaison: cleared: TLP:RED -> TLP:GREEN",
    ]


def test_a_new_channel_and_a_dropped_one_change_rights_too() -> None:
    notices = replace(agreement().channels[0], name="notices")
    after = replace(agreement(), channels=(notices,))

    changes = changed_rights(agreement(), after, [OFFICER], NOW)

    assert {(one.channel, one.before, one.after) for one in changes if one.right == "member"} == {
        ("liaison", "yes", "no"),
        ("notices", "no", "yes"),
    }


def test_strangers_have_no_rights() -> None:
    assert rights(agreement(), "liaison", OUTSIDER, NOW) == Rights()
    assert rights(agreement(), "unknown", ATTACHE, NOW) == Rights()


who_lists = st.sampled_from(
    [people(), people("NOR"), people("DEU"), people("*"), people("nor/duty-desk")]
)


@given(
    name=st.sampled_from(["create", "add", "remove", "read", "acknowledge"]),
    a=who_lists,
    b=who_lists,
)
def test_rights_change_exactly_where_the_lists_treat_someone_differently(
    name: str, a: Any, b: Any
) -> None:
    before, after = ruled(**{name: a}), ruled(**{name: b})
    everyone = (ATTACHE, OFFICER, DESK)

    changed = {one.endpoint for one in changed_rights(before, after, everyone, NOW)}

    assert changed == {one for one in everyone if before.includes(a, one) != after.includes(b, one)}


# --- fields -----------------------------------------------------------------------------


def paths(before: Agreement, after: Agreement) -> dict[str, tuple[Any, Any]]:
    return {one.path: (one.before, one.after) for one in changed_fields(before, after)}


def test_every_changed_field_is_named_by_its_path() -> None:
    after = replace(ruled(max_members=5, languages=("en",)), title="Another")

    assert paths(agreement(), after) == {
        "title": ("NOR - DEU", "Another"),
        "channels[liaison].max_members": (200, 5),
        "channels[liaison].languages": (None, ["en"]),
    }


def test_a_channel_is_found_again_wherever_it_stands() -> None:
    notices = replace(agreement().channels[0], name="notices")
    before = replace(agreement(), channels=(agreement().channels[0], notices))
    after = replace(
        agreement(), channels=(replace(notices, max_members=5), agreement().channels[0])
    )

    assert paths(before, after) == {"channels[notices].max_members": (200, 5)}


def test_a_changed_anchor_is_shown_also_where_two_parties_have_one_name() -> None:
    named = [
        replace(world().party(code).party, name="Ministry of Defence") for code in ("NOR", "DEU")
    ]
    before = replace(agreement(), parties=tuple(named))
    other = world().party("SWE").party.authority_keys
    for place, code in enumerate(("NOR", "DEU")):
        swapped = [
            replace(party, authority_keys=other) if n == place else party
            for n, party in enumerate(named)
        ]

        changes = paths(before, replace(before, parties=tuple(swapped)))

        assert set(changes) == {f"parties[{code}].authority_keys[0].public"}


def test_witnesses_of_one_name_hide_no_change() -> None:
    keys = [world().party(code).party.authority_keys[0] for code in ("NOR", "DEU", "SWE")]
    nor, deu = (world().party(code).party.code for code in ("NOR", "DEU"))
    before = replace(
        agreement(), witnesses=(Witness(nor, "w", keys[0]), Witness(deu, "w", keys[1]))
    )
    after = replace(before, witnesses=(Witness(nor, "w", keys[2]), before.witnesses[1]))

    assert set(paths(before, after)) == {"witnesses[0].key.public"}


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "title": st.just("x"),
            "retention_days": st.just(7),
            "residual_duties": st.just("Secrecy."),
            "clearances": st.just((ClearanceRule(people("NOR"), "UNMARKED"),)),
            "roles": st.just({"officers": people("NOR")}),
            "valid_until": st.just(NOW + 9),
        },
    )
)
def test_fields_differ_exactly_when_the_digests_do(changes: dict[str, Any]) -> None:
    after = replace(agreement(), **changes)

    found = changed_fields(agreement(), after)

    assert bool(found) == (after.digest() != agreement().digest())
    assert {one.path.partition(".")[0].partition("[")[0] for one in found} == set(changes)


# --- whom it names ----------------------------------------------------------------------


def test_endpoints_are_found_wherever_an_agreement_names_them() -> None:
    plain = agreement().channels[0]
    lists: dict[str, Any] = {
        name: people(f"nor/by-{name}", "nor/prefix-*", "DEU", "*", "role:officers")
        for name in ("create", "add", "remove", "read", "acknowledge")
    }
    policy = replace(
        plain,
        **lists,
        send=(
            replace(
                plain.send[0],
                who=people("nor/by-who"),
                to=people("nor/by-to"),
                copy=people("nor/by-copy"),
            ),
        ),
        guests=(GuestRule(people("deu/guest"), people("nor/host"), NOW),),
        release=ReleaseRule(
            (Kind.TEXT,), Precedence.ROUTINE, people("nor/legal"), people("nor/chief"), 2
        ),
        watch=(WatchHours(people("nor/watch"), (0,), 0, 60),),
    )
    under = replace(
        agreement(),
        channels=(policy,),
        roles={"officers": people("deu/in-a-role")},
        clearances=(ClearanceRule(people("deu/cleared"), "UNMARKED"),),
    )

    assert {str(one) for one in named_endpoints(under)} == {
        *(f"nor/by-{name}" for name in (*lists, "who", "to", "copy")),
        *("deu/guest", "nor/host", "nor/legal", "nor/chief", "nor/watch"),
        *("deu/in-a-role", "deu/cleared"),
    }
