"""STANAG 4774 labels and clearances: their XML to the byte, and what only looks like it."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given

from liaison.errors import MalformedError
from liaison.labels import ClearanceError, LabelError, XMLError, stanag4774
from liaison.labels import clearance as clearances
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.codecs import parse_instant, write_instant
from liaison.labels.stanag4774 import (
    Category,
    CategoryType,
    ConfidentialityLabel,
    IDType,
    Originator,
    PolicyIdentifier,
    Role,
    Sensitivity,
    Succession,
    SuccessorLabel,
)
from tests.support.label_values import clearances as any_clearances
from tests.support.label_values import instants
from tests.support.label_values import labels as any_labels

PUBLISHED = """\
<slab:originatorConfidentialityLabel
    xmlns:slab="urn:nato:stanag:4774:confidentialitymetadatalabel:1:0"
    ReviewDateTime="2031-09-26T00:00:00Z">
  <slab:ConfidentialityInformation>
    <slab:PolicyIdentifier URI="urn:oid:2.25.166231019600111174217682845337071458325">DEMO-FR\
</slab:PolicyIdentifier>
    <slab:Classification> DIFFUSION
        RESTREINTE </slab:Classification>
    <slab:PrivacyMark>CLEAR</slab:PrivacyMark>
    <slab:Category Type="RESTRICTIVE" TagName="Special Handling"
        URI="urn:oid:2.25.166231019600111174217682845337071458325.1">
      <slab:GenericValue>SPECIAL FRANCE</slab:GenericValue></slab:Category>
  </slab:ConfidentialityInformation>
  <slab:OriginatorID IDType="rfc822Name">author@example.org</slab:OriginatorID>
  <slab:CreationDateTime>2026-09-26T12:00:00Z</slab:CreationDateTime>
