"""What labels become: markings, equivalents, one label for many, the one that counts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.labels import (
    Clearance,
    Label,
    LabelError,
    LabelPolicies,
    NoDominantError,
    NoEquivalentError,
    compile_policy,
    decide,
    decide_all,
    spif,
)
from liaison.labels.builtin import BUILT_IN, DEMO, NATO, TLP, UNMARKED
from liaison.labels.dominance import dominant
from liaison.labels.equivalence import translate
from liaison.labels.marking import Marking, marking
from liaison.labels.policy import LabelPolicy
from liaison.labels.received import decide_received, label_for, read_labels
from liaison.labels.spif import Applied, MarkingCode, Operation, TagType
from liaison.labels.stanag4774 import PolicyIdentifier, Role, Succession, SuccessorLabel
from liaison.labels.stanag4778 import (
    BindingInformation,
    DataReference,
    MetadataBinding,
    parse,
    write,
)
from tests.support.label_values import labels as any_labels
from tests.support.label_values import names


def of(policy: LabelPolicy, level: str, *pairs: tuple[str, str]) -> Label:
    return Label.of(policy.policy_id, level, pairs)


def nato(level: str, *pairs: tuple[str, str]) -> Label:
    return of(NATO, level, *pairs)


def demo(level: str, *pairs: tuple[str, str]) -> Label:
    return of(DEMO, level, *pairs)


TO_NOR, TO_DEU, TO_FRA = (("Releasable To", code) for code in ("NOR", "DEU", "FRA"))
TO_UN = ("Releasable To", "UN-OCHA")
ROUTES, MEDICAL = ("Special Handling", "ROUTES"), ("Special Handling", "MEDICAL")
STAFF, LEGAL = ("Administrative", "STAFF"), ("Administrative", "LEGAL")

# --- markings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "english", "french", "portion"),
    [
        (nato("UNCLASSIFIED"), "NATO UNCLASSIFIED", "NATO SANS CLASSIFICATION", "NU"),
        (nato("RESTRICTED"), "NATO RESTRICTED", "NATO DIFFUSION RESTREINTE", "NR"),
        (nato("CONFIDENTIAL"), "NATO CONFIDENTIAL", "NATO CONFIDENTIEL", "NC"),
        (nato("SECRET"), "NATO SECRET", "NATO SECRET", "NS"),
        (nato("TOP SECRET"), "COSMIC TOP SECRET", "COSMIC TRÈS SECRET", "CTS"),
        (
            nato("SECRET", ("Additional Sensitivity", "ATOMAL"), ("Context", "KFOR")),
            "NATO/KFOR SECRET ATOMAL",
            "NATO/KFOR SECRET ATOMAL",
            "NS ATOMAL",
        ),
        (
            nato("RESTRICTED", ("Context", "NATO"), ("Context", "Releasable"), TO_NOR, TO_FRA),
            "NATO RESTRICTED Releasable to FRA, NOR",
            "NATO DIFFUSION RESTREINTE Communicable à FRA, NOR",
            "NR Releasable to FRA, NOR",
        ),
        (
            nato("SECRET", ("Only", "NOR"), ("Administrative", "MEDICAL")),
            "NATO SECRET NOR ONLY - MEDICAL",
            "NATO SECRET NOR SEULEMENT - MEDICAL",
            "NS NOR ONLY - MEDICAL",
        ),
    ],
)
def test_natos_labels_are_marked_as_natos_policy_says(
    label: Label, english: str, french: str, portion: str
) -> None:
    assert marking(NATO, label).text == english
    assert marking(NATO, label, location=MarkingCode.PAGE_BOTTOM).text == english
    assert marking(NATO, label, language="fr").text == french
    assert marking(NATO, label, language="fr-CA").text == french
    assert marking(NATO, label, location=MarkingCode.PORTION_MARKING).text == portion


def test_tlp_is_never_translated_and_has_its_colours() -> None:
    for language in ("en", "fr", "de"):
        shown = marking(TLP, of(TLP, "TLP:AMBER+STRICT"), language=language)
        assert shown == Marking("TLP:AMBER+STRICT", "#FFC000", "#000000")
    backgrounds = [marking(TLP, of(TLP, name)).background for name in TLP.classifications]
    assert backgrounds == ["#FFFFFF", "#33FF00", "#FFC000", "#FFC000", "#FF2B2B"]


def test_a_marking_is_in_the_readers_language_as_far_as_the_policy_goes() -> None:
    label = demo("CLOSED", TO_NOR, TO_DEU, ROUTES, STAFF)

    shown = {code: marking(DEMO, label, language=code).text for code in ("en", "de", "nb", "sv")}

    assert shown == {
        "en": "DEMO CLOSED REL TO NOR, DEU ROUTES - STAFF",
        "de": "DEMO GEHEIM FREI FÜR NOR, DEU ROUTES - STAFF",
        "nb": "DEMO HEMMELIG DELES MED NOR, DEU ROUTES - STAFF",
        "sv": "DEMO CLOSED REL TO NOR, DEU ROUTES - STAFF",
    }


def test_letters_are_dark_on_bright_colours_and_white_on_dark_ones() -> None:
    assert marking(DEMO, demo("OPEN")).foreground == "#FFFFFF"
    assert marking(TLP, of(TLP, "TLP:CLEAR")).foreground == "#000000"
    assert marking(UNMARKED, of(UNMARKED, "UNMARKED")) == Marking("UNMARKED")


def test_the_privacy_mark_stands_last() -> None:
    shown = marking(DEMO, demo("OPEN", STAFF), privacy_mark="PERSONAL")

    assert shown.text == "DEMO OPEN - STAFF PERSONAL"


def test_a_label_of_no_meaning_is_not_marked() -> None:
    with pytest.raises(LabelError):
        marking(DEMO, demo("CLOSED"))


def _one(*markings: spif.MarkingData, color: str | None = None) -> LabelPolicy:
    level = spif.Classification("ONE", 1, 1, color, markings=markings)
    return compile_policy(
        spif.Spif(spif.PolicyId("P", "1.2"), spif.Classifications((level,))), policy_id="p"
    )


@pytest.mark.parametrize(
    ("markings", "text"),
    [
        ((), "P ONE"),
        ((spif.MarkingData((MarkingCode.PAGE_TOP,), "TOP"),), "P TOP"),
        ((spif.MarkingData((MarkingCode.DOCUMENT_START,), "START"),), "P START"),
        ((spif.MarkingData((MarkingCode.WATER_MARK,), "WATER"),), "P ONE"),
        ((spif.MarkingData((MarkingCode.PAGE_TOP,)),), "P ONE"),
        ((spif.MarkingData((MarkingCode.NO_NAME_DISPLAY,)),), "P"),
        ((spif.MarkingData((MarkingCode.NO_NAME_DISPLAY,), "WORDS"),), "P WORDS"),
        ((spif.MarkingData((MarkingCode.NO_MARKING_DISPLAY,), "WORDS"),), "P"),
        ((spif.MarkingData((MarkingCode.REPLACE_POLICY,), "Q"),), "Q ONE"),
        ((spif.MarkingData((MarkingCode.REPLACE_POLICY, MarkingCode.WATER_MARK), "Q"),), "P ONE"),
    ],
)
def test_each_marking_code_does_what_it_is_for(
    markings: tuple[spif.MarkingData, ...], text: str
) -> None:
    assert marking(_one(*markings), Label("p", "ONE")).text == text


def test_what_stands_around_is_put_around_each_part_and_never_around_nothing() -> None:
    def around(*texts: str) -> tuple[spif.MarkingQualifier, ...]:
        pairs = zip(texts, spif.QualifierCode, strict=False)
        return (spif.MarkingQualifier(tuple(spif.Qualifier(text, code) for text, code in pairs)),)

    hidden = spif.MarkingData((MarkingCode.NO_MARKING_DISPLAY,))
    values = (
        spif.TagCategory("A", "1", qualifiers=around("<", ">")),
        spif.TagCategory("B", "2"),
        spif.TagCategory("C", "3", markings=(hidden,)),
    )
    tag = spif.CategoryTag(TagType.RESTRICTIVE, values, qualifiers=around("{", "}", "+"))
    alone = spif.CategoryTag(TagType.TAG_TYPE_7, values[2:], qualifiers=around("(", ")"))
    source = replace(
        _one().spif,
        tag_sets=(spif.TagSet("T", "1.2.3", (tag,)), spif.TagSet("U", "1.2.4", (alone,))),
        classifications=replace(_one().spif.classifications, qualifiers=around("[", "]")),
        privacy=spif.PrivacyMarks((spif.PrivacyMark("MARK"),), qualifiers=around("*", "*")),
        qualifiers=around("| ", " |", " - "),
    )
    label = Label.of("p", "ONE", [("T", "A"), ("T", "B"), ("T", "C"), ("U", "C")])

    shown = marking(compile_policy(source, policy_id="p"), label, privacy_mark="MARK")

    assert shown.text == "| P - [ONE] - {<A>+B} - *MARK* |"


def test_a_category_may_take_the_place_of_the_classification() -> None:
    hidden = spif.MarkingData((MarkingCode.SUPPRESS_CLASS_NAME,), "SPECIAL")
    tag = spif.CategoryTag(TagType.RESTRICTIVE, (spif.TagCategory("S", "1", markings=(hidden,)),))
    source = replace(_one().spif, tag_sets=(spif.TagSet("T", "1.2.3", (tag,)),))
    policy = compile_policy(source, policy_id="p")

    assert marking(policy, Label.of("p", "ONE", [("T", "S")])).text == "P SPECIAL"


@pytest.mark.parametrize(
    ("color", "background"),
    [("red", "#FF0000"), ("Orange", "#FFA500"), ("#abcdef", "#ABCDEF"), ("mauve", None)],
)
def test_colours_have_names_or_numbers(color: str, background: str | None) -> None:
    assert marking(_one(color=color), Label("p", "ONE")).background == background


# --- equivalents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "there"),
    [
        (demo("OPEN"), nato("UNCLASSIFIED")),
        (demo("LIMITED"), nato("RESTRICTED")),
        (demo("CLOSED", TO_NOR, TO_DEU), nato("SECRET", TO_NOR, TO_DEU)),
        # Values that say nothing about access need no equivalent.
        (demo("LIMITED", STAFF), nato("RESTRICTED")),
    ],
)
def test_a_label_has_its_equivalent_in_the_other_policy_and_back(
    label: Label, there: Label
) -> None:
    assert translate(label, DEMO, NATO) == there
    # The other policy says nothing about ours: ours says what its labels are here.
    assert translate(there, NATO, DEMO).classification == label.classification


def test_what_has_no_equivalent_is_never_dropped() -> None:
    for label in (demo("LIMITED", ROUTES), demo("LIMITED", TO_UN), demo("LIMITED", TO_NOR, TO_UN)):
        with pytest.raises(NoEquivalentError):
            translate(label, DEMO, NATO)
    with pytest.raises(NoEquivalentError, match="TOP SECRET has no equivalent in 'DEMO'"):
        translate(nato("TOP SECRET"), NATO, DEMO)
    with pytest.raises(NoEquivalentError):
        translate(demo("OPEN"), DEMO, TLP)


def test_an_equivalent_that_the_other_policy_does_not_allow_is_none() -> None:
    # DEMO's GUARDED demands to say for whom; a plain CONFIDENTIAL does not.
    with pytest.raises(NoEquivalentError, match="GUARDED stands with"):
        translate(nato("CONFIDENTIAL"), NATO, DEMO)


def test_a_label_of_the_policy_itself_stays_as_it_is() -> None:
    assert translate(demo("OPEN"), DEMO, DEMO) == demo("OPEN")
    assert translate(Label(DEMO.oid, "OPEN"), DEMO, DEMO) == demo("OPEN")
    with pytest.raises(LabelError):
        translate(demo("CLOSED"), DEMO, NATO)


def _mapped(*required: spif.RequiredCategory, action: bool = False) -> tuple[LabelPolicy, ...]:
    """Two policies: one value of the first is known to the second, which also has B and C."""
    here = spif.EquivalentCategory(
        "THERE",
        "1.3.1",
        TagType.RESTRICTIVE,
        "1",
        Applied.BOTH,
        action=spif.EquivalencyAction.DISCARD if action else None,
    )

    def policy(name: str, oid: str, *values: spif.TagCategory, **options: object) -> LabelPolicy:
        same = spif.EquivalentClassification("THERE", 1, Applied.ENCRYPT, required)
        level = spif.Classification("L", 1, 1, equivalents=(same,) if name == "HERE" else ())
        tag = spif.CategoryTag(TagType.RESTRICTIVE, values)
        return compile_policy(
            spif.Spif(
                spif.PolicyId(name, oid),
                spif.Classifications((level,)),
                (spif.TagSet("T", f"{oid}.1", (tag,)),),
            )
        )

    first = policy("HERE", "1.2", spif.TagCategory("A", "7", equivalents=(here,)))
    values = (spif.TagCategory(name, str(n)) for n, name in enumerate("ABC", start=1))
    return first, policy("THERE", "1.3", *values)


def test_an_equivalence_may_discard_a_value_or_add_others() -> None:
    group = spif.CategoryGroup("T", TagType.RESTRICTIVE, lacv="2")
    label = Label.of("1.2", "L", [("T", "A")])

    assert translate(label, *_mapped()) == Label.of("1.3", "L", [("T", "A")])
    assert translate(label, *_mapped(action=True)) == Label("1.3", "L")
    added = _mapped(spif.RequiredCategory((group,), Operation.ALL))
    assert translate(label, *added) == Label.of("1.3", "L", [("T", "A"), ("T", "B")])


def test_an_equivalence_that_leaves_a_choice_is_left_to_people() -> None:
    groups = tuple(spif.CategoryGroup("T", TagType.RESTRICTIVE, lacv=n) for n in ("2", "3"))
    choice = _mapped(spif.RequiredCategory(groups, Operation.ONE_OR_MORE))
    missing = _mapped(spif.RequiredCategory((spif.CategoryGroup("X", TagType.RESTRICTIVE),)))

    for policies in (choice, missing):
        with pytest.raises(NoEquivalentError):
            translate(Label.of("1.2", "L", [("T", "A")]), *policies)


def _with_tag(name: str, oid: str, *tags: spif.CategoryTag) -> LabelPolicy:
    same = spif.EquivalentClassification("TARGET", 1, Applied.ENCRYPT)
    level = spif.Classification("L", 1, 1, equivalents=(same,))
    tag_set = spif.TagSet("T", f"{oid}.1", tags)
    return compile_policy(
        spif.Spif(spif.PolicyId(name, oid), spif.Classifications((level,)), (tag_set,))
    )


@pytest.mark.parametrize(
    ("policy", "tag_type", "applied", "is_found"),
    [
        ("SOURCE", TagType.RESTRICTIVE, Applied.DECRYPT, True),
        ("SOURCE", TagType.RESTRICTIVE, Applied.BOTH, True),
        ("SOURCE", TagType.RESTRICTIVE, Applied.ENCRYPT, False),
        ("SOURCE", TagType.PERMISSIVE, Applied.DECRYPT, False),
        ("OTHER", TagType.RESTRICTIVE, Applied.DECRYPT, False),
    ],
)
def test_the_receivers_policy_may_name_a_value_of_the_senders(
    policy: str, tag_type: TagType, applied: Applied, is_found: bool
) -> None:
    same = spif.EquivalentCategory(policy, "1.2.1", tag_type, "1", applied)
    here = spif.CategoryTag(TagType.RESTRICTIVE, (spif.TagCategory("A", "1"),))
    there = spif.CategoryTag(
        TagType.RESTRICTIVE, (spif.TagCategory("Z", "9", equivalents=(same,)),)
    )
    source, target = _with_tag("SOURCE", "1.2", here), _with_tag("TARGET", "1.3", there)
    label = Label.of("1.2", "L", [("T", "A")])

    if is_found:
        assert translate(label, source, target) == Label.of("1.3", "L", [("T", "Z")])
    else:
        with pytest.raises(NoEquivalentError, match="A has no equivalent"):
            translate(label, source, target)


def test_an_equivalence_adds_categories_of_the_kind_that_it_names_only() -> None:
    group = spif.CategoryGroup("T", TagType.RESTRICTIVE, lacv="1")
    added = spif.EquivalentPolicy("TARGET", "1.3", required=(spif.RequiredCategory((group,)),))
    here = spif.CategoryTag(TagType.TAG_TYPE_7, (spif.TagCategory("A", "7"),))
    source = compile_policy(replace(_with_tag("SOURCE", "1.2", here).spif, equivalents=(added,)))
    target = _with_tag(
        "TARGET",
        "1.3",
        spif.CategoryTag(TagType.RESTRICTIVE, (spif.TagCategory("R", "1"),)),
        spif.CategoryTag(TagType.PERMISSIVE, (spif.TagCategory("P", "1"),)),
    )

    made = translate(Label("1.2", "L"), source, target)

    assert made == Label.of("1.3", "L", [("T", "R")])


def _level(name: str, place: int, *same: spif.EquivalentClassification) -> spif.Classification:
    return spif.Classification(name, place, place, equivalents=same)


def _policy(name: str, oid: str, *levels: spif.Classification) -> LabelPolicy:
    return compile_policy(spif.Spif(spif.PolicyId(name, oid), spif.Classifications(levels)))


def _to(policy: str, applied: Applied) -> spif.EquivalentClassification:
    return spif.EquivalentClassification(policy, 1, applied)


@pytest.mark.parametrize(
    ("sends", "receives", "there"),
    [
        (Applied.ENCRYPT, Applied.ENCRYPT, "LOW"),
        (Applied.BOTH, Applied.BOTH, "LOW"),
        (Applied.DECRYPT, Applied.DECRYPT, "HIGH"),
        (Applied.DECRYPT, Applied.BOTH, "HIGH"),
        (Applied.DECRYPT, Applied.ENCRYPT, None),
    ],
)
def test_the_senders_word_comes_first_and_then_the_highest_that_the_receiver_names(
    sends: Applied, receives: Applied, there: str | None
) -> None:
    one = _policy("ONE", "1.2", _level("X", 1, _to("TWO", sends)))
    same = _to("ONE", receives)
    two = _policy("TWO", "1.3", _level("LOW", 1), _level("HIGH", 3, same), _level("MID", 2, same))

    if there is None:
        with pytest.raises(NoEquivalentError):
            translate(Label("1.2", "X"), one, two)
    else:
        assert translate(Label("1.2", "X"), one, two) == Label("1.3", there)


# --- one label for many -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([demo("OPEN"), demo("LIMITED")], demo("LIMITED")),
        ([demo("CLOSED", TO_NOR, TO_DEU), demo("GUARDED", TO_NOR)], demo("CLOSED", TO_NOR)),
        ([demo("LIMITED", TO_NOR), demo("LIMITED", TO_DEU)], demo("LIMITED")),
        ([demo("LIMITED", TO_NOR), demo("OPEN")], demo("LIMITED")),
        ([demo("LIMITED", ROUTES), demo("LIMITED", MEDICAL)], demo("LIMITED", ROUTES, MEDICAL)),
        ([demo("OPEN", STAFF), demo("OPEN")], demo("OPEN", STAFF)),
        ([demo("OPEN"), nato("RESTRICTED")], demo("LIMITED")),
        ([nato("SECRET", TO_NOR)], demo("CLOSED", TO_NOR)),
    ],
)
def test_the_dominant_label_follows_the_rules(parts: list[Label], whole: Label) -> None:
    assert dominant(DEMO, parts, BUILT_IN) == whole


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [demo("CLOSED", TO_NOR), demo("OPEN")],
        [demo("OPEN", STAFF), demo("OPEN", LEGAL)],
        [demo("OPEN"), nato("TOP SECRET")],
        [demo("OPEN"), Label("1.2.3.4", "SECRET")],
        [demo("OPEN"), demo("SECRET")],
    ],
)
def test_where_no_label_can_stand_for_all_people_decide(parts: list[Label]) -> None:
    with pytest.raises(NoDominantError):
        dominant(DEMO, parts, BUILT_IN)


_without_permissive = st.builds(
    demo,
    st.sampled_from(["OPEN", "LIMITED"]),
    st.sampled_from([MEDICAL, STAFF]),
    st.sampled_from([MEDICAL, STAFF]),
)


@given(st.lists(_without_permissive, min_size=1, max_size=4), st.data())
def test_whoever_may_have_the_dominant_label_may_have_every_part(
    parts: list[Label], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from(DEMO.classifications))
    held = data.draw(st.sets(st.sampled_from([MEDICAL, STAFF])))
    clearance = Clearance.of("liaison.demo", level, held)

    whole = decide(DEMO, clearance, dominant(DEMO, parts), now=None)

    assert whole.grant is decide_all(DEMO, clearance, parts, now=None).grant


def test_the_dominant_label_must_not_decide_on_access() -> None:
    parts = [demo("LIMITED", TO_NOR), demo("OPEN")]
    stranger = Clearance.of("liaison.demo", "LIMITED", [TO_FRA])

    assert decide(DEMO, stranger, dominant(DEMO, parts), now=None).grant
    assert not decide_all(DEMO, stranger, parts, now=None).grant


# --- bindings, and the label that counts --------------------------------------------------------

references = st.builds(DataReference, names, st.none() | names)
bindings = st.builds(
    BindingInformation,
    st.lists(
        st.builds(
            MetadataBinding,
            st.lists(any_labels, min_size=1, max_size=2).map(tuple),
            st.lists(references, min_size=1, max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
)


@given(bindings)
def test_every_binding_is_read_back_as_it_was_written(information: BindingInformation) -> None:
    written = write(information)

    assert parse(written) == information
    assert write(parse(written)) == written
    assert read_labels(written) == information.labels


ONE = write(
    BindingInformation(
        (MetadataBinding((DEMO.expand(demo("OPEN"), created=1),), (DataReference("a.txt"),)),)
    )
)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"bindinginformation:1:0", b"metadatabindingmechanism:1:0"),
        (b"s4778:MetadataBindingContainer", b"s4778:Container"),
        (b"<s4778:DataReference", b"<s4778:Data></s4778:Data><s4778:DataReference"),
        (b' URI="a.txt"', b""),
        (b' URI="a.txt"', b' s4778:URI="a.txt"'),
        (b"</s4778:Metadata>", b"<a></a></s4778:Metadata>"),
        (b'<s4778:DataReference URI="a.txt"></s4778:DataReference>', b""),
        (b"CreationDateTime", b"CreationDataTime"),
    ],
)
def test_what_only_looks_like_a_binding_is_refused(right: bytes, wrong: bytes) -> None:
    assert right in ONE

    with pytest.raises(LabelError):
        parse(ONE.replace(right, wrong))


def test_a_binding_binds_something_to_something() -> None:
    empty = re.sub(rb"<s4778:MetadataBinding>.*</s4778:MetadataBinding>", b"", ONE)
    unlabelled = re.sub(rb"<s4778:Metadata>.*</s4778:Metadata>", b"", ONE)

    for wrong, reason in ((empty, "binds nothing"), (unlabelled, "has a label and a reference")):
        assert wrong != ONE
        with pytest.raises(LabelError, match=reason):
            parse(wrong)


def test_metadata_of_another_kind_stand_beside_a_label() -> None:
    other = b'<s4778:Metadata><n:title xmlns:n="urn:other">x</n:title></s4778:Metadata>'

    information = parse(ONE.replace(b"<s4778:Metadata>", other + b"<s4778:Metadata>"))

    assert information == parse(ONE)


def test_a_signed_binding_is_read_as_signed_and_not_written_again() -> None:
    signature = b'<d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>'
    container = b"<s4778:MetadataBindingContainer>"
    signed = ONE.replace(container, signature + container)

    information = parse(signed)

    assert information.signed
    assert not parse(ONE).signed
    with pytest.raises(LabelError, match="signed"):
        write(information)


def test_the_originators_label_counts_before_the_alternatives() -> None:
    own = DEMO.expand(demo("LIMITED"), created=1)
    other = NATO.expand(nato("SECRET"), created=1, role=Role.ALTERNATIVE)
    of_metadata = replace(DEMO.expand(demo("OPEN"), created=1), role=Role.METADATA)
    labels = [of_metadata, other, own]

    second = DEMO.expand(demo("OPEN"), created=1, role=Role.ALTERNATIVE)
    assert label_for(DEMO, labels, now=None) == demo("LIMITED")
    assert label_for(DEMO, [second, own], now=None) == demo("LIMITED")
    assert label_for(NATO, labels, now=None) == nato("SECRET")
    # Without an alternative the originator's is put into the reader's policy, if that is possible.
    assert label_for(NATO, [own], now=None, known=BUILT_IN) == nato("RESTRICTED")
    with pytest.raises(LabelError, match="the label is of 'DEMO', not of 'NATO'"):
        label_for(NATO, [own], now=None)
    with pytest.raises(LabelError, match="no policy"):
        label_for(DEMO, [of_metadata], now=None)


def test_a_label_whose_time_is_over_counts_no_more() -> None:
    lower = DEMO.expand(demo("OPEN"), created=1).sensitivity
    label = replace(
        DEMO.expand(demo("LIMITED"), created=1),
        succession=Succession(100, SuccessorLabel(lower, created=1)),
    )

    assert label_for(DEMO, [label], now=99) == demo("LIMITED")
    assert label_for(DEMO, [label], now=100) == demo("OPEN")
    assert label_for(DEMO, [label], now=None) == demo("LIMITED")


def test_long_forms_are_decided_with_the_rule_that_failed() -> None:
    label = DEMO.expand(demo("LIMITED"), created=1)
    unknown = replace(
        label, sensitivity=replace(label.sensitivity, policy=PolicyIdentifier("OTHER"))
    )
    invalid = replace(label, sensitivity=replace(label.sensitivity, classification="NONE"))
    routes = DEMO.expand(demo("LIMITED", ROUTES), created=1)

    rules = [
        decide_received(policy, None, [each], now=None, known=BUILT_IN).rule
        for policy, each in ((DEMO, label), (DEMO, unknown), (DEMO, invalid), (NATO, routes))
    ]

    assert rules == ["clearance.nil", "label.policy", "label.invalid", "label.policy"]


def test_more_policies_can_be_known_than_are_built_in() -> None:
    own = compile_policy(replace(DEMO.spif, policy=spif.PolicyId("OWN", "1.2.9")))
    more = BUILT_IN.including(own)

    assert more.find("1.2.9") is own
    assert more.named(PolicyIdentifier("own")) is own
    assert more.named(PolicyIdentifier("OWN", "1.2.8")) is None
    assert set(more.ids) == {*BUILT_IN.ids, "1.2.9"}
    assert LabelPolicies([TLP]).find("1.2.9") is None
