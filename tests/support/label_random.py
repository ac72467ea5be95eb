"""Random policies, and labels and clearances that have something to do with them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from liaison.labels import spif
from liaison.labels.clearance import ConfidentialityClearance
from liaison.labels.spif import Spif
from liaison.labels.stanag4774 import (
    Category,
    CategoryType,
    ConfidentialityLabel,
    PolicyIdentifier,
    Sensitivity,
)

_KINDS = (
    (spif.TagType.RESTRICTIVE, None),
    (spif.TagType.PERMISSIVE, None),
    (spif.TagType.ENUMERATED, spif.EnumType.RESTRICTIVE),
    (spif.TagType.ENUMERATED, spif.EnumType.PERMISSIVE),
    (spif.TagType.TAG_TYPE_7, None),
)
UNKNOWN = "UNKNOWN"


@dataclass
class Maker:
    """Makes everything from one source of chance."""

    chance: random.Random

    def policy(self) -> Spif:
        """Make a policy without contradictions, with rules of every kind."""
        levels = [f"L{n}" for n in range(self.chance.randint(1, 5))]
        plan = [
            (f"S{number}", [self._tag(number, place) for place in range(self.chance.randint(1, 2))])
            for number in range(self.chance.randint(0, 4))
        ]
        # Hierarchies need not be small, nor the levels in their order.
        places = self.chance.sample(range(-5, 90), len(levels))
        items = tuple(
            spif.Classification(name, lacv=n, hierarchy=place, required=self._required(plan, 0.1))
            for n, (name, place) in enumerate(zip(levels, places, strict=True))
        )
        tag_sets = tuple(
            spif.TagSet(name, f"1.2.{n}", tuple(self._ruled(tag, plan, levels) for tag in tags))
            for n, (name, tags) in enumerate(plan)
        )
        return Spif(spif.PolicyId("RANDOM", "1.2.3"), spif.Classifications(items), tag_sets)

    def _tag(self, number: int, place: int) -> spif.CategoryTag:
        tag_type, enum_type = self.chance.choice(_KINDS)
        values = tuple(
            spif.TagCategory(f"V{place}{n}", str(place * 10 + n))
            for n in range(self.chance.randint(1, 4))
        )
        return spif.CategoryTag(
            tag_type,
            values,
            f"T{number}{place}",
            enum_type,
            single=self.chance.random() < 0.1,
            maximum=self.chance.choice([None, None, None, 2, 3]),
        )

    def _ruled(
        self,
        tag: spif.CategoryTag,
        plan: list[tuple[str, list[spif.CategoryTag]]],
        levels: list[str],
    ) -> spif.CategoryTag:
        ruled = tuple(
            spif.TagCategory(
                each.name,
                each.lacv,
                required_class=self.chance.choice(levels) if self.chance.random() < 0.05 else None,
                excluded_classes=(self.chance.choice(levels),)
                if self.chance.random() < 0.1
                else (),
                required=self._required(plan, 0.1),
                excluded=(self._group(plan),) if self.chance.random() < 0.1 else (),
            )
            for each in tag.categories
        )
        least = 1 if self.chance.random() < 0.05 else None
        return spif.CategoryTag(
            tag.tag_type,
            ruled,
            tag.name,
            tag.enum_type,
            single=tag.single,
            minimum=least,
            maximum=tag.maximum,
        )

    def _required(
        self, plan: list[tuple[str, list[spif.CategoryTag]]], often: float
    ) -> tuple[spif.RequiredCategory, ...]:
        if not plan or self.chance.random() >= often:
            return ()
        groups = tuple(self._group(plan) for _ in range(self.chance.randint(1, 2)))
        return (spif.RequiredCategory(groups, self.chance.choice([None, *spif.Operation])),)

    def _group(self, plan: list[tuple[str, list[spif.CategoryTag]]]) -> spif.CategoryGroup:
        name, tags = self.chance.choice(plan)
        tag = self.chance.choice(tags)
        if self.chance.random() < 0.5:
            return spif.CategoryGroup(name, tag.tag_type, tag.enum_type, whole=True)
        one = self.chance.choice(tag.categories)
        return spif.CategoryGroup(name, tag.tag_type, tag.enum_type, lacv=one.lacv)

    def label(self, policy: Spif) -> ConfidentialityLabel:
        """Make a label: often a valid one, sometimes with something unknown in it."""
        said = Sensitivity(
            PolicyIdentifier(policy.policy.name, policy.policy.oid),
            self._level(policy),
            categories=tuple(self._categories(policy, 0.25)),
        )
        return ConfidentialityLabel(said, created=0)

    def clearance(self, policy: Spif) -> ConfidentialityClearance:
        """Make a clearance, sometimes with something unknown in it."""
        levels = {self._level(policy) for _ in range(self.chance.randint(1, 3))}
        return ConfidentialityClearance(
            PolicyIdentifier(policy.policy.name),
            tuple(sorted(levels)),
            tuple(self._categories(policy, 0.7)),
        )

    def _level(self, policy: Spif) -> str:
        if self.chance.random() < 0.03:
            return UNKNOWN
        return self.chance.choice(policy.classifications.items).name

    def _categories(self, policy: Spif, often: float) -> list[Category]:
        made = []
        for tag_set in policy.tag_sets:
            for tag in tag_set.tags:
                names = [e.name for e in tag.categories if self.chance.random() < often]
                if self.chance.random() < 0.01:
                    names.append(UNKNOWN)
                if names:
                    kind = tag.kind or CategoryType.INFORMATIVE
                    made.append(Category(tag_set.name, kind, tuple(names)))
        return made
