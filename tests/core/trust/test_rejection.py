from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison.envelope import cbor
from liaison.errors import MalformedError
from liaison.model import DeviceId
from liaison.trust.rejection import Rejection

MALLORY = DeviceId.parse("nor/duty-desk#d1")
REPORT = Rejection(7, bytes(32), MALLORY, "mls.confirmation_tag")


@given(
    epoch=st.integers(0, (1 << 63) - 1),
    digest=st.binary(min_size=32, max_size=32),
    code=st.from_regex(r"\A[a-z0-9_.-]{1,64}\Z"),
)
def test_a_report_is_read_as_it_was_made(epoch: int, digest: bytes, code: str) -> None:
    report = Rejection(epoch, digest, MALLORY, code)

    assert Rejection.decode(report.encode()) == report


@given(st.binary(max_size=200))
def test_nothing_else_is_read_as_a_report(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Rejection.decode(data)


@pytest.mark.parametrize(
    "changes",
    [
        {0: 2},
        {1: -1},
        {1: True},
        {2: bytes(31)},
        {3: "nobody"},
        {4: "the fleet sails at dawn"},
        {4: ""},
        {5: b"more"},
    ],
)
def test_a_report_with_another_word_in_it_is_none(changes: dict[int | str, cbor.Item]) -> None:
    item = cbor.decode(REPORT.encode())
    assert isinstance(item, dict)

    with pytest.raises(MalformedError):
        Rejection.decode(cbor.encode({**item, **changes}))
