"""Label policies as data: the Security Policy Information File.

The classes follow the elements of the XML SPIF one to one, under shorter names;
`liaison.labels.spif_xml` reads and writes them, `liaison.labels.policy` makes of
them what decisions need. Nothing here judges.

Source: Open XML SPIF, schema 2.1 (xmlspif.org); ADatP-4774.1 chapter 3.
"""

from __future__ import annotations

from enum import StrEnum

from liaison.labels.stanag4774 import CategoryType
from liaison.values import dataclass


class MarkingCode(StrEnum):
    """Where a marking stands, and how it treats the names around it."""

    PAGE_TOP = "pageTop"
    PAGE_BOTTOM = "pageBottom"
    PAGE_TOP_BOTTOM = "pageTopBottom"
    DOCUMENT_START = "documentStart"
    DOCUMENT_END = "documentEnd"
    NO_NAME_DISPLAY = "noNameDisplay"
    NO_MARKING_DISPLAY = "noMarkingDisplay"
    SUPPRESS_CLASS_NAME = "suppressClassName"
    FIRST_LINE_OF_TEXT = "firstLineOfText"
    LAST_LINE_OF_TEXT = "lastLineOfText"
    SUBJECT = "subject"
    X_HEADER = "xHeader"
    PORTION_MARKING = "portionMarking"
    INPUT_TITLE = "inputTitle"
    WATER_MARK = "waterMark"
    REPLACE_POLICY = "replacePolicy"


class QualifierCode(StrEnum):
    """What a qualifier does to the values beside it."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    SEPARATOR = "separator"


class TagType(StrEnum):
    """How values of a tag are encoded in binary labels, and mostly what they mean."""

    NOT_APPLICABLE = "notApplicable"
    RESTRICTIVE = "restrictive"
    ENUMERATED = "enumerated"
    PERMISSIVE = "permissive"
    TAG_TYPE_7 = "tagType7"


class EnumType(StrEnum):
    """What the values of an enumerated tag mean."""

    RESTRICTIVE = "restrictive"
    PERMISSIVE = "permissive"


class Tag7Encoding(StrEnum):
    """How informative values are encoded in binary labels."""

    BIT_SET = "bitSetAttributes"
    SECURITY = "securityAttributes"


class UserInput(StrEnum):
    """What a person may type as a value."""

    STRING = "string"
    INTEGER = "integer"
    DATE = "date"


class Operation(StrEnum):
    """How many of the categories of a rule a label must have."""

    ONLY_ONE = "onlyOne"
    ONE_OR_MORE = "oneOrMore"
    ALL = "all"


class Applied(StrEnum):
    """Whether an equivalence holds for those who send, who receive, or both."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    BOTH = "both"


class EquivalencyAction(StrEnum):
    """What becomes of a value that the other policy lacks."""

    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class MarkingData:
    """A phrase for some places in one language; None for the name itself."""

    codes: tuple[MarkingCode, ...]
    phrase: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Qualifier:
    """A prefix, suffix or separator."""

    text: str
    code: QualifierCode
    language: str | None = None


@dataclass(frozen=True, slots=True)
class MarkingQualifier:
    """Qualifiers for one place, or for all where `location` is None."""

    qualifiers: tuple[Qualifier, ...]
    location: MarkingCode | None = None


@dataclass(frozen=True, slots=True)
class CategoryGroup:
    """Categories that a rule speaks of: one by its `lacv`, or all of a tag set and type."""

    tag_set: str
    tag_type: TagType
    enum_type: EnumType | None = None
    lacv: str | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class RequiredCategory:
    """Categories that must stand beside; without an operation every group must."""

    groups: tuple[CategoryGroup, ...]
    operation: Operation | None = None


@dataclass(frozen=True, slots=True)
class EquivalentClassification:
    """A level of another policy that means the same."""

    policy: str
    lacv: int
    applied: Applied
    required: tuple[RequiredCategory, ...] = ()


@dataclass(frozen=True, slots=True)
class EquivalentCategory:
    """A category of another policy that means the same."""

    policy: str
    tag_set_oid: str
    tag_type: TagType
    lacv: str
    applied: Applied
    enum_type: EnumType | None = None
    action: EquivalencyAction | None = None


@dataclass(frozen=True, slots=True)
class EquivalentTagSet:
    """A tag set of another policy; labels that use this set get what is required there."""

    policy: str
    name: str | None = None
    oid: str | None = None
    required: tuple[RequiredCategory, ...] = ()


