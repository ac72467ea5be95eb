"""CBOR: one spelling, and nothing that becomes an object of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor
from liaison.envelope.errors import CBORError

keys = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8)
items = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)


@given(item=items)
def test_every_item_comes_back_from_its_one_encoding(item: cbor.Item) -> None:
    assert cbor.decode(cbor.encode(item)) == item


@given(data=st.binary(max_size=60))
def test_any_bytes_are_an_item_in_its_encoding_or_refused(data: bytes) -> None:
    try:
        item = cbor.decode(data)
    except CBORError:
        return

    assert cbor.encode(item) == data


def test_map_keys_stand_in_the_order_of_their_bytes() -> None:
    # RFC 8949 §4.2.1's own example, without the keys that are not used here.
    assert (
        cbor.encode({"z": 1, "aa": 2, 10: 3, 100: 4, -1: 5}).hex()
        == "a50a03186404200561" + "7a0162616102"
    )


@pytest.mark.parametrize(
    "data",
    [
        "d82363612a61",  # a regular expression
        "c249010000000000000000",  # a bignum
        "c11a00000000",  # a date
        "d81c8101",  # a shared reference
        "d9010281 01",  # a set
        "fb3ff0000000000000",  # a fraction
        "f97e00",  # not a number
        "f7",  # undefined
        "e0",  # an unassigned simple value
        "9f01ff",  # indefinite length
        "5f4101ff",
        "a201010102",  # a key twice
        "a1810101",  # a list as a key
        "a1f501",  # a truth as a key
        "0101",  # two items
        "",
        "1a",
        "9a7fffffff",  # a list that claims two thousand million members
        "6180",  # not UTF-8
        "81" * 40 + "01",  # nested too deeply
    ],
)
def test_what_is_not_used_here_is_refused(data: str) -> None:
    with pytest.raises(CBORError):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["1800", "190001", "5800", "a202010101", "a2617a01186402"])
def test_another_encoding_of_the_same_item_is_not_exact(data: str) -> None:
    with pytest.raises(CBORError, match="deterministic"):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    "item", [1.5, 2**64, object(), {True: 1}, {b"k": 1}, (1,), {1, 2}, "\ud800"]
)
def test_a_value_without_encoding_is_refused(item: cbor.Item) -> None:
    with pytest.raises(CBORError):
        cbor.encode(item)
