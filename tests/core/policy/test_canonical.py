"""Canonical JSON: one document, one byte string, no surprises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.policy import canonical
from liaison.policy.errors import DocumentError, DocumentTooLargeError

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(document=documents)
def test_every_document_comes_back_from_its_canonical_form(document: canonical.JSON) -> None:
    assert canonical.decode_canonical(canonical.encode(document)) == document


@given(document=documents)
def test_every_layout_of_a_document_has_the_same_canonical_form(document: canonical.JSON) -> None:
    loose = json.dumps(document, indent=2)

    assert canonical.encode(canonical.decode(loose)) == canonical.encode(document)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        "1.5",
        "1e3",
        "NaN",
        "-Infinity",
        "9007199254740992",
        "1" * 5000,
        "[" * 100_000,
        "",
        "{",
        '{"a":1} x',
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        canonical.decode(text)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(DocumentError):
        canonical.decode(b'"\xff"')


@pytest.mark.parametrize("data", [b'{"a": 1}', b'{"b":1,"a":2}', b'"\\u0041"', b"1\n"])
def test_another_spelling_is_not_canonical(data: bytes) -> None:
    canonical.decode(data)

    with pytest.raises(DocumentError, match="canonical"):
        canonical.decode_canonical(data)


def test_a_document_above_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(DocumentTooLargeError):
        canonical.decode("x" * 11, limit=10)


@pytest.mark.parametrize("value", [1.5, 2**53, float("nan"), "\ud800"])
def test_a_value_without_canonical_form_is_refused(value: canonical.JSON) -> None:
    with pytest.raises(DocumentError):
        canonical.encode(value)


@given(data=st.binary(max_size=40))
def test_bytes_come_back_from_base64(data: bytes) -> None:
    assert canonical.from_base64(canonical.to_base64(data)) == data


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q Q=", "_-8=", "QQ==QQ=="])
def test_bytes_have_one_spelling_in_base64(text: str) -> None:
    with pytest.raises(DocumentError):
        canonical.from_base64(text)


def test_a_document_has_a_bounded_depth() -> None:
    deepest = canonical.MAX_DEPTH

    assert canonical.decode("[" * deepest + "]" * deepest)
    with pytest.raises(DocumentError, match="nested too deeply"):
        canonical.decode("[" * (deepest + 1) + "]" * (deepest + 1))
    # Deep enough for the readers of the value to run out of stack, not for json.
    with pytest.raises(DocumentError):
        canonical.decode("[" * 800 + "]" * 800)


def test_a_document_has_a_bounded_number_of_values() -> None:
    most = canonical.MAX_VALUES - 1

    assert canonical.decode("[" + ",".join("0" * most) + "]")
    with pytest.raises(DocumentTooLargeError):
        canonical.decode("[" + ",".join("0" * (most + 1)) + "]")


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 400_000 + b"]" * 400_000,
        b'{"a":' * 150_000 + b"0" + b"}" * 150_000,
        b"[" + b",".join([b"{}"] * 200_000) + b"]",
        b"9" * 900_000,
        b"1e999999",
    ],
    ids=["arrays", "objects", "values", "digits", "exponent"],
)
def test_what_is_nested_without_end_is_refused(text: bytes) -> None:
    with pytest.raises((DocumentError, DocumentTooLargeError)):
        canonical.decode_canonical(text, limit=1 << 20)