</slab:originatorConfidentialityLabel>
"""
LABEL = ConfidentialityLabel(
    Sensitivity(
        PolicyIdentifier("DEMO-FR", "2.25.166231019600111174217682845337071458325"),
        "DIFFUSION RESTREINTE",
        "CLEAR",
        (
            Category(
                "Special Handling",
                CategoryType.RESTRICTIVE,
                ("SPECIAL FRANCE",),
                "2.25.166231019600111174217682845337071458325.1",
            ),
        ),
    ),
    created=1_790_424_000,
    review=1_948_147_200,
    originator=Originator(IDType.RFC822, "author@example.org"),
)
CANONICAL = (
    b"<s4774:originatorConfidentialityLabel"
    b' xmlns:s4774="urn:nato:stanag:4774:confidentialitymetadatalabel:1:0"'
    b' ReviewDateTime="2031-09-26T00:00:00Z">'
    b"<s4774:ConfidentialityInformation>"
    b'<s4774:PolicyIdentifier URI="urn:oid:2.25.166231019600111174217682845337071458325">'
    b"DEMO-FR</s4774:PolicyIdentifier>"
    b"<s4774:Classification>DIFFUSION RESTREINTE</s4774:Classification>"
    b"<s4774:PrivacyMark>CLEAR</s4774:PrivacyMark>"
    b'<s4774:Category TagName="Special Handling" Type="RESTRICTIVE"'
    b' URI="urn:oid:2.25.166231019600111174217682845337071458325.1">'
    b"<s4774:GenericValue>SPECIAL FRANCE</s4774:GenericValue></s4774:Category>"
    b"</s4774:ConfidentialityInformation>"
    b'<s4774:OriginatorID IDType="rfc822Name">author@example.org</s4774:OriginatorID>'
    b"<s4774:CreationDateTime>2026-09-26T12:00:00Z</s4774:CreationDateTime>"
    b"</s4774:originatorConfidentialityLabel>"
)


def test_a_published_label_is_read_and_written_in_the_normative_form() -> None:
    assert stanag4774.parse(PUBLISHED.encode()) == LABEL
    assert stanag4774.write(LABEL) == CANONICAL
    assert ET.canonicalize(CANONICAL).encode() == CANONICAL


@pytest.mark.parametrize("prefix", ["slab:", "s4774:", "x:", ""])
def test_the_prefix_does_not_matter(prefix: str) -> None:
    text = PUBLISHED.replace("slab:", prefix).replace(
        f"xmlns:{prefix}" if prefix else "xmlns:", f"xmlns:{prefix}"
    )
    declared = f'xmlns:{prefix[:-1]}="' if prefix else 'xmlns="'
    text = re.sub(r'xmlns:?\w*="', declared, text)

    assert stanag4774.parse(text.encode()) == LABEL


@given(any_labels)
@example(LABEL)
def test_every_label_is_read_back_as_it_was_written(label: ConfidentialityLabel) -> None:
    written = stanag4774.write(label)

    assert stanag4774.parse(written) == label
    assert stanag4774.write(stanag4774.parse(written)) == written


@given(any_clearances)
def test_every_clearance_is_read_back_as_it_was_written(
    clearance: ConfidentialityClearance,
) -> None:
    written = clearances.write(clearance)

    assert clearances.parse(written) == clearance
    assert clearances.write(clearances.parse(written)) == written


@pytest.mark.parametrize(
    ("right", "wrong", "hint"),
    [
        # Shapes that circulate, each with what it should be.
        ("slab:originatorC", "slab:C", "originatorConfidentialityLabel"),
        ("slab:originator", "slab:alternate", "alternativeConfidentialityLabel"),
        ("slab:originatorC", "slab:OriginatorC", ""),
        ("slab:GenericValue", "slab:CategoryValue", "GenericValue"),
        ("slab:GenericValue", "slab:IntegerValue", "GenericValue"),
        ("slab:GenericValue", "slab:BitStringValue", "GenericValue"),
        (' TagName="Special Handling"', "", ""),
        ("<slab:Gen", "<slab:TagName>x</slab:TagName><slab:Gen", "attribute TagName"),
        ("TagName=", "tagName=", "TagName"),
        (" Type=", " type=", "Type"),
        (" Type=", " slab:Type=", "without a prefix"),
        ('"RESTRICTIVE"', '"Restrictive"', ""),
        ("URI=", "URL=", "URI"),
        ('"urn:oid:', '"', ""),
        ("CreationDateTime", "CreationDataTime", "CreationDateTime"),
        ("CreationDateTime", "creationDateTime", "CreationDateTime"),
        ("1:0", "2:0", "namespace"),
        ('xmlns:slab="urn:nato', 'xmlns:slab="urn:NATO', "namespace"),
        # Against the schema.
        ("<slab:GenericValue>SPECIAL FRANCE</slab:GenericValue>", "SPECIAL FRANCE", ""),
        ("SPECIAL FRANCE", "S" * 257, ""),
        ("<slab:Classification>", '<slab:Classification URI="urn:oid:1.2">', ""),
        ("SPECIAL FRANCE", " ", ""),
        ("<slab:GenericValue>SPECIAL FRANCE</slab:GenericValue>", "", ""),
        (">DEMO-FR<", "><", ""),
        (">CLEAR<", "><slab:Classification>X</slab:Classification><", ""),
        ("rfc822Name", "e-mail", ""),
        ("2026-09-26T12", "2026-09-31T12", ""),
        ("2026-09-26T12:00:00Z", "26 SEP 2026", ""),
        ("<slab:Privacy", "<slab:Nonsense/><slab:Privacy", ""),
        ("<slab:Privacy", "<Privacy/><slab:Privacy", ""),
    ],
)
def test_what_only_looks_like_a_label_is_refused_with_what_it_should_be(
    right: str, wrong: str, hint: str
) -> None:
    assert right in PUBLISHED

    with pytest.raises(LabelError) as raised:
        stanag4774.parse(PUBLISHED.replace(right, wrong).encode())

    assert hint in raised.value.hint
    assert raised.value.code == "label.invalid"


@pytest.mark.parametrize(
    "element",
    ["PolicyIdentifier", "Classification", "CreationDateTime", "ConfidentialityInformation"],
)
def test_each_required_element_must_be_there_and_once(element: str) -> None:
    found = re.search(rf"<slab:{element}.*?</slab:{element}>", PUBLISHED, re.DOTALL)
    assert found is not None

    for instead in ("", found[0] * 2):
        with pytest.raises(LabelError, match=element):
            stanag4774.parse(PUBLISHED.replace(found[0], instead).encode())


def test_elements_out_of_their_order_are_refused() -> None:
    created = "<slab:CreationDateTime>2026-09-26T12:00:00Z</slab:CreationDateTime>"
    text = PUBLISHED.replace(created, "").replace(
        "<slab:ConfidentialityInformation>", created + "<slab:ConfidentialityInformation>"
    )

    with pytest.raises(LabelError, match="stands after"):
        stanag4774.parse(text.encode())


def test_what_others_have_added_for_themselves_is_ignored() -> None:
    text = PUBLISHED.replace(
        "</slab:originator", '<x:y xmlns:x="urn:other">1</x:y></slab:originator'
    ).replace("<slab:Category", '<slab:Category xmlns:x="urn:other" x:local="1"')

    assert stanag4774.parse(text.encode()) == LABEL


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (f"<!DOCTYPE x>{PUBLISHED}", XMLError),
        ("<securitylabel xmlns='urn:xmpp:sec-label:0'/>", LabelError),
        ("<a/>", LabelError),
        (PUBLISHED + " " * 70_000, XMLError),
        (PUBLISHED.replace("<slab:GenericValue>", "<slab:GenericValue><a><b>" * 9), XMLError),
    ],
)
def test_other_documents_are_refused_with_typed_errors(
    document: str, error: type[MalformedError]
) -> None:
    with pytest.raises(error):
        stanag4774.parse(document.encode())


def test_a_later_label_takes_over_at_its_time() -> None:
    lower = replace(LABEL.sensitivity, classification="NON PROTEGE")
    last = replace(LABEL.sensitivity, classification="PUBLIC")
    third = SuccessorLabel(last, created=3)
    second = SuccessorLabel(lower, created=2, succession=Succession(200, third))
    label = replace(LABEL, succession=Succession(100, second))

    at = [label.at(now).sensitivity.classification for now in (99, 100, 199, 200)]

    assert at == ["DIFFUSION RESTREINTE", "NON PROTEGE", "NON PROTEGE", "PUBLIC"]
    assert stanag4774.parse(stanag4774.write(label)) == label


@pytest.mark.parametrize("role", Role)
def test_every_role_has_its_root(role: Role) -> None:
    written = stanag4774.write(replace(LABEL, role=role))

    assert written.startswith(f"<s4774:{role.value} ".encode())
    assert stanag4774.parse(written).role is role


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-09-26T14:00:00+02:00", "2026-09-26T12:00:00Z"),
        ("2026-09-26T02:30:00-09:30", "2026-09-26T12:00:00Z"),
        ("2026-09-26T12:00:00.999Z", "2026-09-26T12:00:00Z"),
        ("2026-09-26T12:00:00", "2026-09-26T12:00:00Z"),
        ("2026-12-31T24:00:00Z", "2027-01-01T00:00:00Z"),
        (" 2026-09-26T12:00:00Z\n", "2026-09-26T12:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_every_way_to_write_a_time_is_read_as_utc(text: str, same: str) -> None:
    assert write_instant(parse_instant(text)) == same


@given(instants)
def test_every_time_is_read_back_as_it_was_written(value: int) -> None:
    assert parse_instant(write_instant(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-09-26",
        "2026-09-26 12:00:00Z",
        "2026-09-26T12:00Z",
        "2026-09-26T24:00:01Z",
        "2026-09-26T12:60:00Z",
        "2026-09-26T12:00:60Z",
        "2026-02-29T12:00:00Z",
        "2026-09-26T12:00:00+15:00",
        "2026-09-26T12:00:00+02:60",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T24:00:00Z",
        "٢٠٢٦-09-26T12:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        parse_instant(text)


# --- clearances ---------------------------------------------------------------------------------

CLEARANCE = """\
<sclr:ConfidentialityClearance
    xmlns:sclr="urn:nato:stanag:4774:confidentialityclearance:1:0"
    xmlns="urn:nato:stanag:4774:confidentialitymetadatalabel:1:0">
  <PolicyIdentifier>NATO</PolicyIdentifier>
  <sclr:ClassificationList>
    <Classification>UNCLASSIFIED</Classification>
    <Classification>SECRET</Classification>
    <sclr:ConfidentialityClearanceExtensions/>
  </sclr:ClassificationList>
  <Category TagName="Releasable To" Type="PERMISSIVE">
    <GenericValue>NZL</GenericValue>
    <GenericValue>ISAF</GenericValue>
  </Category>
  <sclr:ConfidentialityClearanceExtensions/>
