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

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
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


@given(data=st.data(), type_=st.sampled_from(EntryType), secret=st.binary(min_size=32, max_size=32))
def test_with_what_entries_have_in_common_made_ready_each_is_what_it_is_without(
    data: st.DataObject, type_: EntryType, secret: bytes
) -> None:
    schema = SCHEMAS[type_]
    optional = {name: st.none() | VALUES[kind] for name, kind in schema.sealed.items()}
    common = data.draw(st.fixed_dictionaries({}, optional=optional))
    varying = sorted(data.draw(st.sets(st.sampled_from(sorted(schema.sealed)))))
    values = st.fixed_dictionaries({name: VALUES[schema.sealed[name]] for name in varying})
    form = sealing.Form(type_, {**common, **data.draw(values)}, varying)
    shown: dict[str, Any] = {
        name: {"channel": bytes(16), "policy": PolicyRef(1, bytes(32))}.get(name, 256)
        for name in schema.required
    }

    for own in data.draw(st.lists(values, min_size=1, max_size=3)):
        plain = sealing.write(type_, 5, {**common, **own}, lambda _: secret, **shown)
        assert sealing.write(type_, 5, own, lambda _: secret, form=form, **shown) == plain


ONE = {"act": "came", "party": "nor", "subject": "nor/desk"}


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"act": None},
        {"act": 1},
        {"act": "\ud800"},
        {"subject": "a"},
        {"act": "a", "party": "deu"},
    ],
)
def test_what_differs_is_exactly_what_was_said_to_differ(own: Any) -> None:
    form = sealing.Form(EntryType.ADMIN, ONE, ["act"])

    with pytest.raises(EntryError):
        sealing.write(EntryType.ADMIN, 5, own, bytes, form=form)


def test_what_differs_has_a_value_in_each_entry() -> None:
    with pytest.raises(EntryError):
        sealing.Form(EntryType.ADMIN, ONE, ["digest"])


def test_a_form_is_of_one_type_of_entry() -> None:
    form = sealing.Form(EntryType.ADMIN, ONE, ["act"])

    with pytest.raises(EntryError):
        sealing.write(EntryType.KEY, 5, {"act": "left"}, bytes, form=form)


def test_a_value_that_differs_is_not_longer_than_a_value_may_be() -> None:
    form = sealing.Form(EntryType.ADMIN, ONE, ["act"])

    with pytest.raises(EntryError):
        sealing.write(EntryType.ADMIN, 5, {"act": "a" * MAX_VALUE_BYTES}, bytes, form=form)
    with pytest.raises(EntryError):
        sealing.Form(EntryType.ADMIN, {**ONE, "party": "a" * MAX_VALUE_BYTES}, ["act"])


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
