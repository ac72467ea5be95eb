"""SPIF files: label policies as XML, schema 1.0 to 2.1, read and written.

Reading does not insist on the order of elements nor on the attributes that only
say where a file comes from, since policies in use differ there and nothing
depends on it; everything that bears on a decision is read to the schema.
Writing is to the schema in everything, indented, one byte string for one value.

Source: Open XML SPIF, schema 2.1 (xmlspif.org).
"""

from __future__ import annotations

import re
from typing import Any, Final

from liaison.labels import codecs, spif, xml
from liaison.labels.errors import SpifError
from liaison.labels.shape import Attribute, Child, Codec, Leaf, Listing, Shape, build, read
from liaison.labels.spif import Spif

NAMESPACE: Final = "http://www.xmlspif.org/spif"
PREFIX: Final = "spif"
SCHEMA_VERSIONS: Final = ("1.0", "2.0", "2.1")
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}|[A-Za-z]{1,40}")


def _selection(text: str) -> int | None:
    if text == "unbounded":
        return None
    number: int = codecs.INTEGER.parse(text)
    if number < 0:
        raise ValueError(f"{number} is less than none")
    return number


def _color(text: str) -> str:
    if not _COLOR.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a colour, such as #FF8C00")
    return text


def _schema_version(text: str) -> str:
    if text not in SCHEMA_VERSIONS:
        raise ValueError(f"{text[:20]!r} is not supported, {' and '.join(SCHEMA_VERSIONS)} are")
    return text


_SELECTION: Final = Codec(_selection, str)
_COLOR_NAME: Final = Codec(_color, str)
_SCHEMA_VERSION: Final = Codec(_schema_version, str)
_LANGUAGE: Final = Attribute("language", "lang", codecs.FILLED, namespace=xml.XML_NAMESPACE)
_NAME: Final = Attribute("name", "name", codecs.FILLED, required=True)
_OID: Final = Attribute("oid", "id", codecs.OID, required=True)
_OBSOLETE: Final = Attribute("obsolete", "obsolete", codecs.BOOLEAN, default=False)
_VALIDITY: Final = (
    Attribute("not_before", "notBefore", codecs.INSTANT),
    Attribute("not_after", "notAfter", codecs.INSTANT),
)
_LIMITS: Final = (
    Attribute("maximum", "maxSelection", _SELECTION),
    Attribute("minimum", "minSelection", _SELECTION),
)
_TAG_TYPE: Final = Attribute("tag_type", "tagType", codecs.one_of(spif.TagType), required=True)
_ENUM_TYPE: Final = Attribute("enum_type", "enumType", codecs.one_of(spif.EnumType))
_POLICY_REF: Final = Attribute("policy", "policyRef", codecs.FILLED, required=True)
_APPLIED: Final = Attribute("applied", "applied", codecs.one_of(spif.Applied), required=True)
_URIS: Final = (
    Attribute("user_uri", "userRefURI", codecs.STRING),
    Attribute("document_uri", "docRefURI", codecs.STRING),
)


def _shape(make: Any, name: str, *attributes: Attribute, **parts: Any) -> Shape[Any]:
    return Shape(make, NAMESPACE, name, attributes, ordered=False, **parts)


_MARKINGS: Final = (
    Child(
        "markings",
        _shape(
            spif.MarkingData,
            "markingData",
            Attribute("phrase", "phrase", codecs.NAME),
            _LANGUAGE,
            children=(Child("codes", Leaf(NAMESPACE, "code", codecs.one_of(spif.MarkingCode))),),
        ),
    ),
    Child(
        "qualifiers",
        _shape(
            spif.MarkingQualifier,
            "markingQualifier",
            Attribute("location", "markingCode", codecs.one_of(spif.MarkingCode)),
            children=(
                Child(
                    "qualifiers",
                    _shape(
                        spif.Qualifier,
                        "qualifier",
                        Attribute("text", "markingQualifier", codecs.NAME, required=True),
                        Attribute(
                            "code",
                            "qualifierCode",
                            codecs.one_of(spif.QualifierCode),
                            required=True,
                        ),
                        _LANGUAGE,
                    ),
                    required=True,
                ),
            ),
        ),
    ),
)


def _group(name: str) -> Shape[spif.CategoryGroup]:
    return _shape(
        spif.CategoryGroup,
        name,
        Attribute("tag_set", "tagSetRef", codecs.FILLED, required=True),
        _TAG_TYPE,
        _ENUM_TYPE,
        Attribute("lacv", "lacv", codecs.FILLED),
        Attribute("whole", "all", codecs.BOOLEAN, default=False),
    )


