"""XML from outside: what the parser refuses, and that one value has one byte string."""

from __future__ import annotations

import tracemalloc
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.labels import XMLError, xml
from liaison.labels.xml import Element, Limits
from tests.support.label_values import texts

LIMITS = Limits(size=2000, depth=5, elements=20)
BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]><a>&j;</a>"
)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "document type"),
        ('<!DOCTYPE a [<!ENTITY % x SYSTEM "http://x.example/a.dtd"> %x;]><a/>', "document type"),
        ('<!DOCTYPE a SYSTEM "http://x.example/a.dtd"><a/>', "document type"),
        ("<!DOCTYPE a><a/>", "document type"),
        ("<a>&unknown;</a>", "not well formed"),
        ('<?xml-stylesheet href="x"?><a/>', "processing instruction"),
        ("<a><?php evil ?></a>", "processing instruction"),
        ('<?xml version="1.1"?><a/>', "version 1.0"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "UTF-8"),
        ('<?xml version="1.0" encoding="UTF-16"?><a/>', "UTF-8"),
        ("<a>" * 6 + "</a>" * 6, "nested more than 5 deep"),
        ("<a>" + "<b/>" * 20 + "</a>", "more than 20 elements"),
        ("<a " + " ".join(f'b{n}=""' for n in range(65)) + "/>", "more than 64 attributes"),
        ("<a>" + "x" * 2000 + "</a>", "2007 bytes"),
        ("<a>text<b/></a>", "text between"),
        ("<a/><b/>", "not well formed"),
        ("<a b='1' b='2'/>", "not well formed"),
        ("<x:a/>", "not well formed"),
        ("<a>\0</a>", "UTF-8"),
        ("<a>&#0;</a>", "not well formed"),
        ("<a", "not well formed"),
        ("", "not well formed"),
    ],
)
def test_a_dangerous_or_broken_document_is_refused(document: str, reason: str) -> None:
    with pytest.raises(XMLError, match=reason):
        xml.parse(document.encode(), LIMITS)


def test_utf_16_and_bytes_that_are_no_utf_8_are_refused() -> None:
    other = ["<a/>".encode(name) for name in ("utf-16", "utf-16-le", "utf-32", "utf-32-be")]
    for data in (*other, b"<a>\xff</a>", b"<a>\xed\xa0\x80</a>", b"<a>\xc0\xbc</a>"):
        with pytest.raises(XMLError, match="not in UTF-8"):
            xml.parse(data, LIMITS)


def test_a_bomb_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(XMLError):
            xml.parse(BOMB.encode(), LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_comments_and_character_sections_leave_the_text_whole() -> None:
    # A comment must not cut a value in two, of which readers see different halves.
    root = xml.parse(b"<a>SEC<!-- x -->RET<![CDATA[ <1>]]></a>", LIMITS)

    assert root == Element("", "a", text="SECRET <1>")


def test_names_have_their_namespaces_and_prefixes_mean_nothing() -> None:
    plain = xml.parse(b'<a xmlns="urn:x" b="1"><c/></a>', LIMITS)
    prefixed = xml.parse(b'<p:a xmlns:p="urn:x" b="1"> <p:c/> </p:a>', LIMITS)

    assert plain == prefixed == Element("urn:x", "a", {("", "b"): "1"}, (Element("urn:x", "c"),))


elements = st.recursive(
    st.builds(
        Element,
        st.sampled_from(["urn:x", "urn:y"]),
        st.sampled_from(["a", "b"]),
        st.dictionaries(
            st.tuples(st.sampled_from(["", "urn:y", xml.XML_NAMESPACE]), st.just("n")), texts
        ),
        st.just(()),
        texts,
    ),
    lambda inner: st.builds(
        Element,
        st.just("urn:x"),
        st.just("c"),
        children=st.lists(inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
PREFIXES = {"urn:x": "x", "urn:y": "y"}
WIDE = Limits(size=100_000, depth=50, elements=1000)


@given(elements, st.booleans())
def test_what_is_written_is_read_back_and_written_the_same(root: Element, indent: bool) -> None:
    written = xml.write(root, PREFIXES, indent=indent)

    assert xml.parse(written, WIDE) == root
    assert xml.write(xml.parse(written, WIDE), PREFIXES, indent=indent) == written


@given(elements)
def test_written_xml_has_the_escapes_and_the_order_of_canonical_xml(root: Element) -> None:
    # With the prefixes on the root, as inclusive Canonical XML leaves them.
    written = xml.write(root, PREFIXES).decode()
    declared = ' xmlns:x="urn:x" xmlns:y="urn:y"'

    assert declared in written
    again = ET.canonicalize(written)
    assert _without_declarations(again) == written.replace(declared, "", 1)


def _without_declarations(text: str) -> str:
    # Canonical XML 2.0 moves them to where they are first used; everything else is the same.
    return text.replace(' xmlns:x="urn:x"', "").replace(' xmlns:y="urn:y"', "")


@pytest.mark.parametrize("text", ["\0", "\x1f", "\ufffe", "\ud800"])
def test_what_xml_can_not_hold_is_not_written(text: str) -> None:
    with pytest.raises(XMLError, match="can't hold"):
        xml.write(Element("", "a", text=text), {})
    with pytest.raises(XMLError, match="can't hold"):
        xml.write(Element("", "a", {("", "b"): text}), {})
