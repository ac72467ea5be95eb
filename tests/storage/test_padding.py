from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liaison.storage.padding import padded


@given(values=st.lists(st.integers(), max_size=300))
def test_a_padded_list_has_the_same_values_and_one_of_few_lengths(values: list[int]) -> None:
    found = padded(values)

    assert set(found) == set(values)
    assert len(found) in {0, *(1 << n for n in range(10))}
    assert len(found) < 2 * len(values) or not values
