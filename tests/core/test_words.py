"""How many there are is told in English."""

from __future__ import annotations

import pytest

from liaison import words


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 logs"), (1, "1 log"), (2, "2 logs"), (21, "21 logs")]
)
def test_only_one_is_not_many(number: int, told: str) -> None:
    assert words.count(number, "log") == told


def test_what_takes_no_s_is_given() -> None:
    assert words.count(1, "entry is", "entries are") == "1 entry is"
    assert words.count(2, "entry is", "entries are") == "2 entries are"
