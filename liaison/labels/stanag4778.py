"""STANAG 4778 bindings: which labels belong to which data, as XML beside the data.

Between Liaison's own programs the encryption and signature of a message bind
its label; a binding is for what leaves them, such as a file that was saved.
Supported is the plain kind: labels in the binding, data referred to by URI.
Signatures (XML Signature) are neither made nor checked, and `signed` says that
there was one.

Source: ADatP-4778 (A)(1) §4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from liaison.labels import codecs, stanag4774, xml
from liaison.labels.errors import LabelError
from liaison.labels.shape import Attribute, Shape, build, read
from liaison.labels.stanag4774 import ConfidentialityLabel
from liaison.labels.xml import Element
from liaison.values import dataclass

NAMESPACE: Final = "urn:nato:stanag:4778:bindinginformation:1:0"
PREFIX: Final = "s4778"
_XMIME: Final = "http://www.w3.org/2005/05/xmlmime"
_SIGNATURE: Final = "http://www.w3.org/2000/09/xmldsig#"


@dataclass(frozen=True, slots=True)
class DataReference:
    """Data that a label belongs to: its URI, and its media type where it is no XML."""

    uri: str
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class MetadataBinding:
    """Labels that all belong to all of these data."""

    labels: tuple[ConfidentialityLabel, ...]
    data: tuple[DataReference, ...]


@dataclass(frozen=True, slots=True)
class BindingInformation:
    """All bindings of a document.

    Args:
        bindings: at least one.
        signed: there was a signature, which nobody here has checked.
    """

    bindings: tuple[MetadataBinding, ...]
    signed: bool = False

    @property
    def labels(self) -> tuple[ConfidentialityLabel, ...]:
        """The labels of all bindings, in order."""
        return tuple(label for binding in self.bindings for label in binding.labels)


_REFERENCE: Final = Shape(
    DataReference,
    NAMESPACE,
    "DataReference",
    attributes=(
        Attribute("uri", "URI", codecs.STRING, required=True),
        Attribute("content_type", "contentType", codecs.FILLED, namespace=_XMIME),
    ),
)


def is_binding(root: Element) -> bool:
    """Whether an element is a binding rather than a label."""
    return (root.namespace, root.name) == (NAMESPACE, "BindingInformation")


def parse(data: bytes) -> BindingInformation:
    """Return the bindings that an XML document of at most 64 KiB has.

    Raises:
        XMLError: the XML is refused.
        LabelError: it is not a binding of the supported kind.
    """
    return from_element(xml.parse(data, xml.LABEL_LIMITS))


def from_element(root: Element) -> BindingInformation:
    """Return the bindings that an element has; see `parse`."""
    if not is_binding(root):
        raise LabelError(
            f"{root.name[:60]!r} is not the root of a binding",
            hint=f"it is BindingInformation of the namespace {NAMESPACE}",
        )
    bindings = tuple(
        _binding(binding)
        for container in _named(root, "MetadataBindingContainer")
        for binding in _named(container, "MetadataBinding")
    )
    if not bindings:
        raise LabelError("the binding binds nothing")
    signed = any(child.namespace == _SIGNATURE for child in root.children)
    return BindingInformation(bindings, signed)


def write(information: BindingInformation) -> bytes:
    """Return bindings as canonical XML, without a signature.

    Raises:
        LabelError: they were signed: what is written would not be.
        XMLError: a text in them has characters that XML can't hold.
    """
    if information.signed:
        raise LabelError("a signed binding can't be written again")
    inner = tuple(_element(binding) for binding in information.bindings)
    container = Element(NAMESPACE, "MetadataBindingContainer", children=inner)
    root = Element(NAMESPACE, "BindingInformation", children=(container,))
    prefixes = {
        NAMESPACE: PREFIX,
        stanag4774.NAMESPACE: stanag4774.PREFIX,
        _XMIME: "xmime",
    }
    return xml.write(root, prefixes)


def _named(element: Element, name: str) -> Iterator[Element]:
    """Give the children of one name; others must be of another standard."""
    for child in element.children:
        if child.namespace != NAMESPACE:
            continue
        if child.name != name:
            raise LabelError(f"line {child.line}: {child.name[:60]!r} does not stand here")
        yield child


def _binding(element: Element) -> MetadataBinding:
    labels: list[ConfidentialityLabel] = []
    data: list[DataReference] = []
    for child in element.children:
        match (child.namespace == NAMESPACE, child.name):
            case (True, "Metadata"):
                labels.extend(_labels(child))
            case (True, "DataReference"):
                data.append(read(child, _REFERENCE, LabelError))
            case _:
                raise LabelError(
                    f"line {child.line}: {child.name[:60]!r} in a binding is not supported",
                    hint="labels stand in Metadata, data in DataReference",
                )
    if not labels or not data:
        raise LabelError(f"line {element.line}: a binding has a label and a reference to data")
    return MetadataBinding(tuple(labels), tuple(data))


def _labels(element: Element) -> Iterator[ConfidentialityLabel]:
    if len(element.children) != 1:
        raise LabelError(f"line {element.line}: each Metadata has one element in it")
    child = element.children[0]
    # Metadata of other kinds are bound the same way and are no business of labels.
    if child.namespace == stanag4774.NAMESPACE:
        yield stanag4774.from_element(child)


def _element(binding: MetadataBinding) -> Element:
    labels = (
        Element(NAMESPACE, "Metadata", children=(stanag4774.to_element(label),))
        for label in binding.labels
    )
    data = (build(each, _REFERENCE) for each in binding.data)
    return Element(NAMESPACE, "MetadataBinding", children=(*labels, *data))
