"""Markings: labels as people read them, in their language and at a place.

A policy gives its levels and values phrases per place and language; where it
gives none, the name counts. The order is always: policy, classification,
categories in the policy's order, each tag with its prefix, separator, suffix.

Source: ADatP-4774.1 §3.5; Open XML SPIF, schema 2.1, markingCode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from liaison.labels.label import Label
from liaison.labels.policy import LabelPolicy
from liaison.labels.rules import Value
from liaison.labels.spif import (
    Classification,
    MarkingCode,
    MarkingData,
    MarkingQualifier,
    PrivacyMark,
    QualifierCode,
)
from liaison.values import dataclass

_FLAGS: Final = frozenset(
    {
        MarkingCode.NO_NAME_DISPLAY,
        MarkingCode.NO_MARKING_DISPLAY,
        MarkingCode.SUPPRESS_CLASS_NAME,
        MarkingCode.REPLACE_POLICY,
    }
)
# A phrase for one of these does for the others that have none of their own.
_PAGE: Final = frozenset(
    {
        MarkingCode.PAGE_TOP,
        MarkingCode.PAGE_BOTTOM,
        MarkingCode.PAGE_TOP_BOTTOM,
        MarkingCode.DOCUMENT_START,
        MarkingCode.DOCUMENT_END,
        MarkingCode.FIRST_LINE_OF_TEXT,
        MarkingCode.LAST_LINE_OF_TEXT,
    }
)
_COLORS: Final = {
    "aqua": "#00FFFF",
    "black": "#000000",
    "blue": "#0000FF",
    "fuchsia": "#FF00FF",
    "fuschia": "#FF00FF",  # the schema's spelling; codespell:ignore fuschia
    "gold": "#FFD700",
    "gray": "#808080",
    "green": "#008000",
    "lime": "#00FF00",
    "maroon": "#800000",
    "navy": "#000080",
    "olive": "#808000",
    "orange": "#FFA500",
    "purple": "#800080",
    "red": "#FF0000",
    "silver": "#C0C0C0",
    "teal": "#008080",
    "white": "#FFFFFF",
    "yellow": "#FFFF00",
}
BLACK: Final = "#000000"
WHITE: Final = "#FFFFFF"


@dataclass(frozen=True, slots=True)
class Marking:
    """The text, and `#RRGGBB` colours; None where the policy gives no colour."""

    text: str
    background: str | None = None
    foreground: str | None = None


def marking(
    policy: LabelPolicy,
    label: Label,
    *,
    location: MarkingCode = MarkingCode.PAGE_TOP,
    language: str = "en",
    privacy_mark: str | None = None,
) -> Marking:
    """Return how a label is shown.

    Args:
        policy: the label's.
        label: one that the policy knows.
        location: where; `PORTION_MARKING` for the short form before a paragraph.
        language: the reader's, such as `fr` or `fr-CA`.
        privacy_mark: of the full label; shown last.

    Raises:
        LabelError: the label is not one of the policy; see `LabelPolicy.check`.
    """
    policy.check(label)
    place = _Place(location, language)
    level = next(
        each for each in policy.spif.classifications.items if each.name == label.classification
    )
    values = sorted(
        (policy.rules.values[each] for each in label.categories), key=lambda v: v.number
    )
    words = [place.policy(policy, level, values)]
    if not any(place.has(each.source.markings, MarkingCode.SUPPRESS_CLASS_NAME) for each in values):
        around_level = level.qualifiers or policy.spif.classifications.qualifiers
        words.append(place.phrase(level.name, level.markings, around_level))
    words.extend(place.tags(values))
    words.extend(place.privacy(policy, privacy_mark))
    around = place.qualifiers(policy.spif.qualifiers)
    text = around.get(QualifierCode.SEPARATOR, " ").join(filter(None, words))
    return Marking(_wrapped(text, around).strip(), *_colors(level.color))


class _Place:
    """One place in one language, and what a policy says for it."""

    def __init__(self, location: MarkingCode, language: str) -> None:
        self._covers = [frozenset({location})]
        if location in {MarkingCode.PAGE_TOP, MarkingCode.PAGE_BOTTOM}:
            self._covers.append(frozenset({MarkingCode.PAGE_TOP_BOTTOM}))
        if location in _PAGE:
            self._covers.append(_PAGE)
        tag = language.casefold()
        self._languages = [tag, tag.partition("-")[0], None]

    def _of_place(self, markings: Iterable[MarkingData]) -> list[MarkingData]:
        """Return what is said for this place or a like one; else what names no place."""
        found = list(markings)
        for covered in self._covers:
            here = [each for each in found if covered.intersection(each.codes)]
            if here:
                return here
        return [each for each in found if _FLAGS.issuperset(each.codes)]

    def has(self, markings: Iterable[MarkingData], flag: MarkingCode) -> bool:
        """Whether a flag is set, for this place or for all."""
        return any(
            flag in each.codes
            and (_FLAGS.issuperset(each.codes) or each in self._of_place(markings))
            for each in markings
        )

    def _in_language(self, markings: Iterable[MarkingData]) -> MarkingData | None:
        found = list(markings)
        for language in self._languages:
            for each in found:
                if (each.language.casefold() if each.language else None) == language:
                    return each
        return None

    def phrase(
        self,
        name: str,
        markings: tuple[MarkingData, ...],
        qualifiers: tuple[MarkingQualifier, ...] = (),
    ) -> str:
        """Return the words for something that has a name, and what stands around them."""
        return _wrapped(self._words(name, markings), self.qualifiers(qualifiers))

    def _words(self, name: str, markings: tuple[MarkingData, ...]) -> str:
        if self.has(markings, MarkingCode.NO_MARKING_DISPLAY):
            return ""
        # A phrase in place of the policy's name says nothing about this one.
        own = [each for each in markings if MarkingCode.REPLACE_POLICY not in each.codes]
        chosen = self._in_language(self._of_place(own))
        if chosen is not None and chosen.phrase is not None:
            return chosen.phrase
        return "" if self.has(markings, MarkingCode.NO_NAME_DISPLAY) else name

    def policy(self, policy: LabelPolicy, level: Classification, values: list[Value]) -> str:
        """Return the policy's name, or what stands in its place."""
        sources = [
            level.markings,
            *(each.source.markings for each in values),
            policy.spif.policy.markings,
            policy.spif.markings,
        ]
        for markings in sources:
            instead = [each for each in markings if MarkingCode.REPLACE_POLICY in each.codes]
            chosen = self._in_language(self._of_place(instead))
            if chosen is not None:
                return chosen.phrase or ""
        own = policy.spif.policy
        return self.phrase(own.name, own.markings, own.qualifiers)

    def tags(self, values: list[Value]) -> Iterator[str]:
        """Return the words for each tag that has values, in the policy's order."""
        numbers = dict.fromkeys(value.tag.number for value in values)
        for number in numbers:
            of_tag = [value for value in values if value.tag.number == number]
            sources = [each.source for each in of_tag]
            phrases = [self.phrase(s.name, s.markings, s.qualifiers) for s in sources]
            around = self.qualifiers(of_tag[0].tag.source.qualifiers)
            text = around.get(QualifierCode.SEPARATOR, "/").join(filter(None, phrases))
            yield _wrapped(text, around)

    def privacy(self, policy: LabelPolicy, mark: str | None) -> Iterator[str]:
        """Return the words for a privacy mark."""
        if mark is None:
            return
        privacy = policy.spif.privacy
        known = privacy.items if privacy else ()
        found = next((each for each in known if each.name == mark), PrivacyMark(mark))
        yield self.phrase(
            mark, found.markings, found.qualifiers or (privacy.qualifiers if privacy else ())
        )

    def qualifiers(self, qualifiers: tuple[MarkingQualifier, ...]) -> dict[QualifierCode, str]:
        """Return prefix, suffix and separator, as far as they are set."""
        for covered in self._covers:
            here = [each for each in qualifiers if each.location in covered]
            if here:
                return self._texts(here)
        return self._texts(each for each in qualifiers if each.location is None)

    def _texts(self, qualifiers: Iterable[MarkingQualifier]) -> dict[QualifierCode, str]:
        every = [each for qualifier in qualifiers for each in qualifier.qualifiers]
        texts: dict[QualifierCode, str] = {}
        for language in self._languages:
            for each in every:
                if (each.language.casefold() if each.language else None) == language:
                    texts.setdefault(each.code, each.text)
        return texts


def _wrapped(text: str, around: dict[QualifierCode, str]) -> str:
    # Around nothing stands nothing.
    if not text:
        return ""
    return around.get(QualifierCode.PREFIX, "") + text + around.get(QualifierCode.SUFFIX, "")


def _colors(color: str | None) -> tuple[str | None, str | None]:
    background = None if color is None else _COLORS.get(color.casefold(), color.upper())
    if background is None or not background.startswith("#"):
        return None, None
    red, green, blue = (int(background[at : at + 2], 16) for at in (1, 3, 5))
    # Rec. 601 luma: dark letters on what the eye sees as bright.
    bright = 299 * red + 587 * green + 114 * blue > 128_000
    return background, BLACK if bright else WHITE
