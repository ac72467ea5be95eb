"""XML from outside, read without its dangers and written in one way.

The parser is expat with its doors shut: no document type and so no entities, no
processing instructions, UTF-8 only, nothing is ever fetched, and limits on
size, depth and number hold while reading, not afterwards. Comments are dropped.
What comes out are plain values; what they mean is settled elsewhere.

Written XML is UTF-8 with every prefix declared on the root element, attributes
in order of namespace and name, and the escapes of Canonical XML, so that one
value has one byte string. Source: Canonical XML 1.0 §2.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Final
from xml.parsers import expat

from liaison.labels.errors import XMLError
from liaison.values import dataclass

XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"
_SEPARATOR: Final = "\x1f"  # can't stand in XML, so not in a namespace either


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a document may be: bytes, elements in each other, elements in all."""

    size: int
    depth: int
    elements: int


LABEL_LIMITS: Final = Limits(size=64 * 1024, depth=16, elements=2_000)
POLICY_LIMITS: Final = Limits(size=2 * 1024 * 1024, depth=16, elements=50_000)
MAX_ATTRIBUTES: Final = 64


@dataclass(frozen=True, slots=True)
class Element:
    """One element; the line it was read from counts for nothing but errors.

    Args:
        namespace: its URI; empty for none.
        name: the local name.
        attributes: (namespace, name) to value.
        children: the elements in it; then `text` is empty.
        text: the characters in it.
    """

    namespace: str
    name: str
    attributes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    children: tuple[Element, ...] = ()
    text: str = ""
    line: int = field(default=0, compare=False)


@dataclass(slots=True)
class _Open:
    """An element whose end has not come yet."""

    namespace: str
    name: str
    attributes: dict[tuple[str, str], str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def parse(data: bytes, limits: Limits) -> Element:
    """Return the root element of a document.

    Args:
        data: the whole document.
        limits: what it may not exceed.

    Raises:
        XMLError: not well formed, not UTF-8, beyond the limits, or with a
            document type or processing instruction in it.
    """
    if len(data) > limits.size:
        raise XMLError(f"the XML has {len(data)} bytes, allowed are {limits.size}")
    _check_utf8(data)
    reader = _Reader(limits)
    try:
        reader.expat.Parse(data, True)  # noqa: FBT003  # expat's own signature
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code) or "unknown"
        raise XMLError(f"line {error.lineno}: the XML is not well formed: {reason}") from None
    if reader.root is None:
        raise XMLError("the XML has no element")
    return reader.root


def _check_utf8(data: bytes) -> None:
    # expat takes UTF-16 for what it is, whatever it was told; NUL is never in XML.
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise XMLError("the XML is not in UTF-8") from None
    if "\0" in text:
        raise XMLError("the XML is not in UTF-8")


class _Reader:
    """The handlers that expat calls, and the elements that are still open."""

    def __init__(self, limits: Limits) -> None:
        self.root: Element | None = None
        self._limits = limits
        self._open: list[_Open] = []
        self._elements = 0
        # An encoding given here overrides the document's: no decoder but this one runs.
        self.expat = expat.ParserCreate("UTF-8", _SEPARATOR)
        self.expat.buffer_text = True
        self.expat.XmlDeclHandler = self._declaration
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._characters
        self.expat.StartDoctypeDeclHandler = self._doctype
        self.expat.ProcessingInstructionHandler = self._instruction

    def _fail(self, reason: str) -> XMLError:
        return XMLError(f"line {self.expat.CurrentLineNumber}: {reason}")

    def _declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0":
            raise self._fail("the XML is not of version 1.0")
        if encoding is not None and encoding.upper() not in {"UTF-8", "US-ASCII"}:
            raise self._fail("the XML is not in UTF-8")

    def _doctype(self, *_: object) -> None:
        raise self._fail("the XML has a document type, which is not accepted")

    def _instruction(self, *_: object) -> None:
        raise self._fail("the XML has a processing instruction, which is not accepted")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > self._limits.elements:
            raise self._fail(f"the XML has more than {self._limits.elements} elements")
        if len(self._open) >= self._limits.depth:
            raise self._fail(f"the XML is nested more than {self._limits.depth} deep")
        if len(attributes) > MAX_ATTRIBUTES:
            raise self._fail(f"an element has more than {MAX_ATTRIBUTES} attributes")
        named = {_split(key): value for key, value in attributes.items()}
        line = self.expat.CurrentLineNumber
        self._open.append(_Open(*_split(name), named, line))

    def _end(self, _name: str) -> None:
        done = self._open.pop()
        text = "".join(done.text)
        if done.children:
            if text.strip(" \t\r\n"):
                raise self._fail(f"{done.name} has text between its elements")
            text = ""
        children = tuple(done.children)
        made = Element(done.namespace, done.name, done.attributes, children, text, done.line)
        if self._open:
            self._open[-1].children.append(made)
        else:
            self.root = made

    def _characters(self, text: str) -> None:
        self._open[-1].text.append(text)


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(_SEPARATOR)
    return namespace, local


def write(root: Element, prefixes: Mapping[str, str], *, indent: bool = False) -> bytes:
    """Return the one byte string of a document.

    Args:
        root: the root element; every namespace in it has a prefix.
        prefixes: namespace to prefix, all of which the root declares.
        indent: for files that people read: an XML declaration, a line for each
            element and a line feed at the end. Without it there is no declaration
            and no space between elements.

    Raises:
        XMLError: a value holds characters that XML can't.
    """
    writer = _Writer({XML_NAMESPACE: "xml", **prefixes}, indent=indent)
    declared = {
        f"xmlns:{prefix}": namespace
        for namespace, prefix in sorted(prefixes.items(), key=lambda item: item[1])
    }
    text = "".join(writer.lines(root, 0, declared))
    if indent:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'
    return text.encode()


class _Writer:
    def __init__(self, prefixes: Mapping[str, str], *, indent: bool) -> None:
        self._prefixes = prefixes
        self._indent = indent

    def lines(self, element: Element, depth: int, declared: Mapping[str, str]) -> Iterator[str]:
        before = "  " * depth if self._indent else ""
        after = "\n" if self._indent else ""
        name = self._name(element.namespace, element.name)
        attributes = dict(declared)
        for key in sorted(element.attributes):
            attributes[self._name(*key)] = element.attributes[key]
        opening = "".join(f' {key}="{_attribute(value)}"' for key, value in attributes.items())
        if not element.children:
            yield f"{before}<{name}{opening}>{_text(element.text)}</{name}>{after}"
            return
        yield f"{before}<{name}{opening}>{after}"
        for child in element.children:
            yield from self.lines(child, depth + 1, {})
        yield f"{before}</{name}>{after}"

    def _name(self, namespace: str, name: str) -> str:
        return f"{self._prefixes[namespace]}:{name}" if namespace else name


_TEXT_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_ATTRIBUTE_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)


def _text(value: str) -> str:
    return _representable(value).translate(_TEXT_ESCAPES)


def _attribute(value: str) -> str:
    return _representable(value).translate(_ATTRIBUTE_ESCAPES)


def _representable(value: str) -> str:
    if value.isprintable() and value.isascii():
        return value
    for character in value:
        if not is_character(character):
            raise XMLError(f"{value[:40]!r} has a character that XML can't hold")
    return value


def is_character(character: str) -> bool:
    """Whether XML can hold a character. Source: XML 1.0 §2.2, production 2."""
    point = ord(character)
    return (
        point in {0x9, 0xA, 0xD}
        or 0x20 <= point <= 0xD7FF
        or 0xE000 <= point <= 0xFFFD
        or point >= 0x10000
    )
