"""SPIF policies: their files, what contradicts itself, and which labels are theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from liaison.labels import (
    Clearance,
    ClearanceError,
    Label,
    LabelError,
    SpifError,
    XMLError,
    compile_policy,
    spif,
    spif_xml,
)
from liaison.labels import clearance as clearances
from liaison.labels.builtin import DEMO, NATO, TLP, UNMARKED
from liaison.labels.decision import NOTHING
from liaison.labels.policy import LabelPolicy
from liaison.labels.spif import (
    Applied,
    CategoryGroup,
    CategoryTag,
    Classification,
    Classifications,
    EnumType,
    EquivalentClassification,
    Operation,
    PolicyId,
    PrivacyMark,
    PrivacyMarks,
    RequiredCategory,
    Spif,
    TagCategory,
    TagSet,
    TagType,
)
from liaison.labels.stanag4774 import Category, CategoryType, PolicyIdentifier
from tests.support.label_values import policies

# With the order, the missing attributes and the spellings that files in use have.
IN_USE = """\
<?xml version="1.0" encoding="utf-8"?>
<!-- An example. -->
<spif:SPIF xmlns:spif="http://www.xmlspif.org/spif" schemaVersion="1.0" version="7"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:x x.xsd">
  <spif:securityPolicyId name="Example" id="1.2.3"/>
  <spif:updateInfo/>
  <spif:equivalentPolicies><spif:equivalentPolicy name="Other" id="1.2.4"/></spif:equivalentPolicies>
  <spif:securityClassifications>
    <spif:securityClassification name="SECRET" color="red" lacv="4" hierarchy="40" obsolete="0"/>
    <spif:securityClassification name="OPEN" color="#00ff00" lacv="3" hierarchy="-1"/>
  </spif:securityClassifications>
  <spif:securityCategoryTagSets>
    <spif:securityCategoryTagSet name="Release" id="1.2.3.0">
      <spif:securityCategoryTag name="Rel" tagType="enumerated" enumType="permissive"
          singleSelection="false" minSelection="unbounded" maxSelection="2">
        <spif:tagCategory name="CANADA" lacv="008" obsolete="false"/>
        <spif:tagCategory name="FRANCE" lacv="21745403334774610"/>
        <spif:tagCategory name="MALTA" lacv="x9">
          <spif:requiredCategory operation="oneOrMore">
            <spif:categoryGroup tagSetRef="Release" tagType="enumerated" lacv="8"/>
          </spif:requiredCategory>
          <spif:excludedClass>SECRET</spif:excludedClass>
        </spif:tagCategory>
        <spif:markingQualifier markingCode="pageTopBottom">
          <spif:qualifier markingQualifier="//" qualifierCode="separator"/>
        </spif:markingQualifier>
      </spif:securityCategoryTag>
    </spif:securityCategoryTagSet>
  </spif:securityCategoryTagSets>
  <spif:extensions><any xmlns="urn:other"/></spif:extensions>
