"""Reading fields: the error says where and what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.policy import fields
from liaison.policy.canonical import JSON
from liaison.policy.errors import DocumentError
from liaison.policy.fields import MAX_SECONDS, Node


def test_an_unknown_field_is_named_and_the_likely_one_suggested() -> None:
    node = Node.of({"a": {"kindz": 1}})

    with pytest.raises(DocumentError, match=r"a\.kindz is not a field here") as caught:
        node.fields(("a",))["a"].fields((), ("kinds",))

    assert caught.value.hint == "did you mean kinds"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(DocumentError, match="lacks the field code"):
        Node.of({}).fields(("code",))


def test_an_error_inside_a_list_says_which_member() -> None:
    items = Node.of({"a": [1, "x"]}).fields(("a",))["a"].items()

    with pytest.raises(DocumentError, match=r"a\[1\] must be a whole number"):
        items[1].integer(0, 9)


@pytest.mark.parametrize("value", [True, None, [], {}, 3])
def test_text_is_text(value: object) -> None:
    with pytest.raises(DocumentError, match="must be text"):
        Node(value).text()  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("value", ["a\x00b", "a\x1b[31m", "a\u202eb", "a\x9bb", "\ud800"])
def test_text_can_not_steer_a_terminal(value: str) -> None:
    with pytest.raises(DocumentError, match="control characters"):
        Node(value).text()


def test_text_may_have_several_lines() -> None:
    assert Node("one\n\ttwo").text() == "one\n\ttwo"


@pytest.mark.parametrize("value", [True, "1", -1, 10, None])
def test_a_whole_number_is_one_in_range(value: object) -> None:
    with pytest.raises(DocumentError):
        Node(value).integer(0, 9)  # type: ignore[arg-type]  # wrong on purpose


@given(seconds=st.integers(0, MAX_SECONDS))
def test_every_duration_comes_back_from_its_text(seconds: int) -> None:
    assert fields.parse_duration(fields.format_duration(seconds)) == seconds


@given(seconds=st.integers(-62135596800, 253402300799))
def test_every_moment_comes_back_from_its_text(seconds: int) -> None:
    assert fields.parse_instant(fields.format_instant(seconds)) == seconds


@pytest.mark.parametrize("text", ["1 d", "1.5h", "-1d", "1w", "d", "01d", "99999999999d", ""])
def test_a_duration_has_one_form(text: str) -> None:
    with pytest.raises(DocumentError):
        fields.parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21",
        "2026-11-21T15:30Z",
        "2026-11-21T15:30:00+01:00",
        "2026-13-21T15:30:00Z",
        "2026-02-30T15:30:00Z",
        "2026-11-21 15:30:00Z",
        "\u0662026-11-21T15:30:00Z",
    ],
)
def test_a_moment_has_one_form(text: str) -> None:
    with pytest.raises(DocumentError):
        fields.parse_instant(text)


def test_an_unknown_field_can_not_steer_a_terminal() -> None:
    with pytest.raises(DocumentError) as caught:
        Node.of({"\x1b[2J\ud800": 1}).fields(())

    assert caught.value.message.isprintable()


def test_deep_and_wide_together_cost_no_more_than_each() -> None:
    document: JSON = [0, 0]
    for _ in range(30):
        document = {"k" * 80: document}

    node = Node.of(document)
    while isinstance(node.value, dict):
        (node,) = node.value.values()

    assert [len(member.path) for member in node.items()] == [200, 200]
