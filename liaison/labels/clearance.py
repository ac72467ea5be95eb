"""Clearances: what somebody may see, as data of an agreement or as XML.

`Clearance` is the short form that agreements make and decisions take;
`ConfidentialityClearance` is the XML form, which a policy turns into the short
one (`LabelPolicy.clearance`). The highest classification counts and includes
all below it.

Source: ADatP-4774 (A)(1), appendix 2, annex A.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

from liaison.labels import stanag4774, xml
from liaison.labels.errors import ClearanceError
from liaison.labels.shape import Child, Listing, Shape, build, read
from liaison.labels.stanag4774 import Category, PolicyIdentifier
from liaison.values import dataclass

NAMESPACE: Final = "urn:nato:stanag:4774:confidentialityclearance:1:0"
PREFIX: Final = "sclr"
_EXTENSIONS: Final = frozenset({"ConfidentialityClearanceExtensions"})


@dataclass(frozen=True, slots=True)
class Clearance:
    """What somebody is cleared for, under one policy.

    Args:
        policy: id of the label policy.
        classifications: levels of it; the highest counts.
        categories: (tag set, value), sorted.
    """

    policy: str
    classifications: tuple[str, ...]
    categories: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        policy: str,
        classifications: str | Iterable[str],
        categories: Iterable[tuple[str, str]] = (),
    ) -> Self:
        """Return a clearance up to a level, or for several, with its parts in order."""
        levels = (classifications,) if isinstance(classifications, str) else classifications
        return cls(policy, tuple(sorted(set(levels))), tuple(sorted(set(categories))))

    def union(self, other: Self) -> Self:
        """Return what both together are cleared for, such as an endpoint's and its role's.

        Raises:
            ClearanceError: they are of two policies.
        """
        if self.policy != other.policy:
            raise ClearanceError(
                f"one clearance is of {self.policy[:60]}, the other of {other.policy[:60]}"
            )
        return self.of(
            self.policy,
            self.classifications + other.classifications,
            self.categories + other.categories,
        )


@dataclass(frozen=True, slots=True)
class ConfidentialityClearance:
    """A clearance as its XML says it."""

    policy: PolicyIdentifier
    classifications: tuple[str, ...]
    categories: tuple[Category, ...] = ()


_SHAPE: Final = Shape(
    ConfidentialityClearance,
    NAMESPACE,
    "ConfidentialityClearance",
    children=(
        Child("policy", stanag4774.POLICY_IDENTIFIER, one=True, required=True),
        Child(
            "classifications",
            Listing(NAMESPACE, "ClassificationList", stanag4774.CLASSIFICATION, _EXTENSIONS),
            required=True,
        ),
        Child("categories", stanag4774.CATEGORY),
    ),
    ignored=_EXTENSIONS,
)


def parse(data: bytes) -> ConfidentialityClearance:
    """Return the clearance that an XML document of at most 64 KiB is.

    Raises:
        XMLError: the XML is refused.
        ClearanceError: it is not a clearance to the schema.
    """
    root = xml.parse(data, xml.LABEL_LIMITS)
    if (root.namespace, root.name) != (NAMESPACE, _SHAPE.name):
        raise ClearanceError(
            f"{root.name[:60]!r} is not the root of a clearance",
            hint=f"it is ConfidentialityClearance of the namespace {NAMESPACE}",
        )
    return read(root, _SHAPE, ClearanceError)


def write(clearance: ConfidentialityClearance) -> bytes:
    """Return a clearance as canonical XML; `parse` gives it back.

    Raises:
        XMLError: a text in it has characters that XML can't hold.
    """
    prefixes = {NAMESPACE: PREFIX, stanag4774.NAMESPACE: stanag4774.PREFIX}
    return xml.write(build(clearance, _SHAPE), prefixes)
