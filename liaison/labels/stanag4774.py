"""STANAG 4774 confidentiality labels, and their XML.

The XML is read by its namespace, whatever the prefix, and to the schema: what
merely resembles a label is refused, with what it should be. Elements and
attributes of other namespaces are for local use and ignored. Written labels
have the prefix `s4774` of ADatP-5636, no space between elements and no XML
declaration, so that one value has one byte string.

Source: ADatP-4774 (A)(1), appendix 1, with the schema of its annex A. Where the
schema is wider than its text (a URI on a classification, values that are no
GenericValue, the root ConfidentialityLabel of older versions) the text counts.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Self

from liaison.labels import codecs, xml
from liaison.labels.errors import LabelError
from liaison.labels.shape import Attribute, Child, Leaf, Shape, build, read
from liaison.values import dataclass

NAMESPACE: Final = "urn:nato:stanag:4774:confidentialitymetadatalabel:1:0"
PREFIX: Final = "s4774"
"""Normative in ADatP-5636; older examples have `slab`."""


class CategoryType(StrEnum):
    """What a category means for access: hold all, hold one, or nothing."""

    RESTRICTIVE = "RESTRICTIVE"
    PERMISSIVE = "PERMISSIVE"
    INFORMATIVE = "INFORMATIVE"


class Role(StrEnum):
    """What the label is to the information; the name of its root element."""

    ORIGINATOR = "originatorConfidentialityLabel"
    ALTERNATIVE = "alternativeConfidentialityLabel"
    METADATA = "metadataConfidentialityLabel"


class IDType(StrEnum):
    """The kinds of names that an originator can have."""

    RFC822 = "rfc822Name"
    DNS = "dNSName"
    DIRECTORY = "directoryName"
    URI = "uniformResourceIdentifier"
    IP_ADDRESS = "iPAddress"
    X400 = "x400Address"
    USER_PRINCIPAL = "userPrincipalName"
    JID = "jID"


@dataclass(frozen=True, slots=True)
class PolicyIdentifier:
    """Which policy gives a label its meaning: its name, and its OID where given."""

    name: str
    oid: str | None = None


@dataclass(frozen=True, slots=True)
class Category:
    """Values of one tag set; `oid` names the tag set where given."""

    tag: str
    type: CategoryType
    values: tuple[str, ...]
    oid: str | None = None

    def __post_init__(self) -> None:
        """Check that there is a value.

        Raises:
            ValueError: a category without values says nothing.
        """
        if not self.values:
            raise ValueError(f"the category {self.tag} has no value")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a label says of the information: ConfidentialityInformation."""

    policy: PolicyIdentifier
    classification: str
    privacy_mark: str | None = None
    categories: tuple[Category, ...] = ()


@dataclass(frozen=True, slots=True)
class Originator:
    """Who gave the label."""

    id_type: IDType
    name: str


@dataclass(frozen=True, slots=True)
class SuccessorLabel:
    """The label that takes over at a later time."""

    sensitivity: Sensitivity
    created: int
    originator: Originator | None = None
    succession: Succession | None = None


@dataclass(frozen=True, slots=True)
class Succession:
    """From which time, in Unix seconds, which other label holds."""

    at: int
    label: SuccessorLabel


@dataclass(frozen=True, slots=True)
class ConfidentialityLabel:
    """A whole label. Times are Unix seconds.

    Args:
        sensitivity: policy, classification, privacy mark, categories.
        created: when the label was given.
        review: when somebody should look at it again; a past one does not
            make the label invalid.
        originator: who gave it.
        succession: which label takes over, and when.
        role: what it is to the information.
        label_id: an XML id, for references to it.
    """

    sensitivity: Sensitivity
    created: int
    review: int | None = None
    originator: Originator | None = None
    succession: Succession | None = None
    role: Role = Role.ORIGINATOR
    label_id: str | None = None

    def at(self, now: int) -> Self:
        """Return the label in force at `now`: its own, or a successor's.

        Source: ADatP-4774.1 §4.3.
        """
        label = self
        while (change := label.succession) is not None and change.at <= now:
            after = change.label
            label = replace(
                label,
                sensitivity=after.sensitivity,
                created=after.created,
                originator=after.originator,
                succession=after.succession,
            )
        return label


# --- XML ----------------------------------------------------------------------------------------

_WRONG: Final = MappingProxyType(
    {
        "TagName": "the tag name is the attribute TagName of Category",
        "tagName": "it is spelled TagName",
        "Type": "the type is the attribute Type of Category",
        "CategoryValue": "values stand in GenericValue",
        "Value": "values stand in GenericValue",
        "IntegerValue": "values stand in GenericValue",
        "BitStringValue": "values stand in GenericValue",
        "URL": "it is spelled URI",
        "CreationDataTime": "it is spelled CreationDateTime",
        "successorConfidentialityLabel": "it is spelled SuccessorConfidentialityLabel",
    }
)
_ROOT_HINTS: Final = MappingProxyType(
    {
        "ConfidentialityLabel": "say whose label it is: originatorConfidentialityLabel, or"
        " alternativeConfidentialityLabel",
        "alternateConfidentialityLabel": "it is spelled alternativeConfidentialityLabel",
        "securitylabel": "take the label out of the XMPP element around it",
        "BindingInformation": "a binding holds labels, it is none itself",
    }
)


