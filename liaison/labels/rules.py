"""What a label policy demands of a label, prepared for quick look-up.

`compile_rules` resolves every reference of a SPIF once: after that a category
is a (tag set, value) pair, and each rule is a set of pairs. A SPIF that
contradicts itself is refused here, not when the first message meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from liaison.labels.errors import SpifError
from liaison.labels.spif import (
    CategoryGroup,
    CategoryTag,
    Operation,
    RequiredCategory,
    Spif,
    TagCategory,
    TagSet,
    TagType,
    kind_of,
)
from liaison.labels.stanag4774 import CategoryType
from liaison.values import dataclass

Pair: TypeAlias = tuple[str, str]
"""A category: the name of its tag set and its value."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """Categories that must stand beside: `groups`, of which `operation` says how many."""

    operation: Operation
    groups: tuple[frozenset[Pair], ...]

    def holds(self, pairs: frozenset[Pair]) -> bool:
        """Whether a label with these categories has what is required."""
        if self.operation is Operation.ALL:
            return all(group & pairs for group in self.groups)
        found = len(frozenset().union(*self.groups) & pairs)
        return found == 1 if self.operation is Operation.ONLY_ONE else found > 0

    def words(self) -> str:
        """Return what is required, for people."""
        values = sorted({value for group in self.groups for _, value in group})
        how = {Operation.ALL: "all", Operation.ONLY_ONE: "exactly one"}
        return f"{how.get(self.operation, 'at least one')} of {', '.join(values[:12])}"


@dataclass(frozen=True, slots=True)
class Level:
    """A classification: its place among all, the lowest being 0."""

    name: str
    rank: int
    obsolete: bool
    required: tuple[Requirements, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: what its values mean, and how many a label may have. `number` orders tags."""

    number: int
    tag_set: str
    tag_set_oid: str
    name: str
    kind: CategoryType
    minimum: int
    maximum: int | None
    source: CategoryTag


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a tag, with its rules resolved. `number` orders values within all tags."""

    number: int
    pair: Pair
    tag: Tag
    source: TagCategory
    excluded_levels: frozenset[str]
    required_level: str | None
    required: tuple[Requirements, ...]
    excluded: tuple[frozenset[Pair], ...]

    def excludes(self, pairs: frozenset[Pair]) -> frozenset[Pair]:
        """Return which of these categories must not stand beside this one.

        A rule against a whole tag set does not speak of the value that has it.
        """
        return frozenset().union(*(group & pairs for group in self.excluded)) - {self.pair}


@dataclass(frozen=True, slots=True)
class Rules:
    """A whole policy, resolved.

    Args:
        levels: by name, lowest first.
        values: by tag set and name, in the policy's order.
        tags: in the policy's order.
        at_least: the tags of which a label must have some values.
        by_lacv: the values by the id of their tag set and `lacv_key`.
    """

    levels: Mapping[str, Level]
    values: Mapping[Pair, Value]
    tags: tuple[Tag, ...]
    at_least: tuple[Tag, ...]
    by_lacv: Mapping[tuple[str, int | str], tuple[Value, ...]]


def compile_rules(spif: Spif) -> Rules:
    """Resolve the references of a policy.

    Raises:
        SpifError: a name or place is used twice, a reference leads nowhere, or
            a tag does not say what its values mean.
    """
    listing = _Listing(spif)
    values = {each.pair: each for each in listing.values()}
    levels = {each.name: each for each in listing.levels()}
    at_least = tuple(tag for tag in listing.tags if tag.minimum > 0)
    by_lacv: dict[tuple[str, int | str], list[Value]] = {}
    for value in values.values():
        key = (value.tag.tag_set_oid, lacv_key(value.source.lacv))
        by_lacv.setdefault(key, []).append(value)
    coded = {key: tuple(found) for key, found in by_lacv.items()}
    return Rules(levels, values, tuple(listing.tags), at_least, coded)


def lacv_key(lacv: str) -> int | str:
    """Return the value of a `lacv`: 008 and 8 are the same number."""
    return int(lacv) if lacv.isascii() and lacv.isdigit() else lacv


class _Listing:
    """All values of a policy by tag, against which references are resolved.

    A policy may have thousands of values and of rules, so each rule's reference is
    looked up, and rules that say the same share one set.
    """

    def __init__(self, spif: Spif) -> None:
        self._spif = spif
        self.tags: list[Tag] = []
        self._of_tag: list[tuple[Tag, TagCategory]] = []
        self._of_place: dict[tuple[str, int | str | None], list[tuple[Tag, TagCategory]]] = {}
        self._resolved: dict[CategoryGroup, frozenset[Pair]] = {}
        self._names = {each.name for each in spif.classifications.items}
        _once((each.name for each in spif.tag_sets), "tag set")
        _once((each.oid for each in spif.tag_sets), "tag set id")
        for tag_set in spif.tag_sets:
            self._add(tag_set)

    def _add(self, tag_set: TagSet) -> None:
        names = (each.name for tag in tag_set.tags for each in tag.categories)
        _once(names, f"category of {tag_set.name}")
        for source in tag_set.tags:
            tag = _tag(len(self.tags), tag_set, source)
            self.tags.append(tag)
            for each in source.categories:
                self._of_tag.append((tag, each))
                for key in (None, lacv_key(each.lacv)):
                    self._of_place.setdefault((tag_set.name, key), []).append((tag, each))

    def levels(self) -> Iterator[Level]:
        items = self._spif.classifications.items
        _once((each.name for each in items), "classification")
        _once((str(each.lacv) for each in items), "classification's lacv")
        _once((str(each.hierarchy) for each in items), "classification's hierarchy")
        for rank, each in enumerate(sorted(items, key=lambda item: item.hierarchy)):
            yield Level(each.name, rank, each.obsolete, self._required(each.required, each.name))

    def values(self) -> Iterator[Value]:
        for number, (tag, source) in enumerate(self._of_tag):
            levels = [*source.excluded_classes, *filter(None, [source.required_class])]
            for level in levels:
                if level not in self._names:
                    raise SpifError(f"{source.name} names the classification {level!r}: unknown")
            yield Value(
                number=number,
                pair=(tag.tag_set, source.name),
                tag=tag,
                source=source,
                excluded_levels=frozenset(source.excluded_classes),
                required_level=source.required_class,
                required=self._required(source.required, source.name),
                excluded=tuple(self._resolve(each, source.name) for each in source.excluded),
            )

    def _required(self, rules: Iterable[RequiredCategory], where: str) -> tuple[Requirements, ...]:
        return tuple(
            Requirements(
                each.operation or Operation.ALL,
                tuple(self._resolve(group, where) for group in each.groups),
            )
            for each in rules
        )

    def _resolve(self, group: CategoryGroup, where: str) -> frozenset[Pair]:
        found = self._resolved.get(group)
        if found is None:
            key = None if group.lacv is None else lacv_key(group.lacv)
            places = self._of_place.get((group.tag_set, key), ())
            found = frozenset(
                (tag.tag_set, each.name) for tag, each in places if speaks_of(group, tag.source)
            )
            self._resolved[group] = found
        if not found:
            raise SpifError(f"{where} names a category of {group.tag_set!r} that does not exist")
        return found


def speaks_of(group: CategoryGroup, tag: CategoryTag) -> bool:
    """Whether a group of a rule speaks of the kind of values that a tag has."""
    if group.tag_type is TagType.ENUMERATED and group.enum_type is None:
        return tag.tag_type is TagType.ENUMERATED
    return tag.kind is kind_of(group.tag_type, group.enum_type)


_ONE: Final = 1


def _tag(number: int, tag_set: TagSet, source: CategoryTag) -> Tag:
    kind = source.kind
    name = source.name or tag_set.name
    if kind is None:
        raise SpifError(f"the tag {name} does not say whether it is permissive or restrictive")
    maximum = source.maximum
    if source.single:
        maximum = _ONE if maximum is None else min(_ONE, maximum)
    minimum = source.minimum or 0
    if maximum is not None and minimum > maximum:
        raise SpifError(f"the tag {name} asks for {minimum} values and allows {maximum}")
    return Tag(number, tag_set.name, tag_set.oid, name, kind, minimum, maximum, source)


def _once(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpifError(f"the policy has the {what} {name[:60]!r} twice")
        seen.add(name)
