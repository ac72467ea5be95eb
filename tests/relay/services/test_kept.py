from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liaison.relay.services.kept import Kept

MOST = 10
_keys = st.integers(1, 5)
_steps = st.lists(st.tuples(_keys, st.none() | st.integers(0, MOST + 2)))


@given(steps=_steps)
def test_what_was_used_last_is_kept_up_to_a_size_in_all(
    steps: list[tuple[int, int | None]],
) -> None:
    kept: Kept[int, int] = Kept(MOST)
    # Keys and sizes, the one used last at the end.
    model: list[tuple[int, int]] = []

    for at, (key, size) in enumerate(steps):
        known = [one for one in model if one[0] == key]
        others = [one for one in model if one[0] != key]
        if size is None:
            assert (kept.get(key) is not None) == bool(known)
            model = others + known
            continue
        kept.put(key, at, size)
        assert size > MOST or kept.get(key) == at
        model = [*others, (key, size)]
        while sum(each for _, each in model) > MOST:
            model.pop(0)

    assert [key for key in range(1, 6) if kept.get(key) is not None] == sorted(
        key for key, _ in model
    )