_REQUIRED: Final = Child(
    "required",
    _shape(
        spif.RequiredCategory,
        "requiredCategory",
        Attribute("operation", "operation", codecs.one_of(spif.Operation)),
        children=(Child("groups", _group("categoryGroup"), required=True),),
    ),
)
_CLASSIFICATION: Final = _shape(
    spif.Classification,
    "securityClassification",
    _NAME,
    Attribute("color", "color", _COLOR_NAME),
    Attribute("lacv", "lacv", codecs.INTEGER, required=True),
    Attribute("hierarchy", "hierarchy", codecs.INTEGER, required=True),
    _OBSOLETE,
    children=(
        Child(
            "equivalents",
            _shape(
                spif.EquivalentClassification,
                "equivalentClassification",
                _POLICY_REF,
                Attribute("lacv", "lacv", codecs.INTEGER, required=True),
                _APPLIED,
                children=(_REQUIRED,),
            ),
        ),
        *_MARKINGS,
        _REQUIRED,
    ),
)
_CATEGORY: Final = _shape(
    spif.TagCategory,
    "tagCategory",
    _NAME,
    Attribute("lacv", "lacv", codecs.FILLED, required=True),
    Attribute("user_input", "userInput", codecs.one_of(spif.UserInput)),
    Attribute("required_class", "requiredClass", codecs.FILLED),
    _OBSOLETE,
    Attribute("date_format", "dateFormat", codecs.NAME),
    *_VALIDITY,
    children=(
        Child(
            "equivalents",
            _shape(
                spif.EquivalentCategory,
                "equivalentSecCategoryTag",
                _POLICY_REF,
                Attribute("tag_set_oid", "tagSetId", codecs.OID, required=True),
                _TAG_TYPE,
                _ENUM_TYPE,
                Attribute("lacv", "lacv", codecs.NAME, required=True),
                _APPLIED,
                Attribute("action", "action", codecs.one_of(spif.EquivalencyAction)),
            ),
        ),
        *_MARKINGS,
        Child("excluded_classes", Leaf(NAMESPACE, "excludedClass", codecs.FILLED)),
        _REQUIRED,
        Child("excluded", _group("excludedCategory")),
    ),
)
_TAG: Final = _shape(
    spif.CategoryTag,
    "securityCategoryTag",
    Attribute("name", "name", codecs.NAME),
    _TAG_TYPE,
    _ENUM_TYPE,
    Attribute("tag7_encoding", "tag7Encoding", codecs.one_of(spif.Tag7Encoding)),
    Attribute("single", "singleSelection", codecs.BOOLEAN, default=False),
    *_LIMITS,
    children=(Child("categories", _CATEGORY), _MARKINGS[1]),
)
_TAG_SET: Final = _shape(
    spif.TagSet,
    "securityCategoryTagSet",
    _NAME,
    _OID,
    children=(
        Child("tags", _TAG, required=True),
        Child(
            "equivalents",
            _shape(
                spif.EquivalentTagSet,
                "equivalentSecurityCategoryTagSet",
                _POLICY_REF,
                Attribute("name", "name", codecs.NAME),
                Attribute("oid", "id", codecs.OID),
                children=(_REQUIRED,),
            ),
        ),
    ),
)
_PRIVACY: Final = _shape(
    spif.PrivacyMarks,
    "privacyMarks",
    *_LIMITS,
    children=(
        Child(
            "items",
            _shape(spif.PrivacyMark, "privacyMark", _NAME, _OBSOLETE, children=_MARKINGS),
            required=True,
        ),
        *_MARKINGS,
    ),
)
_EQUIVALENT: Final = _shape(
    spif.EquivalentPolicy, "equivalentPolicy", _NAME, _OID, *_URIS, children=(_REQUIRED,)
)


def _policy_id(name: str) -> Shape[spif.PolicyId]:
    return _shape(spif.PolicyId, name, _NAME, _OID, children=_MARKINGS)


_SPIF: Final[Shape[Spif]] = _shape(
    Spif,
    "SPIF",
    Attribute("schema_version", "schemaVersion", _SCHEMA_VERSION, required=True),
    Attribute("version", "version", codecs.INTEGER, default=1),
    Attribute("creation_date", "creationDate", codecs.NAME),
    Attribute("originator", "originatorDN", codecs.NAME),
    Attribute("key_identifier", "keyIdentifier", codecs.NAME),
    Attribute("privilege_id", "privilegeId", codecs.OID),
    Attribute("rbac_id", "rbacId", codecs.OID),
    *_URIS,
    *_VALIDITY,
    children=(
        Child("default_policy", _policy_id("defaultSecurityPolicyId"), one=True),
        Child("policy", _policy_id("securityPolicyId"), one=True, required=True),
        Child(
            "classifications",
            _shape(
                spif.Classifications,
                "securityClassifications",
                Attribute("name", "name", codecs.NAME),
                children=(Child("items", _CLASSIFICATION, required=True), *_MARKINGS),
            ),
            one=True,
            required=True,
        ),
        Child("tag_sets", Listing(NAMESPACE, "securityCategoryTagSets", _TAG_SET)),
        Child("privacy", _PRIVACY, one=True),
        Child("equivalents", Listing(NAMESPACE, "equivalentPolicies", _EQUIVALENT)),
        *_MARKINGS,
    ),
    ignored=frozenset({"updateInfo", "extensions"}),
)


def parse(data: bytes) -> Spif:
    """Return the policy that an XML document of at most 2 MiB is.

    What it means is not looked at: `liaison.labels.policy.compile_policy` does.

    Raises:
        XMLError: the XML is refused.
        SpifError: it is not a SPIF of a supported schema.
    """
    root = xml.parse(data, xml.POLICY_LIMITS)
    if (root.namespace, root.name) != (NAMESPACE, _SPIF.name):
        raise SpifError(
            f"{root.name[:60]!r} is not the root of a label policy",
            hint=f"it is SPIF of the namespace {NAMESPACE}",
        )
    return read(root, _SPIF, SpifError)


def write(policy: Spif) -> bytes:
    """Return a policy as indented XML; `parse` gives it back.

    Raises:
        XMLError: a text in it has characters that XML can't hold.
    """
    return xml.write(build(policy, _SPIF), {NAMESPACE: PREFIX}, indent=True)
