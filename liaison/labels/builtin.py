"""The label policies that need no file: no labels, TLP, NATO's levels, a demonstration.

They are SPIFs like any other, written here as data. A party's own policy is a
SPIF file; the ones here say only what is public, and an agreement that needs
more of NATO's policy brings NATO's SPIF.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from liaison.labels.policy import LabelPolicies, LabelPolicy, compile_policy
from liaison.labels.spif import (
    Applied,
    CategoryGroup,
    CategoryTag,
    Classification,
    Classifications,
    EnumType,
    EquivalentCategory,
    EquivalentClassification,
    EquivalentPolicy,
    MarkingCode,
    MarkingData,
    MarkingQualifier,
    Operation,
    PolicyId,
    PrivacyMark,
    PrivacyMarks,
    Qualifier,
    QualifierCode,
    RequiredCategory,
    Spif,
    Tag7Encoding,
    TagCategory,
    TagSet,
    TagType,
)

_PORTION: Final = MarkingCode.PORTION_MARKING
_REPLACE: Final = MarkingCode.REPLACE_POLICY
# OIDs under 2.25 are UUIDs, which anybody may make; these are version 5 UUIDs of our own names.
_UNLABELLED: Final = PolicyId("Unlabelled", "2.25.111445750931711594562401721562125131447")
_WITHOUT_NAME: Final = MarkingData((_REPLACE,), "")


def _phrase(text: str, language: str | None = None) -> MarkingData:
    return MarkingData((MarkingCode.PAGE_TOP_BOTTOM,), text, language)


def _portion(text: str) -> MarkingData:
    return MarkingData((_PORTION,), text)


def _around(prefix: str, separator: str, **languages: str) -> tuple[MarkingQualifier, ...]:
    """Say what stands around the values of a tag; languages have prefixes of their own."""
    qualifiers = [
        Qualifier(prefix, QualifierCode.PREFIX),
        *(Qualifier(text, QualifierCode.PREFIX, code) for code, text in languages.items()),
        Qualifier(separator, QualifierCode.SEPARATOR),
    ]
    return (MarkingQualifier(tuple(qualifiers)),)


def _values(names: Iterable[str]) -> tuple[TagCategory, ...]:
    return tuple(TagCategory(name, str(number)) for number, name in enumerate(names))


# --- no labels ----------------------------------------------------------------------------------

UNMARKED: Final[LabelPolicy] = compile_policy(
    Spif(
        PolicyId("No labels", "2.25.239791341344477893106264739808555682268"),
        Classifications(
            (
                Classification(
                    "UNMARKED",
                    lacv=0,
                    hierarchy=0,
                    equivalents=(
                        EquivalentClassification(_UNLABELLED.name, lacv=0, applied=Applied.DECRYPT),
                    ),
                ),
            )
        ),
        default_policy=_UNLABELLED,
        markings=(_WITHOUT_NAME,),
    ),
    policy_id="liaison.unmarked",
)
"""For agreements that use no labels: one level, which everyone holds."""


# --- TLP ----------------------------------------------------------------------------------------

_TLP_COLORS: Final = {
    "TLP:CLEAR": "#FFFFFF",
    "TLP:GREEN": "#33FF00",
    "TLP:AMBER": "#FFC000",
    "TLP:AMBER+STRICT": "#FFC000",
    "TLP:RED": "#FF2B2B",
}

TLP: Final[LabelPolicy] = compile_policy(
    Spif(
        PolicyId("TLP 2.0", "2.25.44536215353023291920016048631503009925"),
        Classifications(
            tuple(
                Classification(name, lacv=place, hierarchy=place, color=color)
                for place, (name, color) in enumerate(_TLP_COLORS.items())
            )
        ),
        markings=(_WITHOUT_NAME,),
    ),
    policy_id="tlp-2.0",
)
"""The Traffic Light Protocol. Labels are never translated. Source: FIRST, TLP 2.0."""


# --- NATO ---------------------------------------------------------------------------------------

_NATIONS: Final = (
    "ALB BEL BGR CAN HRV CZE DNK EST FIN FRA DEU GRC HUN ISL ITA LVA LTU LUX MNE NLD MKD NOR POL"
    " PRT ROU SVK SVN ESP SWE TUR GBR USA"
    # Partners.
    " ARM AUS AUT AZE BHR BIH CHE COL DZA EGY GEO IRL IRQ ISR JOR JPN KAZ KGZ KOR KWT MAR MDA MLT"
    " MNG MRT NZL PAK QAT SRB TJK TKM TUN UKR ARE UZB"
)
_GROUPS: Final = ("NATO", "EAPC", "PFP", "KFOR", "ISAF", "RESOLUTE SUPPORT")
_ARC: Final = "1.3.26.1.4"


def _nato_level(place: int, name: str, french: str, portion: str) -> Classification:
    markings = [_phrase(french, "fr"), _portion(portion), MarkingData((_REPLACE, _PORTION), "")]
    if name == "TOP SECRET":
        markings.append(MarkingData((_REPLACE,), "COSMIC"))
    return Classification(name, lacv=place, hierarchy=place, markings=tuple(markings))


def _context(name: str, place: int) -> TagCategory:
    # The context stands beside the policy's name, and the plain one not at all.
    shown = "NATO" if name == "NATO" else f"NATO/{name}"
    instead = () if name == "NATO" else (MarkingData((_REPLACE,), shown),)
    hidden = MarkingData((MarkingCode.NO_NAME_DISPLAY,))
    return TagCategory(name, str(place), markings=(*instead, hidden))


def _permissive(name: str, arc: int, values: Iterable[str], *around: MarkingQualifier) -> TagSet:
    tag = CategoryTag(
        TagType.ENUMERATED,
        _values(values),
        name=name,
        enum_type=EnumType.PERMISSIVE,
        qualifiers=around,
    )
    return TagSet(name, f"{_ARC}.{arc}", (tag,))


_ONLY: Final = MarkingQualifier(
    (
        Qualifier(", ", QualifierCode.SEPARATOR),
        Qualifier(" ONLY", QualifierCode.SUFFIX),
        Qualifier(" SEULEMENT", QualifierCode.SUFFIX, "fr"),
    )
)
_SENSITIVE: Final = tuple(
    TagCategory(name, lacv, excluded_classes=("UNCLASSIFIED", "RESTRICTED"))
    for name, lacv in (("ATOMAL", "1"), ("CRYPTO", "2"), ("BOHEMIA", "9"))
)
_CONTEXTS: Final = (
    *(_context(name, place) for place, name in enumerate(_GROUPS)),
    TagCategory(
        "Releasable", str(len(_GROUPS)), markings=(MarkingData((MarkingCode.NO_MARKING_DISPLAY,)),)
    ),
)

NATO: Final[LabelPolicy] = compile_policy(
    Spif(
        PolicyId("NATO", "1.3.26.1.3.1"),
        Classifications(
            (
                _nato_level(1, "UNCLASSIFIED", "SANS CLASSIFICATION", "NU"),
                _nato_level(2, "RESTRICTED", "DIFFUSION RESTREINTE", "NR"),
                _nato_level(3, "CONFIDENTIAL", "CONFIDENTIEL", "NC"),
                _nato_level(4, "SECRET", "SECRET", "NS"),
                _nato_level(5, "TOP SECRET", "TRÈS SECRET", "CTS"),
            )
        ),
        (
            TagSet(
                "Context", f"{_ARC}.4", (CategoryTag(TagType.PERMISSIVE, _CONTEXTS, "Context"),)
            ),
            TagSet(
                "Additional Sensitivity",
                f"{_ARC}.1",
                (
                    CategoryTag(
                        TagType.RESTRICTIVE,
                        _SENSITIVE,
                        "Additional Sensitivity",
                        qualifiers=_around("", " "),
                    ),
                ),
            ),
            _permissive(
                "Releasable To",
                2,
                (*_GROUPS, *_NATIONS.split()),
                *_around("Releasable to ", ", ", fr="Communicable à "),
            ),
            _permissive("Only", 5, (*_GROUPS, *_NATIONS.split()), _ONLY),
            TagSet(
                "Administrative",
                f"{_ARC}.3",
                (
                    CategoryTag(
                        TagType.TAG_TYPE_7,
                        _values(("MANAGEMENT", "STAFF", "PERSONAL", "MEDICAL", "COMMERCIAL")),
                        "Administrative",
                        tag7_encoding=Tag7Encoding.BIT_SET,
                        qualifiers=_around("- ", " "),
                    ),
                ),
            ),
        ),
        privacy=PrivacyMarks((PrivacyMark("CLEAR"),)),
    ),
)
"""NATO's levels and the public part of its categories, found by OID.