</sclr:ConfidentialityClearance>
"""


def test_a_clearance_of_the_standards_form_is_read() -> None:
    assert clearances.parse(CLEARANCE.encode()) == ConfidentialityClearance(
        PolicyIdentifier("NATO"),
        ("UNCLASSIFIED", "SECRET"),
        (Category("Releasable To", CategoryType.PERMISSIVE, ("NZL", "ISAF")),),
    )


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sclr:ConfidentialityClearance", "ConfidentialityClearance"),
        ("clearance:1:0", "clearance:1:1"),
        ("sclr:ClassificationList", "ClassificationList"),
        ("<Classification>", "<sclr:Classification>"),
        ("<PolicyIdentifier>NATO</PolicyIdentifier>", ""),
        ("TagName=", "tagName="),
        ("<Category", "<clearance/><Category"),
    ],
)
def test_what_only_looks_like_a_clearance_is_refused(right: str, wrong: str) -> None:
    text = CLEARANCE.replace(right, wrong)
    text = re.sub(
        r"<sclr:Classification>(\w+)</Class", r"<sclr:Classification>\1</sclr:Class", text
    )

    with pytest.raises(ClearanceError):
        clearances.parse(text.encode())


def test_a_list_of_classifications_without_any_is_refused() -> None:
    text = re.sub(r"<Classification>\w+</Classification>", "", CLEARANCE)

    with pytest.raises(ClearanceError, match="no Classification"):
        clearances.parse(text.encode())


def test_clearances_of_two_policies_do_not_make_one() -> None:
    with pytest.raises(ClearanceError, match="the other of"):
        clearances.Clearance.of("a", "X").union(clearances.Clearance.of("b", "X"))
