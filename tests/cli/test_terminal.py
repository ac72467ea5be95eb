"""What a stranger's text can do to a terminal: nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_cli.terminal import clean, clean_line, indented

ANYTHING = st.text(alphabet=st.characters(codec=None, categories=None))


@given(text=ANYTHING)
def test_no_control_character_but_tab_and_newline_survives(text: str) -> None:
    left = {c for c in clean(text) if unicodedata.category(c) in {"Cc", "Cs"}}

    assert left <= {"\t", "\n"}


@given(text=ANYTHING)
def test_a_line_stays_one_line(text: str) -> None:
    assert len(clean_line(text).splitlines()) <= 1


@given(text=st.text(alphabet="abcæøå 日本\n"))
def test_plain_text_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(text=ANYTHING)
def test_no_line_of_an_indented_text_starts_at_the_margin(text: str) -> None:
    assert all(line == "" or line.startswith("  ") for line in indented(text).split("\n"))


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b[2J",  # clears the screen
        "\x1b]0;title\x07",  # renames the window
        "\x9b31m",  # the 8-bit form of the same
        "over\rwritten",
        "nor/\N{RIGHT-TO-LEFT OVERRIDE}3j-onl/ued",
        "\N{LINE SEPARATOR}FROM     deu/lno-j3#d1",
        "\b\b\bnew",
    ],
)
def test_known_tricks_are_shown_and_not_done(attack: str) -> None:
    shown = clean(attack)

    assert "\N{REPLACEMENT CHARACTER}" in shown
    assert not set(shown) & set("\x1b\x9b\r\b\x07\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}")