Marked in short as NU, NR, NC, NS, CTS. Source: ADatP-4774 (A)(1), appendix 2.
"""


# --- demonstration ------------------------------------------------------------------------------

_DEMO_ARC: Final = "2.25.294974414284810754078392031855034081162"


def _demo_release(name: str, place: int) -> TagCategory:
    there = NATO.rules.values.get(("Releasable To", name))
    same = () if there is None else (_nato_release(there.source.lacv),)
    return TagCategory(name, str(place), equivalents=same)


def _nato_release(lacv: str) -> EquivalentCategory:
    return EquivalentCategory(
        NATO.name, f"{_ARC}.2", TagType.ENUMERATED, lacv, Applied.BOTH, EnumType.PERMISSIVE
    )


def _demo_level(
    place: int, name: str, color: str, phrases: dict[str, str], *, released: bool = False
) -> Classification:
    group = CategoryGroup("Releasable To", TagType.ENUMERATED, EnumType.PERMISSIVE, whole=True)
    same = [EquivalentClassification(NATO.name, lacv=place, applied=Applied.BOTH)]
    if place == 1:
        same.append(EquivalentClassification(_UNLABELLED.name, lacv=0, applied=Applied.DECRYPT))
    return Classification(
        name,
        lacv=place,
        hierarchy=place,
        color=color,
        equivalents=tuple(same),
        markings=(
            *(_phrase(phrase, language) for language, phrase in phrases.items()),
            _portion("".join(word[0] for word in name.split())),
            MarkingData((_REPLACE, _PORTION), ""),
        ),
        required=(RequiredCategory((group,), Operation.ONE_OR_MORE),) if released else (),
    )


DEMO: Final[LabelPolicy] = compile_policy(
    Spif(
        PolicyId("DEMO", _DEMO_ARC),
        Classifications(
            (
                _demo_level(
                    1, "OPEN", "#2E7D32", {"de": "ALLGEMEIN", "fr": "NON PROTÉGÉ", "nb": "ÅPEN"}
                ),
                _demo_level(
                    2,
                    "LIMITED",
                    "#1565C0",
                    {"de": "NUR DIENSTGEBRAUCH", "fr": "DIFFUSION LIMITÉE", "nb": "BEGRENSET"},
                ),
                _demo_level(
                    3,
                    "GUARDED",
                    "#EF6C00",
                    {"de": "VERTRAULICH", "fr": "CONFIDENTIEL", "nb": "FORTROLIG"},
                    released=True,
                ),
                _demo_level(
                    4,
                    "CLOSED",
                    "#C62828",
                    {"de": "GEHEIM", "fr": "SECRET", "nb": "HEMMELIG"},
                    released=True,
                ),
            )
        ),
        (
            TagSet(
                "Releasable To",
                f"{_DEMO_ARC}.1",
                (
                    CategoryTag(
                        TagType.ENUMERATED,
                        tuple(
                            _demo_release(name, place)
                            for place, name in enumerate(("NOR", "DEU", "FRA", "SWE", "UN-OCHA"))
                        ),
                        "Releasable To",
                        enum_type=EnumType.PERMISSIVE,
                        qualifiers=_around(
                            "REL TO ", ", ", de="FREI FÜR ", fr="DIFFUSION ", nb="DELES MED "
                        ),
                    ),
                ),
            ),
            TagSet(
                "Special Handling",
                f"{_DEMO_ARC}.2",
                (
                    CategoryTag(
                        TagType.RESTRICTIVE,
                        (
                            TagCategory("MEDICAL", "0"),
                            TagCategory("ROUTES", "1", excluded_classes=("OPEN",)),
                            TagCategory("COURIER", "2", obsolete=True),
                        ),
                        "Special Handling",
                    ),
                ),
            ),
            TagSet(
                "Administrative",
                f"{_DEMO_ARC}.3",
                (
                    CategoryTag(
                        TagType.TAG_TYPE_7,
                        _values(("STAFF", "LOGISTICS", "LEGAL")),
                        "Administrative",
                        tag7_encoding=Tag7Encoding.BIT_SET,
                        single=True,
                        qualifiers=_around("- ", " "),
                    ),
                ),
            ),
        ),
        privacy=PrivacyMarks((PrivacyMark("CLEAR"), PrivacyMark("PERSONAL"))),
        equivalents=(EquivalentPolicy(NATO.name, NATO.oid),),
        default_policy=_UNLABELLED,
        creation_date="20261101000000Z",
        originator="O=Liaison",
        key_identifier="00",
        privilege_id="1.3.26.0.4774.5.24.1",
        rbac_id="1.3.26.0.4774.5.24.1",
    ),
    policy_id="liaison.demo",
)
"""A policy of no nation, for trying things out: it has one of every kind of rule."""


BUILT_IN: Final = LabelPolicies((UNMARKED, TLP, NATO, DEMO))