</spif:SPIF>
"""


def label(level: str, *values: str, policy: LabelPolicy = DEMO) -> Label:
    pairs = [pair for pair in policy.rules.values if pair[1] in values]
    assert len(pairs) == len(values)
    return Label.of(policy.policy_id, level, pairs)


# --- files --------------------------------------------------------------------------------------


@given(policies)
def test_every_policy_is_read_back_as_it_was_written(policy: Spif) -> None:
    written = spif_xml.write(policy)

    assert spif_xml.parse(written) == policy
    assert spif_xml.write(spif_xml.parse(written)) == written


@pytest.mark.parametrize("policy", [UNMARKED, TLP, NATO, DEMO])
def test_the_built_in_policies_are_files_like_others(policy: LabelPolicy) -> None:
    again = compile_policy(spif_xml.parse(spif_xml.write(policy.spif)))

    assert again.spif == policy.spif
    assert again.classifications == policy.classifications


def test_a_policy_as_it_is_found_in_use_is_understood() -> None:
    policy = compile_policy(spif_xml.parse(IN_USE.encode()))

    assert policy.policy_id == policy.oid == "1.2.3"
    assert policy.classifications == ("OPEN", "SECRET")
    policy.check(label("OPEN", "CANADA", "MALTA", policy=policy))
    for bad in (("SECRET", "CANADA", "MALTA"), ("OPEN", "MALTA"), ("OPEN", "FRANCE", "MALTA")):
        with pytest.raises(LabelError):
            policy.check(label(*bad, policy=policy))
    with pytest.raises(LabelError, match="at most 2"):
        policy.check(label("OPEN", "CANADA", "FRANCE", "MALTA", policy=policy))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("http://www.xmlspif.org/spif", "http://www.xmslpif.org/spif"),
        ("spif:SPIF", "spif:Spif"),
        ('schemaVersion="1.0"', 'schemaVersion="3.0"'),
        ('schemaVersion="1.0" ', ""),
        ('id="1.2.3"', 'id="1.2.x"'),
        ('hierarchy="40"', ""),
        ('hierarchy="40"', 'hierarchy="forty"'),
        ('lacv="3"', 'lacv="three"'),
        ('tagType="enumerated" enumType', 'tagType="informative" enumType'),
        ('maxSelection="2"', 'maxSelection="-1"'),
        ('color="red"', 'color="red;"'),
        ('obsolete="0"', 'obsolete="no"'),
        ('operation="oneOrMore"', 'operation="some"'),
        ("markingCode=", "code="),
        ('id="1.2.4"/>', 'id="1.2.4">text</spif:equivalentPolicy>'),
        ("<spif:tagCategory name", "<spif:tag name"),
        ("<spif:tagCategory name", "<tagCategory/><spif:tagCategory name"),
    ],
)
def test_what_only_looks_like_a_policy_is_refused(right: str, wrong: str) -> None:
    assert right in IN_USE
    text = IN_USE.replace(right, wrong)
    if ":SPIF" not in wrong and "<spif:tag name" in wrong:
        text = text.replace("</spif:tagCategory>", "</spif:tag>")

    with pytest.raises(SpifError):
        spif_xml.parse(text.encode())


def test_a_policy_with_a_document_type_or_of_any_size_is_refused() -> None:
    doctype = IN_USE.replace("<spif:SPIF", "<!DOCTYPE x><spif:SPIF", 1)
    for text in (doctype, IN_USE + " " * 3_000_000):
        with pytest.raises(XMLError):
            spif_xml.parse(text.encode())


# --- contradictions -----------------------------------------------------------------------------

LOW, HIGH = Classification("LOW", 1, 1), Classification("HIGH", 2, 2)


def made(*tags: CategoryTag, levels: tuple[Classification, ...] = (LOW, HIGH)) -> Spif:
    sets = tuple(TagSet(f"S{n}", f"1.2.{n}", (tag,)) for n, tag in enumerate(tags))
    return Spif(PolicyId("P", "1.2.3"), Classifications(levels), sets)


def tag(*values: TagCategory, **options: Any) -> CategoryTag:
    return CategoryTag(TagType.RESTRICTIVE, values or (TagCategory("A", "1"),), **options)


def group(tag_set: str = "S0", lacv: str | None = None) -> CategoryGroup:
    return CategoryGroup(tag_set, TagType.RESTRICTIVE, lacv=lacv)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (made(levels=(LOW, replace(LOW, lacv=2, hierarchy=2))), "LOW"),
        (made(levels=(LOW, replace(HIGH, lacv=1))), "lacv"),
        (made(levels=(LOW, replace(HIGH, hierarchy=1))), "hierarchy"),
        (made(tag(TagCategory("A", "1"), TagCategory("A", "2"))), "'A' twice"),
        (replace(made(), tag_sets=(made(tag()).tag_sets[0],) * 2), "tag set"),
        (made(tag(TagCategory("A", "1", excluded_classes=("NONE",)))), "NONE"),
        (made(tag(TagCategory("A", "1", required_class="NONE"))), "NONE"),
        (made(tag(TagCategory("A", "1", excluded=(group("S9"),)))), "S9"),
        (made(tag(TagCategory("A", "1", excluded=(group(lacv="7"),)))), "does not exist"),
        (made(tag(TagCategory("A", "1", required=(RequiredCategory((group("S9"),)),)))), "S9"),
        (made(levels=(replace(LOW, required=(RequiredCategory((group(),)),)),)), "S0"),
        (made(CategoryTag(TagType.NOT_APPLICABLE, name="T")), "T does not say"),
        (made(CategoryTag(TagType.ENUMERATED, name="T")), "T does not say"),
        (made(tag(minimum=2, maximum=1)), "asks for 2"),
        (made(tag(minimum=2, single=True)), "asks for 2"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(policy: Spif, reason: str) -> None:
    with pytest.raises(SpifError, match=reason):
        compile_policy(policy)


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        label("OPEN"),
        label("LIMITED", "ROUTES", "MEDICAL"),
        label("GUARDED", "UN-OCHA"),
        label("CLOSED", "NOR", "DEU", "MEDICAL", "STAFF"),
        Label(DEMO.oid, "OPEN"),
    ],
)
def test_a_label_that_keeps_every_rule_is_accepted(good: Label) -> None:
    DEMO.check(good)
    DEMO.check(good, new=True)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (label("OPEN", "ROUTES"), "ROUTES does not stand with OPEN"),
        (label("CLOSED"), "CLOSED stands with at least one of"),
        (label("OPEN", "STAFF", "LEGAL"), "at most 1 of Administrative"),
        (Label("liaison.demo", "open"), "no classification 'open'"),
        (Label("liaison.demo", "OPEN", (("Releasable To", "USA"),)), "no category"),
        (Label("liaison.demo", "OPEN", (("Release", "NOR"),)), "no category"),
        (Label("tlp-2.0", "OPEN"), "the label is of 'tlp-2.0'"),
    ],
)
def test_a_label_that_breaks_a_rule_is_refused_with_the_rule(bad: Label, reason: str) -> None:
    with pytest.raises(LabelError, match=reason):
        DEMO.check(bad)


def test_what_is_obsolete_is_read_but_not_given_any_more() -> None:
    courier = label("LIMITED", "COURIER")
    policy = compile_policy(made(levels=(replace(LOW, obsolete=True), HIGH)), policy_id="p")

    DEMO.check(courier)
    policy.check(Label("p", "LOW"))
    with pytest.raises(LabelError, match="COURIER is obsolete"):
        DEMO.check(courier, new=True)
    with pytest.raises(LabelError, match="LOW is obsolete"):
        policy.check(Label("p", "LOW"), new=True)


def test_a_category_is_valid_in_its_time_only() -> None:
    policy = compile_policy(
        made(tag(TagCategory("A", "1", not_before=100, not_after=200))), policy_id="p"
    )
    at = label("LOW", "A", policy=policy)

    for now in (100, 200, None):
        policy.check(at, now=now)
    for now in (99, 201):
        with pytest.raises(LabelError, match="not valid at this time"):
            policy.check(at, now=now)


@pytest.mark.parametrize(
    ("operation", "good", "bad"),
    [
        (Operation.ALL, [("B", "C")], [(), ("B",)]),
        (None, [("B", "C")], [(), ("B",)]),
        (Operation.ONE_OR_MORE, [("B",), ("B", "C")], [()]),
        (Operation.ONLY_ONE, [("B",), ("C",)], [(), ("B", "C")]),
    ],
)
def test_required_categories_count_as_their_operation_says(
    operation: Operation | None, good: list[tuple[str, ...]], bad: list[tuple[str, ...]]
) -> None:
    rule = RequiredCategory((group("S1", "1"), group("S1", "2")), operation)
    values = tag(TagCategory("B", "1"), TagCategory("C", "2"))
    policy = compile_policy(made(tag(TagCategory("A", "1", required=(rule,))), values))

    for beside in good:
        policy.check(label("LOW", "A", *beside, policy=policy))
    for beside in bad:
        with pytest.raises(LabelError, match="A stands with"):
            policy.check(label("LOW", "A", *beside, policy=policy))


def test_excluded_categories_do_not_stand_beside_but_a_value_does_not_exclude_itself() -> None:
    alone = TagCategory("A", "1", excluded=(group(),))
    policy = compile_policy(made(tag(alone, TagCategory("B", "2"))))

    policy.check(label("LOW", "A", policy=policy))
    policy.check(label("LOW", "B", policy=policy))
    with pytest.raises(LabelError, match="A does not stand with B"):
        policy.check(label("LOW", "A", "B", policy=policy))


def test_rules_that_say_the_same_share_one_set() -> None:
    # Thousands of values that each exclude the whole set must not make a set each.
    whole, one = group(), group(lacv="0")
    values = (
        TagCategory(f"V{n}", str(n), excluded=(whole,), required=(RequiredCategory((one,)),))
        for n in range(50)
    )
    made_of = compile_policy(made(tag(*values))).rules.values.values()

    assert len({id(value.excluded[0]) for value in made_of}) == 1
    assert len({id(value.required[0].groups[0]) for value in made_of}) == 1


def test_a_tag_may_ask_for_a_value_in_every_label() -> None:
    policy = compile_policy(made(tag(minimum=1)))

    policy.check(label("LOW", "A", policy=policy))
    with pytest.raises(LabelError, match="at least 1"):
        policy.check(label("LOW", policy=policy))


@pytest.mark.parametrize(
    ("low", "high", "default"),
    [
        (None, None, None),
        (Applied.DECRYPT, None, "LOW"),
        (Applied.BOTH, None, "LOW"),
        (Applied.ENCRYPT, None, None),
        (Applied.BOTH, Applied.DECRYPT, "HIGH"),
        (Applied.DECRYPT, Applied.ENCRYPT, "LOW"),
    ],
)
def test_unlabelled_information_has_the_highest_level_that_stands_for_the_default_policy(
    low: Applied | None, high: Applied | None, default: str | None
) -> None:
    def level(source: Classification, applied: Applied | None, policy: str) -> Classification:
        same = () if applied is None else (EquivalentClassification(policy, 0, applied),)
        return replace(source, equivalents=same)

    for names_it in ("None", "Another"):
        levels = (level(HIGH, high, names_it), level(LOW, low, names_it))
        source = replace(made(levels=levels), default_policy=PolicyId("None", "1.1"))

        found = compile_policy(source, policy_id="p").default_label()

        expected = default if names_it == "None" else None
        assert found == (None if expected is None else Label("p", expected))


# --- the long forms -----------------------------------------------------------------------------


def test_a_label_has_the_same_meaning_in_its_two_forms() -> None:
    short = label("CLOSED", "NOR", "DEU", "ROUTES", "STAFF")

    full = DEMO.expand(short, created=1, review=2)

    assert full.sensitivity.policy == PolicyIdentifier("DEMO", DEMO.oid)
    assert [each.type for each in full.sensitivity.categories] == [
        CategoryType.PERMISSIVE,
        CategoryType.RESTRICTIVE,
        CategoryType.INFORMATIVE,
    ]
    assert full.sensitivity.categories[0].values == ("NOR", "DEU")
    assert (full.created, full.review) == (1, 2)
    assert DEMO.compact(full) == short


def test_names_are_compared_without_case_and_come_out_in_the_policys_spelling() -> None:
    full = DEMO.expand(label("CLOSED", "NOR"), created=1)
    said = full.sensitivity
    shouted = replace(
        said,
        policy=PolicyIdentifier("demo"),
        classification="closed",
        categories=(Category("releasable to", CategoryType.PERMISSIVE, ("nor",)),),
    )

    assert DEMO.compact(replace(full, sensitivity=shouted)) == label("CLOSED", "NOR")


def test_a_policys_title_is_quoted_so_that_it_never_reads_as_part_of_the_sentence() -> None:
    with pytest.raises(LabelError) as caught:
        UNMARKED.check(Label("liaison.unmarked", "SECRET"))

    assert caught.value.message == "the policy 'No labels' has no classification 'SECRET'"


def test_names_that_differ_in_case_only_are_not_taken_for_each_other() -> None:
    policy = compile_policy(made(levels=(LOW, replace(HIGH, name="low"))), policy_id="p")
    full = policy.expand(Label("p", "low"), created=1)
    loud = replace(full, sensitivity=replace(full.sensitivity, classification="Low"))

    assert policy.compact(full) == Label("p", "low")
    with pytest.raises(LabelError, match="no classification 'Low'"):
        policy.compact(loud)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"policy": PolicyIdentifier("NATO")}, "of 'NATO'"),
        ({"policy": PolicyIdentifier("DEMO", "1.2.3")}, "1.2.3"),
        ({"classification": "SECRET"}, "'DEMO' has no classification"),
        ({"privacy_mark": "UNHEARD"}, "'DEMO' has no privacy mark"),
        ({"categories": (Category("X", CategoryType.PERMISSIVE, ("NOR",)),)}, "no category"),
        (
            {"categories": (Category("Releasable To", CategoryType.RESTRICTIVE, ("NOR",)),)},
            "is PERMISSIVE in 'DEMO'",
        ),
        (
            {"categories": (Category("Releasable To", CategoryType.PERMISSIVE, ("NOR",), "1.2"),)},
            "another id in 'DEMO'",
        ),
    ],
)
def test_a_long_label_that_says_what_the_policy_does_not_know_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    full = DEMO.expand(label("OPEN"), created=1)
    wrong = replace(full, sensitivity=replace(full.sensitivity, **changes))

    with pytest.raises(LabelError, match=reason):
        DEMO.compact(wrong)


def test_a_policy_that_lists_no_privacy_marks_knows_all() -> None:
    full = TLP.expand(Label("tlp-2.0", "TLP:RED"), created=1)
    marked = replace(full, sensitivity=replace(full.sensitivity, privacy_mark="ANYTHING"))
    listed = replace(made(), privacy=PrivacyMarks((PrivacyMark("CLEAR"),)))

    assert TLP.compact(marked).classification == "TLP:RED"
    assert listed.privacy is not None


def test_of_a_clearance_only_what_the_policy_knows_counts() -> None:
    full = clearances.ConfidentialityClearance(
        PolicyIdentifier("demo"),
        ("guarded", "COSMIC"),
        (
            Category("Releasable To", CategoryType.PERMISSIVE, ("nor", "MARS")),
            Category("Special Handling", CategoryType.PERMISSIVE, ("ROUTES",)),
        ),
    )

    short = DEMO.clearance(full)

    assert short == Clearance.of("liaison.demo", "GUARDED", [("Releasable To", "NOR")])
    assert DEMO.holding(short).rank == DEMO.rank("GUARDED")
    assert DEMO.holding(Clearance("liaison.demo", ("COSMIC",))).rank == NOTHING
    with pytest.raises(ClearanceError, match="not of 'NATO'"):
        NATO.clearance(full)
    with pytest.raises(ClearanceError, match=r"liaison\.demo"):
        NATO.holding(short)


MIXED = (
    CategoryTag(TagType.RESTRICTIVE, (TagCategory("R", "1"),)),
    CategoryTag(TagType.PERMISSIVE, (TagCategory("P", "2"),)),
    CategoryTag(TagType.TAG_TYPE_7, (TagCategory("I", "3"),)),
    CategoryTag(TagType.ENUMERATED, (TagCategory("ER", "4"),), enum_type=EnumType.RESTRICTIVE),
    CategoryTag(TagType.ENUMERATED, (TagCategory("EP", "5"),), enum_type=EnumType.PERMISSIVE),
)


@pytest.mark.parametrize(
    ("tag_type", "enum_type", "meant"),
    [
        (TagType.RESTRICTIVE, None, {"R", "ER"}),
        (TagType.PERMISSIVE, None, {"P", "EP"}),
        (TagType.TAG_TYPE_7, None, {"I"}),
        (TagType.ENUMERATED, EnumType.RESTRICTIVE, {"R", "ER"}),
        # Files in use leave out which kind of enumerated values they mean.
        (TagType.ENUMERATED, None, {"ER", "EP"}),
    ],
)
def test_a_rule_on_a_tag_set_speaks_of_one_kind_of_its_values(
    tag_type: TagType, enum_type: EnumType | None, meant: set[str]
) -> None:
    rule = CategoryGroup("S0", tag_type, enum_type, whole=True)
    alone = CategoryTag(TagType.TAG_TYPE_7, (TagCategory("A", "1", excluded=(rule,)),))
    mixed, other = TagSet("S0", "1.2.0", MIXED), TagSet("S1", "1.2.1", (alone,))
    policy = compile_policy(replace(made(), tag_sets=(mixed, other)), policy_id="p")

    for name in ("R", "P", "I", "ER", "EP"):
        beside = label("LOW", "A", name, policy=policy)
        if name in meant:
            with pytest.raises(LabelError, match=f"A does not stand with {name}"):
                policy.check(beside)
        else:
            policy.check(beside)


def test_kinds_of_tags_are_those_of_the_guidance() -> None:
    kinds = {
        (tag_type, enum_type): spif.kind_of(tag_type, enum_type)
        for tag_type in TagType
        for enum_type in (None, *EnumType)
    }

    assert kinds[TagType.TAG_TYPE_7, None] is CategoryType.INFORMATIVE
    assert kinds[TagType.ENUMERATED, EnumType.PERMISSIVE] is CategoryType.PERMISSIVE
    assert kinds[TagType.ENUMERATED, EnumType.RESTRICTIVE] is CategoryType.RESTRICTIVE
    assert kinds[TagType.PERMISSIVE, None] is CategoryType.PERMISSIVE
    assert kinds[TagType.RESTRICTIVE, None] is CategoryType.RESTRICTIVE
    assert kinds[TagType.ENUMERATED, None] is None
    assert kinds[TagType.NOT_APPLICABLE, None] is None
