"""Strategies for labels, clearances and policies of every shape that their schemas allow."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from liaison.labels import spif
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.spif import Spif
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

T = TypeVar("T")

# Year 1 to year 9999.
instants = st.integers(-62_135_596_800, 253_402_300_799)
_letters = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
_spaces = st.sampled_from(" \t\n\r\x85\u2028\ud7ff\ufffd")
texts = st.text(_letters | _spaces, max_size=12)
names = st.builds(str.__add__, st.text(_letters, min_size=1, max_size=3), texts)
tokens = names.map(lambda text: " ".join(text.split()))
oids = st.lists(st.integers(0, 2**128), min_size=1, max_size=5).map(
    lambda arcs: ".".join(map(str, (2, *arcs)))
)


def maybe(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | strategy


def some(
    strategy: st.SearchStrategy[T], least: int = 0, most: int = 2
) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def rarely(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    """Mostly nothing, so that what is deep in a policy does not make every policy huge."""
    return st.just(()) | st.just(()) | some(strategy, most=1)


# --- labels and clearances ----------------------------------------------------------------------

identifiers = st.builds(PolicyIdentifier, tokens, maybe(oids))
categories = st.builds(Category, names, st.sampled_from(CategoryType), some(names, 1), maybe(oids))
sensitivities = st.builds(Sensitivity, identifiers, tokens, maybe(texts), some(categories))
originators = st.builds(Originator, st.sampled_from(IDType), names)
successors = st.builds(SuccessorLabel, sensitivities, instants, st.none() | originators)
labels = st.builds(
    ConfidentialityLabel,
    sensitivities,
    created=instants,
    review=st.none() | instants,
    originator=st.none() | originators,
    succession=st.none() | st.builds(Succession, instants, successors),
    role=st.sampled_from(Role),
    label_id=maybe(names),
)
clearances = st.builds(ConfidentialityClearance, identifiers, some(tokens, 1), some(categories))

# --- policies -----------------------------------------------------------------------------------

_whole = st.integers(-(10**17), 10**17)
_counts = st.none() | st.integers(0, 9)
_languages = maybe(st.sampled_from(["en", "fr", "fr-CA"]))
_markings = rarely(
    st.builds(spif.MarkingData, some(st.sampled_from(spif.MarkingCode)), maybe(texts), _languages)
)
_qualifier = st.builds(spif.Qualifier, texts, st.sampled_from(spif.QualifierCode), _languages)
_qualifiers = rarely(
    st.builds(
        spif.MarkingQualifier, some(_qualifier, 1), st.none() | st.sampled_from(spif.MarkingCode)
    )
)
_types = st.sampled_from(spif.TagType)
_enums = st.none() | st.sampled_from(spif.EnumType)
_groups = st.builds(spif.CategoryGroup, names, _types, _enums, maybe(names), st.booleans())
_required = rarely(
    st.builds(spif.RequiredCategory, some(_groups, 1), st.none() | st.sampled_from(spif.Operation))
)
_applied = st.sampled_from(spif.Applied)
_levels = st.builds(
    spif.Classification,
    names,
    _whole,
    _whole,
    maybe(st.sampled_from(["red", "#12aBcD"])),
    st.booleans(),
    rarely(st.builds(spif.EquivalentClassification, names, _whole, _applied, _required)),
    _markings,
    _qualifiers,
    _required,
)
_values = st.builds(
    spif.TagCategory,
    names,
    names,
    user_input=st.none() | st.sampled_from(spif.UserInput),
    required_class=maybe(names),
    obsolete=st.booleans(),
    date_format=maybe(texts),
    not_before=st.none() | instants,
    not_after=st.none() | instants,
    equivalents=rarely(
        st.builds(
            spif.EquivalentCategory,
            names,
            oids,
            _types,
            texts,
            _applied,
            _enums,
            st.none() | st.just(spif.EquivalencyAction.DISCARD),
        )
    ),
    markings=_markings,
    qualifiers=_qualifiers,
    excluded_classes=some(names),
    required=_required,
    excluded=rarely(_groups),
)
_tags = st.builds(
    spif.CategoryTag,
    _types,
    some(_values),
    maybe(texts),
    _enums,
    st.none() | st.sampled_from(spif.Tag7Encoding),
    st.booleans(),
    _counts,
    _counts,
    _qualifiers,
)
_tag_sets = st.builds(
    spif.TagSet,
    names,
    oids,
    some(_tags, 1),
    rarely(st.builds(spif.EquivalentTagSet, names, maybe(texts), maybe(oids), _required)),
)
_marks = st.builds(spif.PrivacyMark, names, st.booleans(), _markings, _qualifiers)
_ids = st.builds(spif.PolicyId, names, oids, _markings, _qualifiers)
policies = st.builds(
    Spif,
    _ids,
    st.builds(spif.Classifications, some(_levels, 1), _markings, _qualifiers, maybe(texts)),
    some(_tag_sets),
    st.none()
    | st.builds(spif.PrivacyMarks, some(_marks, 1), _counts, _counts, _markings, _qualifiers),
    some(st.builds(spif.EquivalentPolicy, names, oids, maybe(texts), maybe(texts), _required)),
    _markings,
    _qualifiers,
    default_policy=st.none() | _ids,
    not_before=st.none() | instants,
    not_after=st.none() | instants,
    schema_version=st.sampled_from(["1.0", "2.0", "2.1"]),
    version=_whole,
    creation_date=maybe(texts),
    originator=maybe(texts),
    key_identifier=maybe(texts),
    privilege_id=maybe(oids),
    rbac_id=maybe(oids),
    user_uri=maybe(texts),
    document_uri=maybe(texts),
)
