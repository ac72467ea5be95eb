"""A second access decision: slow, literal, from the XML itself, sharing no code with the first.

It reads policy, clearance and label with the standard library's parser and
asks, rule by rule, in the order in which the standards say them.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import (
    Element,
    fromstring,
)

SPIF = "{http://www.xmlspif.org/spif}"
LABEL = "{urn:nato:stanag:4774:confidentialitymetadatalabel:1:0}"
CLEARANCE = "{urn:nato:stanag:4774:confidentialityclearance:1:0}"


def grants(policy: bytes, clearance: bytes | None, label: bytes | None) -> bool:
    """Whether the clearance covers the label."""
    if clearance is None or label is None:
        return False
    # The tests wrote these documents themselves.
    spif, held, asked = (fromstring(each) for each in (policy, clearance, label))  # noqa: S314
    if not is_valid(spif, asked):
        return False
    return classification_is_held(spif, held, asked) and categories_are_held(spif, held, asked)


def text(element: Element, name: str) -> str:
    found = element.find(f".//{LABEL}{name}")
    assert found is not None
    assert found.text is not None
    return found.text


def chosen(document: Element) -> list[tuple[str, str]]:
    """All categories of a label or clearance: tag name and value."""
    return [
        (category.attrib["TagName"], value.text or "")
        for category in document.iter(f"{LABEL}Category")
        for value in category.iter(f"{LABEL}GenericValue")
    ]


def kind(tag: Element) -> str:
    said = tag.attrib["tagType"]
    if said == "tagType7":
        return "INFORMATIVE"
    return (tag.attrib["enumType"] if said == "enumerated" else said).upper()


def tags(spif: Element) -> Iterator[tuple[str, Element]]:
    for tag_set in spif.iter(f"{SPIF}securityCategoryTagSet"):
        for tag in tag_set.iter(f"{SPIF}securityCategoryTag"):
            yield tag_set.attrib["name"], tag


def hierarchy(spif: Element, name: str | None) -> int | None:
    for level in spif.iter(f"{SPIF}securityClassification"):
        if level.attrib["name"] == name:
            return int(level.attrib["hierarchy"])
    return None


# --- is it a label of the policy? -----------------------------------------------------------------


def is_valid(spif: Element, label: Element) -> bool:
    level = text(label, "Classification")
    if hierarchy(spif, level) is None:
        return False
    values = chosen(label)
    known = [(name, one.attrib["name"]) for name, tag in tags(spif) for one in categories(tag)]
    if any(each not in known for each in values):
        return False
    for found in spif.iter(f"{SPIF}securityClassification"):
        if found.attrib["name"] == level and not required_are_there(spif, found, values):
            return False
    for name, tag in tags(spif):
        mine = [one for one in categories(tag) if (name, one.attrib["name"]) in values]
        if not number_is_right(tag, len(mine)):
            return False
        if not all(rules_are_kept(spif, one, name, level, values) for one in mine):
            return False
    return True


def categories(tag: Element) -> list[Element]:
    return tag.findall(f"{SPIF}tagCategory")


def number_is_right(tag: Element, number: int) -> bool:
    if tag.get("singleSelection") == "true" and number > 1:
        return False
    most, least = tag.get("maxSelection"), tag.get("minSelection")
    if most is not None and number > int(most):
        return False
    return least is None or number >= int(least)


def rules_are_kept(
    spif: Element, one: Element, tag_set: str, level: str, values: list[tuple[str, str]]
) -> bool:
    for excluded in one.findall(f"{SPIF}excludedClass"):
        if excluded.text == level:
            return False
    if one.get("requiredClass") not in {None, level}:
        return False
    for excluded in one.findall(f"{SPIF}excludedCategory"):
        others = [each for each in meant(spif, excluded) if each != (tag_set, one.attrib["name"])]
        if any(each in values for each in others):
            return False
    return required_are_there(spif, one, values)


def required_are_there(spif: Element, one: Element, values: list[tuple[str, str]]) -> bool:
    for rule in one.findall(f"{SPIF}requiredCategory"):
        groups = [meant(spif, group) for group in rule.findall(f"{SPIF}categoryGroup")]
        there = {each for group in groups for each in group if each in values}
        operation = rule.get("operation", "all")
        if operation == "onlyOne" and len(there) != 1:
            return False
        if operation == "oneOrMore" and not there:
            return False
        if operation == "all":
            for group in groups:
                if not any(each in values for each in group):
                    return False
    return True


def meant(spif: Element, group: Element) -> list[tuple[str, str]]:
    """The categories that a rule names."""
    return [
        (name, one.attrib["name"])
        for name, tag in tags(spif)
        if name == group.attrib["tagSetRef"] and kind(tag) == kind(group)
        for one in categories(tag)
        if group.get("lacv") in {None, one.attrib["lacv"]}
    ]


# --- does the clearance cover it? -----------------------------------------------------------------


def classification_is_held(spif: Element, clearance: Element, label: Element) -> bool:
    needed = hierarchy(spif, text(label, "Classification"))
    assert needed is not None
    listing = clearance.find(f"{CLEARANCE}ClassificationList")
    assert listing is not None
    held = [hierarchy(spif, level.text) for level in listing]
    return any(each is not None and each >= needed for each in held)


def categories_are_held(spif: Element, clearance: Element, label: Element) -> bool:
    values, held = chosen(label), chosen(clearance)
    for name, tag in tags(spif):
        mine = [
            (name, one.attrib["name"])
            for one in categories(tag)
            if (name, one.attrib["name"]) in values
        ]
        if kind(tag) == "RESTRICTIVE" and not all(each in held for each in mine):
            return False
        if kind(tag) == "PERMISSIVE" and mine and not any(each in held for each in mine):
            return False
    return True
