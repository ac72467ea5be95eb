from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.tlog import entries, sealing
from liaison.tlog.commitment import MAX_VALUE_BYTES
from liaison.tlog.entries import PolicyRef
from liaison.tlog.errors import EntryError
from liaison.tlog.fields import OPEN, SCHEMAS, EntryType, Kind

VALUES = {
    Kind.TEXT: st.text(max_size=20),
    Kind.NUMBER: st.integers(-(2**53) + 1, 2**53 - 1),
    Kind.TEXTS: st.lists(st.text(max_size=10), max_size=4).map(tuple),
}
NUMBERS = st.integers(-1, 2**53)
SHOWN: dict[str, st.SearchStrategy[Any]] = {
    "channel": st.binary(min_size=15, max_size=16),
    "epoch": NUMBERS,
    "period": NUMBERS,
    "policy": st.builds(PolicyRef, st.integers(0, 2**32), st.binary(min_size=31, max_size=32)),
    "seq": NUMBERS,
    "size": NUMBERS,
}


def told(work: Callable[[], object]) -> object:
    """Return what it gives, or that it refuses."""
    try:
        return work()
    except EntryError:
        return EntryError


def both_ways(type_: EntryType, time: int, fields: Any, shown: Any, secret: bytes) -> object:
    """Seal and write an entry in two steps and in one; return what both give."""

    def in_two() -> tuple[bytes, bytes]:
        entry, sealed = entries.seal(type_, time, fields, lambda _: secret, **shown)
        return entry.encode(), sealed.encode()

    expected = told(in_two)
    assert told(lambda: sealing.write(type_, time, fields, lambda _: secret, **shown)) == expected
    return expected


@given(data=st.data(), type_=st.sampled_from(EntryType), secret=st.binary(min_size=32, max_size=32))
def test_in_one_step_every_entry_is_what_it_is_in_two(
    data: st.DataObject, type_: EntryType, secret: bytes
) -> None:
    schema = SCHEMAS[type_]
    optional = {name: st.none() | VALUES[kind] for name, kind in schema.sealed.items()}
    fields = data.draw(st.fixed_dictionaries({}, optional=optional))
    required = {name: SHOWN[name] for name in schema.required}
    others = {name: SHOWN[name] for name in schema.shown - schema.required}
    shown = data.draw(st.fixed_dictionaries(required, optional=others))

    both_ways(type_, data.draw(st.integers(0, 2**48)), fields, shown, secret)


@given(
    type_=st.sampled_from(EntryType),
    names=st.sets(st.sampled_from(sorted(OPEN))),
    data=st.data(),
)
def test_what_may_not_stand_in_the_open_is_refused_in_one_step_too(
    type_: EntryType, names: set[str], data: st.DataObject
) -> None:
    shown = {name: data.draw(SHOWN[name]) for name in sorted(names)}

    both_ways(type_, 5, {}, shown, bytes(32))


@pytest.mark.parametrize(
    "fields",
    [
        {"act": 1},
        {"act": ("a",)},
        {"nonsense": "a"},
        {"act": "\ud800"},
        {"act": "a" * MAX_VALUE_BYTES},
        {"act": True},
    ],
)
def test_values_that_a_field_cannot_have_are_refused_in_one_step_too(fields: Any) -> None:
    assert both_ways(EntryType.ADMIN, 5, fields, {}, bytes(32)) is EntryError
