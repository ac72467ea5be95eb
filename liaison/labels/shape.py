"""How values and XML elements correspond: data, and the two functions that follow it.

A `Shape` says for one class which attribute and which child element is which of
its fields. `read` and `build` follow it in both directions, so that what is
written is read back as the same value, and nothing that a shape does not name
gets in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Generic, TypeAlias, TypeVar

from liaison.errors import MalformedError
from liaison.labels.xml import Element
from liaison.values import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec:
    """Turns a text into a value and back.

    `parse` raises ValueError with a sentence about the text when it is no such value.
    """

    parse: Callable[[str], Any]
    write: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: absent means `default`, and `default` is written by leaving it out."""

    field: str
    name: str
    codec: Codec
    required: bool = False
    default: Any = None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An element that is nothing but text."""

    namespace: str
    name: str
    codec: Codec


@dataclass(frozen=True, slots=True)
class Listing:
    """An element around a list, left out where the list is empty.

    Args:
        namespace, name: the element.
        item: what the list is of.
        ignored: local names of elements of the same namespace that say nothing here.
    """

    namespace: str
    name: str
    item: Leaf | Shape[Any]
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Child:
    """Child elements of one name: a tuple, or with `one` a single value or None."""

    field: str
    shape: Shaped
    one: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """How one class and one element correspond.

    Args:
        make: the class; called with the fields by name.
        namespace, name: the element.
        attributes: known attributes. Others without a namespace are refused,
            others with one are for local use and ignored.
        children: known child elements, in the order in which they are written.
        text: the field that is the element's text, and its codec.
        ordered: whether reading insists on the order.
        foreign: whether elements of other namespaces are ignored; refused otherwise.
        ignored: local names of elements of the same namespace that say nothing here.
        hints: names often written in this place by mistake, and what to write.
    """

    make: Callable[..., T]
    namespace: str
    name: str
    attributes: tuple[Attribute, ...] = ()
    children: tuple[Child, ...] = ()
    text: tuple[str, Codec] | None = None
    ordered: bool = True
    foreign: bool = False
    ignored: frozenset[str] = frozenset()
    hints: Mapping[str, str] = field(default_factory=dict)


Shaped: TypeAlias = Leaf | Listing | Shape[Any]


# --- reading ------------------------------------------------------------------------------------


def read(element: Element, shape: Shape[T], error: type[MalformedError]) -> T:
    """Return the value that an element says.

    Args:
        element: of the shape's name.
        shape: what it must look like.
        error: what is raised where it does not.
    """
    return _Reading(error).value(element, shape)


class _Reading:
    def __init__(self, error: type[MalformedError]) -> None:
        self._error = error

    def _fail(self, element: Element, reason: str, hint: str = "") -> MalformedError:
        return self._error(f"line {element.line}: {reason}", hint=hint)

    def value(self, element: Element, shape: Shape[T]) -> T:
        fields: dict[str, Any] = {}
        self._attributes(element, shape, fields)
        if shape.text is not None:
            self._no_children(element, shape)
            name, codec = shape.text
            fields[name] = self._parsed(element, codec, element.text, shape.name)
        else:
            self._children(element, shape, fields)
        try:
            return shape.make(**fields)
        except ValueError as wrong:
            raise self._fail(element, str(wrong)) from None

    def _attributes(self, element: Element, shape: Shape[Any], fields: dict[str, Any]) -> None:
        known = {(each.namespace, each.name): each for each in shape.attributes}
        for namespace, name in element.attributes:
            if (namespace, name) in known or namespace not in {"", shape.namespace}:
                continue
            right = [each.name for each in shape.attributes]
            if namespace and name in right:
                reason = f"{shape.name} has the attribute {name} with a prefix"
                raise self._fail(element, reason, "attributes stand without a prefix")
            reason = f"{shape.name} has an attribute {name[:40]!r}, which it can't have"
            raise self._fail(element, reason, _spelling(name, right, shape.hints))
        for key, attribute in known.items():
            text = element.attributes.get(key)
            if text is not None:
                what = f"{shape.name}'s {attribute.name}"
                fields[attribute.field] = self._parsed(element, attribute.codec, text, what)
            elif attribute.required:
                raise self._fail(element, f"{shape.name} has no attribute {attribute.name}")
            else:
                fields[attribute.field] = attribute.default

    def _children(self, element: Element, shape: Shape[Any], fields: dict[str, Any]) -> None:
        if not element.children and element.text.strip(" \t\r\n"):
            raise self._fail(element, f"{shape.name} has text in it, which it can't have")
        places = {
            (child.shape.namespace, child.shape.name): place
            for place, child in enumerate(shape.children)
        }
        found: list[list[Any]] = [[] for _ in shape.children]
        last = 0
        for each in element.children:
            place = places.get((each.namespace, each.name))
            if place is None:
                self._stranger(each, shape)
                continue
            if shape.ordered and place < last:
                raise self._fail(
                    each, f"{each.name} stands after {shape.children[last].shape.name}"
                )
            last = place
            found[place].append(self._child(each, shape.children[place].shape))
        for child, values in zip(shape.children, found, strict=True):
            fields[child.field] = self._counted(element, shape, child, values)

    def _counted(self, element: Element, shape: Shape[Any], child: Child, values: list[Any]) -> Any:
        name = child.shape.name
        if child.required and not values:
            raise self._fail(element, f"{shape.name} has no {name}")
        single = child.one or isinstance(child.shape, Listing)
        if single and len(values) > 1:
            raise self._fail(element, f"{shape.name} has more than one {name}")
        if isinstance(child.shape, Listing):
            return values[0] if values else ()
        if child.one:
            return values[0] if values else None
        return tuple(values)

    def _child(self, element: Element, shape: Shaped) -> Any:
        if isinstance(shape, Shape):
            return self.value(element, shape)
        if isinstance(shape, Listing):
            return self._listed(element, shape)
        self._no_children(element, shape)
        if any(namespace == "" for namespace, _ in element.attributes):
            raise self._fail(element, f"{shape.name} has an attribute, which it can't have")
        return self._parsed(element, shape.codec, element.text, shape.name)

    def _listed(self, element: Element, shape: Listing) -> tuple[Any, ...]:
        wanted = (shape.item.namespace, shape.item.name)
        items = [
            each
            for each in element.children
            if each.namespace != shape.namespace or each.name not in shape.ignored
        ]
        for each in items:
            if (each.namespace, each.name) != wanted:
                raise self._fail(each, f"{shape.name} has {each.name[:40]!r} in it")
        if element.text.strip(" \t\r\n") or not items:
            raise self._fail(element, f"{shape.name} has no {shape.item.name} in it")
        return tuple(self._child(each, shape.item) for each in items)

    def _no_children(self, element: Element, shape: Shaped) -> None:
        if element.children:
            child = element.children[0].name
            raise self._fail(element, f"{shape.name} has {child[:40]!r} in it instead of text")

    def _stranger(self, element: Element, shape: Shape[Any]) -> None:
        if shape.foreign and element.namespace not in {"", shape.namespace}:
            return
        if element.namespace == shape.namespace and element.name in shape.ignored:
            return
        right = [child.shape.name for child in shape.children]
        if element.name in right:
            namespace = element.namespace or "no namespace"
            raise self._fail(
                element, f"{element.name} is of {namespace[:80]}, not of the standard's"
            )
        raise self._fail(
            element,
            f"{shape.name} has {element.name[:40]!r} in it, which it can't have",
            _spelling(element.name, right, shape.hints),
        )

    def _parsed(self, element: Element, codec: Codec, text: str, what: str) -> Any:
        try:
            return codec.parse(text)
        except ValueError as wrong:
            raise self._fail(element, f"{what}: {wrong}") from None


def _spelling(name: str, right: list[str], hints: Mapping[str, str]) -> str:
    if name in hints:
        return hints[name]
    for each in right:
        if each.casefold() == name.casefold():
            return f"it is spelled {each}"
    return ""


# --- building -----------------------------------------------------------------------------------


def build(value: T, shape: Shape[T]) -> Element:
    """Return the element that says a value; `read` gives the value back."""
    attributes = {}
    for attribute in shape.attributes:
        held = getattr(value, attribute.field)
        if held is not None and (attribute.required or held != attribute.default):
            attributes[(attribute.namespace, attribute.name)] = attribute.codec.write(held)
    if shape.text is not None:
        name, codec = shape.text
        text = codec.write(getattr(value, name))
        return Element(shape.namespace, shape.name, attributes, (), text)
    children: list[Element] = []
    for child in shape.children:
        held = getattr(value, child.field)
        if isinstance(child.shape, Listing):
            items = tuple(_part(each, child.shape.item) for each in held)
            if items:
                listing = child.shape
                children.append(Element(listing.namespace, listing.name, children=items))
        elif child.one:
            if held is not None:
                children.append(_part(held, child.shape))
        else:
            children.extend(_part(each, child.shape) for each in held)
    return Element(shape.namespace, shape.name, attributes, tuple(children))


def _part(value: Any, shape: Leaf | Shape[Any]) -> Element:
    if isinstance(shape, Leaf):
        return Element(shape.namespace, shape.name, text=shape.codec.write(value))
    return build(value, shape)