def _shape(make: Any, name: str, **parts: Any) -> Shape[Any]:
    return Shape(make, NAMESPACE, name, hints=_WRONG, **parts)


POLICY_IDENTIFIER: Final = _shape(
    PolicyIdentifier,
    "PolicyIdentifier",
    attributes=(Attribute("oid", "URI", codecs.URN),),
    text=("name", codecs.TOKEN),
)
CLASSIFICATION: Final = Leaf(NAMESPACE, "Classification", codecs.TOKEN)
CATEGORY: Final = _shape(
    Category,
    "Category",
    attributes=(
        Attribute("type", "Type", codecs.one_of(CategoryType), required=True),
        Attribute("tag", "TagName", codecs.FILLED, required=True),
        Attribute("oid", "URI", codecs.URN),
    ),
    children=(Child("values", Leaf(NAMESPACE, "GenericValue", codecs.FILLED)),),
)
_SENSITIVITY: Final = _shape(
    Sensitivity,
    "ConfidentialityInformation",
    children=(
        Child("policy", POLICY_IDENTIFIER, one=True, required=True),
        Child("classification", CLASSIFICATION, one=True, required=True),
        Child("privacy_mark", Leaf(NAMESPACE, "PrivacyMark", codecs.NAME), one=True),
        Child("categories", CATEGORY),
    ),
    foreign=True,
)
_ORIGINATOR: Final = _shape(
    Originator,
    "OriginatorID",
    attributes=(Attribute("id_type", "IDType", codecs.one_of(IDType), required=True),),
    text=("name", codecs.FILLED),
)
_CREATED: Final = Leaf(NAMESPACE, "CreationDateTime", codecs.INSTANT)


def _successor(levels: int) -> Shape[Any]:
    """Return the shape of a successor that may have `levels` more of them."""
    return _shape(
        SuccessorLabel,
        "SuccessorConfidentialityLabel",
        children=(
            Child("sensitivity", _SENSITIVITY, one=True, required=True),
            Child("originator", _ORIGINATOR, one=True),
            Child("created", _CREATED, one=True, required=True),
            *((Child("succession", _succession(levels), one=True),) if levels else ()),
        ),
        foreign=True,
    )


def _succession(levels: int) -> Shape[Any]:
    return _shape(
        Succession,
        "SuccessionHandling",
        children=(
            Child(
                "at", Leaf(NAMESPACE, "SuccessionDateTime", codecs.INSTANT), one=True, required=True
            ),
            Child("label", _successor(levels - 1), one=True, required=True),
        ),
        foreign=True,
    )


# A successor may have a successor; beyond a few nobody means it.
_SUCCESSIONS: Final = 4


def _label(role: Role) -> Shape[ConfidentialityLabel]:
    def make(**fields: Any) -> ConfidentialityLabel:
        return ConfidentialityLabel(role=role, **fields)

    return Shape(
        make,
        NAMESPACE,
        role.value,
        attributes=(
            Attribute("label_id", "Id", codecs.FILLED),
            Attribute("review", "ReviewDateTime", codecs.INSTANT),
        ),
        children=(
            Child("sensitivity", _SENSITIVITY, one=True, required=True),
            Child("originator", _ORIGINATOR, one=True),
            Child("created", _CREATED, one=True, required=True),
            Child("succession", _succession(_SUCCESSIONS), one=True),
        ),
        foreign=True,
        hints=_WRONG,
    )


_LABELS: Final = {role: _label(role) for role in Role}


def parse(data: bytes) -> ConfidentialityLabel:
    """Return the label that an XML document of at most 64 KiB is.

    Raises:
        XMLError: the XML is refused.
        LabelError: it is not a label to the schema.
    """
    return from_element(xml.parse(data, xml.LABEL_LIMITS))


def from_element(root: xml.Element) -> ConfidentialityLabel:
    """Return the label that an element is; see `parse`."""
    if root.namespace != NAMESPACE:
        raise LabelError(
            f"the element {root.name[:60]!r} is not of the namespace of STANAG 4774 labels",
            hint=_ROOT_HINTS.get(root.name, f"the namespace is {NAMESPACE}"),
        )
    if root.name not in set(Role):
        raise LabelError(
            f"{root.name[:60]!r} is not the root of a label", hint=_ROOT_HINTS.get(root.name, "")
        )
    return read(root, _LABELS[Role(root.name)], LabelError)


def to_element(label: ConfidentialityLabel) -> xml.Element:
    """Return the element that says a label."""
    return build(label, _LABELS[label.role])


def write(label: ConfidentialityLabel) -> bytes:
    """Return a label as canonical XML; `parse` gives it back.

    Raises:
        XMLError: a text in it has characters that XML can't hold.
    """
    return xml.write(to_element(label), {NAMESPACE: PREFIX})