@dataclass(frozen=True, slots=True)
class EquivalentPolicy:
    """Another policy that this one has equivalents in."""

    name: str
    oid: str
    user_uri: str | None = None
    document_uri: str | None = None
    required: tuple[RequiredCategory, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """A level; the higher its hierarchy the more sensitive."""

    name: str
    lacv: int
    hierarchy: int
    color: str | None = None
    obsolete: bool = False
    equivalents: tuple[EquivalentClassification, ...] = ()
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()
    required: tuple[RequiredCategory, ...] = ()


@dataclass(frozen=True, slots=True)
class Classifications:
    """All levels."""

    items: tuple[Classification, ...]
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TagCategory:
    """One value of a tag, with the rules on what stands beside it."""

    name: str
    lacv: str
    user_input: UserInput | None = None
    required_class: str | None = None
    obsolete: bool = False
    date_format: str | None = None
    not_before: int | None = None
    not_after: int | None = None
    equivalents: tuple[EquivalentCategory, ...] = ()
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()
    excluded_classes: tuple[str, ...] = ()
    required: tuple[RequiredCategory, ...] = ()
    excluded: tuple[CategoryGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class CategoryTag:
    """Values of one kind; how many of them a label may and must have."""

    tag_type: TagType
    categories: tuple[TagCategory, ...] = ()
    name: str | None = None
    enum_type: EnumType | None = None
    tag7_encoding: Tag7Encoding | None = None
    single: bool = False
    minimum: int | None = None
    maximum: int | None = None
    qualifiers: tuple[MarkingQualifier, ...] = ()

    @property
    def kind(self) -> CategoryType | None:
        """What the values mean for access; None where the tag does not say."""
        return kind_of(self.tag_type, self.enum_type)


@dataclass(frozen=True, slots=True)
class TagSet:
    """Tags under one name; labels name the tag set, not the tag."""

    name: str
    oid: str
    tags: tuple[CategoryTag, ...]
    equivalents: tuple[EquivalentTagSet, ...] = ()


@dataclass(frozen=True, slots=True)
class PrivacyMark:
    """A privacy mark, such as CLEAR; it says nothing about access."""

    name: str
    obsolete: bool = False
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()


@dataclass(frozen=True, slots=True)
class PrivacyMarks:
    """All privacy marks, and how many of them a label may and must have."""

    items: tuple[PrivacyMark, ...]
    minimum: int | None = None
    maximum: int | None = None
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyId:
    """The name and the OID of a policy."""

    name: str
    oid: str
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Spif:
    """A label policy. Times are Unix seconds; texts without meaning here are kept as they are.

    Args:
        policy: who this is.
        classifications: the levels.
        tag_sets: the categories.
        privacy: the privacy marks.
        equivalents: other policies with equivalents.
        markings, qualifiers: of the policy as a whole.
        default_policy: the policy of unlabelled information.
        not_before, not_after: when the policy holds; both ends belong to it.
        schema_version: of the XML; 1.0, 2.0 or 2.1.
        version: of the policy.
        creation_date, originator, key_identifier, privilege_id, rbac_id, user_uri,
        document_uri: where the file comes from.
    """

    policy: PolicyId
    classifications: Classifications
    tag_sets: tuple[TagSet, ...] = ()
    privacy: PrivacyMarks | None = None
    equivalents: tuple[EquivalentPolicy, ...] = ()
    markings: tuple[MarkingData, ...] = ()
    qualifiers: tuple[MarkingQualifier, ...] = ()
    default_policy: PolicyId | None = None
    not_before: int | None = None
    not_after: int | None = None
    schema_version: str = "2.1"
    version: int = 1
    creation_date: str | None = None
    originator: str | None = None
    key_identifier: str | None = None
    privilege_id: str | None = None
    rbac_id: str | None = None
    user_uri: str | None = None
    document_uri: str | None = None


def kind_of(tag_type: TagType, enum_type: EnumType | None) -> CategoryType | None:
    """Return what a tag's type means for access, or None where it does not say.

    Source: ADatP-4774.1 §3.3.4.
    """
    if tag_type is TagType.TAG_TYPE_7:
        return CategoryType.INFORMATIVE
    said = enum_type if tag_type is TagType.ENUMERATED else tag_type
    if said in {TagType.RESTRICTIVE, EnumType.RESTRICTIVE}:
        return CategoryType.RESTRICTIVE
    if said in {TagType.PERMISSIVE, EnumType.PERMISSIVE}:
        return CategoryType.PERMISSIVE
    return None
